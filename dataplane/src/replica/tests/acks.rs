//! Which acknowledgement waits for what.

use super::*;

#[test]
fn each_kind_of_acks_waits_for_its_own() {
    let mut replica = leader();
    assert_eq!(handle(&mut replica, produce(1, 1, Acks::None, 0)), [append(1, 0)]);
    assert_eq!(handle(&mut replica, produce(2, 1, Acks::Leader, 2)), [append(2, 2)]);
    assert_eq!(handle(&mut replica, produce(3, 1, Acks::All, 4)), [append(3, 4)]);
    assert_eq!(handle(&mut replica, Event::Appended), [acked(1, 0, false)]);
    assert_eq!(handle(&mut replica, synced(4)), [acked(2, 2, false)]);
    assert_eq!(replica.readable().high_watermark, Offset(4));
    assert_eq!(handle(&mut replica, synced(6)), [acked(3, 4, false)]);
    assert_eq!(replica.waiting(), 0);
}

#[test]
fn where_the_topic_says_so_the_log_is_enough() {
    let mut replica = leader();
    let later = TopicConfig { flush: Flush::Interval { ms: 5 }, ..TopicConfig::default() };
    let word = Assignment { config: later, ..leads(1, 1, 1) };
    assert_eq!(handle(&mut replica, Event::Assign(word)), []);
    handle(&mut replica, produce(1, 1, Acks::Leader, 0));
    handle(&mut replica, produce(2, 1, Acks::All, 2));
    assert_eq!(replica.readable().high_watermark, Offset(0));
    let both = [acked(1, 0, false), acked(2, 2, false)];
    assert_eq!(handle(&mut replica, Event::Appended), both);
    assert_eq!(replica.readable().high_watermark, Offset(4));
    assert_eq!(replica.durable_end(), Offset(0), "and nothing else is said of the disk");

    // Back again: what was told stays told, what comes waits.
    assert_eq!(handle(&mut replica, Event::Assign(leads(1, 1, 1))), []);
    handle(&mut replica, produce(3, 1, Acks::All, 4));
    assert_eq!(handle(&mut replica, Event::Appended), []);
    assert_eq!(handle(&mut replica, synced(4)), []);
    assert_eq!(handle(&mut replica, synced(6)), [acked(3, 4, false)]);
}

#[test]
fn with_a_follower_only_acks_all_waits_for_it() {
    let mut replica = recovered(0);
    let both = BTreeSet::from([ME, OTHER]);
    let word = Assignment { replicas: both.clone(), isr: both, min_insync: 2, ..leads(1, 1, 1) };
    handle(&mut replica, Event::Assign(word));
    handle(&mut replica, produce(1, 1, Acks::Leader, 0));
    handle(&mut replica, produce(2, 1, Acks::All, 2));
    handle(&mut replica, Event::Appended);
    assert_eq!(handle(&mut replica, synced(4)), [acked(1, 0, false)]);
    let follower = |end| fetch(OTHER, 1, 4, end);
    let handle = |replica: &mut Replica, event| {
        let mut actions = handle(replica, event);
        actions.retain(|action| !matches!(action, Action::Feed { .. }));
        actions
    };
    assert_eq!(handle(&mut replica, follower(3)), []);
    assert_eq!(replica.readable().high_watermark, Offset(3));
    assert_eq!(handle(&mut replica, follower(4)), [acked(2, 2, false)]);
}

#[test]
fn a_duplicate_is_acknowledged_once_its_original_is_committed() {
    let mut replica = leader();
    handle(&mut replica, produce(1, 1, Acks::All, 0));
    handle(&mut replica, Event::Appended);
    for (request, acks) in [(2, Acks::All), (3, Acks::None)] {
        assert_eq!(handle(&mut replica, produce(request, 1, acks, 0)), [], "not yet: {acks:?}");
    }
    let answers = handle(&mut replica, synced(2));
    assert_eq!(answers, [acked(1, 0, false), acked(2, 0, true), acked(3, 0, true)]);
    assert_eq!(handle(&mut replica, produce(4, 1, Acks::All, 0)), [acked(4, 0, true)]);
    assert_eq!(replica.log_end(), Offset(2), "written once");
}
