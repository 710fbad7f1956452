use proptest::prelude::*;

use super::*;
use crate::plan::isr::tests::{lives, row, set};

fn ids(ids: &[u32]) -> Vec<SpuId> {
    ids.iter().copied().map(SpuId).collect()
}

/// A partition on its way from `original` to `target`.
fn moving(row: PartitionRow, original: &[u32], target: &[u32]) -> PartitionRow {
    let (original, target) = (ids(original), ids(target));
    PartitionRow { reassignment: Some(Reassignment { target, original, moving: true }), ..row }
}

/// As a store would.
fn apply(row: &mut PartitionRow, step: &Step) {
    let goal = row.reassignment.clone().unwrap();
    let state = match step {
        Step::Join(replicas) => {
            let before = row.replicas.clone();
            let replica = |spu: &SpuId| {
                let there = before.iter().find(|replica| replica.spu == *spu).copied();
                there.unwrap_or(crate::store::partitions::ReplicaRow {
                    spu: *spu,
                    in_isr: false,
                    eligible: false,
                })
            };
            row.replicas = replicas.iter().map(replica).collect();
            row.reassignment = Some(Reassignment { moving: true, ..goal });
            PartitionState::from(&*row)
        }
        Step::Lead(state) => state.clone(),
        Step::Finish(state) => {
            row.replicas.retain(|replica| goal.target.contains(&replica.spu));
            let place = |spu: SpuId| goal.target.iter().position(|other| *other == spu);
            row.replicas.sort_by_key(|replica| place(replica.spu));
            row.reassignment = None;
            state.clone()
        }
        Step::Wait(_) => return,
    };
    row.partition_epoch = row.partition_epoch.next();
    set_state(row, &state);
}

fn set_state(row: &mut PartitionRow, state: &PartitionState) {
    (row.leader, row.leader_epoch) = (state.leader, state.leader_epoch);
    row.leader_incarnation = state.leader_incarnation;
    for replica in &mut row.replicas {
        replica.in_isr = state.isr.contains(&replica.spu);
        replica.eligible = state.eligible.contains(&replica.spu);
    }
}

#[test]
fn only_who_is_being_filled_takes_a_place() {
    let there = row(&[1, 2, 3], &[1, 2], &[], 2);
    assert!(!takes_a_place(&there, &lives(&[1, 2, 3])));
    let moves = moving(there, &[1, 2], &[1, 3]);
    assert!(takes_a_place(&moves, &lives(&[1, 2, 3])));
    assert!(!takes_a_place(&moves, &lives(&[1, 2])), "nobody fetches");
    let in_sync = moving(row(&[1, 2, 3], &[1, 2, 3], &[], 2), &[1, 2], &[1, 3]);
    assert!(!takes_a_place(&in_sync, &lives(&[1, 2, 3])), "it has all");
}

#[test]
fn a_partition_moves_step_by_step() {
    let online = lives(&[1, 2, 3, 4]);
    let mut row = row(&[1, 2], &[1, 2], &[], 2);
    assert_eq!(step(&row, &online), None);
    row.reassignment =
        Some(Reassignment { target: ids(&[4, 3]), original: ids(&[1, 2]), moving: false });
    let join = step(&row, &online).unwrap();
    assert_eq!(join, Step::Join(ids(&[4, 3, 1, 2])));
    apply(&mut row, &join);
    assert_eq!((row.isr(), row.leader), (set(&[1, 2]), Some(SpuId(1))));
    assert_eq!(step(&row, &online), Some(Step::Wait(Wait::InSync(SpuId(4)))));
    // They catch up, one after the other.
    row.replicas[1].in_isr = true;
    assert_eq!(step(&row, &online), Some(Step::Wait(Wait::InSync(SpuId(4)))));
    row.replicas[0].in_isr = true;
    assert_eq!(step(&row, &lives(&[1, 2, 4])), Some(Step::Wait(Wait::Online(SpuId(3)))));
    let lead = step(&row, &online).unwrap();
    let Step::Lead(state) = &lead else { panic!("{lead:?}") };
    assert_eq!((state.leader, state.leader_epoch), (Some(SpuId(4)), row.leader_epoch.next()));
    assert_eq!((state.leader_incarnation, state.isr.len()), (Incarnation(1), 4));
    apply(&mut row, &lead);
    let finish = step(&row, &online).unwrap();
    let Step::Finish(state) = &finish else { panic!("{finish:?}") };
    assert_eq!((&state.isr, state.leader), (&set(&[3, 4]), Some(SpuId(4))));
    // Those that go may come back empty: what was heard of them must not count then.
    let epoch = row.leader_epoch.next();
    apply(&mut row, &finish);
    assert_eq!((row.holders(), row.leader_epoch), (ids(&[4, 3]), epoch));
    assert_eq!(step(&row, &online), None);
}

