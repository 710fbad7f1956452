//! What goes on beside the appends: the recovery point moves on, what producers wrote last is
//! snapshotted, and what the topic does not keep is let go of. None of it makes an
//! acknowledgement wait.

use std::{sync::Arc, time::Duration};

use tokio::sync::{Mutex, oneshot};
use weir_protocol::{
    WireError,
    batch::ProducerStamp,
    ids::Offset,
    topic_config::{Flush, TopicConfig},
};
use weir_runtime::{
    clock::{Clock, Monotonic},
    plant,
    task::{self, JoinHandle},
};

use crate::{
    log::{BatchSummary, Log, LogError, Producers, Retention, producers_file::BATCH_ENTRY_BYTES},
    replica::{Replica, producer_state::LastBatch},
    reserve::Reserve,
    wall_clock::{WallClock, WallTime},
};

/// The recovery point is moved on after about this many bytes: what lies beyond it is
/// verified at the next start.
const CHECKPOINT_EVERY_BYTES: usize = 64 << 20;
/// And after this long at the latest. Above the recovery point a damaged batch is taken for
/// the torn end of the log, below it for what it is: so the recovery point follows what was
/// acknowledged closely, and soon everything that was is below it.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);
/// Producers are snapshotted once so many bytes were written since: an open walks the batch
/// headers after the snapshot.
const SNAPSHOT_EVERY_BYTES: usize = 4 << 20;
/// And so many times what the snapshot itself takes, so that it stays a small part of all
/// that is written.
const SNAPSHOT_SHARE: usize = 16;
/// How often it is looked whether something may go, at most and at least.
const RETENTION_EVERY_MIN: Duration = Duration::from_millis(100);
const RETENTION_EVERY_MAX: Duration = Duration::from_secs(30);
/// How often it is looked, at least, whether the clocks agree again.
const PAUSED_LOOK_EVERY: Duration = Duration::from_secs(1);

/// Who asked for a new log start waits for this.
type Respond = oneshot::Sender<Result<(), WireError>>;

/// A move of the log start that has ended.
pub(super) struct Moved {
    pub log_start: Offset,
    pub result: Result<(), LogError>,
    pub respond: Option<Respond>,
}

/// See the module.
pub(super) struct Upkeep {
    reserve: Arc<Reserve>,
    wall_clock: Arc<WallClock>,
    /// Age decides nothing for now.
    paused: bool,
    flush: Flush,
    retention: Retention,
    bytes_since_checkpoint: usize,
    bytes_since_snapshot: usize,
    /// How many segments there were when it was last looked whether something may go.
    segments_seen: usize,
    /// When the recovery point is to be moved on; none while it is where it should be.
    checkpoint_due: Option<Monotonic>,
    /// When to look whether something may go; none where nothing ever may.
    retention_due: Option<Monotonic>,
    /// The log start is being moved.
    moving: Option<Moving>,
    /// The recovery point is being moved.
    checkpointing: Option<JoinHandle<()>>,
    /// Whoever replaces the checkpoint has it, across I/O on purpose: on a full disk what is set
    /// aside for a new log start must not be taken for a recovery point, which frees nothing.
    turn: Arc<Mutex<()>>,
}

/// A move of the log start that goes on: where to, and by whose wish.
struct Moving {
    log_start: Offset,
    respond: Option<Respond>,
    task: JoinHandle<Result<(), LogError>>,
}

impl Upkeep {
    pub fn new(reserve: Arc<Reserve>, wall_clock: Arc<WallClock>) -> Self {
        Self {
            reserve,
            wall_clock,
            paused: false,
            flush: Flush::default(),
            retention: Retention::default(),
            bytes_since_checkpoint: 0,
            bytes_since_snapshot: 0,
            segments_seen: 0,
            checkpoint_due: None,
            retention_due: None,
            moving: None,
            checkpointing: None,
            turn: Arc::default(),
        }
    }

