//! What SPUs that are new take over from the others, so that all carry as much.
//!
//! Each takes replicas from whoever carries most, in their place in the order of preference, until
//! it has its share of replicas; first such that it is preferred as the leader of its share of
//! partitions. No partition comes to stand on fewer racks, and none moves twice. The same state
//! gives the same plan.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use weir_protocol::ids::SpuId;

use super::{
    drain::{Move, Removing},
    placement::{self, Candidate, Racks},
};
use crate::store::partitions::PartitionRow;

/// Most partitions that one order moves: whoever wants more orders it again.
const MOVES_MAX: usize = 1_000;

/// What each SPU carries, with what was decided so far.
struct Loads {
    by_spu: BTreeMap<SpuId, Candidate>,
    /// Replicas, and partitions, for each SPU when all carry as much; rounded down.
    share: u32,
    leads: u32,
}

/// Decides. `rows`: what may be moved; `candidates`: who may hold replicas, those of `added` too.
#[must_use]
pub fn plan(
    rows: &[PartitionRow],
    added: &BTreeSet<SpuId>,
    (candidates, racks): (&[Candidate], &Racks),
    removing: &Removing,
) -> Vec<Move> {
    let mut loads = Loads::of(candidates);
    let mut rows: Vec<_> = rows.iter().filter(|row| row.reassignment.is_none()).collect();
    let mut moves = Vec::new();
    for spu in added.iter().filter(|spu| candidates.iter().any(|c| c.spu == **spu)) {
        while moves.len() < MOVES_MAX {
            let Some((at, position)) = loads.best(&rows, *spu, added, racks, removing) else {
                break;
            };
            let row = rows.remove(at);
            let mut target = row.holders();
            loads.give(target[position], *spu, position == 0);
            target[position] = *spu;
            moves.push((row.key, target));
        }
    }
    moves
}

impl Loads {
    fn of(candidates: &[Candidate]) -> Self {
        let by_spu: BTreeMap<_, _> = candidates.iter().map(|c| (c.spu, *c)).collect();
        let count = u32::try_from(by_spu.len()).unwrap_or(u32::MAX).max(1);
        let sum = |part: fn(&Candidate) -> u32| {
            by_spu.values().map(part).fold(0, u32::saturating_add) / count
        };
        Self { share: sum(|c| c.replicas), leads: sum(|c| c.preferred), by_spu }
    }

    /// Which replica `spu` takes next: of which of `rows`, in which place.
    fn best(
        &self,
        rows: &[&PartitionRow],
        spu: SpuId,
        added: &BTreeSet<SpuId>,
        racks: &Racks,
        removing: &Removing,
    ) -> Option<(usize, usize)> {
        let mine = self.by_spu.get(&spu)?;
        if mine.replicas >= self.share {
            return None;
        }
        let to_lead = mine.preferred < self.leads;
        let places = rows.iter().enumerate().flat_map(|(at, row)| {
            let holders = row.holders();
            let free = !holders.contains(&spu)
                && removing.get(&row.key).is_none_or(|removing| !removing.contains(&spu));
            let places = holders.clone().into_iter().enumerate().filter(move |_| free);
            places.map(move |(position, holder)| (at, position, holder, holders.clone()))
        });
        let may = places.filter(|(_, _, holder, holders)| {
            let others: Vec<_> = holders.iter().copied().filter(|other| other != holder).collect();
            let carries = self.by_spu.get(holder);
            !added.contains(holder)
                && carries.is_some_and(|carries| carries.replicas > self.share)
                && placement::beside(racks, &others, spu)
                    <= placement::beside(racks, &others, *holder)
        });
        let best = may.min_by_key(|(at, position, holder, _)| {
            let carries = self.by_spu.get(holder);
            let most = carries.map(|c| if to_lead { c.preferred } else { c.replicas });
            (to_lead != (*position == 0), Reverse(most), *at, *position)
        });
        best.map(|(at, position, ..)| (at, position))
    }

    fn give(&mut self, from: SpuId, to: SpuId, preferred: bool) {
        let one = u32::from(preferred);
        if let Some(gives) = self.by_spu.get_mut(&from) {
            gives.replicas = gives.replicas.saturating_sub(1);
            gives.preferred = gives.preferred.saturating_sub(one);
        }
        if let Some(takes) = self.by_spu.get_mut(&to) {
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
        assert_eq!(spread(&rows, &[2, 3], &Racks::new()), [[2], [2], [3], [3]]);
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
