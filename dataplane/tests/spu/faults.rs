//! A disk that fills up and fails when told to.

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use tokio::sync::watch;
use weir_dataplane::reserve::RESERVE_FILE;
use weir_runtime::disk::{DirEntry, Disk, File, OpenMode};

/// What is wrong at the moment. But for `no_room` only with files of batches.
#[derive(Default)]
pub struct Faults {
    pub full: AtomicBool,
    /// Not a byte is free, until a segment is removed; the reserve is there, whatever its name.
    pub no_room: AtomicBool,
    reserve: Mutex<Option<String>>,
    pub sync_fails: AtomicBool,
    pub opens_fail: AtomicBool,
    pub new_segments_fail: AtomicBool,
    /// While true, syncs of files of batches wait.
    pub syncs_held: watch::Sender<bool>,
    /// Writes that found the disk full.
    pub full_writes: watch::Sender<usize>,
}

impl Faults {
    fn check(flag: &AtomicBool, path: &str, kind: io::ErrorKind) -> io::Result<()> {
        if path.ends_with(".log") && flag.load(Ordering::SeqCst) {
            Err(kind.into())
        } else {
            Ok(())
        }
    }

    fn check_room(&self, path: &str) -> io::Result<()> {
        let reserve = self.reserve.lock().unwrap().as_deref() == Some(path);
        if self.no_room.load(Ordering::SeqCst) && !reserve {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Self::check(&self.full, path, io::ErrorKind::StorageFull)
    }
}

pub struct FaultyDisk {
    inner: Arc<dyn Disk>,
    faults: Arc<Faults>,
}

impl FaultyDisk {
    pub fn new(inner: Arc<dyn Disk>) -> (Arc<Self>, Arc<Faults>) {
        let faults = Arc::<Faults>::default();
        (Arc::new(Self { inner, faults: faults.clone() }), faults)
    }
}

#[async_trait]
impl Disk for FaultyDisk {
    async fn open(&self, path: &str, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        if path.starts_with("topics/") && self.faults.opens_fail.load(Ordering::SeqCst) {
            return Err(io::Error::other("too many open files"));
        }
        if mode == OpenMode::CreateOrOpen {
            Faults::check(&self.faults.new_segments_fail, path, io::ErrorKind::Other)?;
        }
        let inner = self.inner.open(path, mode).await?;
        Ok(Arc::new(FaultyFile { inner, path: path.to_owned(), faults: self.faults.clone() }))
    }
    async fn create_dir_all(&self, path: &str) -> io::Result<()> {
        self.inner.create_dir_all(path).await
    }
    async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to).await?;
        let mut reserve = self.faults.reserve.lock().unwrap();
        if from == RESERVE_FILE {
            *reserve = Some(to.to_owned());
        } else if reserve.as_deref() == Some(from) {
            *reserve = None;
        }
        Ok(())
    }
    async fn remove_file(&self, path: &str) -> io::Result<()> {
        self.inner.remove_file(path).await?;
        if path.ends_with(".log") {
            self.faults.no_room.store(false, Ordering::SeqCst);
        }
        Ok(())
    }
    async fn remove_dir_all(&self, path: &str) -> io::Result<()> {
        self.inner.remove_dir_all(path).await
    }
    async fn list(&self, path: &str) -> io::Result<Vec<DirEntry>> {
        self.inner.list(path).await
    }
    async fn sync_dir(&self, path: &str) -> io::Result<()> {
        self.inner.sync_dir(path).await
    }
    async fn free_space_bytes(&self) -> io::Result<u64> {
        self.inner.free_space_bytes().await
    }
    async fn lock(&self, path: &str) -> io::Result<Box<dyn Send + Sync>> {
        self.inner.lock(path).await
    }
}

struct FaultyFile {
    inner: Arc<dyn File>,
    path: String,
    faults: Arc<Faults>,
}

#[async_trait]
impl File for FaultyFile {
    async fn write_at(&self, offset: u64, buffers: Vec<Bytes>) -> io::Result<()> {
        let full = self.faults.check_room(&self.path);
        if full.is_err() {
            self.faults.full_writes.send_modify(|count| *count += 1);
        }
        full?;
        self.inner.write_at(offset, buffers).await
    }
    async fn read_at(&self, offset: u64, buffer: BytesMut) -> io::Result<BytesMut> {
        self.inner.read_at(offset, buffer).await
    }
    async fn len(&self) -> io::Result<u64> {
        self.inner.len().await
    }
    async fn sync_data(&self) -> io::Result<()> {
        if self.path.ends_with(".log") {
            let _ = self.faults.syncs_held.subscribe().wait_for(|held| !held).await;
        }
        Faults::check(&self.faults.sync_fails, &self.path, io::ErrorKind::Other)?;
        self.inner.sync_data().await
    }
    async fn preallocate(&self, len: u64) -> io::Result<()> {
        self.faults.check_room(&self.path)?;
        self.inner.preallocate(len).await
    }
    async fn truncate(&self, len: u64) -> io::Result<()> {
        self.inner.truncate(len).await
    }
}
