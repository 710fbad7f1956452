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
