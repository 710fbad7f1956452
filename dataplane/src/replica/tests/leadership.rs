//! Who leads, in which epoch, and who is in sync.

use super::*;

/// Who asks what is committed hears it only once all in sync have repeated a ping of after that.
#[test]
fn a_leadership_is_confirmed_by_all_in_sync_and_by_enough_of_them() {
    let word = |isr: &[SpuId], epoch, partition_epoch| Assignment {
        replicas: BTreeSet::from([ME, OTHER]),
        isr: isr.iter().copied().collect(),
        min_insync: 2,
        ..leads(epoch, 1, partition_epoch)
    };
    let confirmed = |actions: &[Action]| -> Vec<u64> {
        let ok = |action: &Action| match action {
            Action::Respond { request, answer: Ok(_) } => Some(request.0),
            _ => None,
        };
        actions.iter().filter_map(ok).collect()
    };
    let pong = |ping_round| {
        let Event::Fetch(asked) = fetch(OTHER, 1, 0, 0) else { unreachable!() };
        Event::Fetch(FollowerFetch { ping_round, ..asked })
    };
    let mut replica = recovered(0);
    handle(&mut replica, Event::Assign(word(&[ME, OTHER], 1, 1)));
    assert_eq!(handle(&mut replica, Event::Confirm(RequestId(1))), []);
    assert_eq!(replica.ping(), (1, true));
    assert!(confirmed(&handle(&mut replica, pong(0))).is_empty(), "said before the question");
    assert_eq!(handle(&mut replica, Event::Confirm(RequestId(2))), []);
    assert_eq!(confirmed(&handle(&mut replica, pong(1))), [1], "the later one has to wait");
    assert_eq!(confirmed(&handle(&mut replica, pong(2))), [2]);
    assert_eq!(replica.ping(), (2, false));
    // Alone it may have been replaced from outside the set, and others may have committed since.
    handle(&mut replica, Event::Confirm(RequestId(3)));
    assert_eq!(handle(&mut replica, Event::Assign(word(&[ME], 1, 2))), []);
    let alone = handle(&mut replica, Event::Confirm(RequestId(4)));
    assert_eq!(refused(&alone), [(4, ErrorCode::NotEnoughReplicas)]);
    let deposed = Assignment { leader: Some(OTHER), ..word(&[OTHER], 2, 3) };
    let actions = handle(&mut replica, Event::Assign(deposed));
    assert_eq!(refused(&actions), [(3, ErrorCode::LeaderLost)]);
}

#[test]
fn epochs_that_differ_are_refused_and_say_which_is_current() {
    let mut replica = recovered(0);
    handle(&mut replica, Event::Assign(leads(5, 1, 1)));
    let actions = handle(&mut replica, produce(1, 4, Acks::All, 0));
    assert_eq!(refused(&actions), [(1, ErrorCode::FencedLeaderEpoch)]);
    let actions = handle(&mut replica, produce(2, 6, Acks::All, 0));
    assert_eq!(refused(&actions), [(2, ErrorCode::UnknownLeaderEpoch)]);
}

#[test]
fn only_the_incarnation_that_an_epoch_belongs_to_leads() {
    let mut replica = recovered(0);
    handle(&mut replica, Event::Assign(leads(1, 2, 1)));
    assert!(matches!(replica.role(), Role::Follower { .. }));
    let actions = handle(&mut replica, produce(1, 1, Acks::All, 0));
    assert_eq!(refused(&actions), [(1, ErrorCode::NotLeader)]);
    handle(&mut replica, Event::Assign(Assignment { incarnation: None, ..leads(1, 1, 1) }));
    assert_eq!(*replica.role(), Role::None, "not before the first registration");
}

#[test]
fn a_new_process_never_leads_in_an_epoch_that_its_log_knows() {
    let mut replica = recovered(2);
    replica.replay(LeaderEpoch(3), None, Offset(0), Offset(1));
    handle(&mut replica, Event::Assign(leads(3, 1, 1)));
    assert!(matches!(replica.role(), Role::Follower { .. }));
    handle(&mut replica, Event::Assign(leads(4, 1, 2)));
    assert!(matches!(replica.role(), Role::Leader { epoch: LeaderEpoch(4), .. }));
}

/// Records at offsets 0 to 9 that this replica wrote as the leader in epoch 1, all committed.
fn deposed(unclean_epoch: u32) -> Replica {
    let mut replica = recovered(10);
    replica.replay(LeaderEpoch(1), None, Offset(0), Offset(9));
    handle(&mut replica, Event::Assign(leads(2, 1, 1)));
    assert_eq!(replica.readable().high_watermark, Offset(10));
    let both = BTreeSet::from([ME, OTHER]);
    let word = Assignment {
        leader: Some(OTHER),
        isr: BTreeSet::from([OTHER]),
        replicas: both,
        unclean_epoch: LeaderEpoch(unclean_epoch),
        ..leads(3, 1, 2)
    };
    handle(&mut replica, Event::Assign(word));
    replica
}

/// The leader's log parts from this one at 4.
fn parts_at_4() -> Event {
    Event::FromLeader(follower::FromLeader {
        leader_epoch: LeaderEpoch(3),
        high_watermark: Offset(4),
        log_start: Offset(0),
        news: follower::News::Diverged { epoch: LeaderEpoch(1), end: Offset(4), at: Offset(10) },
    })
}

