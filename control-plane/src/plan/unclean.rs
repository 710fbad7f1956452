//! Elections of a replica that may lack what was committed: only where the topic's owner chose
//! that (`unclean_election`), and where nobody is left who holds all of it.
//!
//! [`super::election`] elects who is in sync or eligible. Where all of these are gone the partition
//! waits for one of them, for as long as it takes: that is the default. With the option on it
//! waits for a while, for who is being started again loses nothing, and then goes on with the
//! replica that has the most. What that one lacks is lost: so the election is written down as a
//! [`Cut`], and its epoch is told to every replica, which knows then that what it heard to be
//! committed holds no more. Who was in sync or eligible is neither afterwards: when it comes back
//! it cuts what the new leader does not have, like any follower.
//!
//! No loss below `Cut::high_watermark`: what the new leader knew to be committed, it holds.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use weir_protocol::ids::{LeaderEpoch, Offset, SpuId};
use weir_runtime::plant;

use super::{
    damage::Damage,
    election::{self, Electorate},
};
use crate::store::{
    cuts::{Cut, GivenUp, Report},
    partition_state::PartitionState,
    partitions::PartitionRow,
};

/// What an SPU said of its replica in its present life, or in its last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reported {
    /// The newest leader epoch that it had heard of.
    pub leader_epoch: LeaderEpoch,
    /// What it held.
    pub report: Report,
}

/// Whether all who hold everything that is committed are gone, or out of service, and another one
/// is to lead some time.
#[must_use]
pub fn stuck(row: &PartitionRow, lost: &BTreeSet<SpuId>, damage: Option<&Damage>) -> bool {
    let chosen = row.unclean_election || plant::active("unclean_by_default");
    let out = damage.map(Damage::all).unwrap_or_default();
    let gone = |spu: &SpuId| lost.contains(spu) || out.contains(spu);
    // After a recovery the logs of those who are waited for may be all that there is.
    chosen && !row.recovering && row.isr().union(&row.eligible()).all(gone)
}

/// Who is to lead although it may lack what was committed, and what that may cost; `None`: nobody.
/// The caller has waited while the partition was [`stuck`].
#[must_use]
pub fn elect(
    row: &PartitionRow,
    spus: &Electorate,
    damage: Option<&Damage>,
    reports: &BTreeMap<SpuId, Reported>,
) -> Option<(PartitionState, Cut)> {
    if !stuck(row, &spus.lost, damage) {
        return None;
    }
    let out = damage.map(Damage::all).unwrap_or_default();
    let in_order = (0_usize..).zip(row.replicas.iter().map(|replica| replica.spu));
    let there = in_order.filter(|(_, spu)| !spus.lost.contains(spu) && !out.contains(spu));
    // One that has not said what it holds is not elected before it did. Nor is one that has not
    // heard of the last such election: what it says to be committed may have been cut by that.
    let heard = |said: &&Reported| said.leader_epoch >= row.unclean_leader_epoch;
    let said = there.filter_map(|(position, spu)| {
        let said = reports.get(&spu).filter(heard)?;
        Some((position, spu, *spus.may_lead.get(&spu)?, said.report))
    });
    let (_, leader, incarnation, report) =
        said.max_by_key(|(position, _, _, report)| (most(report), Reverse(*position)))?;
    let isr = BTreeSet::from([leader]);
    let state = PartitionState { isr, eligible: BTreeSet::new(), ..PartitionState::from(row) };
    let state = election::led(row, state, leader, incarnation);
    let counted = row.replicas.iter().filter(|replica| replica.in_isr || replica.eligible);
    let given_up = counted.map(|replica| GivenUp {
        spu: replica.spu,
        in_sync: replica.in_isr,
        report: reports.get(&replica.spu).map(|said| said.report),
    });
    let cut = Cut {
        leader,
        leader_epoch: state.leader_epoch,
        old_leader_epoch: row.leader_epoch,
        report,
        given_up: given_up.collect(),
    };
    Some((state, cut))
}

/// The log that has more is the one of the later epoch, and of one epoch the longer one.
const fn most(report: &Report) -> (Option<LeaderEpoch>, Offset) {
    (report.last_epoch, report.log_end)
}

#[cfg(test)]
mod tests {
    use weir_protocol::ids::Incarnation;

    use super::*;
    use crate::plan::isr::tests::{lives, row, set};

    #[test]
    fn one_that_waits_for_logs_after_a_recovery_is_not_stuck() {
        let lost = set(&[1]);
        let row = unclean(&[1, 2], &[1], &[]);
        assert!(stuck(&row, &lost, None));
        assert!(!stuck(&PartitionRow { recovering: true, ..row }, &lost, None));
    }

    fn spus(may_lead: &[u32], lost: &[u32]) -> Electorate {
        Electorate { may_lead: lives(may_lead), lost: set(lost), eligible_too: true }
    }

    fn report(epoch: u32, log_end: u64) -> Report {
        Report {
            last_epoch: (log_end > 0).then_some(LeaderEpoch(epoch)),
            log_end: Offset(log_end),
            high_watermark: Offset(log_end.saturating_sub(1)),
        }
    }

