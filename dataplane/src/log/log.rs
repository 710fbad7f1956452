//! The handle of a log.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use weir_protocol::ids::{LeaderEpoch, Offset};
use weir_runtime::disk::{Disk, temporary};

use super::{
    append::{self, Assigned, Source},
    begin_epoch,
    checkpoint::CHECKPOINT_FILE,
    cut,
    epochs::{EpochEnd, Epochs},
    error::LogError,
    find_time, folder,
    open_files::OpenFiles,
    producers_file::Producers,
    read,
    recovery::{self, Recovered},
    retention::{self, Retention},
    state::{Inner, Roll},
    sync,
};

/// No log holds a larger batch: a length above it, read from the disk, is damage.
pub const BATCH_BYTES_MAX: usize = 64 << 20;

/// How a log is laid out and bounded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// A segment is closed before it would grow beyond this. (A larger batch has one to
    /// itself.)
    pub segment_bytes_max: u64,
    /// About one index entry per this many bytes of log.
    pub index_interval_bytes: u32,
    /// Reserve room for the active segment in steps of this many bytes; 0, the default,
    /// reserves none: on ext4 steps of 16 MiB gained little (64 MiB lost), and with thousands
    /// of partitions they add up.
    pub preallocate_bytes: u64,
    /// A segment is closed when it was begun longer ago than this, in milliseconds.
    pub segment_age_ms_max: Option<u64>,
    /// [`Recovered::batches`] tells of at most this many producers, the latest to write.
    pub producers_max: usize,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            segment_bytes_max: 1 << 30,
            index_interval_bytes: 4096,
            preallocate_bytes: 0,
            segment_age_ms_max: None,
            producers_max: 100_000,
        }
    }
}

/// One replica's log. Clones share it.
#[derive(Clone)]
pub struct Log {
    inner: Arc<Inner>,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("folder", &self.inner.folder).finish_non_exhaustive()
    }
}

impl Log {
    /// Opens the log in `folder`, making a new one where there is none, and recovers it:
    /// see [`recovery`] for the rules.
    ///
    /// The owner makes sure that a folder is open once only. `open` bounds how many segments
    /// stay open, of all logs that share it.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] and [`LogError::UnsupportedFormat`] with nothing changed on the
    /// disk; [`LogError::StorageFull`] when the tail must be set aside and there is no room;
    /// [`LogError::Io`].
    pub async fn open(
        disk: Arc<dyn Disk>,
        folder: &str,
        config: LogConfig,
        open: Arc<OpenFiles>,
    ) -> Result<(Self, Recovered), LogError> {
        let (state, recovered) = recovery::open(&*disk, folder, &config).await?;
        let inner = Inner::new(disk, folder, config, open, state);
        Ok((Self { inner: Arc::new(inner) }, recovered))
    }

    /// Appends batches, with one vectored write per segment touched (nearly always one), and
    /// returns the new log end. They can be read at once, below the new log end, and are
    /// durable after a [`Log::sync`]. All are appended or none.
    ///
    /// The first batch of a new leader epoch waits until the epoch is in the checkpoint
    /// file: use [`Log::begin_epoch`] to have that done before.
    ///
    /// # Errors
    /// [`LogError::NotNext`], [`LogError::EpochWentBack`], [`LogError::BadBatch`] and
    /// [`LogError::StorageFull`] leave the log as it was and usable, and so does an
    /// [`LogError::Io`] of opening a file. After any other the outcome is unknown and the log
    /// is failed: see [`Log::failure`].
    pub async fn append(&self, batches: Vec<Assigned>) -> Result<Offset, LogError> {
        append::append(&self.inner, batches, Source::Own).await
    }

