//! Which SPU is started anew next, where all are to be, one after the other.
//!
//! One goes only when every other one is ready, and when enough of those who hold a partition with
//! it are in sync without it: then whoever leads hands over. What has more copies than commit goes on
//! being written to and read; what has as many waits for the moment that it takes. What an SPU is not
//! able to serve does not hold it back: its start may mend it, and it goes before the others. One
//! that has only not been heard of yet, as after a restart of the control plane, is waited for.

use std::collections::{BTreeMap, BTreeSet};

use weir_protocol::ids::{LaunchId, PartitionKey, SpuId};

use super::lifecycle::SpuView;
use crate::store::{operations::Started, partitions::PartitionRow};

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// This one is stopped; it is started again as whatever does not run and should.
    Stop(SpuId),
    /// Nothing, until something else happens: this.
    Wait(String),
    /// All of them were started anew, and are ready.
    Done,
}

/// Whether an SPU is done: it was started anew since and is ready, or it is on its way out.
#[must_use]
pub fn is_done(before: &Started, spus: &[SpuView]) -> bool {
    let Some(spu) = spus.iter().find(|spu| spu.spu_id == before.spu_id) else { return true };
    !spu.in_spec || (is_new(spu, before.launch_id) && spu.running && spu.lacks.is_none())
}

fn is_new(spu: &SpuView, before: Option<LaunchId>) -> bool {
    spu.launch_id.is_some() && spu.launch_id != before
}

/// What one of them holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holds {
    /// What it serves its part of, of topics that were not deleted.
    pub rows: Vec<PartitionRow>,
    /// Whether there is something that it does not: its storage failed, or it is damaged.
    pub out_of_service: bool,
}

/// What is waited for, whatever is held: one that was stopped is not back yet.
#[must_use]
pub fn waits(asked: &[Started], spus: &[SpuView]) -> Option<String> {
    let waiting = spus.iter().find(|spu| {
        let before = asked.iter().find(|before| before.spu_id == spu.spu_id);
        let begun = before.is_some_and(|before| is_new(spu, before.launch_id));
        spu.in_spec && before.is_some() && (!spu.running || (begun && spu.lacks.is_some()))
    });
    waiting.map(|spu| format!("SPU {} is not ready yet", spu.spu_id))
}

/// Decides. `held`: what each of those that are not done holds. `ill`: who has not been ready for so
/// long that it will not be by itself.
#[must_use]
pub fn next(
    asked: &[Started],
    spus: &[SpuView],
    held: &BTreeMap<SpuId, Holds>,
    ill: &BTreeSet<SpuId>,
) -> Next {
    let left = asked.iter().filter(|before| !is_done(before, spus));
    let mut left: Vec<_> = left.map(|before| before.spu_id).collect();
    if left.is_empty() {
        return Next::Done;
    }
    if let Some(why) = waits(asked, spus) {
        return Next::Wait(why);
    }
    let unready = |spu: &SpuView| spu.lacks.is_some() || !spu.running;
    let rows = |spu: &SpuId| held.get(spu).into_iter().flat_map(|holds| &holds.rows);
    left.sort_by_key(|spu| {
        let in_service = held.get(spu).is_none_or(|holds| !holds.out_of_service);
        (in_service && rows(spu).all(|row| row.isr().contains(spu)), *spu)
    });
    let mut why = None;
    for spu in left {
        // One that is ill has nothing to lose by it, whoever else is not ready.
        let other =
            spus.iter().find(|other| !ill.contains(&spu) && other.in_spec && unready(other));
        let lacks = rows(&spu).find(|row| !goes_on_without(row, spu));
        let reason = match (other, lacks) {
            (None, None) => return Next::Stop(spu),
            (Some(other), _) => format!("SPU {} is not ready", other.spu_id),
            (None, Some(row)) => too_few(row.key, spu),
        };
        why.get_or_insert(reason);
    }
    Next::Wait(why.unwrap_or_default())
}

fn too_few(key: PartitionKey, spu: SpuId) -> String {
    format!("too few replicas of partition {key} are in sync without SPU {spu}")
}

