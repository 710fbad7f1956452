//! What SPUs that are new take over from the others, so that all carry as much.
//!
//! In turn each takes a replica from whoever carries most, in its place in the order of preference,
//! until it has its share of replicas; first such that it is preferred as the leader of its share of
//! partitions. No partition comes to stand on fewer racks, as far as it is known where the new ones
//! stand, and none moves twice. The same state gives the same plan.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, VecDeque},
};

use weir_protocol::ids::SpuId;

use super::{
    drain::{Move, Removing},
    placement::{self, Candidate, Racks},
};
use crate::store::partitions::PartitionRow;

/// Decides. `rows`: what may be moved; `candidates`: who may hold replicas, those of `added` too.
#[must_use]
pub fn plan(
    rows: &[PartitionRow],
    added: &BTreeSet<SpuId>,
    (candidates, racks): (&[Candidate], &Racks),
    removing: &Removing,
) -> Vec<Move> {
    let mut spread = Spread::of(rows, added, candidates, racks, removing);
    let mut moves = Vec::new();
    let mut takers: VecDeque<_> = added.iter().copied().collect();
    while let Some(taker) = takers.pop_front() {
        if let Some(moved) = spread.take(taker) {
            moves.push(moved);
            takers.push_back(taker);
        }
    }
    moves
}

/// What each SPU carries, with what was decided so far.
struct Spread<'a> {
    rows: Vec<(&'a PartitionRow, Vec<SpuId>)>,
    moved: Vec<bool>,
    loads: BTreeMap<SpuId, Candidate>,
    /// Of each SPU that gives: the rows that prefer it as their leader, and those that it follows.
    gives: BTreeMap<SpuId, [VecDeque<usize>; 2]>,
    racks: &'a Racks,
    removing: &'a Removing,
    /// Replicas, and partitions, for each SPU when all carry as much; rounded down.
    share: u32,
    leads: u32,
}

impl<'a> Spread<'a> {
    fn of(
        rows: &'a [PartitionRow],
        added: &BTreeSet<SpuId>,
        candidates: &[Candidate],
        racks: &'a Racks,
        removing: &'a Removing,
    ) -> Self {
        let loads: BTreeMap<_, _> = candidates.iter().map(|c| (c.spu, *c)).collect();
        let count = u32::try_from(loads.len()).unwrap_or(u32::MAX).max(1);
        let sum = |part: fn(&Candidate) -> u32| {
            loads.values().map(part).fold(0, u32::saturating_add) / count
        };
        let (share, leads) = (sum(|c| c.replicas), sum(|c| c.preferred));
        let free = rows.iter().filter(|row| row.reassignment.is_none());
        let rows: Vec<_> = free.map(|row| (row, row.holders())).collect();
        let mut gives: BTreeMap<_, [VecDeque<usize>; 2]> = BTreeMap::new();
        for (at, (_, holders)) in rows.iter().enumerate() {
            for (position, holder) in holders.iter().enumerate() {
                if loads.contains_key(holder) && !added.contains(holder) {
                    gives.entry(*holder).or_default()[usize::from(position > 0)].push_back(at);
                }
            }
        }
        let moved = vec![false; rows.len()];
        Self { rows, moved, loads, gives, racks, removing, share, leads }
    }

    /// One more for `taker`; `None`: it has its share, or nobody has too much that it could have.
    fn take(&mut self, taker: SpuId) -> Option<Move> {
        let mine = *self.loads.get(&taker)?;
        if mine.replicas >= self.share {
            return None;
        }
        let to_lead = mine.preferred < self.leads;
        let kinds = if to_lead { [0, 1] } else { [1, 0] };
        let mut givers: Vec<_> = self.gives.keys().filter_map(|spu| self.loads.get(spu)).collect();
        givers.retain(|giver| giver.replicas > self.share);
        givers.sort_by_key(|giver| {
            (Reverse(if to_lead { giver.preferred } else { giver.replicas }), giver.spu)
        });
        let givers: Vec<_> = givers.into_iter().map(|giver| giver.spu).collect();
        let found = kinds.into_iter().find_map(|kind| {
            givers.iter().find_map(|giver| {
                let rows = &self.gives.get(giver)?[kind];
                let nth = rows.iter().position(|at| self.may(*at, *giver, taker))?;
                Some((*giver, kind, nth))
            })
        });
        let (giver, kind, nth) = found?;
        let at = self.gives.get_mut(&giver)?[kind].remove(nth)?;
        self.moved[at] = true;
        self.give(giver, taker, kind == 0);
        let (row, holders) = &self.rows[at];
        let target = holders.iter().map(|spu| if *spu == giver { taker } else { *spu });
        Some((row.key, target.collect()))
    }

    fn may(&self, at: usize, giver: SpuId, taker: SpuId) -> bool {
        let (row, holders) = &self.rows[at];
        let others: Vec<_> = holders.iter().copied().filter(|other| *other != giver).collect();
        let beside = |spu| placement::beside(self.racks, &others, spu);
        !self.moved[at]
            && !holders.contains(&taker)
            && self.removing.get(&row.key).is_none_or(|removing| !removing.contains(&taker))
            && beside(taker) <= beside(giver)
    }

