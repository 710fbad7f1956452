//! The state behind a log's handle, and what guards it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use weir_protocol::ids::Offset;
use weir_runtime::disk::{self, Disk, File};

use super::{
    append::Writer,
    checkpoint::{CHECKPOINT_FILE, Checkpoint, SegmentMark},
    epochs::Epochs,
    error::{LogError, OnPath},
    hints::Hints,
    log::LogConfig,
    open_files::{Handle, LogId, OpenFiles},
    producers_file::{PRODUCERS_FILE, Producers},
    segment::{self, Segment},
};

pub(super) struct Inner {
    pub disk: Arc<dyn Disk>,
    pub folder: String,
    pub config: LogConfig,
    /// Clean segments that are open, of this and other logs.
    pub open: Arc<OpenFiles>,
    /// Which one this is there.
    pub id: LogId,
    /// Never held across an await.
    state: Mutex<State>,
    /// The one writer. Held across its I/O on purpose: that is what makes it the one.
    /// Taken before `syncing`, which is taken before `checkpointing`.
    pub writing: tokio::sync::Mutex<Writer>,
    /// One fsync at a time; those who wait find their work done by the one before.
    pub syncing: tokio::sync::Mutex<()>,
    /// One replacement of the checkpoint file at a time, so that the newest content wins.
    pub checkpointing: tokio::sync::Mutex<()>,
    /// One index file is rebuilt at a time.
    pub indexing: tokio::sync::Mutex<()>,
}

/// What readers and writers agree on.
pub(super) struct State {
    /// Oldest first, without gaps; the last one is appended to.
    pub segments: Vec<Segment>,
    pub log_start: Offset,
    pub log_end: Offset,
    pub durable_end: Offset,
    pub epochs: Epochs,
    /// Why the log takes no more writes.
    pub failed: Option<String>,
    pub closed: bool,
    /// A replacement of the checkpoint failed half-way: the file may name an epoch that
    /// this state does not. It is written anew before the next append.
    pub checkpoint_unsure: bool,
    /// Counts cuts at either end, so that a reader notices one under it.
    pub cuts: u64,
    pub hints: Hints,
    /// When a segment is closed.
    pub roll: Roll,
    /// The offset that the snapshot of producers on the disk speaks for, if there is one.
    pub producers_below: Option<Offset>,
}

/// When a segment is closed and the next begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roll {
    /// Before it would grow beyond this, in bytes. (A larger batch has one to itself.)
    pub bytes_max: u64,
    /// When it was begun longer ago than this, in milliseconds.
    pub age_ms_max: Option<u64>,
}

impl Inner {
    /// Around what recovery found.
    pub fn new(
        disk: Arc<dyn Disk>,
        folder: &str,
        config: LogConfig,
        open: Arc<OpenFiles>,
        state: State,
    ) -> Self {
        Self {
            disk,
            folder: folder.to_owned(),
            config,
            id: open.new_log(),
            open,
            state: Mutex::new(state),
            writing: tokio::sync::Mutex::default(),
            syncing: tokio::sync::Mutex::default(),
            checkpointing: tokio::sync::Mutex::default(),
            indexing: tokio::sync::Mutex::default(),
        }
    }