    /// The same for batches that the leader sent. An epoch in which this replica led and wrote
    /// nothing is forgotten: it never was, for the log that goes on without it.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub async fn follow(&self, batches: Vec<Assigned>) -> Result<Offset, LogError> {
        append::append(&self.inner, batches, Source::Leader).await
    }

    /// Makes everything durable that was appended when this began, and returns the durable
    /// end. Appends go on meanwhile; concurrent calls share the work.
    ///
    /// # Errors
    /// [`LogError::Io`] or, when it failed before, [`LogError::Failed`]: final for all that
    /// was not durable yet. Not on a failed log of which everything is durable.
    pub async fn sync(&self) -> Result<Offset, LogError> {
        sync::sync(&self.inner).await
    }

    /// Whole batches from the one that holds `from` on, as they lie on the disk, none of
    /// them reaching beyond `below`; about `max_bytes`, but always one if there is one,
    /// whatever its size. Empty when there is none. The first batch may begin before `from`.
    ///
    /// Each is verified, checksum included: what went bad on the disk is not served.
    ///
    /// # Errors
    /// [`LogError::OutOfRange`] when `from` is below the log start or above the log end;
    /// [`LogError::Corrupt`] when the disk holds there what was not written; [`LogError::Io`];
    /// [`LogError::Failed`] for offsets that a failed log holds and cannot vouch for.
    pub async fn read(
        &self,
        from: Offset,
        below: Offset,
        max_bytes: usize,
    ) -> Result<Bytes, LogError> {
        read::read(&self.inner, from, below, max_bytes).await
    }

    /// Where a reader finds the first record, from `from` on, whose timestamp is not below
    /// `timestamp_ms`: the offset of the batch that holds it, if a batch below `below` does.
    /// Which record of that batch it is, only who decodes it knows.
    ///
    /// # Errors
    /// As [`Log::read`]. A damaged index costs time, no more.
    pub async fn find_time(
        &self,
        timestamp_ms: i64,
        from: Offset,
        below: Offset,
    ) -> Result<Option<Offset>, LogError> {
        find_time::find_time(&self.inner, timestamp_ms, from, below).await
    }

    /// Where the log should start, if `rule` is to be kept and no segment that reaches beyond
    /// `below` may go; `None`: where it does.
    #[must_use]
    pub fn expired(&self, rule: Retention, now_ms: i64, below: Offset) -> Option<Offset> {
        let state = self.inner.state();
        let new = retention::new_start(&state.segments, rule, now_ms, below)?;
        Some(new).filter(|new| *new > state.log_start)
    }

    /// When segments are closed from now on.
    pub fn set_roll(&self, bytes_max: u64, age_ms_max: Option<u64>) {
        self.inner.state().roll = Roll { bytes_max, age_ms_max };
    }

    /// How many segments it has.
    #[must_use]
    pub fn segment_count(&self) -> usize {
        self.inner.state().segments.len()
    }

    /// Oldest kept offset.
    #[must_use]
    pub fn log_start(&self) -> Offset {
        self.inner.state().log_start
    }

    /// Next offset to write.
    #[must_use]
    pub fn log_end(&self) -> Offset {
        self.inner.state().log_end
    }

    /// Everything below this survives a crash.
    #[must_use]
    pub fn durable_end(&self) -> Offset {
        self.inner.state().durable_end
    }

    /// Why the log takes no more writes, if it does not.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.inner.state().failed.clone()
    }

    /// The leader epochs of this log.
    #[must_use]
    pub fn epochs(&self) -> Epochs {
        self.inner.state().epochs.clone()
    }

    /// Where the largest epoch not above `epoch` ends here; see [`Epochs::end_of`].
    #[must_use]
    pub fn epoch_end(&self, epoch: LeaderEpoch) -> Option<EpochEnd> {
        let state = self.inner.state();
        state.epochs.end_of(epoch, state.log_end)
    }

    /// Notes, durably, that `epoch` begins at the log end. For a new leader, before it
    /// appends. No effect when the log has that epoch or a newer one.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub async fn begin_epoch(&self, epoch: LeaderEpoch) -> Result<(), LogError> {
        begin_epoch::begin_epoch(&self.inner, epoch).await
    }

    /// Persists the durable end as the recovery point: what lies below needs no
    /// verification at the next open. To be called now and then; also done by
    /// [`Log::close`].
    ///
    /// # Errors
    /// [`LogError::StorageFull`] and [`LogError::Io`] do the log no harm here: the old
    /// checkpoint stands. [`LogError::Failed`], [`LogError::Closed`].
    pub async fn checkpoint(&self) -> Result<(), LogError> {
        self.inner.checkpoint().await
    }

    /// The file that becomes the checkpoint: what lies there is room for the next one.
    #[must_use]
    pub fn checkpoint_temporary(&self) -> String {
        temporary(&self.inner.path(CHECKPOINT_FILE))
    }

    /// Notes that what lies on the disk is not what was written: this log is not opened again.
    ///
    /// # Errors
    /// As the disk.
    pub async fn mark_damaged(&self, reason: &str) -> Result<(), LogError> {
        folder::mark_damaged(&*self.inner.disk, &self.inner.folder, reason).await
    }

    /// Persists what producers wrote last, so that the next open need walk only the batches
    /// after it. Of no effect while not all of it is durable.
    ///
    /// # Errors
    /// As [`Log::checkpoint`]: the old snapshot stands.
    pub async fn keep_producers(&self, producers: Producers) -> Result<(), LogError> {
        self.inner.keep_producers(producers).await
    }

    /// Cuts the log so that it ends at `offset`, or at the start of the batch that holds
    /// it, and returns the new log end. Durable when it returns.
    ///
    /// Order: the checkpoint first (lower recovery point, fewer epochs), then whole
    /// segments from the newest, then the file that holds the cut. So a crash in between
    /// leaves a log that ends somewhere between the cut and the old end and recovers.
    ///
    /// # Errors
    /// [`LogError::OutOfRange`] below the log start; [`LogError::StorageFull`], with
    /// nothing done, when there is no room for the checkpoint; [`LogError::Io`], after which
    /// the log is failed.
    pub async fn truncate_to(&self, offset: Offset) -> Result<Offset, LogError> {
        cut::truncate_to(&self.inner, offset).await
    }

    /// Moves the log start up to `offset` and removes segments that lie wholly below it, while
    /// appends go on. Never moves it back.
    ///
    /// # Errors
    /// [`LogError::OutOfRange`] above the durable end; otherwise as [`Log::truncate_to`].
    pub async fn advance_log_start(&self, offset: Offset) -> Result<(), LogError> {
        cut::advance_log_start(&self.inner, offset).await
    }

    /// Throws everything away and starts anew, empty, at `offset`: for a follower whose
    /// leader begins beyond this log's end. A crash in between leaves a shorter log, or an
    /// empty one at the old start.
    ///
    /// # Errors
    /// As [`Log::truncate_to`].
    pub async fn restart_at(&self, offset: Offset) -> Result<(), LogError> {
        cut::restart_at(&self.inner, offset).await
    }

    /// Makes everything durable, persists the recovery point and refuses writes from now
    /// on. Reads go on. Closing again does nothing.
    ///
    /// # Errors
    /// As [`Log::sync`] and [`Log::checkpoint`]; the log is closed all the same.
    pub async fn close(&self) -> Result<(), LogError> {
        let mut writer = self.inner.writing.lock().await;
        if self.inner.state().closed {
            return Ok(());
        }
        let synced = sync::sync(&self.inner).await;
        append::finish(&self.inner, &mut writer).await;
        let checkpointed = match &synced {
            Ok(_) => self.inner.checkpoint().await,
            Err(_) => Ok(()),
        };
        // Once a checkpoint that runs beside has ended; none begins later.
        let _turn = self.inner.checkpointing.lock().await;
        self.inner.state().closed = true;
        synced.and(checkpointed)
    }
}
