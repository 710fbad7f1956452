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

/// How long a batch collects at least behind others that are under way: small ones cost the
/// SPU as much as large ones, and each would wait its turn there.
const CROWDED_LINGER: Duration = Duration::from_millis(1);

/// How long the batch that a partition collects should wait, however short it may linger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// It would be sent at once.
    None,
    /// It would be sent at once, but several go before it.
    Some,
    /// It could not be sent.
    Endless,
}

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
    pub(crate) fn goes_on(&mut self, key: PartitionKey, record: &NewRecord, bytes: usize) -> bool {
        let full = self.open.get(&key).map(|open| self.full(open, record, bytes));
        if full == Some(true) {
            self.seal(key);
        }
        full == Some(false)
    }

    /// Whether there are batches that wait only to be taken.
    pub(crate) fn has_sealed(&self) -> bool {
        !self.sealed.is_empty()
    }

    /// `bytes` is what the record would take alone: only where that is too much is it looked at
    /// closely.
    fn full(&self, open: &Open, record: &NewRecord, bytes: usize) -> bool {
        let builder = &open.sealed.builder;
        let surely_fits = builder.estimated_bytes() + bytes <= self.config.batch_bytes;
        (!surely_fits && builder.estimated_bytes_with(record) > self.config.batch_bytes)
            || builder.record_count() >= RECORDS_PER_BATCH_MAX
    }

    /// Adds a record which takes `bytes` of the queue: those of a batch of it alone. The caller
    /// saw to it that it fits a batch. The time is asked for where a batch begins.
    pub(crate) fn push(
        &mut self,
        key: PartitionKey,
        record: NewRecord,
        bytes: usize,
        now: impl FnOnce() -> Duration,
    ) -> Result<Pushed, SendError> {
        let mut news = false;
        if self.open.get(&key).is_some_and(|open| self.full(open, &record, bytes)) {
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
            let now = now();
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
        *queued += bytes;
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

    /// Takes what may go: sealed batches, and open ones that collected for as long as both
    /// the configuration and their partition's [`Patience`] ask.
    pub(crate) fn take_due(
        &mut self,
        now: Duration,
        patience: impl Fn(&PartitionKey) -> Patience,
    ) -> VecDeque<Sealed> {
        let due = |(key, open): (&PartitionKey, &Open)| {
            (now >= self.goes_at(open, patience(key))).then_some(*key)
        };
        let keys: Vec<_> = self.open.iter().filter_map(due).collect();
        keys.into_iter().for_each(|key| self.seal(key));
        std::mem::take(&mut self.sealed)
    }

    /// When [`Accumulator::take_due`] has something new to say, if nothing else happens.
    pub(crate) fn wake_at(&self, patience: impl Fn(&PartitionKey) -> Patience) -> Option<Duration> {
        self.open.iter().map(|(key, open)| self.goes_at(open, patience(key))).min()
    }

    fn goes_at(&self, open: &Open, patience: Patience) -> Duration {
        let collected = |at_least| open.opened_at.saturating_add(self.config.linger.max(at_least));
        match patience {
            Patience::None => collected(Duration::ZERO),
            Patience::Some => collected(CROWDED_LINGER),
            Patience::Endless => open.sealed.deadline,
        }
        .min(open.sealed.deadline)
    }
}

#[cfg(test)]
#[path = "accumulator_tests.rs"]
mod tests;
