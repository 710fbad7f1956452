//! What the disk does, and what clients are told of it.

use std::sync::{Arc, atomic::Ordering};

use tempfile::TempDir;
use weir_dataplane::log::LogConfig;
use weir_protocol::{ErrorCode, Outcome, pb::session::ReplicaState};
use weir_runtime::disk::counting::{CountingDisk, Event};

use crate::{
    client::{at, batch, request, soon},
    control_plane::{ControlPlane, key, topic},
    faults::{Faults, FaultyDisk},
    node::{Node, real_disk},
};

#[tokio::test]
async fn an_acknowledgement_comes_after_its_fsync() {
    let folder = Arc::new(TempDir::new().unwrap());
    let (disk, journal) = CountingDisk::new(real_disk(&folder).await);
    let control_plane = ControlPlane::start(vec![topic(1, 1, "t")]).await;
    let node = Node::on(folder, disk, control_plane).await;
    let mut producer = node.client.produce().await;
    for _ in 0..10 {
        journal.mark("sent");
        producer.send(request(key(1, 0), batch(1, 10, None))).await.unwrap();
        journal.mark("acknowledged");
    }
    let events = journal.events();
    let position = |from: usize, wanted: &dyn Fn(&Event) -> bool| {
        events[from..].iter().position(wanted).map(|found| from + found)
    };
    let log = |path: &str| path.ends_with(".log");
    let mut from = 0;
    for _ in 0..10 {
        let sent = position(from, &|event| *event == Event::Mark("sent".to_owned())).unwrap();
        let is_write = |event: &Event| matches!(event, Event::Written { path, .. } if log(path));
        let is_sync = |event: &Event| matches!(event, Event::Synced { path } if log(path));
        let written = position(sent, &is_write).unwrap();
        let synced = position(written, &is_sync).unwrap();
        let acked = Event::Mark("acknowledged".to_owned());
        let acked = position(sent, &|event| *event == acked).unwrap();
        assert!(synced < acked, "{:?}", &events[sent..=acked]);
        from = acked;
    }
}

#[tokio::test]
async fn while_an_fsync_runs_the_next_group_is_written_and_nothing_is_promised() {
    let folder = Arc::new(TempDir::new().unwrap());
    let (disk, journal) = CountingDisk::new(real_disk(&folder).await);
    let control_plane = ControlPlane::start(vec![topic(1, 1, "t")]).await;
    let node = Node::on(folder, disk, control_plane).await;
    let mut producer = node.client.produce().await;
    let mut unpromised = node.client.produce().await;
    let mut fetcher = node.client.fetch().await;
    fetcher.credit(1 << 20).await;
    journal.hold_syncs();
    let none = |batch| {
        let acks = weir_protocol::pb::data::Acks::None.into();
        weir_protocol::pb::data::ProduceRequest { acks, ..request(key(1, 0), batch) }
    };
    for n in 0..5 {
        producer.post(request(key(1, 0), batch(1, 10, None))).await;
        // An answer to this, which waits for no fsync, says that both were written.
        let ack = unpromised.send(none(batch(1, 10, None))).await.unwrap();
        assert!(ack.base_offset >= n);
    }
    fetcher.subscribe(1, key(1, 0), at(0), 0).await;
    assert_eq!(fetcher.started(1).await, 0);
    let status = node.control_plane.state.replicas.borrow()[&key(1, 0)].clone();
    assert_eq!((status.high_watermark, status.durable_end), (0, 0), "nothing is committed");
    journal.mark("released");
    journal.release_syncs();
    for _ in 0..5 {
        producer.answer().await.1.unwrap();
    }
    let mut seen = 0;
    while seen < 10 {
        seen += fetcher.records(1).await.len();
    }
    let events = journal.events();
    let released = events.iter().position(|event| *event == Event::Mark("released".to_owned()));
    let log = |path: &str| path.ends_with(".log");
    let begun = |event: &&Event| matches!(event, Event::SyncBegun { path } if log(path));
    assert_eq!(events.iter().filter(begun).count(), 2, "one for the first, one for all others");
    let written = |event: &&Event| matches!(event, Event::Written { path, .. } if log(path));
    assert!(events[..released.unwrap()].iter().filter(written).count() >= 2);
}

async fn faulty() -> (Node, Arc<Faults>) {
    let folder = Arc::new(TempDir::new().unwrap());
    let (disk, faults) = FaultyDisk::new(real_disk(&folder).await);
    let control_plane = ControlPlane::start(vec![topic(1, 1, "t")]).await;
    (Node::on(folder, disk, control_plane).await, faults)
}

#[tokio::test]
async fn a_disk_that_fills_while_it_syncs_answers_both() {
    let (node, faults) = faulty().await;
    let mut producer = node.client.produce().await;
    faults.syncs_held.send_replace(true);
    let first = producer.post(request(key(1, 0), batch(1, 10, None))).await;
    node.control_plane.reported(key(1, 0), |status| status.log_end == 1).await;
    faults.full.store(true, Ordering::SeqCst);
    let second = producer.post(request(key(1, 0), batch(1, 10, None))).await;
    // The append takes itself back, for which it needs the sync to end.
    soon(faults.full_writes.subscribe().wait_for(|writes| *writes > 0)).await.unwrap();
    faults.syncs_held.send_replace(false);
    let mut answers = [producer.answer().await, producer.answer().await];
    answers.sort_by_key(|(id, _)| *id);
    assert_eq!((answers[0].0, answers[1].0), (first, second));
    assert!(answers[0].1.is_ok());
    assert_eq!(answers[1].1.as_ref().unwrap_err().code, ErrorCode::StorageFull);
}