    fn give(&mut self, from: SpuId, to: SpuId, preferred: bool) {
        let one = u32::from(preferred);
        if let Some(gives) = self.loads.get_mut(&from) {
            gives.replicas = gives.replicas.saturating_sub(1);
            gives.preferred = gives.preferred.saturating_sub(one);
        }
        if let Some(takes) = self.loads.get_mut(&to) {
            takes.replicas += 1;
            takes.preferred += one;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use weir_protocol::ids::PartitionIndex;

    use super::*;
    use crate::plan::{isr::tests::row, placement::Rack};

    fn partition(index: u32, on: &[u32]) -> PartitionRow {
        let mut row = row(on, on, &[], 1);
        row.key.partition = PartitionIndex(index);
        row
    }

    fn loaded(rows: &[PartitionRow], spus: u32) -> Vec<Candidate> {
        let candidate = |id| {
            let spu = SpuId(id);
            let count = |which: &dyn Fn(&PartitionRow) -> bool| {
                u32::try_from(rows.iter().filter(|row| which(row)).count()).unwrap()
            };
            let replicas = count(&|row| row.is_held_by(spu));
            let preferred = count(&|row| row.holders().first() == Some(&spu));
            Candidate { spu, replicas, held: replicas, preferred }
        };
        (1..=spus).map(candidate).collect()
    }

    fn spread(rows: &[PartitionRow], added: &[u32], racks: &Racks) -> Vec<Vec<u32>> {
        let spus = 1.max(added.iter().copied().max().unwrap_or(0));
        let added = added.iter().copied().map(SpuId).collect();
        let moves = plan(rows, &added, (&loaded(rows, spus), racks), &Removing::new());
        moves.iter().map(|(_, target)| target.iter().map(|spu| spu.0).collect()).collect()
    }

    #[test]
    fn the_new_take_their_share_and_lead_theirs() {
        let rows: Vec<_> = (0..6).map(|index| partition(index, &[1])).collect();
        assert_eq!(spread(&rows, &[2, 3], &Racks::new()), [[2], [3], [2], [3]]);
        assert!(spread(&rows[..1], &[2, 3], &Racks::new()).is_empty(), "nobody has too much");
        let two: Vec<_> = (0..3).map(|index| partition(index, &[1, 2])).collect();
        // Of six replicas two, one of them preferred.
        assert_eq!(spread(&two, &[3], &Racks::new()), [[3, 2], [1, 3]]);
        assert!(spread(&two, &[], &Racks::new()).is_empty());
    }

    #[test]
    fn what_is_moving_already_and_what_stands_on_more_racks_stays() {
        let mut rows: Vec<_> = (0..4).map(|index| partition(index, &[1, 2])).collect();
        let racks: Racks =
            [(1, 0), (2, 1), (3, 1)].map(|(spu, rack)| (SpuId(spu), Rack(rack))).into();
        // Beside 2 it would stand on one rack with it: only 2's place is free.
        let moved = spread(&rows, &[3], &racks);
        assert!(!moved.is_empty() && moved.iter().all(|target| target[..] == [1, 3]), "{moved:?}");
        for row in &mut rows {
            row.reassignment = Some(crate::store::reassignments::Reassignment {
                target: vec![SpuId(1), SpuId(2)],
                original: vec![SpuId(1), SpuId(2)],
                moving: false,
            });
        }
        assert!(spread(&rows, &[3], &Racks::new()).is_empty());
    }

    proptest! {
        #[test]
        fn it_ends_even_and_nobody_holds_a_partition_twice(
            old in 1_u32..5,
            new in 1_u32..4,
            partitions in 1_u32..40,
            replication in 1_u32..4,
        ) {
            let replication = replication.min(old);
            let rows: Vec<_> = (0..partitions)
                .map(|n| partition(n, &(0..replication).map(|r| (n + r) % old + 1).collect::<Vec<_>>()))
                .collect();
            let added: BTreeSet<_> = (old + 1..=old + new).map(SpuId).collect();
            let candidates = loaded(&rows, old + new);
            let moves = plan(&rows, &added, (&candidates, &Racks::new()), &Removing::new());
            let mut after = rows.clone();
            for (key, target) in &moves {
                prop_assert_eq!(target.iter().collect::<BTreeSet<_>>().len(), target.len());
                let ids: Vec<_> = target.iter().map(|spu| spu.0).collect();
                let at = usize::try_from(key.partition.0).unwrap();
                prop_assert!(rows[at].holders() != *target);
                after[at] = partition(key.partition.0, &ids);
            }
            let loads = loaded(&after, old + new);
            let share = partitions * replication / (old + new);
            for carries in loads.iter().filter(|carries| added.contains(&carries.spu)) {
                prop_assert!(carries.replicas <= share);
                // A partition moves once, so with several copies of few partitions some remains.
                prop_assert!(replication > 1 || carries.replicas == share, "{:?}", loads);
            }
        }
    }
}