    /// The state. A panic while it was held cannot have left it half-changed in a way that
    /// matters more than serving on.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A path in this log's folder.
    pub fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.folder)
    }

    /// Refuses on a failed or closed log.
    pub fn writable(&self) -> Result<(), LogError> {
        let state = self.state();
        match &state.failed {
            Some(reason) => Err(LogError::Failed(reason.clone())),
            None if state.closed => Err(LogError::Closed),
            None => Ok(()),
        }
    }

    /// Takes no more writes from now on. The first reason stays.
    pub fn fail(&self, reason: &str) {
        let mut state = self.state();
        if state.failed.is_none() {
            tracing::error!(
                folder = self.folder,
                reason,
                durable_end = state.durable_end.0,
                "log failed"
            );
            state.failed = Some(reason.to_owned());
        }
    }

    /// Fails the log unless [`InFlight::done`] is reached: what a dropped future leaves
    /// behind is not known.
    pub fn in_flight(&self, operation: &'static str) -> InFlight<'_> {
        InFlight { inner: self, operation, done: false }
    }

    /// Persists the state's durable end, log start and epochs.
    pub async fn checkpoint(&self) -> Result<(), LogError> {
        // Held across the replacement, or an older content could land on a newer one.
        let _turn = self.checkpointing.lock().await;
        // Looked at only now: one that waited while the log was closed has no folder of its
        // own any more.
        self.writable()?;
        let content = self.state().checkpoint();
        self.replace_checkpoint(&content).await
    }

    /// Replaces the snapshot of producers.
    pub async fn keep_producers(&self, producers: Producers) -> Result<(), LogError> {
        let _turn = self.checkpointing.lock().await;
        self.writable()?;
        let below = producers.below;
        {
            let mut state = self.state();
            if below > state.durable_end || state.producers_below.is_some_and(|old| below <= old) {
                return Ok(());
            }
            // Before it is there: a cut from now on must take it away.
            state.producers_below = Some(below);
        }
        let path = self.path(PRODUCERS_FILE);
        disk::replace(&*self.disk, &path, producers.encode()).await.on("replace", &path)
    }

    /// Writes the checkpoint file. `checkpointing` is held.
    pub async fn replace_checkpoint(&self, content: &Checkpoint) -> Result<(), LogError> {
        let path = self.path(CHECKPOINT_FILE);
        disk::replace(&*self.disk, &path, content.encode()).await.on("replace", &path)
    }

    /// An open handle of the segment at `base`, to read.
    pub async fn segment_file(&self, base: Offset) -> Result<Arc<dyn File>, LogError> {
        if let Some(file) = self.state().dirty_file(base) {
            return Ok(file);
        }
        if let Some(handle) = self.open.get(self.id, base) {
            return Ok(handle.file);
        }
        let path = self.path(&segment::log_name(base));
        let file = self.disk.open(&path, disk::OpenMode::Read).await.on("open", &path)?;
        self.keep(base, &file, false);
        Ok(file)
    }

    /// Keeps a handle of a segment open for whoever needs it next, if it is still there.
    pub fn keep(&self, base: Offset, file: &Arc<dyn File>, writable: bool) {
        // Under the lock, so that one that is being removed is not kept.
        let mut state = self.state();
        if state.segment_mut(base).is_some() {
            self.open.put(self.id, base, Handle { file: file.clone(), writable });
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let bases: Vec<Offset> = self.state().segments.iter().map(|s| s.base).collect();
        self.open.forget(self.id, bases);
    }
}

impl State {
    /// The end of what is served: on a failed log, only what is durable.
    pub fn served_end(&self) -> Offset {
        if self.failed.is_some() { self.durable_end } else { self.log_end }
    }

    /// What the checkpoint file should say.
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            recovery_point: self.durable_end,
            log_start: self.log_start,
            epochs: self.epochs.clone(),
            segments: Some(self.segments_below(self.durable_end)),
        }
    }

    /// Those that begin below `end`, of which the last may be synced only in part.
    pub fn segments_below(&self, end: Offset) -> Vec<SegmentMark> {
        let below = self.segments.iter().take_while(|s| s.base < end && s.synced_bytes > 0);
        below.map(Segment::mark).collect()
    }

    /// Whether the log ends at `offset`, and everything in it is durable.
    pub fn ends_at(&self, offset: Offset) -> bool {
        self.log_end == offset && self.durable_end == offset
    }

    /// The segment that holds `offset`, of those that begin at or before it.
    pub fn segment_at(&self, offset: Offset) -> Option<&Segment> {
        let after = self.segments.partition_point(|s| s.base <= offset);
        after.checked_sub(1).and_then(|i| self.segments.get(i))
    }

    pub fn segment_mut(&mut self, base: Offset) -> Option<&mut Segment> {
        let at = self.segments.binary_search_by_key(&base, |s| s.base).ok()?;
        self.segments.get_mut(at)
    }

    /// The handle that wrote what is not synced yet.
    pub fn dirty_file(&mut self, base: Offset) -> Option<Arc<dyn File>> {
        self.segment_mut(base)?.dirty.clone()
    }
}

/// See [`Inner::in_flight`].
pub(super) struct InFlight<'a> {
    inner: &'a Inner,
    operation: &'static str,
    done: bool,
}

impl InFlight<'_> {
    /// The operation came to an end that it knows.
    pub fn done(mut self) {
        self.done = true;
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.inner.fail(&format!("{} was interrupted or failed half-way", self.operation));
        }
    }
}