    /// Follows the topic's configuration from now on. A tombstone keeps everything.
    pub fn configure(&mut self, serving: bool, config: &TopicConfig, log: Option<&Log>) {
        self.flush = config.flush;
        let retention = if serving { Retention::from(config) } else { Retention::default() };
        if retention != self.retention {
            self.retention = retention;
            self.retention_due = retention.is_any().then(|| Clock.now());
        }
        if let Some(log) = log {
            log.set_roll(config.segment_bytes, config.segment_ms);
        }
    }

    /// When a batch is acknowledged.
    pub const fn flush(&self) -> Flush {
        self.flush
    }

    /// So much was written to the log.
    pub fn wrote(&mut self, bytes: usize) {
        self.bytes_since_checkpoint = self.bytes_since_checkpoint.saturating_add(bytes);
        self.bytes_since_snapshot = self.bytes_since_snapshot.saturating_add(bytes);
    }

    pub const fn checkpoint_due(&self) -> Option<Monotonic> {
        self.checkpoint_due
    }

    /// What was written is on the disk.
    pub fn synced(&mut self, log: Option<&Log>, replica: &Replica) {
        let more = log.is_some_and(|log| log.segment_count() > self.segments_seen);
        if more && self.retention.bytes.is_some() {
            // What a segment more makes too much goes now, not in half a minute.
            self.retention_due = Some(Clock.now());
        }
        if self.bytes_since_checkpoint >= CHECKPOINT_EVERY_BYTES {
            self.checkpoint(log, replica);
        } else if self.checkpoint_due.is_none() {
            self.checkpoint_due = Some(Clock.now().plus(CHECKPOINT_EVERY));
        }
    }

    /// Moves the recovery point on, and the snapshot of producers if it is worth it. If that
    /// fails, the old ones stand, and the next write tries again.
    pub fn checkpoint(&mut self, log: Option<&Log>, replica: &Replica) {
        self.checkpoint_due = None;
        self.bytes_since_checkpoint = 0;
        let Some(log) = log.cloned() else { return };
        let producers = self.snapshot(&log, replica, SNAPSHOT_EVERY_BYTES);
        let (before, turn) = (self.checkpointing.take(), self.turn.clone());
        self.checkpointing = Some(task::spawn(async move {
            if let Some(before) = before {
                // Whatever became of it, it has ended.
                let _ = before.await;
            }
            let _turn = turn.lock().await;
            let kept = async {
                if let Some(producers) = producers {
                    // It speaks for all that is written, so that must be durable first.
                    log.sync().await?;
                    log.keep_producers(producers).await?;
                }
                log.checkpoint().await
            };
            match kept.await {
                // Closing does the same.
                Ok(()) | Err(LogError::Closed) => {}
                Err(error) => tracing::warn!(%error, "cannot move the recovery point on"),
            }
        }));
    }

    /// Waits until no snapshot of producers is being written.
    pub async fn quiet(&mut self) {
        if let Some(checkpointing) = self.checkpointing.take() {
            // Whatever became of it, it has ended.
            let _ = checkpointing.await;
        }
    }

    /// The last touch, once everything is durable: the next open walks nothing.
    pub async fn close(&mut self, log: Option<&Log>, replica: &Replica) {
        let Some(log) = log else { return };
        if let Some(producers) = self.snapshot(log, replica, 1)
            && let Err(error) = log.keep_producers(producers).await
        {
            tracing::warn!(%error, "no snapshot of producers; the next start reads the log instead");
        }
    }

    fn snapshot(&mut self, log: &Log, replica: &Replica, every_bytes: usize) -> Option<Producers> {
        if self.bytes_since_snapshot < every_bytes {
            return None;
        }
        let last = replica.last_batches();
        let worth = last.len().saturating_mul(BATCH_ENTRY_BYTES * SNAPSHOT_SHARE);
        if every_bytes > 1 && self.bytes_since_snapshot < worth {
            return None;
        }
        self.bytes_since_snapshot = 0;
        let epochs = log.epochs();
        let summary = |batch: &LastBatch| {
            let records = batch.last_offset.records_since(batch.base_offset).saturating_add(1);
            Some(BatchSummary {
                base_offset: batch.base_offset,
                last_offset: batch.last_offset,
                epoch: epochs.at(batch.base_offset).or_else(|| epochs.latest())?,
                producer: Some(ProducerStamp {
                    id: batch.stamp.id,
                    epoch: batch.stamp.epoch,
                    base_sequence: batch.stamp.first_sequence,
                }),
                record_count: u32::try_from(records).ok()?,
            })
        };
        let batches = last.iter().filter_map(summary).collect();
        Some(Producers { below: replica.log_end(), batches })
    }

