//! Collects records into batches, one open batch per partition. Pure: times are given.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use weir_protocol::{
    batch::{BatchBuilder, BatchConfig, NewRecord},
    ids::PartitionKey,
};

use super::{ProducerConfig, SendError, delivery::BatchState};

/// SPUs take no more records in one batch.
const RECORDS_PER_BATCH_MAX: u32 = 1_000_000;

/// A batch that takes no more records.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub state: Arc<BatchState>,
    pub builder: BatchBuilder,
    /// When its outcome is due, since the producer began.
    pub deadline: Duration,
    /// Bytes that its records hold of the queue.
    pub queued_bytes: usize,
}

#[derive(Debug)]
struct Open {
    sealed: Sealed,
    opened_at: Duration,
}

/// Where a record went.
#[derive(Debug)]
pub(crate) struct Pushed {
    pub state: Arc<BatchState>,
    pub index: u32,
    /// A batch was begun or sealed: the driver has something to look at.
    pub news: bool,
}

/// The batches that collect, and those that are sealed and not taken yet.
#[derive(Debug)]
pub(crate) struct Accumulator {
    config: ProducerConfig,
    open: BTreeMap<PartitionKey, Open>,
    sealed: VecDeque<Sealed>,
    next_id: u64,
    /// Size of the last sealed batch: what the next one will probably need.
    last_bytes: usize,
}

impl Accumulator {
    pub(crate) fn new(config: ProducerConfig) -> Self {
        let (open, sealed) = Default::default();
        Self { config, open, sealed, next_id: 0, last_bytes: 1024 }
    }

    /// Whether the record fits a batch that collects already. One that it does not fit is sealed.
    pub(crate) fn goes_on(&mut self, key: PartitionKey, record: &NewRecord) -> bool {
        let full = self.open.get(&key).map(|open| self.full(open, record));
        if full == Some(true) {
            self.seal(key);
        }
        full == Some(false)
    }

    /// Whether there are batches that wait only to be taken.
    pub(crate) fn has_sealed(&self) -> bool {
        !self.sealed.is_empty()
    }

    fn full(&self, open: &Open, record: &NewRecord) -> bool {
        let builder = &open.sealed.builder;
        builder.estimated_bytes_with(record) > self.config.batch_bytes
            || builder.record_count() >= RECORDS_PER_BATCH_MAX
    }

    /// Bytes that a record would need in a batch of its own, header included.
    pub(crate) fn bytes_alone(record: &NewRecord) -> usize {
        BatchBuilder::new(BatchConfig { capacity_bytes: 0, ..BatchConfig::default() })
            .estimated_bytes_with(record)
    }

    /// Adds a record, of which `queued_bytes` were taken from the queue. The caller saw to it
    /// that it fits a batch.
    pub(crate) fn push(
        &mut self,
        key: PartitionKey,
        record: NewRecord,
        queued_bytes: usize,
        now: Duration,
    ) -> Result<Pushed, SendError> {
        let mut news = false;
        if self.open.get(&key).is_some_and(|open| self.full(open, &record)) {
            self.seal(key);
            news = true;
        }
        news |= !self.open.contains_key(&key);
        let Self { open, next_id, config, last_bytes, .. } = self;
        let open = open.entry(key).or_insert_with(|| {
            *next_id += 1;
            let builder = BatchBuilder::new(BatchConfig {
                compression: config.compression,
                capacity_bytes: *last_bytes,
            });
            let state = BatchState::new(*next_id, key);
            let deadline = now.saturating_add(config.delivery_timeout);
            Open { sealed: Sealed { state, builder, deadline, queued_bytes: 0 }, opened_at: now }
        });
        let Sealed { builder, state, queued_bytes: queued, .. } = &mut open.sealed;
        let index = builder.record_count();
        if let Err(error) = builder.push(record) {
            if builder.is_empty() {
                self.open.remove(&key);
            }
            return Err(SendError::InvalidRecord(error.to_string()));
        }
        *queued += queued_bytes;
        let state = state.clone();
        if builder.estimated_bytes() >= self.config.batch_bytes {
            self.seal(key);
            news = true;
        }
        Ok(Pushed { state, index, news })
    }

    fn seal(&mut self, key: PartitionKey) {
        if let Some(open) = self.open.remove(&key) {
            self.last_bytes = open.sealed.builder.estimated_bytes();
            self.sealed.push_back(open.sealed);
        }
    }

    /// Seals everything.
    pub(crate) fn seal_all(&mut self) {
        let keys: Vec<_> = self.open.keys().copied().collect();
        keys.into_iter().for_each(|key| self.seal(key));
    }

    /// Takes what may go: sealed batches, and open ones that lingered long enough and whose
    /// partition has room; those without room go on collecting until their deadline.
    pub(crate) fn take_due(
        &mut self,
        now: Duration,
        has_room: impl Fn(&PartitionKey) -> bool,
    ) -> VecDeque<Sealed> {
        let linger = self.config.linger;
        let due = |(key, open): (&PartitionKey, &Open)| {
            let lingered = now >= open.opened_at.saturating_add(linger) && has_room(key);
            (lingered || now >= open.sealed.deadline).then_some(*key)
        };
        let keys: Vec<_> = self.open.iter().filter_map(due).collect();
        keys.into_iter().for_each(|key| self.seal(key));
        std::mem::take(&mut self.sealed)
    }

    /// When [`Accumulator::take_due`] has something new to say, if nothing else happens.
    pub(crate) fn wake_at(&self, now: Duration) -> Option<Duration> {
        let linger = self.config.linger;
        let times = self.open.values().map(|open| {
            let lingered = open.opened_at.saturating_add(linger);
            if lingered > now { lingered } else { open.sealed.deadline }
        });
        times.min()
    }
}

#[cfg(test)]
#[path = "accumulator_tests.rs"]
mod tests;
