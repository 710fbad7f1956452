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
    /// Counts choices in turn: where looking for the next one begins.
    turn: usize,
    /// Who takes turns, and the bytes that each was given since they last changed.
    given_bytes: Vec<(PartitionIndex, u64)>,
    /// Where records without a key go until their batch is sealed: a place in `given_bytes`.
    sticky: Option<usize>,
}

impl Partitioner {
    /// `turn` is where taking turns begins: drawn, so that many producers do not all begin at
    /// the same partition.
    pub(crate) fn new(routing: Routing, partitioning: Partitioning, turn: usize) -> Self {
        let given_bytes = none_given(&routing);
        Self { routing, partitioning, turn, sticky: None, given_bytes }
    }

    /// Takes over what changed. Later choices see it at once.
    pub(crate) fn replace(&mut self, routing: Routing) {
        let none_given = none_given(&routing);
        if !self.given_bytes.iter().map(|(index, _)| index).eq(none_given.iter().map(|(i, _)| i)) {
            // From even: a partition that is new, or led again, is not made to catch up.
            self.given_bytes = none_given;
            self.sticky = None;
        }
        self.routing = routing;
    }

    /// The partition of a record of so many bytes. `goes_on` says whether the record fits a batch
    /// that the partition has already.
    pub(crate) fn choose(
        &mut self,
        explicit: Option<PartitionIndex>,
        key: Option<&[u8]>,
        bytes: u32,
        mut goes_on: impl FnMut(PartitionIndex) -> bool,
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
            _ => Ok(self.in_turn(bytes, &mut goes_on)),
        }
    }

    /// A batch at a time, each to whoever was given the fewest bytes. Batches differ in size,
    /// since those of a partition that may not send yet collect more: by mere turns, some
    /// partitions would get all the large ones (what KIP-794 is about).
    fn in_turn(
        &mut self,
        bytes: u32,
        goes_on: &mut impl FnMut(PartitionIndex) -> bool,
    ) -> PartitionIndex {
        let count = self.given_bytes.len();
        let place =
            self.sticky.filter(|at| goes_on(self.given_bytes[*at].0)).unwrap_or_else(|| {
                let turn = self.turn;
                self.turn = turn.wrapping_add(1);
                // Of equals, the first from the turn on.
                let places = (0..count).map(|n| turn.wrapping_add(n) % count);
                places.min_by_key(|at| self.given_bytes[*at].1).unwrap_or_default()
            });
        self.sticky = Some(place);
        // The caller saw to it that there is a partition, and then `given_bytes` has one too.
        let (index, given_bytes) = &mut self.given_bytes[place];
        *given_bytes += u64::from(bytes);
        *index
    }
}

/// Those with a live leader; if nobody leads, any will do, and their records wait for a leader.
fn none_given(routing: &Routing) -> Vec<(PartitionIndex, u64)> {
    if routing.live.is_empty() {
        (0..routing.partitions).map(|index| (PartitionIndex(index), 0)).collect()
    } else {
        routing.live.iter().map(|index| (*index, 0)).collect()
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
        (0..n).map(|_| partitioner.choose(None, None, 100, |_| false).unwrap().0).collect()
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
        let first = p.choose(None, Some(b"k"), 100, |_| false).unwrap();
        assert_eq!(p.choose(None, Some(b"k"), 100, |index| index == first).unwrap(), first);
        assert_ne!(p.choose(None, Some(b"k"), 100, |_| false).unwrap(), first);
        // A leader that died is left, sealed or not.
        let sticky = p.choose(None, None, 100, |_| true).unwrap();
        let rest: Vec<u32> = (0..3).filter(|index| *index != sticky.0).collect();
        p.replace(routing(3, &rest));
        assert_ne!(p.choose(None, None, 100, |_| true).unwrap(), sticky);
    }

    #[test]
    fn bytes_come_out_even_however_large_the_batches_get() {
        let mut p = Partitioner::new(routing(3, &[0, 1, 2]), Partitioning::ByKey, 0);
        let mut given = [0_u64; 3];
        // Partition 0 never may send at once: its batches take 50 records, those of others 1.
        for batch in 0..3_000 {
            let first = p.choose(None, None, 100, |_| false).unwrap();
            given[first.0 as usize] += 100;
            let more = if first.0 == 0 { 49 } else { batch % 3 };
            for _ in 0..more {
                assert_eq!(p.choose(None, None, 100, |_| true).unwrap(), first);
                given[first.0 as usize] += 100;
            }
        }
        let (least, most) = (given.iter().min().unwrap(), given.iter().max().unwrap());
        assert!(most - least <= 5_000, "no more than a batch apart: {given:?}");
        // One that is new does not get everything until it has caught up.
        p.replace(routing(4, &[0, 1, 2, 3]));
        let seen = turns(&mut p, 40);
        assert_eq!(seen.iter().filter(|index| **index == 3).count(), 10);
    }

    #[test]
    fn a_key_goes_where_its_hash_says_live_or_not() {
        let mut p = Partitioner::new(routing(7, &[0]), Partitioning::ByKey, 0);
        let expected = partition_of(b"foobar", 7);
        for _ in 0..3 {
            assert_eq!(p.choose(None, Some(b"foobar"), 100, |_| false).unwrap().0, expected);
        }
    }

    #[test]
    fn an_explicit_partition_exists_or_the_error_says_which_do() {
        let mut p = Partitioner::new(routing(3, &[]), Partitioning::ByKey, 0);
        assert_eq!(p.choose(Some(PartitionIndex(2)), None, 100, |_| false).unwrap().0, 2);
        let error = p.choose(Some(PartitionIndex(3)), None, 100, |_| false).unwrap_err();
        assert_eq!(error.code(), "UNKNOWN_PARTITION");
        assert!(error.to_string().contains("it has 0 to 2"), "{error}");
    }
}
