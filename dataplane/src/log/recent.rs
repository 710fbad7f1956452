//! The last batches of each producer: what is needed to tell a retry from a new batch.
//!
//! Pure, and bounded twice: at most [`BATCHES_PER_PRODUCER`] each (as many as a client may
//! have in flight), and a largest number of producers, of which those that wrote
//! longest ago are forgotten first.

use std::collections::{BTreeMap, VecDeque};

use weir_protocol::{
    batch::{BatchHeader, ProducerStamp},
    ids::{LeaderEpoch, Offset, ProducerId},
};

/// How many batches of one producer are remembered.
pub const BATCHES_PER_PRODUCER: usize = 16;

/// A batch of an idempotent producer, as recovery found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchSummary {
    /// Offset of the first record.
    pub base_offset: Offset,
    /// Offset of the last record.
    pub last_offset: Offset,
    /// The leader epoch that appended it.
    pub epoch: LeaderEpoch,
    /// Who sent it.
    pub producer: Option<ProducerStamp>,
    /// How many records.
    pub record_count: u32,
}

impl From<&BatchHeader> for BatchSummary {
    fn from(header: &BatchHeader) -> Self {
        Self {
            base_offset: header.base_offset,
            last_offset: header.last_offset(),
            epoch: header.partition_leader_epoch,
            producer: header.producer,
            record_count: header.record_count,
        }
    }
}

/// Collects summaries in log order.
#[derive(Debug)]
pub(super) struct RecentBatches {
    producers_max: usize,
    by_producer: BTreeMap<ProducerId, VecDeque<BatchSummary>>,
    /// Last offset → its producer, one entry per producer: oldest writer first.
    by_recency: BTreeMap<Offset, ProducerId>,
}

impl RecentBatches {
    pub fn new(producers_max: usize) -> Self {
        Self { producers_max, by_producer: BTreeMap::new(), by_recency: BTreeMap::new() }
    }

    /// The next batch of the log.
    pub fn push(&mut self, batch: BatchSummary) {
        let Some(stamp) = batch.producer else { return };
        let batches = self.by_producer.entry(stamp.id).or_default();
        if let Some(last) = batches.back() {
            self.by_recency.remove(&last.last_offset);
        }
        if batches.len() == BATCHES_PER_PRODUCER {
            batches.pop_front();
        }
        batches.push_back(batch);
        self.by_recency.insert(batch.last_offset, stamp.id);
        while self.by_producer.len() > self.producers_max {
            let Some((_, id)) = self.by_recency.pop_first() else { break };
            self.by_producer.remove(&id);
        }
    }

    /// What was kept, in log order.
    pub fn finish(self) -> Vec<BatchSummary> {
        let mut all: Vec<_> = self.by_producer.into_values().flatten().collect();
        all.sort_by_key(|batch| batch.base_offset);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::walk::tests::header;

    #[test]
    fn keeps_the_last_batches_of_the_latest_producers() {
        let mut recent = RecentBatches::new(2);
        for offset in 0..64 {
            recent.push((&header(offset, Some(1 + offset % 2))).into());
        }
        recent.push((&header(64, None)).into());
        let offsets =
            |r: RecentBatches| r.finish().iter().map(|b| b.base_offset.0).collect::<Vec<_>>();
        assert_eq!(offsets(recent), (32..64).collect::<Vec<_>>());

        let mut recent = RecentBatches::new(2);
        for (offset, producer) in [(0, 1), (1, 2), (2, 1), (3, 3)] {
            recent.push((&header(offset, Some(producer))).into());
        }
        assert_eq!(offsets(recent), [0, 2, 3], "producer 2 wrote longest ago");
    }
}
