//! The task of one offsets partition: waits until its replica leads and knows what is
//! committed, reads the log, serves; and again, whenever that state is worth nothing any more.

use std::{sync::Arc, time::Duration};

use tokio::sync::{mpsc, watch};
use weir_protocol::{ErrorCode, WireError, ids::LeaderEpoch};
use weir_runtime::{clock::Clock, task::CancellationToken};

use super::{
    flush::Flush,
    journal::Journal,
    request::Ask,
    serve::{End, Serving},
    upload::Uploader,
};
use crate::{
    config::Limits,
    metadata::Cache,
    partition::{Partition, Standing, View},
    replica::start_offset::Readable,
};

/// The pause before a log that the disk did not give is read again.
const READ_PAUSE: Duration = Duration::from_secs(1);

/// What all tasks need.
#[derive(Clone)]
pub struct Parts {
    /// The cluster's map.
    pub cache: Cache,
    /// Bounds.
    pub limits: Limits,
    /// Time.
    pub clock: Clock,
    /// The way to the control plane.
    pub uploader: Arc<Uploader>,
    /// Set when the SPU goes down.
    pub stop: CancellationToken,
}

/// One partition's coordinator.
pub struct Task {
    /// Its replica.
    pub partition: Arc<Partition>,
    /// What all need.
    pub parts: Parts,
    /// Requests.
    pub inbox: mpsc::Receiver<Ask>,
}

impl Task {
    /// Runs until the SPU goes down or the replica is closed.
    pub async fn run(mut self) {
        let mut view = self.partition.view();
        while let Some((epoch, readable)) = self.until_leading(&mut view).await {
            let journal = Journal { partition: self.partition.clone(), epoch };
            let fold = match journal.fold(readable).await {
                Ok(fold) => fold,
                Err(unfolded) => {
                    let partition = journal.key();
                    tracing::error!(%partition, %unfolded, "consumers of this offsets partition are not served");
                    let pause = unfolded.may_pass().then_some(READ_PAUSE);
                    self.refuse(&mut view, epoch, (&unfolded).into(), pause).await;
                    continue;
                }
            };
            tracing::info!(partition = %journal.key(), %epoch, keys = fold.keys(), "coordinating consumers");
            let Parts { cache, limits, clock, uploader, stop } = &self.parts;
            let flush = Flush::new(uploader.clone(), (journal.key(), epoch), limits, &fold);
            let state = (fold, readable.log_start);
            let serving = Serving::new(&journal, (cache, limits, *clock), state, flush);
            if serving.run(&mut self.inbox, &mut view, stop).await == End::Stopped {
                break;
            }
        }
        self.inbox.close();
        while let Some(ask) = self.inbox.recv().await {
            ask.answer(Err(shutting_down()));
        }
    }

    /// Waits until the replica leads and knows what is committed; refuses what is asked
    /// meanwhile. `None`: there is nothing to wait for.
    async fn until_leading(
        &mut self,
        view: &mut watch::Receiver<View>,
    ) -> Option<(LeaderEpoch, Readable)> {
        loop {
            let refusal = {
                let now = view.borrow_and_update();
                match &now.standing {
                    _ if self.parts.stop.is_cancelled() => return None,
                    Standing::Closed => return None,
                    Standing::Leader(epoch) if now.readable.settled => {
                        return Some((*epoch, now.readable));
                    }
                    Standing::Leader(_) => {
                        let text = "the coordinator does not know yet what is committed";
                        WireError::new(ErrorCode::NotYetAvailable, text)
                    }
                    _ => refusal(&now),
                }
            };
            tokio::select! {
                biased;
                () = self.parts.stop.cancelled() => return None,
                changed = view.changed() => changed.ok()?,
                Some(ask) = self.inbox.recv() => ask.answer(Err(refusal)),
            }
        }
    }

    /// Refuses what is asked until this leadership ends, or until it is worth another attempt.
    async fn refuse(
        &mut self,
        view: &mut watch::Receiver<View>,
        epoch: LeaderEpoch,
        refusal: WireError,
        pause: Option<Duration>,
    ) {
        let over = self.parts.clock.sleep(pause.unwrap_or(Duration::MAX));
        let mut over = std::pin::pin!(over);
        while view.borrow_and_update().standing == Standing::Leader(epoch) {
            tokio::select! {
                biased;
                () = self.parts.stop.cancelled() => return,
                () = &mut over => return,
                changed = view.changed() => if changed.is_err() { return },
                Some(ask) = self.inbox.recv() => ask.answer(Err(refusal.clone())),
            }
        }
    }
}

/// Why a replica that does not lead serves nobody.
fn refusal(view: &View) -> WireError {
    match view.serves(view.leader_epoch) {
        Err(refusal) => refusal,
        Ok(_) => WireError::new(ErrorCode::NotYetAvailable, "the leadership is changing"),
    }
}

/// What is answered at the end.
pub fn shutting_down() -> WireError {
    WireError::new(ErrorCode::ShuttingDown, "the SPU is shutting down")
}
