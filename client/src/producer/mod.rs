//! Producing: records in, outcomes out.
//!
//! ```text
//! send → partitioner → accumulator ─┐ (pure; one lock, held for moments)
//!                                   ├→ driver (one task) → sequencer per partition (pure)
//! Delivery ← batch outcome ─────────┘       └→ produce stream of the leader's SPU
//! ```
//!
//! Order per partition is the order of `send`. A retry keeps a batch's bytes and sequence
//! number, so it is never a duplicate. When a batch that was sent is given up, its producer id
//! cannot be trusted on that partition any more: what was sent behind it fails, later batches
//! get a new id.

mod accumulator;
mod config;
mod delivery;
mod departure;
mod driver;
mod error;
mod partitioner;
mod record;
mod sequencer;
mod shared;

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use tokio::sync::{SemaphorePermit, TryAcquireError};
use weir_runtime::task;

pub use self::{
    config::{Acks, Partitioning, ProducerConfig},
    delivery::Delivery,
    error::{ProduceError, SendError},
    record::{ProducerRecord, RecordMetadata},
};
pub(crate) use self::{delivery::Acked, departure::Departure, sequencer::Failure};
use self::{driver::Driver, partitioner::Routing, shared::Shared};
use crate::{core::Core, metadata::Generation};

/// How much longer than the delivery timeout `send` waits for room.
const ROOM_GRACE: Duration = Duration::from_secs(1);

/// Sends records to one topic. Clones share queue, batches and order.
///
/// Dropping the last clone gives up what has no outcome yet: those [`Delivery`]s resolve at
/// once, as not written if nothing was sent, else as unknown. [`Producer::close`] waits.
#[derive(Clone)]
pub struct Producer {
    handle: Arc<Handle>,
}

struct Handle {
    shared: Arc<Shared>,
    core: Arc<Core>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.abandon();
    }
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer").field("topic", &self.topic()).finish_non_exhaustive()
    }
}

impl Producer {
    pub(crate) fn start(core: Arc<Core>, generation: &Generation, config: ProducerConfig) -> Self {
        let routing = Routing::new(generation, &core.metadata.current());
        let shared = Arc::new(Shared::new(config.bounded(), routing, core.clock));
        task::spawn(Driver::new(shared.clone(), core.clone()).run());
        Self { handle: Arc::new(Handle { shared, core }) }
    }

    /// The topic's name.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.handle.shared.topic
    }

    /// Queues a record, waiting for room at most a little longer than the delivery timeout,
    /// within which what fills the queue gets its outcome. The record's own time begins with
    /// its batch.
    ///
    /// Not sent if this future is dropped before it is ready.
    ///
    /// # Errors
    /// [`SendError`]: the record was not taken.
    pub async fn send(&self, record: ProducerRecord) -> Result<Delivery, SendError> {
        let shared = &*self.handle.shared;
        let partition = record.partition;
        let (record, bytes) = shared.measure(record)?;
        let permit = match shared.room.try_acquire_many(bytes) {
            Ok(permit) => permit,
            // Boxed: it is large, and this future is made for each record.
            Err(_) => Box::pin(self.wait_for_room(bytes)).await?,
        };
        let delivery = shared.accept(partition, record, bytes)?;
        // Given back when the batch is resolved.
        permit.forget();
        Ok(delivery)
    }

    async fn wait_for_room(&self, bytes: u32) -> Result<SemaphorePermit<'_>, SendError> {
        let shared = &*self.handle.shared;
        let waited = shared.config.delivery_timeout.saturating_add(ROOM_GRACE);
        let room = shared.room.acquire_many(bytes);
        match self.handle.core.clock.timeout(waited, room).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(shared.closed().unwrap_or(SendError::Closed)),
            Err(_) => Err(self.queue_full(waited)),
        }
    }

    /// Queues a record if there is room now.
    ///
    /// # Errors
    /// [`SendError`]: the record was not taken.
    pub fn try_send(&self, record: ProducerRecord) -> Result<Delivery, SendError> {
        let shared = &*self.handle.shared;
        let partition = record.partition;
        let (record, bytes) = shared.measure(record)?;
        let permit = shared.room.try_acquire_many(bytes).map_err(|error| match error {
            TryAcquireError::NoPermits => self.queue_full(Duration::ZERO),
            TryAcquireError::Closed => shared.closed().unwrap_or(SendError::Closed),
        })?;
        let delivery = shared.accept(partition, record, bytes)?;
        permit.forget();
        Ok(delivery)
    }

    fn queue_full(&self, waited: Duration) -> SendError {
        let queue_bytes_max = self.handle.shared.config.queue_bytes_max;
        SendError::QueueFull { queue_bytes_max, waited }
    }

    /// Sends what is batched without lingering, and waits until everything queued before has
    /// an outcome: acknowledged durably, or failed. Bounded by the delivery timeout.
    ///
    /// # Errors
    /// The first failure among what was waited for; each record's own is in its [`Delivery`].
    pub async fn flush(&self) -> Result<(), ProduceError> {
        let shared = &*self.handle.shared;
        shared.seal_all();
        shared.wake.notify_one();
        let waiting = shared.unresolved().into_iter().map(delivery::Settled::new);
        join_all(waiting).await.into_iter().find_map(Result::err).map_or(Ok(()), Err)
    }

    /// Refuses later records, of clones too, and flushes.
    ///
    /// # Errors
    /// As [`Producer::flush`].
    pub async fn close(self) -> Result<(), ProduceError> {
        self.handle.shared.close(SendError::Closed);
        self.flush().await
    }
}