#[test]
fn what_was_committed_is_cut_only_below_a_leader_that_was_elected_without_it() {
    let mut clean = deposed(0);
    assert_eq!(handle(&mut clean, parts_at_4()), []);
    assert!(matches!(clean.role(), Role::Offline(_)), "{:?}", clean.role());

    let mut cut = deposed(3);
    assert_eq!(cut.readable().high_watermark, Offset(0), "nothing is known to be committed");
    let actions = handle(&mut cut, parts_at_4());
    assert_eq!(actions, [Action::Cut(follower::Cut::From(Offset(4)))]);
    let was_cut = Event::WasCut { cut: follower::Cut::From(Offset(4)), log_end: Offset(4) };
    assert_eq!(handle(&mut cut, was_cut), []);
    let (log_end, last_epoch) = (cut.log_end(), cut.last_epoch());
    assert_eq!((log_end, last_epoch), (Offset(4), Some(LeaderEpoch(1))));
    // The same word again takes nothing back that was heard since.
    let said = follower::FromLeader {
        leader_epoch: LeaderEpoch(3),
        high_watermark: Offset(4),
        log_start: Offset(0),
        news: follower::News::None,
    };
    handle(&mut cut, Event::FromLeader(said));
    let word = Assignment {
        leader: Some(OTHER),
        replicas: BTreeSet::from([ME, OTHER]),
        unclean_epoch: LeaderEpoch(3),
        ..leads(3, 1, 3)
    };
    handle(&mut cut, Event::Assign(word));
    assert_eq!(cut.readable().high_watermark, Offset(4));
}

#[test]
fn an_older_word_of_the_control_plane_changes_nothing() {
    let mut replica = recovered(0);
    handle(&mut replica, Event::Assign(leads(5, 1, 9)));
    handle(&mut replica, Event::Assign(Assignment { leader: None, ..leads(4, 1, 8) }));
    assert!(matches!(replica.role(), Role::Leader { epoch: LeaderEpoch(5), .. }));
}

#[test]
fn losing_the_leadership_leaves_what_was_appended_unknown() {
    let mut replica = leader();
    handle(&mut replica, produce(1, 1, Acks::All, 0));
    handle(&mut replica, Event::Appended);
    let word = Assignment { leader: Some(OTHER), ..leads(2, 1, 2) };
    let actions = handle(&mut replica, Event::Assign(word));
    assert_eq!(refused(&actions), [(1, ErrorCode::LeaderLost)]);
    assert_eq!(ErrorCode::LeaderLost.outcome(), Outcome::Unknown);
    assert_eq!(handle(&mut replica, synced(2)), [], "answered once");
}

#[test]
fn a_tombstone_is_kept_but_not_served_and_can_come_back() {
    let mut replica = leader();
    handle(&mut replica, Event::Assign(Assignment { serving: false, ..leads(1, 1, 1) }));
    assert_eq!(*replica.role(), Role::None);
    handle(&mut replica, Event::Assign(leads(1, 1, 1)));
    assert!(matches!(replica.role(), Role::Leader { .. }), "this process held that very epoch");
}

#[test]
fn a_new_leader_is_settled_once_its_first_log_end_is_committed() {
    let limits = ReplicaLimits { producers_max: 1, replica_lag_max_ms: 1_000 };
    let mut replica = Replica::recovered(key(), Offset(2), Offset(8), Offset(5), limits);
    handle(&mut replica, Event::Assign(leads(1, 1, 1)));
    assert_eq!(replica.readable().high_watermark, Offset(5), "what is durable");
    assert!(!replica.readable().settled);
    handle(&mut replica, synced(8));
    assert!(replica.readable().settled);
}

/// A follower that went away with all that there is would be refused, and with it whoever is
/// proposed beside it. One that has everything, and waits in silence, is proposed all the same.
#[test]
fn who_is_gone_is_not_proposed_and_holds_up_nobody() {
    let mut replica = recovered(0);
    let third = SpuId(3);
    let word = |partition_epoch, online: &[SpuId]| Assignment {
        replicas: BTreeSet::from([ME, OTHER, third]),
        online: online.iter().map(|spu| (*spu, Incarnation(1))).collect(),
        ..leads(1, 1, partition_epoch)
    };
    let members = |replica: &Replica| -> Option<Vec<SpuId>> {
        Some(replica.proposal()?.members.keys().copied().collect())
    };
    handle(&mut replica, Event::Assign(word(1, &[ME])));
    handle(&mut replica, fetch(OTHER, 1, 0, 0));
    handle(&mut replica, fetch(third, 1, 0, 0));
    assert_eq!(members(&replica), None);
    handle(&mut replica, Event::Tick { now_ms: 1_000_000 });
    handle(&mut replica, Event::Assign(word(1, &[ME, third])));
    assert_eq!(members(&replica), Some(vec![ME, third]));
    handle(&mut replica, Event::IsrRefused(PartitionEpoch(1)));
    assert_eq!(members(&replica), Some(vec![ME]), "the set as it is makes the first one void");
    handle(&mut replica, Event::Assign(word(2, &[ME, OTHER, third])));
    assert_eq!(members(&replica), None, "not again at once");
    handle(&mut replica, Event::Tick { now_ms: 1_001_001 });
    assert_eq!(members(&replica), Some(vec![ME, OTHER, third]));
}
