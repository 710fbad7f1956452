//! What another number of SPUs means: which are added, which go, or why it cannot be.
//!
//! An SPU goes only when no replica is left on it. Replicas of deleted topics count: their
//! data can still come back. Those of the probe topic do not: they go with their SPU.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use weir_protocol::ids::{PartitionIndex, SpuId, TopicGenerationId};

use crate::store::partitions::Held;

/// Most topics that are named of one SPU.
const TOPICS_NAMED_MAX: usize = 20;

/// What keeps an SPU from going.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = SpuHolds)]
pub struct Blocking {
    /// Which.
    #[schema(value_type = u32)]
    pub spu_id: SpuId,
    /// What it holds, by topic.
    pub topics: Vec<BlockingTopic>,
}

/// Partitions of one topic generation on one SPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = SpuHoldsTopic)]
pub struct BlockingTopic {
    /// The topic's name.
    pub name: String,
    /// What the data belongs to.
    #[schema(value_type = String)]
    pub generation_id: TopicGenerationId,
    /// Whether the topic was deleted and not purged yet.
    pub deleted: bool,
    /// Its partitions there.
    #[schema(value_type = Vec<u32>)]
    pub partitions: Vec<PartitionIndex>,
}

/// The decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// There are as many already.
    Same,
    /// So many more.
    Up {
        /// How many.
        add: u32,
    },
    /// These go. Each of them holds nothing.
    Down {
        /// The highest ids first.
        remove: Vec<SpuId>,
    },
    /// Too few of them are empty.
    Refuse {
        /// How many more would have to be.
        lacking: u32,
        /// What each of the others holds.
        blocking: Vec<Blocking>,
    },
}

/// Decides. `spus` are those that stay so far; `held` is what each of them holds, ordered by
/// topic and partition; SPUs that hold nothing need not be named there.
#[must_use]
pub fn plan(spus: &[SpuId], held: &BTreeMap<SpuId, Vec<Held>>, wanted: u32) -> Plan {
    let have = u32::try_from(spus.len()).unwrap_or(u32::MAX);
    if wanted == have {
        return Plan::Same;
    }
    if wanted > have {
        return Plan::Up { add: wanted - have };
    }
    let go = usize::try_from(have - wanted).unwrap_or(usize::MAX);
    let holds = |spu: &SpuId| held.get(spu).is_some_and(|held| !held.is_empty());
    let mut remove: Vec<_> = spus.iter().copied().filter(|spu| !holds(spu)).collect();
    remove.sort_unstable_by(|a, b| b.cmp(a));
    if remove.len() < go {
        let lacking = u32::try_from(go - remove.len()).unwrap_or(u32::MAX);
        let mut full: Vec<_> = spus.iter().copied().filter(holds).collect();
        full.sort_unstable();
        let blocking = full.into_iter().map(|spu| blocking(spu, &held[&spu])).collect();
        return Plan::Refuse { lacking, blocking };
    }
    remove.truncate(go);
    Plan::Down { remove }
}

/// What keeps those of these SPUs from going that hold anything.
#[must_use]
pub fn in_the_way(leaving: &[SpuId], held: &BTreeMap<SpuId, Vec<Held>>) -> Vec<Blocking> {
    let holds = |spu: &SpuId| held.get(spu).filter(|held| !held.is_empty());
    leaving.iter().filter_map(|spu| Some(blocking(*spu, holds(spu)?))).collect()
}

fn blocking(spu_id: SpuId, held: &[Held]) -> Blocking {
    let mut topics: Vec<BlockingTopic> = Vec::new();
    for replica in held {
        match topics.last_mut() {
            Some(last) if last.generation_id == replica.generation => {
                last.partitions.push(replica.partition);
            }
            _ => topics.push(BlockingTopic {
                name: replica.topic.clone(),
                generation_id: replica.generation,
                deleted: replica.deleted,
                partitions: vec![replica.partition],
            }),
        }
    }
    Blocking { spu_id, topics }
}

/// In one sentence: `SPU 2 holds orders (partitions 0-3, 7); SPU 3 holds …`.
#[must_use]
pub fn told(blocking: &[Blocking]) -> String {
    let spus = blocking.iter().map(|spu| {
        let named = spu.topics.iter().take(TOPICS_NAMED_MAX).map(topic_told);
        let mut topics = named.collect::<Vec<_>>().join(", ");
        if let Some(more @ 1..) = spu.topics.len().checked_sub(TOPICS_NAMED_MAX) {
            let _ = write!(topics, " and {more} more topics");
        }
        format!("SPU {} holds {topics}", spu.spu_id)
    });
    spus.collect::<Vec<_>>().join("; ")
}

fn topic_told(topic: &BlockingTopic) -> String {
    let deleted = if topic.deleted { " (deleted, not purged)" } else { "" };
    let noun = if topic.partitions.len() == 1 { "partition" } else { "partitions" };
    format!("{}{deleted} ({noun} {})", topic.name, ranges(&topic.partitions))
}