    pub const fn retention_due(&self) -> Option<Monotonic> {
        self.retention_due
    }

    /// Lets go of what is not kept and lies below `below`; without a log nothing is done.
    pub fn retain(&mut self, log: Option<&Log>, below: Offset) {
        let tenth =
            self.retention.ms.map_or(RETENTION_EVERY_MAX, |ms| Duration::from_millis(ms / 10));
        let (rule, now_ms) = self.rule_now();
        let most = if self.paused { PAUSED_LOOK_EVERY } else { RETENTION_EVERY_MAX };
        let every = tenth.clamp(RETENTION_EVERY_MIN, most);
        self.retention_due = self.retention.is_any().then(|| Clock.now().plus(every));
        // While it is being moved nothing is done: it is looked again when that has ended.
        let Some(log) = log.filter(|_| !self.moves()) else { return };
        self.segments_seen = log.segment_count();
        if let Some(log_start) = log.expired(rule, now_ms, below) {
            self.move_start(Some(log), log_start, None);
        }
    }

    /// What is kept, judged by what time: age counts only while the clocks agree.
    fn rule_now(&mut self) -> (Retention, i64) {
        let without_age = Retention { ms: None, ..self.retention };
        let (rule, now_ms, paused) = match self.wall_clock.now() {
            WallTime::Agreed(now_ms) if plant::active("retention_in_haste") => {
                let ms = self.retention.ms.map(|ms| ms / 10);
                (Retention { ms, ..self.retention }, now_ms, false)
            }
            WallTime::Agreed(now_ms) => (self.retention, now_ms, false),
            WallTime::Unknown => (without_age, 0, true),
            WallTime::Disagreed => (without_age, 0, true),
        };
        self.paused = paused && self.retention.ms.is_some();
        (rule, now_ms)
    }

    /// Begins to move the log start, if it is not being moved already.
    pub fn move_start(&mut self, log: Option<&Log>, log_start: Offset, respond: Option<Respond>) {
        let (log, reserve, turn) = (log.cloned(), self.reserve.clone(), self.turn.clone());
        let task = task::spawn(async move {
            let log = log.ok_or(LogError::Closed)?;
            let _turn = turn.lock().await;
            let moved = log.advance_log_start(log_start).await;
            if matches!(moved, Err(LogError::StorageFull(_))) {
                let again = || log.advance_log_start(log_start);
                return reserve.with_room(&log.checkpoint_temporary(), again).await;
            }
            reserve.fill().await;
            moved
        });
        self.moving = Some(Moving { log_start, respond, task });
    }

    /// Whether the log start is being moved.
    pub const fn moves(&self) -> bool {
        self.moving.is_some()
    }

    /// Waits until the log start was moved; for ever, if it is not being moved.
    pub async fn moved(&mut self) -> Moved {
        let Some(Moving { task, .. }) = &mut self.moving else {
            return std::future::pending().await;
        };
        let panicked = |_| Err(LogError::Failed("the removal's task ended by a panic".to_owned()));
        let result = task.await.unwrap_or_else(panicked);
        if result.is_ok() && self.retention.is_any() {
            // What has become too much, or too old, since it began. After an error it is tried
            // again when it is time: on a full disk at once would be without end.
            self.retention_due = Some(Clock.now());
        }
        match self.moving.take() {
            Some(Moving { log_start, respond, .. }) => Moved { log_start, result, respond },
            // Looked at above, and nobody else is here.
            None => std::future::pending().await,
        }
    }
}
