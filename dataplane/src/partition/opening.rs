//! Opening a replica's log, again and again if need be: a disk that was full, or a process
//! that was out of descriptors, comes back by itself, and so does the replica.

use std::{sync::Arc, time::Duration};

use tokio::sync::{Semaphore, watch};
use weir_protocol::{WireError, ids::PartitionKey};
use weir_runtime::{clock::Clock, disk::Disk};

use super::{
    appender::Inbox,
    open::{NotOpen, open},
    view::View,
};
use crate::{
    log::{Log, LogConfig, OpenFiles},
    replica::{Problem, Refusal, Replica, ReplicaLimits},
};

/// The pause after the first attempt; it doubles with each.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
/// The longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// What it takes to open one replica's log.
pub(super) struct Opening {
    pub key: PartitionKey,
    pub disk: Arc<dyn Disk>,
    pub config: LogConfig,
    pub open_files: Arc<OpenFiles>,
    pub limits: ReplicaLimits,
    /// Bounds how many are opened at the same time.
    pub at_once: Arc<Semaphore>,
}

impl Opening {
    /// Tries until it succeeds, until what is on the disk turns out to be unusable, or until
    /// the replica is told to stop. Between two attempts the replica is offline: it says why,
    /// and refuses what is produced. Without a log the replica is offline for good.
    pub async fn run(
        self,
        inbox: &mut Inbox,
        view: &watch::Sender<View>,
        transitions: &watch::Sender<u64>,
    ) -> (Option<Log>, Replica) {
        let mut pause = PAUSE_FIRST;
        loop {
            let problem = match self.attempt().await {
                Ok((log, replica)) => return (Some(log), replica),
                Err(NotOpen::Lasting(problem)) => {
                    return (None, Replica::offline(self.key, problem));
                }
                Err(NotOpen::Passing(problem)) => problem,
            };
            tracing::warn!(partition = %self.key, %problem, "cannot open the replica; will try again");
            self.tell(&problem, view, transitions);
            let refusal = WireError::from(Refusal::Offline(problem.clone()));
            tokio::select! {
                biased;
                () = inbox.stop.cancelled() => return (None, Replica::offline(self.key, problem)),
                () = Clock.sleep(pause) => pause = (pause * 2).min(PAUSE_MAX),
                () = inbox.offers.refuse(&refusal) => {}
            }
        }
    }

    async fn attempt(&self) -> Result<(Log, Replica), NotOpen> {
        // Never closed, so an error is not possible; without a permit it opens all the same.
        let _permit = self.at_once.acquire().await.ok();
        let (disk, open_files) = (self.disk.clone(), self.open_files.clone());
        open(disk, self.key, self.config.clone(), open_files, self.limits).await
    }

    /// The session and the readers hear of it once, and again when the reason changes.
    fn tell(
        &self,
        problem: &Problem,
        view: &watch::Sender<View>,
        transitions: &watch::Sender<u64>,
    ) {
        let now = View::not_open(problem.clone());
        let news = view.send_if_modified(|current| {
            let news = *current != now;
            if news {
                *current = now;
            }
            news
        });
        if news {
            transitions.send_modify(|count| *count += 1);
        }
    }
}
