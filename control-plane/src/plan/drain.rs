//! Which SPUs hold what others are to hold no more.
//!
//! Each of their replicas goes to one other SPU, in its place in the order of preference: to the
//! one that carries least, of those that do not hold the partition. Where it was preferred as the
//! leader, to the one that is preferred by the fewest. One on a rack where the partition has no
//! replica comes before all others. The same state gives the same plan. A partition that may have
//! fewer replicas has one less where nobody can take its own: the offsets topic is on as many SPUs as
//! there are, up to three.

use std::collections::{BTreeMap, BTreeSet};

use weir_protocol::ids::{PartitionKey, SpuId};

use super::{
    placement::{self, Candidate, REPLICAS_PER_SPU_MAX, Racks},
    reassign::ReassignError,
};
use crate::store::partitions::PartitionRow;

/// Who is still to remove a replica of which partition.
pub type Removing = BTreeMap<PartitionKey, BTreeSet<SpuId>>;

/// A partition, and who is to hold it.
pub type Move = (PartitionKey, Vec<SpuId>);

/// Why an SPU cannot be drained.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DrainError {
    /// One of its partitions is on its way to be held by others, and by it.
    #[error(transparent)]
    Reassign(#[from] ReassignError),
    /// There is no SPU that could take it.
    #[error("no other SPU can take its replica: each holds one, has no room, or may not")]
    Nowhere,
}

/// What a drain comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// What is to be moved, if nothing is stuck.
    pub moves: Vec<Move>,
    /// What cannot be, and why.
    pub stuck: Vec<(PartitionKey, DrainError)>,
}

/// Decides. `rows`: what those of `from` hold or are to hold, in the order in which it is planned;
/// `candidates`: who may take something; `shrinks`: which partitions may have fewer replicas.
#[must_use]
pub fn plan(
    rows: &[PartitionRow],
    from: &BTreeSet<SpuId>,
    (candidates, racks): (&[Candidate], &Racks),
    removing: &Removing,
    shrinks: impl Fn(&PartitionRow) -> bool,
) -> Drained {
    let others = candidates.iter().filter(|candidate| !from.contains(&candidate.spu));
    let mut takers = Takers::new(others, racks);
    let mut drained = Drained::default();
    for row in rows.iter().filter(|row| row.destined().iter().any(|spu| from.contains(spu))) {
        if let Some(goal) = &row.reassignment {
            let running = ReassignError::Running(goal.target.clone());
            drained.stuck.push((row.key, running.into()));
            continue;
        }
        match target(row, from, &mut takers, removing.get(&row.key), shrinks(row)) {
            Some(target) => drained.moves.push((row.key, target)),
            None => {
                // Whoever could take it has what it held of it before still to remove.
                let removing = removing.get(&row.key).and_then(BTreeSet::first);
                let being = removing.map(|spu| ReassignError::BeingRemoved(*spu).into());
                drained.stuck.push((row.key, being.unwrap_or(DrainError::Nowhere)));
            }
        }
    }
    drained
}

/// Who is to hold a partition; `None`: nobody can.
fn target(
    row: &PartitionRow,
    from: &BTreeSet<SpuId>,
    takers: &mut Takers<'_>,
    removing: Option<&BTreeSet<SpuId>>,
    shrinks: bool,
) -> Option<Vec<SpuId>> {
    let before = row.destined();
    let mut holders: Vec<_> = before.iter().copied().filter(|spu| !from.contains(spu)).collect();
    let mut target = Vec::with_capacity(before.len());
    for (position, spu) in before.into_iter().enumerate() {
        if !from.contains(&spu) {
            target.push(spu);
            continue;
        }
        match takers.next(&holders, removing, position == 0) {
            Some(taker) => {
                target.push(taker);
                holders.push(taker);
            }
            None if shrinks => {}
            None => return None,
        }
    }
    (!target.is_empty()).then_some(target)
}

/// Who may take replicas, and what they carry with what they were given.
pub(super) struct Takers<'r> {
    load: Vec<Candidate>,
    racks: &'r Racks,
}

