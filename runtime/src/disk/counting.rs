//! [`CountingDisk`]: a wrapper that keeps an ordered journal of what reached the disk below,
//! for tests of the kind "acknowledged only after the sync".
//!
//! A test adds lines of its own with [`Journal::mark`], and can hold syncs back.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use tokio::sync::watch;

use super::{DirEntry, Disk, File, OpenMode};

/// One line of the [`Journal`]. Operations that failed leave only [`Event::Failed`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A write has returned.
    Written {
        /// The file.
        path: String,
        /// Where it began.
        offset: u64,
        /// How many bytes it had, over all buffers.
        bytes: u64,
    },
    /// A file has been cut or extended.
    Truncated {
        /// The file.
        path: String,
        /// Its new length, in bytes.
        len: u64,
    },
    /// A sync begins: writes before this line are what it covers.
    SyncBegun {
        /// The file.
        path: String,
    },
    /// A sync has succeeded.
    Synced {
        /// The file.
        path: String,
    },
    /// The names in a folder are durable.
    FolderSynced {
        /// The folder.
        path: String,
    },
    /// A rename has returned.
    Renamed {
        /// The old path.
        from: String,
        /// The new path.
        to: String,
    },
    /// A file or a folder with all that it held has been removed.
    Removed {
        /// The path.
        path: String,
    },
    /// One of the operations above has failed.
    Failed {
        /// The path, or a rename's old path.
        path: String,
        /// The error's kind.
        kind: io::ErrorKind,
    },
    /// What a test wrote with [`Journal::mark`].
    Mark(String),
}

/// How often a path was written and synced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Writes that returned without error.
    pub writes: u64,
    /// Bytes of those writes.
    pub written_bytes: u64,
    /// Syncs that returned without error.
    pub syncs: u64,
}

/// The ordered journal of a [`CountingDisk`]. Clones share it.
#[derive(Clone, Debug)]
pub struct Journal {
    events: Arc<Mutex<Vec<Event>>>,
    syncs_held: watch::Sender<bool>,
}

impl Journal {
    fn add(&self, event: Event) {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }

    /// Adds `event` on success and [`Event::Failed`] on failure.
    fn close<T>(&self, path: &str, result: io::Result<T>, event: Event) -> io::Result<T> {
        self.add(match &result {
            Ok(_) => event,
            Err(error) => Event::Failed { path: path.to_owned(), kind: error.kind() },
        });
        result
    }

    /// Adds a line of the test's own.
    pub fn mark(&self, text: impl Into<String>) {
        self.add(Event::Mark(text.into()));
    }

    /// Everything so far, in order.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts by path.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<String, Counts> {
        let mut counts = BTreeMap::<String, Counts>::new();
        for event in self.events() {
            match event {
                Event::Written { path, bytes, .. } => {
                    let entry = counts.entry(path).or_default();
                    entry.writes += 1;
                    entry.written_bytes += bytes;
                }
                Event::Synced { path } => counts.entry(path).or_default().syncs += 1,
                _ => {}
            }
        }
        counts
    }

    /// From now on file syncs wait, after their [`Event::SyncBegun`], for
    /// [`Journal::release_syncs`].
    pub fn hold_syncs(&self) {
        self.syncs_held.send_replace(true);
    }

    /// Lets waiting syncs go on.
    pub fn release_syncs(&self) {
        self.syncs_held.send_replace(false);
    }
}

/// A disk that journals what it passes on.
pub struct CountingDisk {
    inner: Arc<dyn Disk>,
    journal: Journal,
}

impl CountingDisk {
    /// Wraps a disk.
    #[must_use]
    pub fn new(inner: Arc<dyn Disk>) -> (Arc<Self>, Journal) {
        let journal = Journal { events: Arc::default(), syncs_held: watch::Sender::new(false) };
        (Arc::new(Self { inner, journal: journal.clone() }), journal)
    }
}

#[async_trait]
impl Disk for CountingDisk {
    async fn open(&self, path: &str, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let inner = self.inner.open(path, mode).await?;
        Ok(Arc::new(CountingFile { inner, path: path.to_owned(), journal: self.journal.clone() }))
    }

    async fn create_dir_all(&self, path: &str) -> io::Result<()> {
        self.inner.create_dir_all(path).await
    }

    async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let event = Event::Renamed { from: from.to_owned(), to: to.to_owned() };
        self.journal.close(from, self.inner.rename(from, to).await, event)
    }

    async fn remove_file(&self, path: &str) -> io::Result<()> {
        let event = Event::Removed { path: path.to_owned() };
        self.journal.close(path, self.inner.remove_file(path).await, event)
    }

    async fn remove_dir_all(&self, path: &str) -> io::Result<()> {
        let event = Event::Removed { path: path.to_owned() };
        self.journal.close(path, self.inner.remove_dir_all(path).await, event)
    }

    async fn list(&self, path: &str) -> io::Result<Vec<DirEntry>> {
        self.inner.list(path).await
    }

    async fn sync_dir(&self, path: &str) -> io::Result<()> {
        let event = Event::FolderSynced { path: path.to_owned() };
        self.journal.close(path, self.inner.sync_dir(path).await, event)
    }

    async fn free_space_bytes(&self) -> io::Result<u64> {
        self.inner.free_space_bytes().await
    }

    async fn lock(&self, path: &str) -> io::Result<Box<dyn Send + Sync>> {
        self.inner.lock(path).await
    }
}

struct CountingFile {
    inner: Arc<dyn File>,
    path: String,
    journal: Journal,
}

#[async_trait]
impl File for CountingFile {
    async fn write_at(&self, offset: u64, buffers: Vec<Bytes>) -> io::Result<()> {
        let bytes = buffers.iter().map(|buffer| buffer.len() as u64).sum();
        let event = Event::Written { path: self.path.clone(), offset, bytes };
        self.journal.close(&self.path, self.inner.write_at(offset, buffers).await, event)
    }

    async fn read_at(&self, offset: u64, buffer: BytesMut) -> io::Result<BytesMut> {
        self.inner.read_at(offset, buffer).await
    }

    async fn len(&self) -> io::Result<u64> {
        self.inner.len().await
    }

    async fn sync_data(&self) -> io::Result<()> {
        self.journal.add(Event::SyncBegun { path: self.path.clone() });
        // It fails only when the sender is gone, and the journal here holds one.
        let _ = self.journal.syncs_held.subscribe().wait_for(|held| !held).await;
        let event = Event::Synced { path: self.path.clone() };
        self.journal.close(&self.path, self.inner.sync_data().await, event)
    }

    async fn preallocate(&self, len: u64) -> io::Result<()> {
        self.inner.preallocate(len).await
    }

    async fn truncate(&self, len: u64) -> io::Result<()> {
        let event = Event::Truncated { path: self.path.clone(), len };
        self.journal.close(&self.path, self.inner.truncate(len).await, event)
    }
}