    fn reports(of: &[(u32, u32, u64)]) -> BTreeMap<SpuId, Reported> {
        let said =
            |epoch, end| Reported { leader_epoch: LeaderEpoch(5), report: report(epoch, end) };
        of.iter().map(|(spu, epoch, end)| (SpuId(*spu), said(*epoch, *end))).collect()
    }

    fn unclean(of: &[u32], isr: &[u32], eligible: &[u32]) -> PartitionRow {
        PartitionRow { unclean_election: true, ..row(of, isr, eligible, 2) }
    }

    #[test]
    fn who_has_the_most_leads_alone_and_what_it_may_cost_is_told() {
        let row = unclean(&[1, 2, 3, 4], &[1], &[2]);
        let known = reports(&[(1, 5, 100), (3, 4, 90), (4, 5, 60)]);
        let (state, cut) = elect(&row, &spus(&[3, 4], &[1, 2]), None, &known).unwrap();
        assert_eq!((state.leader, state.leader_incarnation), (Some(SpuId(4)), Incarnation(1)));
        assert_eq!((state.isr, state.eligible), (set(&[4]), set(&[])));
        assert_eq!(state.leader_epoch, row.leader_epoch.next());
        assert_eq!((cut.leader, cut.leader_epoch), (SpuId(4), state.leader_epoch));
        assert_eq!((cut.old_leader_epoch, cut.report), (row.leader_epoch, report(5, 60)));
        let given_up: Vec<_> =
            cut.given_up.iter().map(|of| (of.spu.0, of.in_sync, of.report)).collect();
        assert_eq!(given_up, [(1, true, Some(report(5, 100))), (2, false, None)]);
        // Of one epoch the longer, then in the order of preference; an empty one comes last.
        let leader = |known: &[(u32, u32, u64)]| {
            let elected = elect(&row, &spus(&[3, 4], &[1, 2]), None, &reports(known));
            elected.map(|(state, _)| state.leader.unwrap().0)
        };
        assert_eq!(leader(&[(3, 5, 61), (4, 5, 60)]), Some(3));
        assert_eq!(leader(&[(3, 5, 60), (4, 5, 61)]), Some(4));
        assert_eq!(leader(&[(3, 5, 60), (4, 5, 60)]), Some(3));
        assert_eq!(leader(&[(3, 0, 0), (4, 1, 1)]), Some(4));
        assert_eq!(leader(&[(3, 0, 0)]), Some(3));
        assert_eq!(leader(&[]), None, "nobody has said what it holds");
    }

    #[test]
    fn the_option_is_off_by_default() {
        let row = row(&[1, 2], &[1], &[], 1);
        assert_eq!(elect(&row, &spus(&[2], &[1]), None, &reports(&[(2, 5, 9)])), None);
    }

    #[test]
    fn nobody_is_elected_while_one_who_holds_all_may_come_to_lead() {
        let known = reports(&[(3, 5, 9)]);
        let elected = |isr: &[u32], eligible: &[u32], may_lead: &[u32], lost: &[u32]| {
            let row = unclean(&[1, 2, 3], isr, eligible);
            elect(&row, &spus(may_lead, lost), None, &known).is_some()
        };
        assert!(elected(&[1], &[], &[3], &[1]));
        assert!(elected(&[1, 2], &[], &[3], &[1, 2]));
        assert!(!elected(&[1, 2], &[], &[2, 3], &[1]), "2 is in sync");
        assert!(!elected(&[1, 2], &[], &[3], &[1]), "2 is in doubt");
        assert!(!elected(&[1], &[2], &[2, 3], &[1]), "2 is eligible");
        assert!(!elected(&[1], &[2], &[3], &[1]), "2 is in doubt");
        assert!(!elected(&[1], &[], &[1, 3], &[]));
        assert!(!elected(&[1], &[], &[], &[1]), "3 is not there");
        assert!(!elected(&[1], &[], &[3], &[1, 3]));
    }

    #[test]
    fn one_that_has_not_heard_of_the_last_cut_is_not_elected() {
        let row =
            PartitionRow { unclean_leader_epoch: LeaderEpoch(5), ..unclean(&[1, 2, 3], &[1], &[]) };
        let mut known = reports(&[(2, 4, 100), (3, 5, 60)]);
        known.entry(SpuId(2)).and_modify(|said| said.leader_epoch = LeaderEpoch(4));
        let spus = spus(&[2, 3], &[1]);
        assert_eq!(elect(&row, &spus, None, &known).unwrap().1.leader, SpuId(3));
        known.remove(&SpuId(3));
        assert_eq!(elect(&row, &spus, None, &known), None);
    }

    #[test]
    fn what_is_damaged_neither_holds_anything_up_nor_leads() {
        let damaged = |spus: &[u32]| Damage { damaged: set(spus), ..Damage::default() };
        let row = unclean(&[1, 2], &[1], &[]);
        let known = reports(&[(1, 5, 20), (2, 5, 9)]);
        let both = spus(&[1, 2], &[]);
        let (state, _) = elect(&row, &both, Some(&damaged(&[1])), &known).unwrap();
        assert_eq!(state.leader, Some(SpuId(2)));
        assert_eq!(elect(&row, &both, Some(&damaged(&[1, 2])), &known), None);
        assert_eq!(elect(&row, &both, Some(&damaged(&[2])), &known), None);
    }
}
