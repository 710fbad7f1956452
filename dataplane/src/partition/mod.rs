//! What `replica/` decides, done: one task per replica owns its state machine and its log.
//!
//! | Module | Does |
//! |---|---|
//! | [`queue`] | holds batches on their way in, bounded by bytes and count |
//! | [`appender`] | the task: group after group is written, synced, acknowledged |
//! | `upkeep` | beside it: recovery point, snapshot of producers, retention |
//! | [`open`] | finds or makes the log |
//! | `opening` | tries that until it succeeds |
//! | [`view`] | what readers and the session see of a replica, and wait for |
//! | [`registry`] | which replicas this SPU has, by the control plane's word |
//! | [`removal`] | removes a replica with its data, on an explicit order |
//!
//! **Group commit.** While one group's fsync runs in a task of its own, the next group is
//! written; when the fsync returns, everything that it covered is acknowledged, and the next
//! one begins with all that was written since.

pub mod appender;
pub mod open;
mod opening;
pub mod queue;
pub mod registry;
pub mod removal;
mod upkeep;
pub mod view;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::sync::{mpsc, oneshot, watch};
use weir_protocol::{
    ErrorCode, WireError,
    ids::{Offset, PartitionKey},
};
use weir_runtime::task::{CancellationToken, JoinHandle};

pub use queue::{Offer, Queue};
pub use registry::Registry;
pub use view::{Standing, View};

use self::appender::NewStart;
use crate::{
    log::{Log, LogError},
    replica::{Assignment, Problem},
};

/// One replica on this SPU. What is asked of it goes to its task; what it is shows in its
/// [`View`].
pub struct Partition {
    key: PartitionKey,
    queue: Queue,
    view: watch::Receiver<View>,
    assignment: watch::Sender<Assignment>,
    troubles: mpsc::Sender<Problem>,
    starts: mpsc::Sender<NewStart>,
    log: Arc<OnceLock<Log>>,
    stop: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Partition {
    /// Which log.
    #[must_use]
    pub const fn key(&self) -> PartitionKey {
        self.key
    }

    /// Where produced batches go in.
    #[must_use]
    pub const fn queue(&self) -> &Queue {
        &self.queue
    }

    /// What it is now, and every change of that.
    #[must_use]
    pub fn view(&self) -> watch::Receiver<View> {
        self.view.clone()
    }

    /// Its log; `None` before it is open, or if it cannot be.
    #[must_use]
    pub fn log(&self) -> Option<&Log> {
        self.log.get()
    }

    /// A reader met an error: if that means that the log is damaged, the replica goes offline.
    pub fn read_failed(&self, error: &LogError) {
        if matches!(error, LogError::Corrupt { .. }) {
            self.damaged(error.to_string());
        }
    }

    /// A reader found what it read damaged: the replica goes offline.
    pub fn damaged(&self, reason: String) {
        // A full channel holds a trouble already, and one is enough.
        let _ = self.troubles.try_send(Problem::new(ErrorCode::ReplicaOffline, reason));
    }

    /// Forgets what lies below `log_start`: whole segments go from the disk, the rest is not
    /// served any more.
    ///
    /// # Errors
    /// `OFFSET_OUT_OF_RANGE` above the high watermark, what the disk says, `SHUTTING_DOWN`.
    pub async fn move_log_start(&self, log_start: Offset) -> Result<(), WireError> {
        let closed = || WireError::new(ErrorCode::ShuttingDown, "the replica is being closed");
        let (respond, answer) = oneshot::channel();
        self.starts.send(NewStart { log_start, respond }).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    /// Hands on the control plane's latest word.
    fn assign(&self, assignment: Assignment) {
        self.assignment.send_if_modified(|current| {
            let changed = *current != assignment;
            if changed {
                *current = assignment;
            }
            changed
        });
    }

    /// Refuses what is still queued, syncs and acknowledges what is written, closes the log.
    async fn close(&self) {
        self.stop.cancel();
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task
            && task.await.is_err()
        {
            tracing::error!(partition = %self.key, "the replica's task ended by a panic");
        }
    }
}
