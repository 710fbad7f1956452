//! The state behind a log's handle, and what guards it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use weir_protocol::ids::Offset;
use weir_runtime::disk::{self, Disk, File};

use super::{
    append::Writer,
    checkpoint::{CHECKPOINT_FILE, Checkpoint},
    epochs::Epochs,
    error::{LogError, OnPath},
    hints::Hints,
    log::LogConfig,
    segment::{self, Segment},
};

pub(super) struct Inner {
    pub disk: Arc<dyn Disk>,
    pub folder: String,
    pub config: LogConfig,
    /// Never held across an await.
    state: Mutex<State>,
    /// The one writer. Held across its I/O on purpose: that is what makes it the one.
    /// Taken before `syncing`, which is taken before `checkpointing`.
    pub writing: tokio::sync::Mutex<Writer>,
    /// One fsync at a time; those who wait find their work done by the one before.
    pub syncing: tokio::sync::Mutex<()>,
    /// One replacement of the checkpoint file at a time, so that the newest content wins.
    pub checkpointing: tokio::sync::Mutex<()>,
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
    /// Counts uses of segment files, to tell the least recently used.
    pub uses: u64,
}

impl Inner {
    /// Around what recovery found.
    pub fn new(disk: Arc<dyn Disk>, folder: &str, config: LogConfig, state: State) -> Self {
        Self {
            disk,
            folder: folder.to_owned(),
            config,
            state: Mutex::new(state),
            writing: tokio::sync::Mutex::default(),
            syncing: tokio::sync::Mutex::default(),
            checkpointing: tokio::sync::Mutex::default(),
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

    /// Writes the checkpoint file. `checkpointing` is held.
    pub async fn replace_checkpoint(&self, content: &Checkpoint) -> Result<(), LogError> {
        let path = self.path(CHECKPOINT_FILE);
        disk::replace(&*self.disk, &path, content.encode()).await.on("replace", &path)
    }

    /// An open handle of the segment at `base`, to read.
    pub async fn segment_file(&self, base: Offset) -> Result<Arc<dyn File>, LogError> {
        if let Some(file) = self.state().use_file(base) {
            return Ok(file);
        }
        let path = self.path(&segment::log_name(base));
        let file = self.disk.open(&path, disk::OpenMode::Read).await.on("open", &path)?;
        self.state().keep_file(base, &file, self.config.open_segments_max);
        Ok(file)
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
        }
    }

    /// The segment that holds `offset`, of those that begin at or before it.
    pub fn segment_at(&self, offset: Offset) -> Option<&Segment> {
        let after = self.segments.partition_point(|s| s.base <= offset);
        after.checked_sub(1).and_then(|i| self.segments.get(i))
    }

    fn segment_mut(&mut self, base: Offset) -> Option<&mut Segment> {
        let at = self.segments.binary_search_by_key(&base, |s| s.base).ok()?;
        self.segments.get_mut(at)
    }

    fn use_file(&mut self, base: Offset) -> Option<Arc<dyn File>> {
        self.uses += 1;
        let uses = self.uses;
        let segment = self.segment_mut(base)?;
        segment.last_use = uses;
        segment.file.clone()
    }

    /// Keeps a handle for the next reader.
    fn keep_file(&mut self, base: Offset, file: &Arc<dyn File>, max: usize) {
        if let Some(segment) = self.segment_mut(base) {
            segment.file.get_or_insert_with(|| file.clone());
        }
        self.trim_files(max);
    }

    /// Lets go of the least recently used handles of finished segments beyond `max`. Those
    /// of what is not synced yet stay: only the handle that wrote is sure to hear of a failed
    /// write-back.
    pub fn trim_files(&mut self, max: usize) {
        let finished = self.segments.len().saturating_sub(1);
        loop {
            let idle = self.segments[..finished].iter_mut();
            let idle = idle.filter(|s| s.file.is_some() && s.synced_bytes >= s.bytes);
            let mut idle: Vec<_> = idle.collect();
            if idle.len() <= max {
                return;
            }
            if let Some(oldest) = idle.iter_mut().min_by_key(|s| s.last_use) {
                oldest.file = None;
            }
        }
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
