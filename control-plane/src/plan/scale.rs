//! What another number of SPUs means: which are added, which go, or why it cannot be.
//!
//! An SPU goes only when no replica is left on it, so what one holds that is to go is moved first
//! (`plan::drain`). Replicas of deleted topics stand in the way: their data can still come back,
//! and nobody can fetch it. Those of the probe topic do not: they go with their SPU. Nor do those
//! of the offsets topic that another SPU is in sync with and stays: it has what they have, unless
//! they are just being moved.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use weir_protocol::ids::{PartitionIndex, PartitionKey, SpuId, TopicGenerationId};

use crate::store::partitions::{Held, PartitionRow};

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
    /// There are as many already, or will be.
    Same,
    /// So many more.
    Up {
        /// Those that were about to go and stay after all, the lowest ids first.
        keep: Vec<SpuId>,
        /// How many are new.
        add: u32,
    },
    /// These go, once what they hold was moved.
    Down {
        /// The highest ids first.
        remove: Vec<SpuId>,
    },
    /// Too few of them can be emptied.
    Refuse {
        /// How many more would have to be.
        lacking: u32,
        /// What cannot be moved off each of the others.
        blocking: Vec<Blocking>,
    },
}

/// What the SPUs of a cluster hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// What each of them holds or is to hold, without the probe topic, ordered by topic and partition; SPUs that
    /// hold nothing need not be named.
    pub held: BTreeMap<SpuId, Vec<Held>>,
    /// Partitions of the offsets topic.
    pub offsets: Vec<PartitionRow>,
}

impl Holdings {
    /// What keeps `spu` from going together with `others`.
    fn in_the_way(&self, spu: SpuId, others: &BTreeSet<SpuId>) -> Vec<&Held> {
        let goes = |other: SpuId| other == spu || others.contains(&other);
        let kept = |held: &Held| {
            self.offsets.iter().any(|row| {
                row.key.generation == held.generation
                    && row.key.partition == held.partition
                    && row.reassignment.is_none()
                    && row.isr().into_iter().any(|member| !goes(member))
            })
        };
        self.held.get(&spu).into_iter().flatten().filter(|held| !kept(held)).collect()
    }

    /// What of that cannot be moved: nobody serves it.
    fn stuck(&self, spu: SpuId, others: &BTreeSet<SpuId>) -> Vec<&Held> {
        let mut held = self.in_the_way(spu, others);
        held.retain(|held| held.deleted);
        held
    }
}

/// Decides. `spus` are those that stay so far, `leaving` those that are about to go. Who holds
/// nothing goes first, of those the highest ids; then whoever can be emptied, likewise.
#[must_use]
pub fn plan(spus: &[SpuId], leaving: &[SpuId], holdings: &Holdings, wanted: u32) -> Plan {
    let have = u32::try_from(spus.len()).unwrap_or(u32::MAX);
    if wanted == have {
        return Plan::Same;
    }
    if wanted > have {
        let more = usize::try_from(wanted - have).unwrap_or(usize::MAX);
        let mut keep = leaving.to_vec();
        keep.sort_unstable();
        keep.truncate(more);
        let kept = u32::try_from(keep.len()).unwrap_or(u32::MAX);
        return Plan::Up { keep, add: (wanted - have).saturating_sub(kept) };
    }
    let go = usize::try_from(have - wanted).unwrap_or(usize::MAX);
    let mut highest_first = spus.to_vec();
    highest_first.sort_unstable_by(|a, b| b.cmp(a));
    let mut remove: BTreeSet<SpuId> = leaving.iter().copied().collect();
    let go = go.saturating_add(remove.len());
    for goes in [Holdings::in_the_way, Holdings::stuck] {
        for spu in &highest_first {
            if remove.len() < go && goes(holdings, *spu, &remove).is_empty() {
                remove.insert(*spu);
            }
        }
    }
    if remove.len() < go {
        let lacking = u32::try_from(go - remove.len()).unwrap_or(u32::MAX);
        let mut stay: Vec<_> = spus.iter().copied().filter(|spu| !remove.contains(spu)).collect();
        stay.sort_unstable();
        let stuck = stay.iter().map(|spu| (*spu, holdings.stuck(*spu, &remove)));
        return Plan::Refuse { lacking, blocking: told_of(stuck) };
    }
    remove.retain(|spu| !leaving.contains(spu));
    Plan::Down { remove: remove.into_iter().rev().collect() }
}

