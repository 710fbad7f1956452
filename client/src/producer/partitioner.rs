//! Which partition a record goes to. Pure.

use std::sync::Arc;

use weir_protocol::{
    ids::{PartitionIndex, TopicGenerationId},
    murmur2::partition_of,
};

use super::{Partitioning, SendError};
use crate::metadata::{ClusterMap, Generation};

/// What the partitioner knows of the topic: a value that is replaced whole, so that a choice
/// never mixes an old partition count with new leaders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Routing {
    pub topic: Arc<str>,
    pub generation: TopicGenerationId,
    pub partitions: u32,
    /// Those with a live leader, in order.
    pub live: Vec<PartitionIndex>,
}

impl Routing {
    pub(crate) fn new(generation: &Generation, map: &ClusterMap) -> Self {
        let live = generation.partitions.iter().filter(|p| map.live_leader(p).is_some());
        Self {
            topic: generation.name.clone(),
            generation: generation.id,
            partitions: generation.partition_count(),
            live: live.map(|p| p.index).collect(),
        }
    }
}

/// Chooses partitions.
#[derive(Debug)]
pub(crate) struct Partitioner {
    pub routing: Routing,
    partitioning: Partitioning,
    /// Counts batches: the next choice in turn.
    turn: usize,
    /// Where records without a key go until their batch is sealed.
    sticky: Option<PartitionIndex>,
}

impl Partitioner {
    /// `turn` is where taking turns begins: drawn, so that many producers do not all begin at
    /// the same partition.
    pub(crate) fn new(routing: Routing, partitioning: Partitioning, turn: usize) -> Self {
        Self { routing, partitioning, turn, sticky: None }
    }

    /// Takes over what changed. Later choices see it at once.
    pub(crate) fn replace(&mut self, routing: Routing) {
        if self.sticky.is_some_and(|index| routing.live.binary_search(&index).is_err()) {
            self.sticky = None;
        }
        self.routing = routing;
    }

    /// The partition of a record. `collecting` says whether a partition has a batch that is
    /// not sealed yet.
    pub(crate) fn choose(
        &mut self,
        explicit: Option<PartitionIndex>,
        key: Option<&[u8]>,
        collecting: impl Fn(PartitionIndex) -> bool,
    ) -> Result<PartitionIndex, SendError> {
        let Routing { topic, partitions, .. } = &self.routing;
        let unknown = |partition| SendError::UnknownPartition {
            topic: topic.clone(),
            partition,
            partitions: *partitions,
        };
        match (explicit, key, self.partitioning) {
            (Some(index), ..) if index.0 < *partitions => Ok(index),
            (Some(index), ..) => Err(unknown(index)),
            _ if *partitions == 0 => Err(unknown(PartitionIndex(0))),
            (None, Some(key), Partitioning::ByKey) => {
                Ok(PartitionIndex(partition_of(key, *partitions)))
            }
            _ => Ok(self.in_turn(collecting)),
        }
    }

    fn in_turn(&mut self, collecting: impl Fn(PartitionIndex) -> bool) -> PartitionIndex {
        if let Some(index) = self.sticky.filter(|index| collecting(*index)) {
            return index;
        }
        let Routing { partitions, live, .. } = &self.routing;
        let next = if live.is_empty() {
            // Nobody leads: any will do, and the record waits for a leader.
            PartitionIndex((self.turn % (*partitions).max(1) as usize) as u32)
        } else {
            live[self.turn % live.len()]
        };
        self.turn = self.turn.wrapping_add(1);
        self.sticky = Some(next);
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routing(partitions: u32, live: &[u32]) -> Routing {
        Routing {
            topic: "t".into(),
            generation: TopicGenerationId(uuid::Uuid::nil()),
            partitions,
            live: live.iter().copied().map(PartitionIndex).collect(),
        }
    }

    fn turns(partitioner: &mut Partitioner, n: usize) -> Vec<u32> {
        (0..n).map(|_| partitioner.choose(None, None, |_| false).unwrap().0).collect()
    }

    #[test]
    fn takes_turns_over_live_leaders_only_and_sees_new_partitions_at_once() {
        let mut p = Partitioner::new(routing(4, &[0, 2]), Partitioning::ByKey, 0);
        assert_eq!(turns(&mut p, 4), [0, 2, 0, 2]);
        p.replace(routing(6, &[0, 2, 5]));
        let mut seen = turns(&mut p, 3);
        seen.sort_unstable();
        assert_eq!(seen, [0, 2, 5]);
        p.replace(routing(6, &[]));
        assert!(turns(&mut p, 6).iter().all(|index| *index < 6));
    }

    #[test]
    fn stays_with_a_batch_until_it_is_sealed() {
        let mut p = Partitioner::new(routing(3, &[0, 1, 2]), Partitioning::RoundRobin, 1);
        let first = p.choose(None, Some(b"k"), |_| false).unwrap();
        assert_eq!(p.choose(None, Some(b"k"), |index| index == first).unwrap(), first);
        assert_ne!(p.choose(None, Some(b"k"), |_| false).unwrap(), first);
        // A leader that died is left, sealed or not.
        let sticky = p.choose(None, None, |_| true).unwrap();
        let rest: Vec<u32> = (0..3).filter(|index| *index != sticky.0).collect();
        p.replace(routing(3, &rest));
        assert_ne!(p.choose(None, None, |_| true).unwrap(), sticky);
    }

    #[test]
    fn a_key_goes_where_its_hash_says_live_or_not() {
        let mut p = Partitioner::new(routing(7, &[0]), Partitioning::ByKey, 0);
        let expected = partition_of(b"foobar", 7);
        for _ in 0..3 {
            assert_eq!(p.choose(None, Some(b"foobar"), |_| false).unwrap().0, expected);
        }
    }

    #[test]
    fn an_explicit_partition_exists_or_the_error_says_which_do() {
        let mut p = Partitioner::new(routing(3, &[]), Partitioning::ByKey, 0);
        assert_eq!(p.choose(Some(PartitionIndex(2)), None, |_| false).unwrap().0, 2);
        let error = p.choose(Some(PartitionIndex(3)), None, |_| false).unwrap_err();
        assert_eq!(error.code(), "UNKNOWN_PARTITION");
        assert!(error.to_string().contains("it has 0 to 2"), "{error}");
    }
}
