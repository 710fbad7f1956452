use proptest::prelude::*;

use super::*;
use crate::plan::isr::tests::{lives, row, set};

fn spus(may_lead: &[u32], lost: &[u32]) -> Electorate {
    Electorate { may_lead: lives(may_lead), lost: set(lost), eligible_too: true }
}

fn becomes(row: &PartitionRow, spus: &Electorate) -> Option<(u32, Vec<u32>, Vec<u32>)> {
    let ids = |set: &BTreeSet<SpuId>| set.iter().map(|spu| spu.0).collect();
    settle(row, spus).map(|s| (s.leader.unwrap().0, ids(&s.isr), ids(&s.eligible)))
}

#[test]
fn a_lost_leader_is_followed_by_the_first_that_is_in_sync_and_online() {
    let all = row(&[1, 2, 3], &[1, 2, 3], &[], 2);
    assert_eq!(becomes(&all, &spus(&[2, 3], &[1])), Some((2, vec![2, 3], vec![])));
    assert_eq!(becomes(&all, &spus(&[3], &[1])), Some((3, vec![2, 3], vec![])));
    // Both lost at once.
    assert_eq!(becomes(&all, &spus(&[3], &[1, 2])), Some((3, vec![3], vec![1, 2])));
    // In the order of preference, not of ids.
    let other = row(&[3, 1, 2], &[3, 1, 2], &[], 2);
    assert_eq!(becomes(&other, &spus(&[1, 2], &[3])), Some((1, vec![1, 2], vec![])));
    let state = settle(&all, &spus(&[2, 3], &[1])).unwrap();
    assert_eq!(state.leader_epoch, all.leader_epoch.next());
}

#[test]
fn who_is_not_in_sync_is_not_elected() {
    let alone = row(&[1, 2, 3], &[1], &[], 1);
    assert_eq!(becomes(&alone, &spus(&[2, 3], &[1])), None, "the last in sync stays, and leads");
    // An eligible one is: it holds all that is committed, and so does the last in sync.
    let eligible = row(&[1, 2, 3], &[1], &[3], 2);
    assert_eq!(becomes(&eligible, &spus(&[2, 3], &[1])), Some((3, vec![3], vec![1])));
    assert_eq!(becomes(&eligible, &spus(&[2], &[1])), None);
    let orderly = Electorate { eligible_too: false, ..spus(&[2, 3], &[1]) };
    assert_eq!(becomes(&eligible, &orderly), None);
    // One in sync comes before an eligible one.
    let both = row(&[3, 1, 2], &[1, 2], &[3], 3);
    assert_eq!(becomes(&both, &spus(&[2, 3], &[1])), Some((2, vec![2], vec![1, 3])));
}

#[test]
fn a_lost_follower_is_dropped_while_its_leader_is_there() {
    let all = row(&[1, 2], &[1, 2], &[], 2);
    assert_eq!(becomes(&all, &spus(&[1], &[2])), Some((1, vec![1], vec![2])));
    let one_is_enough = row(&[1, 2], &[1, 2], &[], 1);
    let state = settle(&one_is_enough, &spus(&[1], &[2])).unwrap();
    assert_eq!((state.isr, state.eligible), (set(&[1]), set(&[])));
    assert_eq!(state.leader_epoch, one_is_enough.leader_epoch, "the same leadership");
    // Nobody is there: all may come back as leaders.
    assert_eq!(becomes(&all, &spus(&[], &[2])), None);
    assert_eq!(becomes(&all, &spus(&[], &[1, 2])), None);
    assert_eq!(becomes(&all, &spus(&[2], &[])), None, "the leader is in doubt");
}

#[test]
fn another_life_leads_in_another_epoch_and_is_in_sync_still() {
    let all = row(&[1, 2], &[1, 2], &[], 2);
    let reborn = Electorate {
        may_lead: BTreeMap::from([(SpuId(1), Incarnation(2)), (SpuId(2), Incarnation(7))]),
        lost: set(&[]),
        eligible_too: true,
    };
    let state = settle(&all, &reborn).unwrap();
    assert_eq!((state.leader, state.leader_incarnation), (Some(SpuId(1)), Incarnation(2)));
    assert_eq!((state.leader_epoch, state.isr), (all.leader_epoch.next(), set(&[1, 2])));
    let led_by_2 = row(&[1, 2], &[2, 1], &[], 2);
    assert_eq!(
        settle(&PartitionRow { leader_incarnation: Incarnation(7), ..led_by_2 }, &reborn),
        None
    );
}

