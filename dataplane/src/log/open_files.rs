//! Open segments of all logs of a process, bounded: the ones that were used least recently
//! are closed first.
//!
//! Only clean ones are here. A segment with bytes that are not synced keeps its own handle,
//! since that one alone is sure to hear of a failed write-back (see [`segment`]).
//!
//! [`segment`]: super::segment

use std::{
    num::NonZeroUsize,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use lru::LruCache;
use weir_protocol::ids::Offset;
use weir_runtime::disk::File;

/// Which log of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct LogId(u64);

/// An open segment.
#[derive(Clone)]
pub(super) struct Handle {
    pub file: Arc<dyn File>,
    /// Whether it can be written to.
    pub writable: bool,
}

/// The open segments of the logs that share it.
pub struct OpenFiles {
    /// Never held across an await.
    files: Mutex<LruCache<(LogId, Offset), Handle>>,
    logs: AtomicU64,
}

impl OpenFiles {
    /// At most so many segments without unsynced bytes stay open.
    #[must_use]
    pub fn new(segments_max: usize) -> Arc<Self> {
        let max = NonZeroUsize::new(segments_max).unwrap_or(NonZeroUsize::MIN);
        Arc::new(Self { files: Mutex::new(LruCache::new(max)), logs: AtomicU64::new(0) })
    }

    /// How many are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.files().len()
    }

    /// Whether none is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn new_log(&self) -> LogId {
        LogId(self.logs.fetch_add(1, Ordering::Relaxed))
    }

    pub(super) fn get(&self, log: LogId, base: Offset) -> Option<Handle> {
        self.files().get(&(log, base)).cloned()
    }

    /// Keeps a handle; one that can be written to is not replaced by one that cannot.
    pub(super) fn put(&self, log: LogId, base: Offset, handle: Handle) {
        let mut files = self.files();
        if !handle.writable && files.get(&(log, base)).is_some() {
            return;
        }
        let closed = files.push((log, base), handle);
        drop(files);
        // Closing is a system call, and may be the last of a removed file: not under the lock.
        drop(closed);
    }

    pub(super) fn forget(&self, log: LogId, bases: impl IntoIterator<Item = Offset>) {
        for base in bases {
            let closed = self.files().pop(&(log, base));
            drop(closed);
        }
    }

    fn files(&self) -> MutexGuard<'_, LruCache<(LogId, Offset), Handle>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