/// Whether as many of the others are in sync as commit, or all of them where they are fewer.
fn goes_on_without(row: &PartitionRow, spu: SpuId) -> bool {
    let others = row.holders().iter().filter(|holder| **holder != spu).count();
    let needed = usize::try_from(row.min_insync).unwrap_or(usize::MAX).min(others);
    row.isr().iter().filter(|member| **member != spu).count() >= needed
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::plan::isr::tests::row;

    fn launch(n: u128) -> Option<LaunchId> {
        Some(LaunchId(Uuid::from_u128(n)))
    }

    fn spu(id: u32, launch_id: Option<LaunchId>, ready: bool) -> SpuView {
        SpuView {
            spu_id: SpuId(id),
            launch_id,
            in_spec: true,
            removed: false,
            destroyed: false,
            running: true,
            start_due: true,
            failing: None,
            lacks: (!ready).then(|| "it has not registered".to_owned()),
        }
    }

    fn asked() -> Vec<Started> {
        (1..=3).map(|id| Started { spu_id: SpuId(id), launch_id: launch(id.into()) }).collect()
    }

    fn old(id: u32) -> SpuView {
        spu(id, launch(id.into()), true)
    }

    fn healthy(asked: &[Started], spus: &[SpuView], held: &BTreeMap<SpuId, Holds>) -> Next {
        next(asked, spus, held, &BTreeSet::new())
    }

    fn holding(rows: &[PartitionRow]) -> BTreeMap<SpuId, Holds> {
        let of = |id| rows.iter().filter(|row| row.is_held_by(SpuId(id))).cloned().collect();
        let holds = |id| Holds { rows: of(id), out_of_service: false };
        (1..=3).map(|id| (SpuId(id), holds(id))).collect()
    }

    #[test]
    fn one_after_the_other_each_once_the_one_before_is_ready() {
        let held = holding(&[row(&[1, 2, 3], &[1, 2, 3], &[], 2), row(&[3], &[3], &[], 1)]);
        let mut spus = vec![old(1), old(2), old(3)];
        for id in 1..=3_u32 {
            assert_eq!(healthy(&asked(), &spus, &held), Next::Stop(SpuId(id)));
            let at = usize::try_from(id - 1).unwrap();
            spus[at] = spu(id, launch(10 + u128::from(id)), false);
            assert!(
                matches!(healthy(&asked(), &spus, &held), Next::Wait(why) if why.contains("ready"))
            );
            spus[at].lacks = None;
            spus[at].running = false;
            assert!(
                matches!(healthy(&asked(), &spus, &held), Next::Wait(_)),
                "it is started first"
            );
            spus[at].running = true;
        }
        assert_eq!(healthy(&asked(), &spus, &held), Next::Done);
        // One that is on its way out is not waited for.
        spus[0] = SpuView { in_spec: false, ..old(1) };
        assert_eq!(healthy(&asked(), &spus, &held), Next::Done);
    }

    #[test]
    fn nobody_goes_whom_a_partition_cannot_spare() {
        let spus = [old(1), old(2), old(3)];
        // 3 has fallen behind: its own start does not make that worse, and it goes first.
        let held = holding(&[row(&[1, 2, 3], &[1, 2], &[3], 2)]);
        assert_eq!(healthy(&asked(), &spus, &held), Next::Stop(SpuId(3)));
        let two = &asked()[..2];
        assert!(matches!(healthy(two, &spus, &held), Next::Wait(why) if why.contains("too few")));
        // With one copy there is nobody to spare.
        let alone = holding(&[row(&[1], &[1], &[], 1)]);
        assert_eq!(healthy(&asked(), &spus, &alone), Next::Stop(SpuId(1)));
    }

    #[test]
    fn what_an_spu_does_not_serve_does_not_hold_it_back_and_it_goes_first() {
        let spus = [old(1), old(2), old(3)];
        let mut held = holding(&[row(&[1, 2], &[1, 2], &[], 1)]);
        held.insert(SpuId(3), Holds { rows: vec![], out_of_service: true });
        assert_eq!(healthy(&asked(), &spus, &held), Next::Stop(SpuId(3)));
        // Both disks were full: neither can catch up before the other has started anew.
        let out = || Holds { rows: vec![], out_of_service: true };
        let held: BTreeMap<_, _> = [(SpuId(1), out()), (SpuId(2), out())].into();
        assert_eq!(healthy(&asked()[..2], &spus, &held), Next::Stop(SpuId(1)));
    }

    #[test]
    fn one_that_is_ill_goes_first_and_nobody_else_meanwhile() {
        let spus = [old(1), spu(2, launch(2), false), old(3)];
        let (held, ill) = (holding(&[]), BTreeSet::from([SpuId(1), SpuId(2)]));
        assert_eq!(next(&asked(), &spus, &held, &[SpuId(2)].into()), Next::Stop(SpuId(2)));
        let both = [spu(1, launch(1), false), spu(2, launch(2), false), old(3)];
        let decided = next(&asked(), &both, &held, &ill);
        assert_eq!(decided, Next::Stop(SpuId(1)), "none waits for the other");
        let others = [asked()[0], asked()[2]];
        let decided = next(&others, &spus, &held, &[SpuId(2)].into());
        assert!(matches!(decided, Next::Wait(why) if why.contains("SPU 2")));
    }

    #[test]
    fn nobody_goes_while_one_has_not_been_heard_of_yet() {
        // As a control plane finds them that has just begun.
        let mut spus = [1, 2, 3].map(|id| spu(id, launch(id.into()), false));
        let held = holding(&[row(&[1, 2, 3], &[1, 2, 3], &[], 2)]);
        assert!(matches!(healthy(&asked(), &spus, &held), Next::Wait(_)));
        spus[0].lacks = None;
        let decided = healthy(&asked(), &spus, &held);
        assert!(matches!(decided, Next::Wait(why) if why.contains("SPU 2")));
        let alone = healthy(&asked()[1..2], &spus, &held);
        assert!(matches!(alone, Next::Wait(why) if why.contains("SPU 2")), "not itself either");
    }
}
