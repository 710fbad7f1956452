//! What is known of a consumer, laid out over the partitions that a reader of its name would
//! read.

use std::collections::BTreeMap;

use weir_protocol::ids::{LeaderEpoch, PartitionIndex, PartitionKey, TopicGenerationId};

use super::{coordinator::Held, ends::Led};
use crate::store::{
    DbResult, Scoped,
    clusters::ClusterRow,
    consumer_offsets::Committed,
    partitions::{self, PartitionRow},
    topics::{self, TopicRow},
    types::TopicState,
};

/// A partition, and what a consumer has committed for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    /// Its generation.
    pub topic: TopicRow,
    /// Who leads it.
    pub led: Led,
    /// Without an offset where nothing is committed.
    pub committed: Committed,
}

/// Generations with their partitions, looked up once each.
#[derive(Default)]
pub(super) struct Generations(BTreeMap<TopicGenerationId, Option<(TopicRow, Vec<PartitionRow>)>>);

impl Generations {
    /// Looks up those of `held` that are not known here yet.
    pub(super) async fn load(
        &mut self,
        org: &mut Scoped<'_>,
        cluster: &ClusterRow,
        held: &Held,
    ) -> DbResult<()> {
        for PartitionKey { generation, .. } in held.keys() {
            if self.0.contains_key(generation) {
                continue;
            }
            let found = match topics::by_id(org, cluster.id, *generation).await? {
                Some(topic) => {
                    let of = partitions::of_generation(org, cluster.id, *generation).await?;
                    Some((topic, of))
                }
                None => None,
            };
            self.0.insert(*generation, found);
        }
        Ok(())
    }

    /// By topic, generation and index: of a topic that is there every partition, if anything is
    /// known of one; of a deleted topic those that something is known of; of one that is being
    /// purged nothing.
    pub(super) fn lay_out(&self, held: &Held) -> Vec<Placed> {
        let mut placed = Vec::new();
        let mut generations: Vec<_> = held.keys().map(|key| key.generation).collect();
        generations.dedup();
        for id in generations {
            let Some(Some((topic, rows))) = self.0.get(&id) else { continue };
            let rows: BTreeMap<_, _> = rows.iter().map(|row| (row.key, row)).collect();
            let index = |index| PartitionKey { generation: id, partition: PartitionIndex(index) };
            let known = held.range(index(0)..=index(u32::MAX)).map(|(key, _)| key);
            let mut keys: Vec<_> = match topic.state {
                TopicState::Active => known.chain(rows.keys()).copied().collect(),
                TopicState::Tombstone => known.copied().collect(),
                TopicState::Purging => continue,
            };
            keys.sort_unstable();
            keys.dedup();
            placed.extend(keys.into_iter().map(|key| {
                let row = rows.get(&key);
                let epoch = row.map_or(LeaderEpoch(0), |row| row.leader_epoch);
                Placed {
                    topic: topic.clone(),
                    led: Led { key, leader: row.and_then(|row| row.leader), epoch },
                    committed: held.get(&key).cloned().unwrap_or_default(),
                }
            }));
        }
        placed.sort_by(|a, b| {
            let of = |p: &Placed| (p.topic.number, p.led.key.partition);
            a.topic.name.cmp(&b.topic.name).then_with(|| of(a).cmp(&of(b)))
        });
        placed
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;
    use weir_protocol::{
        ids::{GenerationNumber, Incarnation, Offset, PartitionEpoch, SpuId},
        topic_config::TopicConfig,
    };

    use super::*;

    const fn key(generation: u128, index: u32) -> PartitionKey {
        let generation = TopicGenerationId(Uuid::from_u128(generation));
        PartitionKey { generation, partition: PartitionIndex(index) }
    }

    /// A generation of three partitions.
    fn generation(id: u128, name: &str, number: u32, state: TopicState) -> Generations {
        let topic = TopicRow {
            generation: key(id, 0).generation,
            name: name.to_owned(),
            number: GenerationNumber(number),
            state,
            internal: false,
            replication: 1,
            min_insync: None,
            config: TopicConfig::default(),
            created_at_unix_ms: 0,
            deleted_at_unix_ms: None,
        };
        let partition = |index| PartitionRow {
            key: key(id, index),
            label: String::new(),
            leader: Some(SpuId(index + 1)),
            leader_incarnation: Incarnation(1),
            leader_epoch: LeaderEpoch(4),
            partition_epoch: PartitionEpoch(1),
            unclean_leader_epoch: LeaderEpoch(0),
            recovering: false,
            min_insync: 1,
            unclean_election: false,
            flush_interval: false,
            replicas: Vec::new(),
            reassignment: None,
        };
        let rows = (0..3).map(partition).collect();
        Generations([(topic.generation, Some((topic, rows)))].into())
    }

    fn held(of: &[(u128, u32, Option<u64>)]) -> Held {
        let committed =
            |next: Option<u64>| Committed { next_offset: next.map(Offset), ..Committed::default() };
        of.iter().map(|(id, index, next)| (key(*id, *index), committed(*next))).collect()
    }

    /// Topic, generation number, partition, next offset.
    fn brief(placed: &[Placed]) -> Vec<(&str, u32, u32, Option<u64>)> {
        let of = |it: &Placed| it.committed.next_offset.map(Offset::get);
        let placed = placed.iter();
        placed
            .map(|it| (&*it.topic.name, it.topic.number.get(), it.led.key.partition.get(), of(it)))
            .collect()
    }

    #[test]
    fn a_topic_that_is_there_is_whole_a_deleted_one_is_what_was_read_and_a_purged_one_is_gone() {
        use TopicState::{Active, Purging, Tombstone};
        let mut known = generation(9, "a", 2, Active);
        known.0.extend(generation(1, "b", 1, Active).0);
        known.0.extend(generation(5, "a", 1, Tombstone).0);
        known.0.extend(generation(6, "c", 1, Purging).0);
        known.0.extend(generation(7, "d", 1, Active).0);
        known.0.insert(key(8, 0).generation, None);
        let held = held(&[
            (1, 2, None),
            (5, 1, Some(72)),
            (6, 0, Some(1)),
            (8, 0, Some(1)),
            (9, 0, Some(3)),
            // Of a partition that the database does not know.
            (9, 7, Some(4)),
        ]);
        let placed = known.lay_out(&held);
        assert_eq!(
            brief(&placed),
            [
                ("a", 1, 1, Some(72)),
                ("a", 2, 0, Some(3)),
                ("a", 2, 1, None),
                ("a", 2, 2, None),
                ("a", 2, 7, Some(4)),
                ("b", 1, 0, None),
                ("b", 1, 1, None),
                ("b", 1, 2, None),
            ]
        );
        assert_eq!((placed[2].led.leader, placed[2].led.epoch), (Some(SpuId(2)), LeaderEpoch(4)));
        assert_eq!(placed[4].led.leader, None);
    }
}
