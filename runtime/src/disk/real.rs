//! [`RealDisk`]: real files under a root folder.
//!
//! Whatever may wait for the device runs on the blocking pool. A read that the page cache
//! can serve, and a small write, run on the calling worker (see `platform` and `pace`).

use std::{
    fs::{self, DirBuilder, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};

use super::{DirEntry, Disk, File, OpenMode, error::at_path, pace::Pace, path, platform};
use crate::task::blocking;

const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// Larger reads always go to the pool: copying them would hold the worker for more than
/// 100 µs.
const INLINE_READ_BYTES_MAX: usize = 1024 * 1024;

/// Real files under a root folder, which only our user may enter.
#[derive(Debug)]
pub struct RealDisk {
    root: PathBuf,
    pace: Arc<Pace>,
    fsync: bool,
}

impl RealDisk {
    /// Opens a data folder; it is made when missing.
    ///
    /// # Errors
    /// When it cannot be made or is not a folder.
    pub async fn open(root: impl Into<PathBuf>) -> io::Result<Arc<dyn Disk>> {
        Self::open_as(root.into(), true).await
    }

    /// As [`RealDisk::open`], but [`File::sync_data`] does nothing: whatever is
    /// acknowledged survives the death of the process, and not that of the machine. For
    /// measuring what fsync costs, and for data that nobody would miss.
    ///
    /// # Errors
    /// As [`RealDisk::open`].
    pub async fn open_without_fsync(root: impl Into<PathBuf>) -> io::Result<Arc<dyn Disk>> {
        Self::open_as(root.into(), false).await
    }

    async fn open_as(root: PathBuf, fsync: bool) -> io::Result<Arc<dyn Disk>> {
        let made = root.clone();
        blocking(move || make_root(&made).map_err(|e| at_path("open", made.display(), e))).await?;
        Ok(Arc::new(Self { root, pace: Arc::default(), fsync }))
    }

    /// Runs blocking work on a path that was checked before.
    async fn on<T: Send + 'static>(
        &self,
        operation: &'static str,
        path: &str,
        work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let full = self.full(path);
        blocking(move || work(&full).map_err(|e| at_path(operation, full.display(), e))).await
    }

    fn full(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.root.clone() } else { self.root.join(path) }
    }
}

fn make_root(root: &Path) -> io::Result<()> {
    let existed = root.try_exists()?;
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(root)?;
    if !existed && let Some(parent) = root.parent().filter(|p| !p.as_os_str().is_empty()) {
        // Its own name must be durable too. Best effort: the folder above may be one that we
        // may not open.
        let _ = sync_folder(parent);
    }
    Ok(())
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = fs::File::open(path)?;
    if !folder.metadata()?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    folder.sync_all()
}

fn open_file(path: &Path, mode: OpenMode) -> io::Result<fs::File> {
    let mut options = OpenOptions::new();
    options.read(true).mode(FILE_MODE);
    match mode {
        OpenMode::Read => &mut options,
        OpenMode::Write => options.write(true),
        OpenMode::CreateNew => options.write(true).create_new(true),
        OpenMode::CreateOrOpen => options.write(true).create(true).truncate(false),
    };
    let file = options.open(path)?;
    // Linux opens a folder to read it as a file, and only then fails.
    if file.metadata()?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Ok(file)
}

fn list_folder(path: &Path) -> io::Result<Vec<DirEntry>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let metadata = match entry.metadata() {
            // Removed since the folder was read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            metadata => metadata?,
        };
        let (is_dir, bytes) = (metadata.is_dir(), metadata.len());
        let name = entry.file_name().into_string().map_err(|name| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{name:?} is not UTF-8"))
        })?;
        entries.push(DirEntry { name, is_dir, bytes: if is_dir { 0 } else { bytes } });
    }
    entries.sort_unstable();
    Ok(entries)
}

#[async_trait]
impl Disk for RealDisk {
    async fn open(&self, path: &str, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        path::check(path)?;
        let file = self.on("open", path, move |full| open_file(full, mode)).await?;
        Ok(Arc::new(RealFile {
            inner: Arc::new(Inner { file, path: self.full(path) }),
            writable: mode != OpenMode::Read,
            pace: Arc::clone(&self.pace),
            fsync: self.fsync,
        }))
    }

    async fn create_dir_all(&self, path: &str) -> io::Result<()> {
        path::check_folder(path)?;
        self.on("create folder", path, |full| {
            DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(full)
        })
        .await
    }