/// `0-3, 7`.
fn ranges(sorted: &[PartitionIndex]) -> String {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for index in sorted {
        match runs.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(index.0) => *last = index.0,
            _ => runs.push((index.0, index.0)),
        }
    }
    let told = runs.iter().map(|(first, last)| match last - first {
        0 => first.to_string(),
        _ => format!("{first}-{last}"),
    });
    told.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn held(topic: u128, deleted: bool, partition: u32) -> Held {
        Held {
            generation: TopicGenerationId(Uuid::from_u128(topic)),
            topic: format!("t{topic}"),
            deleted,
            partition: PartitionIndex(partition),
        }
    }

    fn ids(ids: &[u32]) -> Vec<SpuId> {
        ids.iter().copied().map(SpuId).collect()
    }

    #[test]
    fn the_table() {
        let none = BTreeMap::new();
        let on = |spus: &[u32]| -> BTreeMap<SpuId, Vec<Held>> {
            spus.iter().map(|spu| (SpuId(*spu), vec![held(1, false, *spu)])).collect()
        };
        let down = |remove: &[u32]| Plan::Down { remove: ids(remove) };
        assert_eq!(plan(&ids(&[1, 2, 3]), &none, 3), Plan::Same);
        assert_eq!(plan(&ids(&[1, 2, 3]), &on(&[1, 2, 3]), 5), Plan::Up { add: 2 });
        assert_eq!(plan(&ids(&[1, 2, 3]), &none, 1), down(&[3, 2]));
        // The highest that is empty goes, not the highest.
        assert_eq!(plan(&ids(&[1, 2, 3]), &on(&[3]), 2), down(&[2]));
        assert_eq!(plan(&ids(&[1, 2, 3]), &on(&[1, 3]), 2), down(&[2]));
        // Nothing is changed when not all can go.
        let Plan::Refuse { lacking, blocking } = plan(&ids(&[1, 2, 3]), &on(&[1, 3]), 1) else {
            panic!("not refused")
        };
        assert_eq!(lacking, 1);
        assert_eq!(blocking.iter().map(|b| b.spu_id.0).collect::<Vec<_>>(), [1, 3]);
        // An entry without replicas is none.
        let empty = BTreeMap::from([(SpuId(2), vec![])]);
        assert_eq!(plan(&ids(&[1, 2]), &empty, 1), down(&[2]));
        assert_eq!(in_the_way(&ids(&[2, 3]), &on(&[1, 3])).len(), 1);
    }

    #[test]
    fn what_stands_in_the_way_is_told_by_topic_and_partition() {
        let mut all: Vec<_> = [0, 1, 2, 3, 7].iter().map(|p| held(1, false, *p)).collect();
        all.push(held(2, true, 5));
        let held = BTreeMap::from([(SpuId(1), all)]);
        let Plan::Refuse { blocking, .. } = plan(&ids(&[1]), &held, 0) else { panic!() };
        assert_eq!(
            told(&blocking),
            "SPU 1 holds t1 (partitions 0-3, 7), t2 (deleted, not purged) (partition 5)"
        );
        let many = (0..25).map(|topic| super::tests::held(topic, false, 0)).collect();
        let held = BTreeMap::from([(SpuId(1), many)]);
        let Plan::Refuse { blocking, .. } = plan(&ids(&[1]), &held, 0) else { panic!() };
        assert!(told(&blocking).ends_with("t19 (partition 0) and 5 more topics"));
    }

    proptest! {
        #[test]
        fn who_goes_holds_nothing_and_the_count_is_exact(
            full in proptest::collection::btree_map(1_u32..40, any::<bool>(), 0..20),
            wanted in 0_u32..40,
        ) {
            let spus: Vec<_> = full.keys().copied().map(SpuId).collect();
            let held: BTreeMap<_, _> = full
                .iter()
                .filter(|(_, full)| **full)
                .map(|(spu, _)| (SpuId(*spu), vec![held(1, false, *spu)]))
                .collect();
            let have = spus.len();
            let decided = plan(&spus, &held, wanted);
            // Asked again before anything changed, the answer is the same.
            prop_assert_eq!(&decided, &plan(&spus, &held, wanted));
            match decided {
                Plan::Same => prop_assert_eq!(have, wanted as usize),
                Plan::Up { add } => prop_assert_eq!(have + add as usize, wanted as usize),
                Plan::Down { remove } => {
                    prop_assert!(remove.iter().all(|spu| !held.contains_key(spu)));
                    prop_assert!(remove.iter().all(|spu| spus.contains(spu)));
                    prop_assert_eq!(have - remove.len(), wanted as usize);
                    // Done, there is nothing more to do.
                    let left: Vec<_> =
                        spus.iter().copied().filter(|spu| !remove.contains(spu)).collect();
                    prop_assert_eq!(plan(&left, &held, wanted), Plan::Same);
                }
                Plan::Refuse { lacking, blocking } => {
                    prop_assert!(lacking > 0);
                    prop_assert_eq!(blocking.len(), held.len());
                    prop_assert!(have - held.len() + (lacking as usize) + (wanted as usize) == have);
                }
            }
        }
    }
}
