//! What a producer's handles and its task share.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{Notify, Semaphore};
use weir_protocol::{
    batch::{BatchBuilder, NewRecord},
    ids::{PartitionIndex, PartitionKey, TopicGenerationId},
};
use weir_runtime::clock::{Clock, Monotonic};

use super::{
    Delivery, ProducerConfig, ProducerRecord, SendError,
    accumulator::{Accumulator, Patience, Sealed},
    delivery::BatchState,
    partitioner::{Partitioner, Routing},
    sequencer::Resolution,
};

pub(super) struct Shared {
    pub config: ProducerConfig,
    pub topic: Arc<str>,
    pub wake: Notify,
    /// One permit per byte that may still be queued.
    pub room: Semaphore,
    clock: Clock,
    began: Monotonic,
    // Held for moments only, never across an await.
    state: Mutex<State>,
}

struct State {
    accumulator: Accumulator,
    partitioner: Partitioner,
    unresolved: BTreeMap<u64, Arc<BatchState>>,
    closed: Option<SendError>,
    abandoned: bool,
}

impl Shared {
    pub(super) fn new(config: ProducerConfig, routing: Routing, clock: Clock) -> Self {
        let turn = weir_runtime::rng::below(u64::from(routing.partitions)) as usize;
        Self {
            config,
            topic: routing.topic.clone(),
            wake: Notify::new(),
            room: Semaphore::new(config.queue_bytes_max),
            clock,
            began: clock.now(),
            state: Mutex::new(State {
                accumulator: Accumulator::new(config),
                partitioner: Partitioner::new(routing, config.partitioning, turn),
                unresolved: BTreeMap::new(),
                closed: None,
                abandoned: false,
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Since the producer began.
    pub(super) fn now(&self) -> Duration {
        self.clock.now().since(self.began)
    }

    pub(super) fn closed(&self) -> Option<SendError> {
        self.state().closed.clone()
    }

    /// Checks a record against the limits; how much room it takes.
    pub(super) fn measure(&self, record: ProducerRecord) -> Result<(NewRecord, u32), SendError> {
        let ProducerRecord { key, value, headers, timestamp_ms, partition: _ } = record;
        let timestamp_ms = timestamp_ms.unwrap_or_else(|| self.clock.unix_ms().max(0));
        let record = NewRecord { timestamp_ms, key, value, headers };
        let bytes = BatchBuilder::bytes_alone(&record);
        let limit_bytes = self.config.batch_bytes_max.min(self.config.queue_bytes_max);
        if bytes > limit_bytes {
            return Err(SendError::RecordTooLarge { bytes, limit_bytes });
        }
        Ok((record, u32::try_from(bytes).unwrap_or(u32::MAX)))
    }

    /// Puts a record for which there is room into its partition's batch.
    pub(super) fn accept(
        &self,
        partition: Option<PartitionIndex>,
        record: NewRecord,
        bytes: u32,
    ) -> Result<Delivery, SendError> {
        let timestamp_ms = record.timestamp_ms;
        let record_bytes = bytes as usize;
        let mut state = self.state();
        let State { accumulator, partitioner, unresolved, closed, .. } = &mut *state;
        if let Some(reason) = closed {
            return Err(reason.clone());
        }
        let generation = partitioner.routing.generation;
        let key = |partition| PartitionKey { generation, partition };
        let goes_on = |partition| accumulator.goes_on(key(partition), &record, record_bytes);
        let partition = partitioner.choose(partition, record.key.as_deref(), bytes, goes_on)?;
        let pushed = accumulator.push(key(partition), record, record_bytes, || self.now())?;
        if pushed.index == 0 {
            unresolved.insert(pushed.state.id, pushed.state.clone());
        }
        // Another partition's batch may have been sealed by the choice.
        let news = pushed.news || accumulator.has_sealed();
        drop(state);
        if news {
            self.wake.notify_one();
        }
        Ok(Delivery::new(pushed.state, pushed.index, timestamp_ms))
    }

    pub(super) fn take_due(
        &self,
        now: Duration,
        patience: impl Fn(&PartitionKey) -> Patience,
    ) -> VecDeque<Sealed> {
        self.state().accumulator.take_due(now, patience)
    }

    pub(super) fn wake_at(&self, patience: impl Fn(&PartitionKey) -> Patience) -> Option<Duration> {
        self.state().accumulator.wake_at(patience)
    }

    pub(super) fn seal_all(&self) {
        self.state().accumulator.seal_all();
    }

    /// What was sent and has no outcome yet.
    pub(super) fn unresolved(&self) -> Vec<Arc<BatchState>> {
        self.state().unresolved.values().cloned().collect()
    }

    pub(super) fn generation(&self) -> TopicGenerationId {
        self.state().partitioner.routing.generation
    }

    pub(super) fn route(&self, routing: Routing) {
        let mut state = self.state();
        if state.partitioner.routing != routing {
            if state.partitioner.routing.generation != routing.generation {
                tracing::info!(topic = %routing.topic, generation = %routing.generation,
                    "producing to the topic's new generation");
            }
            state.partitioner.replace(routing);
        }
    }

    /// Refuses later records. The first reason stays.
    pub(super) fn close(&self, reason: SendError) {
        self.state().closed.get_or_insert(reason);
        // Whoever waits for room is told so.
        self.room.close();
    }

    /// No handle is left.
    pub(super) fn abandon(&self) {
        self.state().abandoned = true;
        self.wake.notify_one();
    }

    pub(super) fn abandoned(&self) -> bool {
        self.state().abandoned
    }

    pub(super) fn resolve(&self, resolution: Resolution) {
        let Resolution { state: batch, queued_bytes, outcome } = resolution;
        self.state().unresolved.remove(&batch.id);
        if batch.resolve(outcome) {
            self.room.add_permits(queued_bytes);
        }
    }
}
