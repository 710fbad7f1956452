//! Who leads a partition.
//!
//! Replication is single: a partition's one replica leads it or nobody does. So a leader
//! that is offline is not deposed, for there is nobody else whose log is as long. What is
//! left to decide is the epoch: a leader epoch belongs to one (SPU, incarnation), and a new
//! incarnation never leads in an old one. A partition whose replica had not registered when
//! it was created has no leader until it does.

use weir_protocol::ids::{Incarnation, LeaderEpoch, PartitionEpoch, PartitionKey, SpuId};

/// A partition's leadership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leadership {
    /// Which partition.
    pub key: PartitionKey,
    /// Who leads, if anybody.
    pub leader: Option<SpuId>,
    /// Who may lead: the in-sync replicas, in the order of preference.
    pub candidates: Vec<SpuId>,
    /// The leader's life that the epoch was given to; 0: none yet.
    pub leader_incarnation: Incarnation,
    /// Version of the leadership.
    pub leader_epoch: LeaderEpoch,
    /// Version of leader, in-sync replicas and replicas together.
    pub partition_epoch: PartitionEpoch,
}

/// The new leaderships when `spu` begins another life, each with the partition epoch that it
/// was decided on; partitions that need none are left out. To be stored in the transaction
/// that gives out the incarnation.
#[must_use]
pub fn on_new_incarnation(
    partitions: &[Leadership],
    spu: SpuId,
    incarnation: Incarnation,
) -> Vec<(PartitionEpoch, Leadership)> {
    partitions
        .iter()
        .filter(|p| match p.leader {
            Some(leader) => leader == spu && p.leader_incarnation < incarnation,
            None => p.candidates.contains(&spu),
        })
        .map(|p| {
            let next = Leadership {
                leader: Some(spu),
                leader_incarnation: incarnation,
                leader_epoch: p.leader_epoch.next(),
                partition_epoch: p.partition_epoch.next(),
                ..p.clone()
            };
            (p.partition_epoch, next)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;
    use weir_protocol::ids::{PartitionIndex, TopicGenerationId};

    use super::*;

    fn partition(
        index: u32,
        leader: impl Into<Option<u32>>,
        incarnation: u64,
        epoch: u32,
    ) -> Leadership {
        Leadership {
            key: PartitionKey {
                generation: TopicGenerationId(Uuid::from_u128(1)),
                partition: PartitionIndex(index),
            },
            leader: leader.into().map(SpuId),
            candidates: vec![SpuId(1)],
            leader_incarnation: Incarnation(incarnation),
            leader_epoch: LeaderEpoch(epoch),
            partition_epoch: PartitionEpoch(epoch + 10),
        }
    }

    #[test]
    fn only_the_partitions_of_the_reborn_leader_get_a_new_epoch() {
        let before = [partition(0, 1, 3, 5), partition(1, 2, 3, 5), partition(2, 1, 0, 1)];
        let after = on_new_incarnation(&before, SpuId(1), Incarnation(4));
        assert_eq!(after.len(), 2);
        for (old, (decided_on, new)) in [(&before[0], &after[0]), (&before[2], &after[1])] {
            assert_eq!(*decided_on, old.partition_epoch);
            assert_eq!(new.key, old.key);
            assert_eq!(new.leader_incarnation, Incarnation(4));
            assert_eq!(new.leader_epoch, old.leader_epoch.next());
            assert_eq!(new.partition_epoch, old.partition_epoch.next());
        }
    }

    #[test]
    fn a_partition_without_a_leader_is_led_by_who_may() {
        let before = [partition(0, None, 0, 0)];
        let after = on_new_incarnation(&before, SpuId(1), Incarnation(1));
        assert_eq!(after[0].1.leader, Some(SpuId(1)));
        assert_eq!(after[0].1.leader_epoch, LeaderEpoch(1));
        assert!(on_new_incarnation(&before, SpuId(2), Incarnation(1)).is_empty());
    }

    #[test]
    fn repeating_it_changes_nothing() {
        let once = on_new_incarnation(&[partition(0, 1, 3, 5)], SpuId(1), Incarnation(4));
        let stored: Vec<_> = once.into_iter().map(|(_, new)| new).collect();
        assert!(on_new_incarnation(&stored, SpuId(1), Incarnation(4)).is_empty());
    }
}
