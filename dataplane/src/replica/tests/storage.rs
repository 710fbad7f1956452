//! A disk that is full or fails, and logs that end.

use super::*;

#[test]
fn a_full_disk_refuses_the_group_and_takes_everything_back() {
    let mut replica = leader();
    handle(&mut replica, produce(1, 1, Acks::All, 0));
    handle(&mut replica, produce(2, 1, Acks::None, 2));
    handle(&mut replica, produce(3, 1, Acks::All, 0));
    let actions = handle(&mut replica, Event::AppendRefused(Refusal::StorageFull));
    let mut who = refused(&actions);
    who.sort_unstable();
    let full = ErrorCode::StorageFull;
    assert_eq!(who, [(1, full), (2, full), (3, full)], "the duplicate too");
    assert_eq!(full.outcome(), Outcome::NotDone);
    assert_eq!(handle(&mut replica, produce(4, 1, Acks::All, 0)), [append(4, 0)], "as if new");
}

#[test]
fn a_full_disk_leaves_alone_what_was_written_before() {
    let mut replica = leader();
    handle(&mut replica, produce(1, 1, Acks::All, 0));
    handle(&mut replica, Event::Appended);
    handle(&mut replica, produce(2, 1, Acks::All, 2));
    assert_eq!(
        refused(&handle(&mut replica, Event::AppendRefused(Refusal::StorageFull))),
        [(2, ErrorCode::StorageFull)]
    );
    assert_eq!(handle(&mut replica, synced(2)), [acked(1, 0, false)]);
}

#[test]
fn failed_storage_takes_the_replica_offline_with_the_outcome_unknown() {
    for event in [Event::AppendFailed(full()), Event::Broken(full())] {
        let mut replica = leader();
        handle(&mut replica, produce(1, 1, Acks::All, 0));
        assert_eq!(refused(&handle(&mut replica, event)), [(1, ErrorCode::StorageFailed)]);
        let actions = handle(&mut replica, produce(2, 1, Acks::All, 0));
        assert_eq!(refused(&actions), [(2, ErrorCode::ReplicaOffline)]);
        handle(&mut replica, Event::Assign(leads(2, 1, 2)));
        assert_eq!(*replica.role(), Role::Offline(full()), "until the process starts again");
    }
}

#[test]
fn the_log_start_moves_up_to_the_high_watermark_and_never_back() {
    let mut replica = leader();
    handle(&mut replica, produce(1, 1, Acks::All, 0));
    handle(&mut replica, Event::Appended);
    let start = |replica: &mut Replica, log_start| {
        assert_eq!(handle(replica, Event::StartMoved { log_start: Offset(log_start) }), []);
        replica.readable().log_start.get()
    };
    assert_eq!(start(&mut replica, 1), 0, "nothing is committed yet");
    handle(&mut replica, synced(1));
    assert_eq!(start(&mut replica, 1), 1);
    assert_eq!(start(&mut replica, 0), 1);
}

#[test]
fn offsets_end_where_the_format_does() {
    let mut replica = recovered(Offset::MAX.get() - 1);
    handle(&mut replica, Event::Assign(leads(1, 1, 1)));
    let actions = handle(&mut replica, produce(1, 1, Acks::All, 0));
    assert_eq!(refused(&actions), [(1, ErrorCode::InvalidBatch)]);
}
