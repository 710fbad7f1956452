//! Batches on their way to the appender, bounded by bytes and count.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use weir_protocol::{ErrorCode, WireError, batch::BatchHeader, ids::LeaderEpoch};
use weir_runtime::clock::Clock;

use crate::replica::{Ack, Acks};

/// How long a closing queue waits for batches that are on their way in.
const DRAIN_MAX: Duration = Duration::from_secs(1);

/// A verified batch that wants to be appended.
#[derive(Debug)]
pub struct Offer {
    /// What its header says.
    pub header: BatchHeader,
    /// The batch, whole.
    pub batch: Bytes,
    /// The leader epoch that the client believes in.
    pub leader_epoch: LeaderEpoch,
    /// What the client waits for.
    pub acks: Acks,
}

/// An offer in the queue, holding its room until it is written.
#[derive(Debug)]
pub struct Queued {
    pub(super) offer: Offer,
    pub(super) respond: Respond,
    pub(super) room: OwnedSemaphorePermit,
}

/// Where the answer goes.
pub type Respond = oneshot::Sender<Result<Ack, WireError>>;

/// The way in.
#[derive(Clone, Debug)]
pub struct Queue {
    offers: mpsc::Sender<Queued>,
    bytes: Arc<Semaphore>,
    bytes_max: u32,
}

/// The way out.
#[derive(Debug)]
pub struct Outlet {
    offers: mpsc::Receiver<Queued>,
}

/// A queue with room for so many bytes of batches and so many requests.
#[must_use]
pub fn queue(bytes_max: usize, requests_max: usize) -> (Queue, Outlet) {
    let bytes_max = u32::try_from(bytes_max.max(1)).unwrap_or(u32::MAX);
    let (sender, receiver) = mpsc::channel(requests_max.max(1));
    let bytes = Arc::new(Semaphore::new(bytes_max as usize));
    (Queue { offers: sender, bytes, bytes_max }, Outlet { offers: receiver })
}

impl Queue {
    /// Waits for room, then queues the batch. Dropped before it is ready, it has queued
    /// nothing. Offers of one caller keep their order if he waits for each.
    ///
    /// # Errors
    /// `SHUTTING_DOWN`: the replica is being closed; nothing was queued.
    pub async fn offer(
        &self,
        offer: Offer,
    ) -> Result<oneshot::Receiver<Result<Ack, WireError>>, WireError> {
        let closed = || WireError::new(ErrorCode::ShuttingDown, "the replica is being closed");
        // A batch larger than the whole queue is let in alone.
        let cost = u32::try_from(offer.batch.len()).unwrap_or(u32::MAX).min(self.bytes_max);
        let room = self.bytes.clone().acquire_many_owned(cost).await.map_err(|_| closed())?;
        let (respond, answer) = oneshot::channel();
        self.offers.send(Queued { offer, respond, room }).await.map_err(|_| closed())?;
        Ok(answer)
    }
}

impl Outlet {
    /// Waits for the next offer and takes what else is there, up to about `bytes_max`.
    /// Leaves `group` empty when the queue is closed. Cancel-safe.
    pub async fn take(&mut self, group: &mut Vec<Queued>, bytes_max: usize) {
        let mut bytes = 0;
        let mut next = self.offers.recv().await;
        while let Some(queued) = next {
            bytes += queued.offer.batch.len();
            group.push(queued);
            if bytes >= bytes_max {
                return;
            }
            next = self.offers.try_recv().ok();
        }
    }

    /// Refuses all that comes, for ever: nothing was appended. Cancel-safe.
    pub async fn refuse(&mut self, refusal: &WireError) {
        while let Some(queued) = self.offers.recv().await {
            // Whoever asked may be gone.
            let _ = queued.respond.send(Err(refusal.clone()));
        }
        std::future::pending().await
    }

    /// Lets nothing more in, and refuses what is there: it was not appended.
    pub async fn close(&mut self) {
        self.offers.close();
        let drain = async {
            // Not `try_recv`: somebody may have a place already and be about to take it.
            while let Some(queued) = self.offers.recv().await {
                let refusal = WireError::new(ErrorCode::ShuttingDown, "the SPU is shutting down");
                // Whoever asked may be gone.
                let _ = queued.respond.send(Err(refusal));
            }
        };
        // A place can also be held by an offer that its stream does not go on with.
        let _ = Clock.timeout(DRAIN_MAX, drain).await;
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use weir_protocol::batch::{self, BatchBuilder, BatchConfig, NewRecord};

    use super::*;

    fn offer() -> Offer {
        let mut builder = BatchBuilder::new(BatchConfig::default());
        builder.push(NewRecord { value: Some("v".into()), ..NewRecord::default() }).unwrap();
        let batch = builder.finish(None).unwrap();
        let header = batch::verify(&batch).unwrap();
        Offer { header, batch, leader_epoch: LeaderEpoch(1), acks: Acks::All }
    }

    #[test]
    fn a_full_queue_makes_wait_and_a_large_batch_is_let_in_alone() {
        for (bytes_max, requests_max) in [(1, 9), (1 << 20, 1)] {
            let (queue, mut outlet) = queue(bytes_max, requests_max);
            assert!(queue.offer(offer()).now_or_never().is_some_and(|queued| queued.is_ok()));
            assert!(queue.offer(offer()).now_or_never().is_none(), "no room");
            let mut group = Vec::new();
            assert!(outlet.take(&mut group, 1 << 20).now_or_never().is_some());
            assert_eq!(group.len(), 1, "the one that waited has queued nothing");
            group.clear();
            assert!(queue.offer(offer()).now_or_never().is_some());
        }
    }

    #[tokio::test]
    async fn closing_refuses_what_waits_what_is_on_its_way_and_what_comes() {
        let (queue, mut outlet) = queue(1 << 20, 9);
        let answer = queue.offer(offer()).now_or_never().unwrap().unwrap();
        // The moment between having a place in the channel and taking it.
        let place = queue.offers.reserve().await.unwrap();
        let room = queue.bytes.clone().try_acquire_owned().unwrap();
        let (respond, late) = oneshot::channel();
        let (closed, ()) = futures::join!(outlet.close(), async {
            place.send(Queued { offer: offer(), respond, room });
        });
        assert_eq!(closed, ());
        for answer in [answer, late] {
            let refused = answer.now_or_never().unwrap().unwrap();
            assert_eq!(refused.unwrap_err().code, ErrorCode::ShuttingDown);
        }
        let refused = queue.offer(offer()).now_or_never().unwrap();
        assert_eq!(refused.unwrap_err().code, ErrorCode::ShuttingDown);
    }

    #[test]
    fn a_group_ends_at_its_bytes() {
        let (queue, mut outlet) = queue(1 << 20, 9);
        for _ in 0..5 {
            queue.offer(offer()).now_or_never().unwrap().unwrap();
        }
        let mut group = Vec::new();
        outlet.take(&mut group, offer().batch.len() + 1).now_or_never();
        assert_eq!(group.len(), 2);
    }
}