    async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        path::check(from)?;
        path::check(to)?;
        let target = self.full(to);
        self.on("rename", from, move |full| fs::rename(full, target)).await
    }

    async fn remove_file(&self, path: &str) -> io::Result<()> {
        path::check(path)?;
        self.on("remove", path, |full| fs::remove_file(full)).await
    }

    async fn remove_dir_all(&self, path: &str) -> io::Result<()> {
        path::check(path)?;
        self.on("remove folder", path, |full| match fs::remove_dir_all(full) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        })
        .await
    }

    async fn list(&self, path: &str) -> io::Result<Vec<DirEntry>> {
        path::check_folder(path)?;
        self.on("list", path, list_folder).await
    }

    async fn sync_dir(&self, path: &str) -> io::Result<()> {
        path::check_folder(path)?;
        self.on("sync folder", path, sync_folder).await
    }

    async fn free_space_bytes(&self) -> io::Result<u64> {
        self.on("ask for free space of", "", platform::free_space_bytes).await
    }

    async fn lock(&self, path: &str) -> io::Result<Box<dyn Send + Sync>> {
        path::check(path)?;
        let file = self
            .on("lock", path, |full| {
                let file = open_file(full, OpenMode::CreateOrOpen)?;
                match file.try_lock() {
                    Ok(()) => Ok(file),
                    Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
                    Err(TryLockError::Error(error)) => Err(error),
                }
            })
            .await?;
        // The lock ends when the file is closed, also by the death of the process.
        Ok(Box::new(file))
    }
}

struct RealFile {
    inner: Arc<Inner>,
    writable: bool,
    pace: Arc<Pace>,
    fsync: bool,
}

struct Inner {
    file: fs::File,
    path: PathBuf,
}

impl Inner {
    fn failed(&self, operation: &'static str, error: io::Error) -> io::Error {
        at_path(operation, self.path.display(), error)
    }

    fn write(&self, offset: u64, buffers: &[Bytes]) -> io::Result<()> {
        platform::write_all_at(&self.file, offset, buffers).map_err(|e| self.failed("write", e))
    }
}

impl RealFile {
    /// Runs blocking work on the open file.
    async fn on<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&fs::File) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let inner = Arc::clone(&self.inner);
        blocking(move || work(&inner.file).map_err(|e| inner.failed(operation, e))).await
    }

    fn check_writable(&self, operation: &'static str) -> io::Result<()> {
        if self.writable {
            return Ok(());
        }
        Err(self.inner.failed(operation, io::ErrorKind::PermissionDenied.into()))
    }
}

#[async_trait]
impl File for RealFile {
    async fn write_at(&self, offset: u64, buffers: Vec<Bytes>) -> io::Result<()> {
        self.check_writable("write")?;
        let bytes = buffers.iter().fold(0_usize, |sum, buffer| sum.saturating_add(buffer.len()));
        path::check_range(offset, bytes as u64)?;
        if self.pace.inline(bytes) {
            let start = Instant::now();
            let result = self.inner.write(offset, &buffers);
            self.pace.took(start.elapsed());
            return result;
        }
        let inner = Arc::clone(&self.inner);
        blocking(move || inner.write(offset, &buffers)).await
    }

    async fn read_at(&self, offset: u64, mut buffer: BytesMut) -> io::Result<BytesMut> {
        let start = buffer.len();
        let room = buffer.capacity() - start;
        path::check_range(offset, room as u64)?;
        if room <= INLINE_READ_BYTES_MAX
            && platform::read_cached_at(&self.inner.file, offset, &mut buffer)
        {
            return Ok(buffer);
        }
        let offset = offset + (buffer.len() - start) as u64;
        self.on("read", move |file| {
            platform::read_full_at(file, offset, &mut buffer)?;
            Ok(buffer)
        })
        .await
    }

    async fn len(&self) -> io::Result<u64> {
        // fstat waits for no device.
        let metadata = self.inner.file.metadata().map_err(|e| self.inner.failed("stat", e))?;
        Ok(metadata.len())
    }

    async fn sync_data(&self) -> io::Result<()> {
        if !self.fsync {
            return Ok(());
        }
        // fdatasync on Linux; on macOS the standard library asks for F_FULLFSYNC.
        self.on("sync", fs::File::sync_data).await
    }

    async fn preallocate(&self, len: u64) -> io::Result<()> {
        self.check_writable("preallocate")?;
        path::check_range(len, 0)?;
        self.on("preallocate", move |file| platform::preallocate(file, len)).await
    }

    async fn truncate(&self, len: u64) -> io::Result<()> {
        self.check_writable("truncate")?;
        path::check_range(len, 0)?;
        self.on("truncate", move |file| file.set_len(len)).await
    }
}