#[test]
fn a_leader_that_stays_leads_on() {
    let online = lives(&[1, 2, 3]);
    let row = moving(row(&[1, 3, 2], &[2, 1, 3], &[], 2), &[1, 2], &[3, 2]);
    let Some(Step::Finish(state)) = step(&row, &online) else { panic!() };
    assert_eq!((state.leader, state.isr), (Some(SpuId(2)), set(&[2, 3])));
    assert!(state.eligible.is_empty());
}

#[test]
fn another_order_of_preference_moves_nobody() {
    let row = moving(row(&[1, 2], &[1, 2], &[], 2), &[1, 2], &[2, 1]);
    let Some(Step::Finish(state)) = step(&row, &lives(&[1, 2])) else { panic!() };
    assert_eq!((state.leader, state.isr), (Some(SpuId(1)), set(&[1, 2])));
}

#[test]
fn a_cancellation_goes_back_and_keeps_what_commits() {
    let online = lives(&[1, 2, 3]);
    let back = |of: &[u32], isr: &[u32], min| {
        let row = moving(row(of, isr, &[], min), &[1, 2], &[3, 2]);
        let back = cancel(&row).unwrap();
        PartitionRow { reassignment: back, ..row }
    };
    // Before anything happened there is nothing to go back to.
    let mut queued = moving(row(&[1, 2], &[1, 2], &[], 2), &[1, 2], &[3, 2]);
    if let Some(goal) = &mut queued.reassignment {
        goal.moving = false;
    }
    assert_eq!(cancel(&queued), Some(None));
    assert_eq!(cancel(&row(&[1], &[1], &[], 1)), None);
    let Some(Step::Finish(state)) = step(&back(&[1, 3, 2], &[1, 2], 2), &online) else { panic!() };
    assert_eq!((state.leader, state.isr), (Some(SpuId(1)), set(&[1, 2])));
    // The new one leads already: it hands over first.
    let Some(Step::Lead(state)) = step(&back(&[3, 2, 1], &[3, 1, 2], 2), &online) else { panic!() };
    assert_eq!(state.leader, Some(SpuId(1)));
    // One that is not in sync is not waited for, as long as enough are.
    let one_lost = back(&[3, 2, 1], &[1, 3], 1);
    let Some(Step::Finish(state)) = step(&one_lost, &online) else { panic!() };
    assert_eq!(state.isr, set(&[1]));
    let wait = |row: &PartitionRow| step(row, &online) == Some(Step::Wait(Wait::Enough));
    assert!(wait(&back(&[3, 2, 1], &[1, 3], 2)));
    assert!(wait(&back(&[3, 2, 1], &[3], 1)));
    assert!(wait(&back(&[3, 2, 1], &[3], 2)));
    // It is not cancelled twice.
    assert_eq!(cancel(&one_lost), None);
    // In sync, and away: those that are there are not dropped for them.
    for there in [&[3][..], &[1, 3]] {
        let away = step(&back(&[3, 2, 1], &[3, 1, 2], 2), &lives(there));
        assert_eq!(away, Some(Step::Wait(Wait::Enough)));
    }
}

