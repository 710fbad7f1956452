//! What `replica/` decides, done: one task per replica owns its state machine and its log.
//!
//! | Module | Does |
//! |---|---|
//! | [`queue`] | holds batches on their way in, bounded by bytes and count |
//! | [`appender`] | the task: group after group is written, synced, acknowledged |
//! | `follow` | what the task does as a follower, and for followers |
//! | `upkeep` | beside it: recovery point, snapshot of producers, retention |
//! | [`open`] | finds or makes the log |
//! | `opening` | tries that until it succeeds |
//! | [`view`] | what readers and the session see of a replica, and wait for |
//! | [`registry`] | which replicas this SPU has, by the control plane's word |
//! | [`removal`] | removes a replica with its data, on an explicit order |
//! | `held` | which replicas lie in the folder |
//! | `repair` | fills a damaged replica again, from its leader |
//!
//! **Group commit.** While one group's fsync runs in a task of its own, the next group is
//! written; when the fsync returns, everything that it covered is acknowledged, and the next
//! one begins with all that was written since.

pub mod appender;
mod follow;
mod held;
pub mod open;
mod opening;
pub mod queue;
pub mod registry;
pub mod removal;
mod repair;
mod upkeep;
pub mod view;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::sync::{mpsc, oneshot, watch};
use weir_protocol::{
    ErrorCode, WireError,
    ids::{Offset, PartitionEpoch, PartitionKey, SpuId},
};
use weir_runtime::task::{CancellationToken, JoinHandle};

pub use follow::Feeding;
pub use queue::{Offer, Queue};
pub use registry::Registry;
pub use view::{Standing, View};

use self::{appender::NewStart, follow::Mail};
use crate::{
    log::{Assigned, Log, LogError},
    replica::{Assignment, Problem, follower::FromLeader, followers::FollowerFetch},
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
    mail: mpsc::Sender<Mail>,
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

    /// The SPU that holds it: this one.
    #[must_use]
    pub fn me(&self) -> SpuId {
        self.assignment.borrow().me
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
        let _ = self.troubles.try_send(Problem::new(ErrorCode::ReplicaDamaged, reason));
    }

    /// Forgets what lies below `log_start`: whole segments go from the disk, the rest is not
    /// served any more.
    ///
    /// # Errors
    /// `OFFSET_OUT_OF_RANGE` above the high watermark, what the disk says, `SHUTTING_DOWN`.
    pub async fn move_log_start(&self, log_start: Offset) -> Result<(), WireError> {
        let (respond, answer) = oneshot::channel();
        self.starts.send(NewStart { log_start, respond }).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    /// Hands a follower's fetch to the leader that this replica may be. Its request and time are
    /// filled in here.
    ///
    /// # Errors
    /// Why it is not fed.
    pub async fn fetch(&self, fetch: FollowerFetch) -> Result<Feeding, WireError> {
        let (respond, answer) = oneshot::channel();
        self.mail.send(Mail::Fetch(fetch, respond)).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    /// Hands on what the leader said, with the batches that it sent. `false`: there is no room
    /// just now.
    #[must_use]
    pub fn hear(&self, said: FromLeader, batches: Vec<Assigned>) -> bool {
        self.mail.try_send(Mail::FromLeader(said, batches)).is_ok()
    }

    /// The control plane refused what was proposed on this partition epoch.
    pub fn isr_refused(&self, on: PartitionEpoch) {
        // A replica that is being closed proposes nothing; for one that is too busy to hear it, the
        // proposal is sent again after a while, and refused again.
        let _ = self.mail.try_send(Mail::IsrRefused(on));
    }

    /// Waits until this process is known to lead, after this was asked, by as many replicas as
    /// it takes to commit; what was committed then.
    ///
    /// # Errors
    /// As a batch of `acks=all`.
    pub async fn confirm(&self) -> Result<Offset, WireError> {
        let (respond, answer) = oneshot::channel();
        self.mail.send(Mail::Confirm(respond)).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?.map(|ack| ack.base_offset)
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

fn closed() -> WireError {
    WireError::new(ErrorCode::ShuttingDown, "the replica is being closed")
}