#[test]
fn nobody_s_partition_is_led_by_who_may() {
    let mut nobodys = row(&[1, 2], &[1, 2], &[], 2);
    nobodys.leader = None;
    assert_eq!(becomes(&nobodys, &spus(&[2], &[])), Some((2, vec![1, 2], vec![])));
    assert_eq!(becomes(&nobodys, &spus(&[9], &[])), None);
}

#[test]
fn a_leadership_is_handed_over_to_one_in_sync_only() {
    let all = row(&[1, 2, 3], &[2, 1], &[], 2);
    let state = hand_over(&all, SpuId(1), Incarnation(4)).unwrap();
    assert_eq!((state.leader, state.leader_incarnation), (Some(SpuId(1)), Incarnation(4)));
    assert_eq!((state.leader_epoch, state.isr), (all.leader_epoch.next(), set(&[1, 2])));
    assert_eq!(hand_over(&all, SpuId(2), Incarnation(4)), None);
    assert_eq!(hand_over(&all, SpuId(3), Incarnation(4)), None);
}

#[test]
fn a_partition_goes_on_without_those_that_leave_for_good() {
    let all = row(&[3, 1, 2], &[3, 1, 2], &[], 1);
    let without = |row: &PartitionRow, leaving: &[u32], online: &[u32]| {
        let online = set(online);
        super::without(row, &set(leaving), &lives(&[1, 2, 3]), |spu| online.contains(&spu))
    };
    let state = without(&all, &[3], &[2]).unwrap();
    assert_eq!((state.leader, state.isr), (Some(SpuId(2)), set(&[1, 2])));
    assert_eq!(state.leader_epoch, all.leader_epoch.next());
    let state = without(&all, &[3, 2], &[]).unwrap();
    assert_eq!((state.leader, state.isr), (Some(SpuId(1)), set(&[1])), "it leads once it is back");
    let state = without(&all, &[1], &[2, 3]).unwrap();
    assert_eq!((state.leader, state.leader_epoch), (Some(SpuId(3)), all.leader_epoch));
    let one = row(&[1, 2], &[1], &[2], 2);
    assert_eq!(without(&one, &[1], &[2]), None, "eligible is not enough");
    assert_eq!(without(&one, &[2], &[1]).unwrap().eligible, set(&[]));
}

proptest! {
    /// Over any sequence of losses and returns.
    #[test]
    fn the_rules_hold_over_any_history(
        replicas in 1_u32..6,
        min_insync in 1_u32..6,
        steps in proptest::collection::vec((any::<u8>(), any::<u8>(), 0_u64..4), 1..40),
    ) {
        let of: Vec<_> = (1..=replicas).collect();
        let mut now = row(&of, &of, &[], min_insync.min(replicas));
        for (online, lost, life) in steps {
            let some = |bits: u8| of.iter().copied().filter(move |n| bits & (1 << n) != 0);
            let may_lead = some(online).map(|n| (SpuId(n), Incarnation(1 + life))).collect();
            let spus = Electorate {
                may_lead,
                lost: some(lost).map(SpuId).collect(),
                eligible_too: life % 2 == 0,
            };
            let Some(next) = settle(&now, &spus) else { continue };
            let (isr, eligible) = (now.isr(), now.eligible());
            prop_assert!(!next.isr.is_empty());
            prop_assert!(next.isr.is_disjoint(&next.eligible));
            let leader = next.leader.unwrap();
            prop_assert!(next.isr.contains(&leader));
            let elected = now.leader != Some(leader);
            prop_assert!(!elected || isr.contains(&leader) || eligible.contains(&leader));
            prop_assert!(!elected || (spus.may_lead.contains_key(&leader) && !spus.lost.contains(&leader)));
            // Nobody joins by a loss, but an eligible one that leads.
            prop_assert!(next.isr.iter().all(|spu| isr.contains(spu) || *spu == leader));
            let enough = next.isr.len() >= now.min_insync as usize;
            prop_assert!(!enough || next.eligible.is_empty());
            prop_assert!(enough || isr.iter().all(|b| next.isr.contains(b) || next.eligible.contains(b)));
            let same = (now.leader, now.leader_incarnation) == (next.leader, next.leader_incarnation);
            prop_assert_eq!(next.leader_epoch.0, now.leader_epoch.0 + u32::from(!same));
            for replica in &mut now.replicas {
                replica.in_isr = next.isr.contains(&replica.spu);
                replica.eligible = next.eligible.contains(&replica.spu);
            }
            now.leader = next.leader;
            now.leader_incarnation = next.leader_incarnation;
            now.leader_epoch = next.leader_epoch;
            now.partition_epoch = now.partition_epoch.next();
            // Asked again, there is nothing to do.
            prop_assert_eq!(settle(&now, &spus), None);
        }
    }
}