#[test]
fn what_cannot_be_asked_for() {
    let (stays, none) = (set(&[1, 2, 3, 4]), BTreeSet::new());
    let row = row(&[1, 2], &[1, 2], &[], 2);
    let asked = |target: &[u32]| check(&row, &ids(target), 2, &stays, &none);
    let wanted = asked(&[3, 1]).unwrap().unwrap();
    assert_eq!(
        (wanted.target, wanted.original, wanted.moving),
        (ids(&[3, 1]), ids(&[1, 2]), false)
    );
    assert_eq!(asked(&[1, 2]), Ok(None));
    assert_eq!(asked(&[3, 3]), Err(ReassignError::Twice(SpuId(3))));
    assert_eq!(asked(&[3, 9]), Err(ReassignError::Unknown(SpuId(9))));
    assert_eq!(asked(&[3]), Err(ReassignError::Count { named: 1, replication: 2 }));
    assert_eq!(asked(&[]), Err(ReassignError::Count { named: 0, replication: 2 }));
    let removing = set(&[3]);
    let again = check(&row, &ids(&[3, 1]), 2, &stays, &removing);
    assert_eq!(again, Err(ReassignError::BeingRemoved(SpuId(3))));
    let row = moving(row, &[1, 2], &[3, 4]);
    let asked = |target: &[u32]| check(&row, &ids(target), 2, &stays, &none);
    assert_eq!(asked(&[3, 4]), Ok(None));
    assert_eq!(asked(&[1, 2]), Err(ReassignError::Running(ids(&[3, 4]))));
}

proptest! {
    /// Whoever is in sync and there at each moment: a step never drops what commits, and nobody
    /// leads who is not in sync.
    #[test]
    fn no_step_takes_away_what_commits(
        target in proptest::sample::subsequence(vec![1_u32, 2, 3, 4, 5], 1..4).prop_shuffle(),
        worlds in proptest::collection::vec((0_u32..32, 0_u32..32, any::<bool>()), 1..30),
        min in 1_u32..3,
    ) {
        prop_assume!(target != [1, 2]);
        let min = min.min(u32::try_from(target.len()).unwrap());
        let mut row = row(&[1, 2], &[1, 2], &[], min);
        row.reassignment =
            Some(Reassignment { target: ids(&target), original: ids(&[1, 2]), moving: false });
        for (isr, online, cancelled) in worlds {
            if cancelled && let Some(back) = cancel(&row) {
                row.reassignment = back;
            }
            // Whatever the leader proposes meanwhile; it is always in it.
            for replica in &mut row.replicas {
                let led = row.leader == Some(replica.spu);
                replica.in_isr = led || isr & (1 << replica.spu.0.saturating_sub(1)) != 0;
            }
            let there: Vec<_> = (1..=5).filter(|spu| online & (1 << (spu - 1)) != 0).collect();
            let before = row.clone();
            let Some(step) = step(&row, &lives(&there)) else { return Ok(()) };
            apply(&mut row, &step);
            match &step {
                Step::Join(_) => {
                    prop_assert_eq!((row.isr(), row.leader), (before.isr(), before.leader));
                }
                Step::Lead(_) => {
                    prop_assert_eq!(row.isr(), before.isr());
                    prop_assert!(row.leader_epoch > before.leader_epoch);
                }
                Step::Finish(_) => {
                    let least = before.isr().len().min(usize::try_from(min).unwrap());
                    prop_assert!(row.isr().len() >= least);
                    prop_assert!(row.isr().is_subset(&before.isr()));
                    prop_assert_eq!(row.leader, before.leader);
                    prop_assert_eq!(row.holders(), before.destined());
                }
                Step::Wait(_) => prop_assert_eq!(&row, &before),
            }
            prop_assert!(row.leader.is_some_and(|leader| row.isr().contains(&leader)));
        }
    }
}
