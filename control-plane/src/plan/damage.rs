//! Replicas that are out of service on an SPU that is there: an append or an fsync failed, or
//! what lies on the disk is damaged.
//!
//! Such a leader holds its partition up for as long as its process lives, and such a follower the
//! high watermark, so others take their place as if their SPU were gone. What failed to be
//! written may be whole again once the SPU starts anew, so it stays eligible where it is; what is
//! damaged is not what was committed any more, so it is neither elected nor waited for.

use std::collections::{BTreeMap, BTreeSet};

use weir_protocol::ids::{Incarnation, SpuId};
use weir_runtime::plant;

use super::election::{self, Electorate};
use crate::store::{partition_state::PartitionState, partitions::PartitionRow};

/// Who cannot serve a partition, although its SPU is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// Until the SPU starts anew.
    pub offline: BTreeSet<SpuId>,
    /// Until the replica was filled again.
    pub damaged: BTreeSet<SpuId>,
}

impl Damage {
    /// Whoever it is.
    #[must_use]
    pub fn all(&self) -> BTreeSet<SpuId> {
        self.offline.union(&self.damaged).copied().collect()
    }
}

/// What the partition's state is to be; `None`: as it is. Where nobody else is in sync or
/// eligible it stays, and so does what the last one holds.
#[must_use]
pub fn settle(
    row: &PartitionRow,
    damage: &Damage,
    may_lead: &BTreeMap<SpuId, Incarnation>,
) -> Option<PartitionState> {
    let electorate = Electorate {
        may_lead: may_lead.clone(),
        lost: damage.all(),
        // What only failed may come back with more than those who are eligible have.
        eligible_too: row.isr().is_subset(&damage.damaged),
    };
    let before = PartitionState::from(row);
    let mut after = election::settle(row, &electorate).unwrap_or_else(|| before.clone());
    if !after.isr.is_subset(&damage.damaged) {
        after.eligible.retain(|spu| !damage.damaged.contains(spu));
    }
    (after != before).then_some(after)
}

/// As [`election::settle`], where some replicas are out of service: nobody elects them.
#[must_use]
pub fn elect(
    row: &PartitionRow,
    spus: &Electorate,
    damage: Option<&Damage>,
) -> Option<PartitionState> {
    let Some(damage) = damage else { return election::settle(row, spus) };
    let mut spus = spus.clone();
    spus.lost.extend(damage.all());
    election::settle(row, &spus)
}

/// The partition's state without what an SPU held whose disk is empty now; `None` where nobody
/// else has what was committed. `lives`: of each SPU, its last one.
#[must_use]
pub fn wiped(
    row: &PartitionRow,
    spu: SpuId,
    lives: &BTreeMap<SpuId, Incarnation>,
    may_lead: &BTreeMap<SpuId, Incarnation>,
) -> Option<PartitionState> {
    // One that is away may never come back, and the folder that was here may.
    let counted = row.isr().contains(&spu) || row.eligible().contains(&spu);
    let others = |other: SpuId| other != spu && may_lead.contains_key(&other);
    let without = election::without(row, &BTreeSet::from([spu]), lives, others)
        .filter(|state| !counted || state.isr.iter().any(|member| others(*member)));
    let damage = Damage { damaged: BTreeSet::from([spu]), ..Damage::default() };
    without.or_else(|| settle(row, &damage, may_lead))
}