impl<'r> Takers<'r> {
    pub(super) fn new<'a>(
        candidates: impl Iterator<Item = &'a Candidate>,
        racks: &'r Racks,
    ) -> Self {
        let mut load: Vec<_> = candidates.copied().collect();
        load.sort_by_key(|candidate| candidate.spu);
        Self { load, racks }
    }

    /// Gives one more replica of a partition to one that neither holds it nor is still to
    /// remove it.
    pub(super) fn next(
        &mut self,
        holders: &[SpuId],
        removing: Option<&BTreeSet<SpuId>>,
        preferred: bool,
    ) -> Option<SpuId> {
        let may = |candidate: &Candidate| {
            candidate.held < REPLICAS_PER_SPU_MAX
                && !holders.contains(&candidate.spu)
                && removing.is_none_or(|removing| !removing.contains(&candidate.spu))
        };
        let racks = self.racks;
        let best =
            self.load.iter_mut().filter(|candidate| may(candidate)).min_by_key(|candidate| {
                let leads = if preferred { candidate.preferred } else { 0 };
                let beside = placement::beside(racks, holders, candidate.spu);
                (beside, leads, candidate.replicas, candidate.spu)
            })?;
        best.replicas += 1;
        best.held += 1;
        best.preferred += u32::from(preferred);
        Some(best.spu)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use weir_protocol::ids::PartitionIndex;

    use super::*;
    use crate::{
        plan::{isr::tests::row, placement::Rack},
        store::reassignments::Reassignment,
    };

    fn plan(
        rows: &[PartitionRow],
        from: SpuId,
        candidates: &[Candidate],
        removing: &Removing,
    ) -> Result<Vec<Move>, (PartitionKey, DrainError)> {
        let takers = (candidates, &Racks::new());
        let drained = super::plan(rows, &[from].into(), takers, removing, |_| false);
        drained.stuck.first().map_or(Ok(drained.moves), |first| Err(first.clone()))
    }

    #[test]
    fn what_may_have_fewer_replicas_has_where_nobody_can_take_one() {
        let rows = [partition(0, &[3, 1, 2]), partition(1, &[2, 3])];
        let candidates = loaded(&rows, 3);
        let decided = |rows: &[PartitionRow], shrinks: bool| {
            let takers = (&candidates[..], &Racks::new());
            super::plan(rows, &[SpuId(3)].into(), takers, &Removing::new(), |_| shrinks)
        };
        let moves = decided(&rows, true).moves;
        assert_eq!(moves[0].1, [SpuId(1), SpuId(2)]);
        assert_eq!(moves[1].1, [SpuId(2), SpuId(1)], "not where one can");
        assert_eq!(decided(&rows, false).stuck, [(rows[0].key, DrainError::Nowhere)]);
        let alone = [partition(0, &[3])];
        let takers = (&candidates[2..], &Racks::new());
        let nowhere = super::plan(&alone, &[SpuId(3)].into(), takers, &Removing::new(), |_| true);
        assert_eq!(nowhere.stuck[0].1, DrainError::Nowhere, "never the only one");
    }

    #[test]
    fn another_rack_comes_before_less_load() {
        let rows = [partition(0, &[1, 2])];
        let racks: Racks =
            [(1, 0), (2, 1), (3, 1), (4, 0)].map(|(spu, rack)| (SpuId(spu), Rack(rack))).into();
        let mut candidates = loaded(&rows, 4);
        candidates[3].replicas = 9;
        let decided = |racks| {
            let takers = (&candidates[..], racks);
            let decided =
                super::plan(&rows, &[SpuId(1)].into(), takers, &Removing::new(), |_| false);
            targets(&decided.moves)
        };
        assert_eq!(decided(&racks), [[4, 2]]);
        assert_eq!(decided(&Racks::new()), [[3, 2]]);
    }

    #[test]
    fn several_are_emptied_at_once_and_none_of_them_takes_anything() {
        let rows = [partition(0, &[3, 4]), partition(1, &[4, 1]), partition(2, &[1, 2])];
        let from = [SpuId(3), SpuId(4)].into();
        let candidates = loaded(&rows, 5);
        let takers = (&candidates[..], &Racks::new());
        let drained = super::plan(&rows, &from, takers, &Removing::new(), |_| false);
        assert_eq!(targets(&drained.moves), [[5, 2], [2, 1]]);
        // Each that finds no place is named, and nothing is moved.
        let two = (&candidates[..1], &Racks::new());
        let drained = super::plan(&rows, &from, two, &Removing::new(), |_| false);
        let named: Vec<_> = drained.stuck.iter().map(|(key, _)| key.partition.0).collect();
        assert_eq!(named, [0, 1]);
    }

    fn partition(index: u32, on: &[u32]) -> PartitionRow {
        let mut row = row(on, on, &[], 1);
        row.key.partition = PartitionIndex(index);
        row
    }

    fn loaded(rows: &[PartitionRow], spus: u32) -> Vec<Candidate> {
        let candidate = |id| {
            let spu = SpuId(id);
            let replicas = rows.iter().filter(|row| row.is_held_by(spu)).count();
            let preferred = rows.iter().filter(|row| row.holders().first() == Some(&spu)).count();
            let [replicas, preferred] = [replicas, preferred].map(|n| u32::try_from(n).unwrap());
            Candidate { spu, replicas, held: replicas, preferred }
        };
        (1..=spus).map(candidate).collect()
    }

    fn targets(moves: &[Move]) -> Vec<Vec<u32>> {
        moves.iter().map(|(_, target)| target.iter().map(|spu| spu.0).collect()).collect()
    }

    #[test]
    fn each_replica_goes_in_its_place_to_who_carries_least() {
        let rows = [partition(0, &[1, 2]), partition(1, &[2, 1]), partition(2, &[1, 3])];
        let held: Vec<_> = rows.to_vec();
        let moves = plan(&held, SpuId(1), &loaded(&rows, 4), &Removing::new()).unwrap();
        // 4 is preferred by nobody; then it carries as much as 3, and is preferred.
        assert_eq!(targets(&moves), [vec![4, 2], vec![2, 3], vec![4, 3]]);
        // What it does not hold stays.
        let other = [partition(0, &[2, 3])];
        assert_eq!(plan(&other, SpuId(1), &loaded(&rows, 4), &Removing::new()), Ok(vec![]));
    }

    #[test]
    fn what_cannot_be_taken_is_named() {
        let rows = [partition(3, &[1, 2, 3])];
        let (key, why) = plan(&rows, SpuId(1), &loaded(&rows, 3), &Removing::new()).unwrap_err();
        assert_eq!((key, why), (rows[0].key, DrainError::Nowhere));
        let removing = Removing::from([(rows[0].key, BTreeSet::from([SpuId(4)]))]);
        let five = loaded(&rows, 5);
        assert_eq!(targets(&plan(&rows, SpuId(1), &five, &removing).unwrap()), [[5, 2, 3]]);
        let only = &five[3..4];
        let (_, why) = plan(&rows, SpuId(1), only, &removing).unwrap_err();
        assert_eq!(why, ReassignError::BeingRemoved(SpuId(4)).into());
        let mut full = five.clone();
        full[3].held = REPLICAS_PER_SPU_MAX;
        assert_eq!(targets(&plan(&rows, SpuId(1), &full, &Removing::new()).unwrap()), [[5, 2, 3]]);
    }

    #[test]
    fn what_leaves_already_is_passed_over_and_what_comes_is_refused() {
        let goal = |target: &[u32]| {
            Some(Reassignment {
                target: target.iter().copied().map(SpuId).collect(),
                original: vec![SpuId(1), SpuId(2)],
                moving: true,
            })
        };
        let mut row = partition(0, &[1, 2]);
        row.reassignment = goal(&[3, 2]);
        let candidates = loaded(std::slice::from_ref(&row), 4);
        let one = std::slice::from_ref(&row);
        assert_eq!(plan(one, SpuId(1), &candidates, &Removing::new()), Ok(vec![]));
        // It is to hold it, and does not yet.
        let (_, why) = plan(one, SpuId(3), &candidates, &Removing::new()).unwrap_err();
        assert!(matches!(why, DrainError::Reassign(ReassignError::Running(_))), "{why:?}");
    }

    proptest! {
        #[test]
        fn it_is_spread_evenly_and_nobody_holds_a_partition_twice(
            spus in 3_u32..7,
            partitions in 1_u32..40,
            from in 1_u32..4,
        ) {
            let rows: Vec<_> = (0..partitions)
                .map(|n| partition(n, &[n % spus + 1, (n + 1) % spus + 1]))
                .collect();
            let candidates = loaded(&rows, spus);
            let moves = plan(&rows, SpuId(from), &candidates, &Removing::new()).unwrap();
            prop_assert_eq!(&moves, &plan(&rows, SpuId(from), &candidates, &Removing::new()).unwrap());
            let mut after = rows.clone();
            for (key, target) in &moves {
                prop_assert!(!target.contains(&SpuId(from)));
                prop_assert_eq!(target.iter().collect::<BTreeSet<_>>().len(), 2);
                let ids: Vec<_> = target.iter().map(|spu| spu.0).collect();
                after[usize::try_from(key.partition.0).unwrap()] = partition(key.partition.0, &ids);
            }
            let loads = loaded(&after, spus);
            let held = |spu: u32| loads.iter().find(|c| c.spu.0 == spu).unwrap().replicas;
            prop_assert_eq!(held(from), 0);
            let others: Vec<_> = (1..=spus).filter(|spu| *spu != from).map(held).collect();
            prop_assert!(others.iter().max().unwrap() - others.iter().min().unwrap() <= 4, "{:?}", others);
        }
    }
}