#[tokio::test]
async fn a_full_disk_refuses_writes_serves_reads_and_recovers_by_itself() {
    let (node, faults) = faulty().await;
    let mut producer = node.client.produce().await;
    producer.send(request(key(1, 0), batch(1, 10, Some((7, 0))))).await.unwrap();
    faults.full.store(true, Ordering::SeqCst);
    let next = || request(key(1, 0), batch(1, 10, Some((7, 1))));
    let refused = producer.refused(next()).await;
    assert_eq!(refused.code, ErrorCode::StorageFull);
    assert_eq!(refused.code.outcome(), Outcome::NotDone);
    let mut fetcher = node.client.fetch().await;
    fetcher.credit(1 << 20).await;
    fetcher.subscribe(1, key(1, 0), at(0), 0).await;
    assert_eq!(fetcher.started(1).await, 0);
    assert_eq!(fetcher.records(1).await, [0]);
    faults.full.store(false, Ordering::SeqCst);
    let ack = producer.send(next()).await.unwrap();
    assert_eq!((ack.base_offset, ack.duplicate), (1, false), "as if it came for the first time");
    assert_eq!(fetcher.records(1).await, [1]);
}

#[tokio::test]
async fn a_failed_fsync_is_unknown_and_takes_its_replica_alone_offline() {
    let (node, faults) = faulty().await;
    let mut producer = node.client.produce().await;
    producer.send(request(key(1, 0), batch(1, 10, None))).await.unwrap();
    faults.sync_fails.store(true, Ordering::SeqCst);
    let failed = producer.refused(request(key(1, 0), batch(1, 10, None))).await;
    assert_eq!(failed.code, ErrorCode::StorageFailed);
    assert_eq!(failed.code.outcome(), Outcome::Unknown);
    faults.sync_fails.store(false, Ordering::SeqCst);
    let refused = producer.refused(request(key(1, 0), batch(1, 10, None))).await;
    assert_eq!(refused.code, ErrorCode::ReplicaOffline);
    let offline = ReplicaState::Offline;
    let with_reason = |status: &weir_protocol::pb::session::ReplicaStatus| {
        status.state() == offline && status.problem.as_ref().is_some_and(|why| why.code != 0)
    };
    node.control_plane.reported(key(1, 0), with_reason).await;
    let mut fetcher = node.client.fetch().await;
    fetcher.subscribe(1, key(1, 0), at(0), 0).await;
    assert_eq!(fetcher.error(1).await.code, ErrorCode::ReplicaOffline);
    assert!(producer.send(request(key(1, 1), batch(1, 10, None))).await.is_ok());
}

#[tokio::test]
async fn a_replica_whose_log_could_not_be_opened_comes_back_by_itself() {
    let (node, faults) = faulty().await;
    faults.opens_fail.store(true, Ordering::SeqCst);
    node.control_plane.change(vec![topic(3, 1, "later")]).await;
    let offline = ReplicaState::Offline;
    let with_reason = |status: &weir_protocol::pb::session::ReplicaStatus| {
        let problem = status.problem.as_ref();
        status.state() == offline && problem.is_some_and(|why| why.message.contains("too many"))
    };
    node.control_plane.reported(key(3, 0), with_reason).await;
    let mut producer = node.client.produce().await;
    let refused = producer.refused(request(key(3, 0), batch(1, 10, None))).await;
    assert_eq!(refused.code, ErrorCode::ReplicaOffline);
    assert_eq!(refused.code.outcome(), Outcome::NotDone);
    faults.opens_fail.store(false, Ordering::SeqCst);
    node.leads(3, 0).await;
    let ack = producer.send(request(key(3, 0), batch(1, 10, None))).await.unwrap();
    assert_eq!(ack.base_offset, 0);
}

#[tokio::test]
async fn no_descriptor_for_a_new_segment_refuses_the_batch_and_no_more() {
    let folder = Arc::new(TempDir::new().unwrap());
    let (disk, faults) = FaultyDisk::new(real_disk(&folder).await);
    let control_plane = ControlPlane::start(vec![topic(1, 1, "t")]).await;
    let log = LogConfig { segment_bytes_max: 1, ..LogConfig::default() };
    let node = Node::with_log(folder, disk, control_plane, log).await;
    let mut producer = node.client.produce().await;
    let next = || request(key(1, 0), batch(1, 10, None));
    producer.send(next()).await.unwrap();
    faults.new_segments_fail.store(true, Ordering::SeqCst);
    let refused = producer.refused(next()).await;
    assert_eq!(refused.code, ErrorCode::Overloaded);
    assert_eq!(refused.code.outcome(), Outcome::NotDone);
    faults.new_segments_fail.store(false, Ordering::SeqCst);
    assert_eq!(producer.send(next()).await.unwrap().base_offset, 1);
}