/// The partition's state without what an SPU may have lost whose machine was started anew, of a
/// topic that acknowledges before the fsync; `None` where nothing of the kind is to be done: nobody
/// counts on it, or nobody else is there who has what was committed, and then it goes on with what
/// it has, as its owner chose. `there`: who else is online with a standing session. Others of the
/// cluster that lost their power with it count as well once they are back: the first that is back
/// goes on, and those after it are filled again from that one.
#[must_use]
pub fn booted_anew(
    row: &PartitionRow,
    spu: SpuId,
    lives: &BTreeMap<SpuId, Incarnation>,
    there: &BTreeMap<SpuId, Incarnation>,
) -> Option<PartitionState> {
    let counted = row.isr().contains(&spu) || row.eligible().contains(&spu);
    if !row.flush_interval || !counted || plant::active("booted_anew_counts") {
        return None;
    }
    let there = there.iter().filter(|(other, _)| **other != spu);
    wiped(row, spu, lives, &there.map(|(other, life)| (*other, *life)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::isr::tests::{lives, row, set};

    fn settled(row: &PartitionRow, offline: &[u32], damaged: &[u32]) -> Option<PartitionState> {
        let damage = Damage { offline: set(offline), damaged: set(damaged) };
        settle(row, &damage, &lives(&[1, 2, 3]))
    }

    #[test]
    fn another_one_leads_instead_of_what_is_out_of_service() {
        let row = row(&[1, 2, 3], &[1, 2, 3], &[], 2);
        for (offline, damaged) in [(&[1][..], &[][..]), (&[], &[1]), (&[1], &[1])] {
            let state = settled(&row, offline, damaged).unwrap();
            assert_eq!((state.leader, state.isr), (Some(SpuId(2)), set(&[2, 3])));
            assert_eq!(state.leader_epoch, row.leader_epoch.next());
        }
        let state = settled(&row, &[3], &[]).unwrap();
        assert_eq!((state.leader, state.leader_epoch), (Some(SpuId(1)), row.leader_epoch));
        assert_eq!(state.isr, set(&[1, 2]));
        assert_eq!(settled(&row, &[], &[]), None);
    }

    #[test]
    fn what_is_damaged_is_not_eligible_and_what_failed_is() {
        let row = row(&[1, 2, 3], &[1, 2], &[], 2);
        assert_eq!(settled(&row, &[2], &[]).unwrap().eligible, set(&[2]));
        assert_eq!(settled(&row, &[], &[2]).unwrap().eligible, set(&[]));
        let shrunk = crate::plan::isr::tests::row(&[1, 2, 3], &[1], &[2, 3], 2);
        assert_eq!(settled(&shrunk, &[], &[2]).unwrap().eligible, set(&[3]));
        assert_eq!(settled(&shrunk, &[2], &[]), None);
    }

    #[test]
    fn what_is_out_of_service_is_not_elected() {
        let row = row(&[1, 3], &[1, 3], &[], 1);
        let spus = Electorate { may_lead: lives(&[3]), lost: set(&[1]), eligible_too: true };
        assert_eq!(elect(&row, &spus, None).unwrap().leader, Some(SpuId(3)));
        let damage = Damage { damaged: set(&[3]), ..Damage::default() };
        assert_eq!(elect(&row, &spus, Some(&damage)), None);
    }

    #[test]
    fn an_empty_disk_holds_nothing_wherever_others_hold_it() {
        let (all, online) = (lives(&[1, 2, 3]), lives(&[1, 2]));
        let wiped = |row: &PartitionRow, spu| wiped(row, SpuId(spu), &all, &online);
        let whole = row(&[1, 2, 3], &[1, 2, 3], &[], 2);
        let state = wiped(&whole, 1).unwrap();
        assert_eq!((state.leader, state.isr), (Some(SpuId(2)), set(&[2, 3])));
        assert!(state.eligible.is_empty());
        let state = wiped(&row(&[1, 2, 3], &[2], &[1, 3], 2), 1).unwrap();
        assert_eq!(
            (state.leader, state.isr, state.eligible),
            (Some(SpuId(2)), set(&[2]), set(&[3]))
        );
        let state = wiped(&row(&[1, 2, 3], &[1], &[2], 2), 1).unwrap();
        assert_eq!(
            (state.leader, state.isr, state.eligible),
            (Some(SpuId(2)), set(&[2]), set(&[]))
        );
        for last in [row(&[1], &[1], &[], 1), row(&[1, 2], &[1], &[], 1)] {
            assert_eq!(wiped(&last, 1), None);
        }
        // It was counted on by nobody.
        let state = wiped(&row(&[1, 3], &[3], &[], 1), 1).unwrap();
        assert_eq!((state.leader, state.isr), (Some(SpuId(3)), set(&[3])));
        // Who has it is away.
        assert_eq!(wiped(&row(&[1, 3], &[1, 3], &[], 2), 1), None);
        assert_eq!(wiped(&row(&[1, 3], &[1], &[3], 2), 1), None);
    }

    #[test]
    fn what_may_be_gone_with_the_power_is_not_counted_on_wherever_others_have_it() {
        let all = lives(&[1, 2, 3]);
        let interval = |row| PartitionRow { flush_interval: true, ..row };
        let anew = |row: &PartitionRow, spu, there: &[u32]| {
            let state = booted_anew(row, SpuId(spu), &all, &lives(there))?;
            Some((state.leader.unwrap().0, state.isr, state.eligible))
        };
        let whole = interval(row(&[1, 2, 3], &[1, 2, 3], &[], 2));
        assert_eq!(anew(&whole, 1, &[2]), Some((2, set(&[2, 3]), set(&[]))), "2 leads");
        assert_eq!(anew(&whole, 2, &[1]), Some((1, set(&[1, 3]), set(&[]))));
        let shrunk = interval(row(&[1, 2, 3], &[2], &[1, 3], 2));
        assert_eq!(anew(&shrunk, 1, &[2]), Some((2, set(&[2]), set(&[3]))), "not eligible either");
        let last = interval(row(&[1, 2, 3], &[1], &[2], 2));
        assert_eq!(anew(&last, 1, &[2]), Some((2, set(&[2]), set(&[]))), "2 is eligible");
        // Nobody else is there who has it: one after another comes back after a loss of power.
        assert_eq!(anew(&whole, 1, &[]), None);
        assert_eq!(anew(&whole, 1, &[1]), None);
        assert_eq!(anew(&shrunk, 2, &[]), None);
        // Eligible ones have what was committed, as long as who is in sync is not lost to them.
        assert_eq!(anew(&interval(row(&[1, 2], &[1], &[], 1)), 1, &[2]), None, "2 lacks some");
        assert_eq!(anew(&interval(row(&[1, 2], &[2], &[], 1)), 1, &[2]), None, "not counted on");
        // Where the fsync comes before the acknowledgement nothing is lost.
        assert_eq!(anew(&row(&[1, 2], &[1, 2], &[], 2), 1, &[2]), None);
    }

    #[test]
    fn the_last_one_stays_unless_it_is_damaged_and_another_has_all_that_is_committed() {
        assert_eq!(settled(&row(&[1, 2], &[1], &[], 1), &[1], &[]), None);
        assert_eq!(settled(&row(&[1, 2], &[1], &[], 1), &[], &[1]), None);
        assert_eq!(settled(&row(&[1, 2], &[1], &[2], 2), &[1], &[]), None);
        assert_eq!(settled(&row(&[1, 2], &[1, 2], &[], 1), &[], &[1, 2]), None);
        let state = settled(&row(&[1, 2], &[1], &[2], 2), &[], &[1]).unwrap();
        assert_eq!((state.leader, state.isr), (Some(SpuId(2)), set(&[2])));
        assert!(state.eligible.is_empty());
    }
}