/// What keeps SPUs from going, by generation and partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InTheWay {
    /// What others can hold instead.
    pub movable: BTreeSet<PartitionKey>,
    /// What is of deleted topics.
    pub deleted: BTreeSet<PartitionKey>,
}

/// What keeps `leaving` from going, all of them together.
#[must_use]
pub fn partitions_in_the_way(leaving: &[SpuId], holdings: &Holdings) -> InTheWay {
    let all = leaving.iter().copied().collect();
    let mut found = InTheWay::default();
    for held in leaving.iter().flat_map(|spu| holdings.in_the_way(*spu, &all)) {
        let kind = if held.deleted { &mut found.deleted } else { &mut found.movable };
        kind.insert(held.key());
    }
    found
}

/// What keeps those of these SPUs from going that hold anything.
#[must_use]
pub fn in_the_way(leaving: &[SpuId], holdings: &Holdings) -> Vec<Blocking> {
    blocking(leaving, holdings, &leaving.iter().copied().collect())
}

/// What keeps each of `spus` from going together with `others`, where anything does.
fn blocking(spus: &[SpuId], holdings: &Holdings, others: &BTreeSet<SpuId>) -> Vec<Blocking> {
    told_of(spus.iter().map(|spu| (*spu, holdings.in_the_way(*spu, others))))
}

fn told_of<'a>(held: impl Iterator<Item = (SpuId, Vec<&'a Held>)>) -> Vec<Blocking> {
    held.filter(|(_, held)| !held.is_empty()).map(|(spu, held)| by_topic(spu, &held)).collect()
}

/// These partitions, as what keeps their SPUs from going.
#[must_use]
pub fn blocking_only(
    leaving: &[SpuId],
    holdings: &Holdings,
    partitions: &BTreeSet<PartitionKey>,
) -> Vec<Blocking> {
    let all = leaving.iter().copied().collect();
    told_of(leaving.iter().map(|spu| {
        let mut held = holdings.in_the_way(*spu, &all);
        held.retain(|held| partitions.contains(&held.key()));
        (*spu, held)
    }))
}

fn by_topic(spu_id: SpuId, held: &[&Held]) -> Blocking {
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
    use weir_protocol::ids::{Incarnation, LeaderEpoch, PartitionEpoch, PartitionKey};

    use super::*;
    use crate::store::partitions::ReplicaRow;

    fn held(topic: u128, deleted: bool, partition: u32) -> Held {
        Held {
            generation: TopicGenerationId(Uuid::from_u128(topic)),
            topic: format!("t{topic}"),
            deleted,
            partition: PartitionIndex(partition),
        }
    }

    fn users(held: &BTreeMap<SpuId, Vec<Held>>) -> Holdings {
        Holdings { held: held.clone(), offsets: Vec::new() }
    }

    /// One partition of the offsets topic on these SPUs, and who of them is in sync.
    fn offsets(on: &[u32], in_sync: &[u32]) -> Holdings {
        let held = on.iter().map(|spu| (SpuId(*spu), vec![held(9, false, 0)])).collect();
        let replica = |spu: &u32| ReplicaRow {
            spu: SpuId(*spu),
            in_isr: in_sync.contains(spu),
            eligible: !in_sync.contains(spu),
        };
        let row = PartitionRow {
            key: PartitionKey {
                generation: TopicGenerationId(Uuid::from_u128(9)),
                partition: PartitionIndex(0),
            },
            label: String::new(),
            leader: Some(SpuId(in_sync[0])),
            leader_incarnation: Incarnation(1),
            leader_epoch: LeaderEpoch(1),
            partition_epoch: PartitionEpoch(1),
            unclean_leader_epoch: LeaderEpoch(0),
            recovering: false,
            min_insync: 2,
            unclean_election: false,
            flush_interval: false,
            replicas: on.iter().map(replica).collect(),
            reassignment: None,
        };
        Holdings { held, offsets: vec![row] }
    }

    #[test]
    fn the_offsets_stay_with_one_that_is_in_sync() {
        let down = |remove: &[u32]| Plan::Down { remove: ids(remove) };
        let spus = ids(&[1, 2, 3]);
        let all = offsets(&[1, 2, 3], &[1, 2, 3]);
        assert_eq!(plan(&spus, &[], &all, 1), down(&[3, 2]));
        assert!(in_the_way(&ids(&[2, 3]), &all).is_empty());
        // The one in sync stays, whichever it is.
        assert_eq!(plan(&spus, &[], &offsets(&[1, 2, 3], &[3]), 1), down(&[2, 1]));
        assert_eq!(plan(&spus, &[], &offsets(&[2, 3], &[2, 3]), 1), down(&[3, 1]));
        assert_eq!(plan(&spus, &[], &offsets(&[1], &[1]), 1), down(&[3, 2]));
        // Eligible is not enough.
        let one = offsets(&[1, 2], &[2]);
        assert_eq!(in_the_way(&ids(&[2]), &one).len(), 1);
        assert_eq!(in_the_way(&ids(&[1, 2]), &one).len(), 2);
        assert_eq!(partitions_in_the_way(&ids(&[1, 2]), &one).movable.len(), 1);
        // Nobody takes away what is on its way.
        let mut moves = offsets(&[1, 2, 3], &[1, 2, 3]);
        moves.offsets[0].reassignment = Some(crate::store::reassignments::Reassignment {
            target: ids(&[1, 2, 3]),
            original: ids(&[1, 2]),
            moving: true,
        });
        assert_eq!(in_the_way(&ids(&[3]), &moves).len(), 1);
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
        let up = |keep: &[u32], add| Plan::Up { keep: ids(keep), add };
        let plan = |spus: &[SpuId], held: &BTreeMap<SpuId, Vec<Held>>, wanted| {
            super::plan(spus, &[], &users(held), wanted)
        };
        assert_eq!(plan(&ids(&[1, 2, 3]), &none, 3), Plan::Same);
        assert_eq!(plan(&ids(&[1, 2, 3]), &on(&[1, 2, 3]), 5), up(&[], 2));
        let all = ids(&[1, 2, 3]);
        assert_eq!(super::plan(&all, &ids(&[5, 4]), &users(&none), 4), up(&[4], 0));
        assert_eq!(super::plan(&all, &ids(&[5, 4]), &users(&none), 6), up(&[4, 5], 1));
        assert_eq!(plan(&ids(&[1, 2, 3]), &none, 1), down(&[3, 2]));
        // The highest that is empty goes, not the highest.
        assert_eq!(plan(&ids(&[1, 2, 3]), &on(&[3]), 2), down(&[2]));
        assert_eq!(plan(&ids(&[1, 2, 3]), &on(&[1, 3]), 2), down(&[2]));
        // Then who can be emptied, the highest first.
        assert_eq!(plan(&ids(&[1, 2, 3]), &on(&[1, 3]), 1), down(&[3, 2]));
        assert_eq!(plan(&ids(&[1, 2, 3]), &on(&[1, 2, 3]), 1), down(&[3, 2]));
        // Who is about to go anyway is not counted twice, and nobody else goes for it.
        let four = super::plan(&all, &ids(&[4]), &users(&on(&[1, 2, 3, 4])), 2);
        assert_eq!(four, down(&[3]));
        // Nothing is changed when not all can go: what was deleted cannot be moved.
        let mut stuck = on(&[1, 3]);
        for (spu, held) in &mut stuck {
            held.push(self::held(2, true, spu.0));
        }
        let Plan::Refuse { lacking, blocking } = plan(&ids(&[1, 2, 3]), &stuck, 1) else {
            panic!("not refused")
        };
        assert_eq!(lacking, 1);
        assert_eq!(blocking.iter().map(|b| b.spu_id.0).collect::<Vec<_>>(), [1, 3]);
        assert!(blocking.iter().all(|b| b.topics.len() == 1 && b.topics[0].deleted));
        let all = users(&stuck);
        assert_eq!(
            partitions_in_the_way(&ids(&[3]), &all).movable,
            [stuck[&SpuId(3)][0].key()].into()
        );
        // An entry without replicas is none.
        let empty = BTreeMap::from([(SpuId(2), vec![])]);
        assert_eq!(plan(&ids(&[1, 2]), &empty, 1), down(&[2]));
        assert_eq!(in_the_way(&ids(&[2, 3]), &users(&on(&[1, 3]))).len(), 1);
    }

    #[test]
    fn what_stands_in_the_way_is_told_by_topic_and_partition() {
        let mut all: Vec<_> = [0, 1, 2, 3, 7].iter().map(|p| held(1, false, *p)).collect();
        all.push(held(2, true, 5));
        let held = BTreeMap::from([(SpuId(1), all)]);
        let blocking = in_the_way(&ids(&[1]), &users(&held));
        assert_eq!(
            told(&blocking),
            "SPU 1 holds t1 (partitions 0-3, 7), t2 (deleted, not purged) (partition 5)"
        );
        let many = (0..25).map(|topic| super::tests::held(topic, false, 0)).collect();
        let held = BTreeMap::from([(SpuId(1), many)]);
        let blocking = in_the_way(&ids(&[1]), &users(&held));
        assert!(told(&blocking).ends_with("t19 (partition 0) and 5 more topics"));
    }

    proptest! {
        #[test]
        fn who_goes_can_be_emptied_and_the_count_is_exact(
            full in proptest::collection::btree_map(1_u32..40, proptest::option::of(any::<bool>()), 0..20),
            wanted in 0_u32..40,
        ) {
            let spus: Vec<_> = full.keys().copied().map(SpuId).collect();
            let held: BTreeMap<_, _> = full
                .iter()
                .filter_map(|(spu, holds)| Some((SpuId(*spu), vec![held(1, (*holds)?, *spu)])))
                .collect();
            let stuck = full.values().filter(|holds| **holds == Some(true)).count();
            let have = spus.len();
            let holdings = users(&held);
            let decided = plan(&spus, &[], &holdings, wanted);
            // Asked again before anything changed, the answer is the same.
            prop_assert_eq!(&decided, &plan(&spus, &[], &holdings, wanted));
            match decided {
                Plan::Same => prop_assert_eq!(have, wanted as usize),
                Plan::Up { keep, add } => {
                    prop_assert!(keep.is_empty());
                    prop_assert_eq!(have + add as usize, wanted as usize);
                }
                Plan::Down { remove } => {
                    prop_assert!(remove.iter().all(|spu| full[&spu.0] != Some(true)));
                    prop_assert_eq!(have - remove.len(), wanted as usize);
                    // No one goes that holds something while one stays that does not.
                    let left: Vec<_> =
                        spus.iter().copied().filter(|spu| !remove.contains(spu)).collect();
                    prop_assert!(
                        remove.iter().all(|spu| full[&spu.0].is_none())
                            || left.iter().all(|spu| full[&spu.0].is_some())
                    );
                    // Ordered, there is nothing more to do.
                    prop_assert_eq!(plan(&left, &remove, &holdings, wanted), Plan::Same);
                    let moved = partitions_in_the_way(&remove, &holdings).movable;
                    prop_assert_eq!(
                        moved.len(),
                        remove.iter().filter(|spu| held.contains_key(spu)).count()
                    );
                }
                Plan::Refuse { lacking, blocking } => {
                    prop_assert_eq!(blocking.len(), stuck);
                    prop_assert_eq!(stuck, lacking as usize + wanted as usize);
                }
            }
        }
    }
}
