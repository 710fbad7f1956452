//! Starts, ends, sessions that break, and what does not belong on the port.

use std::sync::{Arc, atomic::Ordering};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use weir_dataplane::{
    Deps, Limits, SpuError, data_folder::FolderError, log::LogConfig, metadata::ClusterMap,
    partition::Registry, run,
};
use weir_protocol::{
    ErrorCode,
    ids::{Incarnation, SpuId},
    pb::session::ReplicaState,
};
use weir_runtime::{
    clock::Clock,
    net,
    task::{self, CancellationToken},
};

use crate::{
    client::{at, batch, request, soon},
    control_plane::{ControlPlane, key, led, topic, update},
    node::{Node, config, real_disk},
};

#[tokio::test]
async fn a_restarted_spu_has_its_records_and_knows_its_producers() {
    let node = Node::start().await;
    let mut producer = node.client.produce().await;
    let first = batch(3, 10, Some((7, 0)));
    producer.send(request(key(1, 0), first.clone())).await.unwrap();
    let (ended, control_plane, folder, disk) = node.stop().await;
    ended.unwrap();

    control_plane.state.incarnation.store(2, Ordering::SeqCst);
    *control_plane.state.topics.lock().unwrap() = vec![led(topic(1, 1, "t"), 2, 2)];
    let node = Node::on(folder, disk, control_plane).await;
    let (one, two) =
        (node.control_plane.registered(1).await, node.control_plane.registered(2).await);
    assert_eq!(one.folder_id, two.folder_id);
    assert_ne!(one.process_id, two.process_id);
    assert_eq!((two.highest_revision, two.database.is_some()), (10, true));
    let mut producer = node.client.produce().await;
    let mut again = request(key(1, 0), first);
    again.leader_epoch = 2;
    let ack = producer.send(again).await.unwrap();
    assert_eq!((ack.base_offset, ack.duplicate), (0, true));
    let mut fetcher = node.client.fetch().await;
    fetcher.credit(1 << 20).await;
    fetcher.subscribe_at(1, key(1, 0), at(0), 0, 2).await;
    assert_eq!(fetcher.started(1).await, 0);
    assert_eq!(fetcher.records(1).await, [0]);
}

#[tokio::test]
async fn a_new_incarnation_does_not_lead_in_an_old_epoch() {
    let node = Node::start().await;
    let mut producer = node.client.produce().await;
    producer.send(request(key(1, 0), batch(1, 10, None))).await.unwrap();
    let (ended, control_plane, folder, disk) = node.stop().await;
    ended.unwrap();
    // The control plane hands out a new incarnation; the epoch is still the old one's.
    control_plane.state.incarnation.store(2, Ordering::SeqCst);
    let node = Node::on(folder.clone(), disk, control_plane).await;
    let mut producer = node.client.produce().await;
    let refused = producer.refused(request(key(1, 0), batch(1, 10, None))).await;
    assert_eq!(refused.code, ErrorCode::NotLeader);
    // Nor when the old epoch is given to the new incarnation: the log knows it.
    let mut same_epoch = led(topic(1, 1, "t"), 1, 2);
    same_epoch.partitions[0].partition_epoch = 2;
    node.control_plane.change(vec![same_epoch, topic(3, 1, "after")]).await;
    node.leads(3, 0).await;
    let refused = producer.refused(request(key(1, 0), batch(1, 10, None))).await;
    assert_eq!(refused.code, ErrorCode::NotLeader);
}

#[tokio::test]
async fn with_the_control_plane_away_all_that_is_led_goes_on() {
    let node = Node::start().await;
    let mut producer = node.client.produce().await;
    node.control_plane.stop();
    for n in 0..5 {
        let ack = producer.send(request(key(1, 0), batch(1, 10, None))).await.unwrap();
        assert_eq!(ack.base_offset, n);
    }
    let again = node.control_plane.restart().await;
    let (one, two) = (again.registered(1).await, again.registered(2).await);
    assert_eq!(one.process_id, two.process_id, "the same process");
    let reported = two.replicas.iter().find(|status| status.partition == Some(key(1, 0).to_wire()));
    assert_eq!(reported.unwrap().log_end, 5);
    assert!(producer.send(request(key(1, 0), batch(1, 10, None))).await.is_ok());
}

#[tokio::test]
async fn a_refusal_for_good_ends_the_process_with_its_reason() {
    let node = Node::start().await;
    *node.control_plane.state.refusal.lock().unwrap() = Some(ErrorCode::StaleLaunch);
    node.control_plane.hang_up();
    let ended = node.ends().await;
    assert!(matches!(ended, Err(SpuError::Refused { code: ErrorCode::StaleLaunch, .. })));
}

#[tokio::test]
async fn a_refusal_that_may_pass_is_waited_for() {
    let node = Node::start().await;
    *node.control_plane.state.refusal.lock().unwrap() = Some(ErrorCode::DatabaseWentBack);
    node.control_plane.hang_up();
    node.control_plane.registered(3).await;
    *node.control_plane.state.refusal.lock().unwrap() = None;
    node.control_plane.state.replicas.send_modify(|all| all.clear());
    node.leads(1, 0).await;
}

#[tokio::test]
async fn garbage_on_the_port_disturbs_nobody() {
    let node = Node::start().await;
    let mut producer = node.client.produce().await;
    for garbage in [
        &b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"[..],
        &[0xff; 5000],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"",
    ] {
        let mut stream = net::connect(&node.client.endpoint).await.unwrap();
        stream.write_all(garbage).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        // Whatever it says, and however it ends, it ends.
        let _ = soon(stream.read_to_end(&mut answer)).await;
        assert!(producer.send(request(key(1, 0), batch(1, 10, None))).await.is_ok());
    }
}

#[tokio::test]
async fn a_damaged_log_takes_its_replica_alone_offline() {
    let node = Node::start().await;
    let mut producer = node.client.produce().await;
    for partition in 0..2 {
        producer.send(request(key(1, partition), batch(9, 100, None))).await.unwrap();
    }
    let (ended, control_plane, folder, disk) = node.stop().await;
    ended.unwrap();
    let generation = key(1, 0).generation.0.simple().to_string();
    let replica = folder.path().join("topics").join(generation).join("0");
    let log = std::fs::read_dir(replica).unwrap().map(|entry| entry.unwrap().path());
    let log =
        log.into_iter().find(|path| path.extension().is_some_and(|end| end == "log")).unwrap();
    // Cut below the recovery point: these records were promised.
    std::fs::OpenOptions::new().write(true).open(log).unwrap().set_len(40).unwrap();

    control_plane.state.replicas.send_modify(|all| all.clear());
    control_plane.state.incarnation.store(2, Ordering::SeqCst);
    *control_plane.state.topics.lock().unwrap() = vec![led(topic(1, 1, "t"), 2, 2)];
    let shutdown = CancellationToken::new();
    let deps = Deps { disk, clock: Clock };
    let task = task::spawn(run(config(&control_plane.endpoint), deps, shutdown.clone()));
    let (offline, online) = (ReplicaState::Offline, ReplicaState::Online);
    control_plane.reported(key(1, 0), |status| status.state() == offline).await;
    control_plane
        .reported(key(1, 1), |status| status.state() == online && status.log_end == 9)
        .await;
    shutdown.cancel();
    soon(task).await.unwrap().unwrap();
}

async fn start_error(config: weir_dataplane::Config, folder: &TempDir) -> SpuError {
    let deps = Deps { disk: real_disk(folder).await, clock: Clock };
    soon(run(config, deps, CancellationToken::new())).await.unwrap_err()
}

#[tokio::test]
async fn what_keeps_it_from_starting_is_named_with_a_remedy() {
    let node = Node::start().await;
    let good = config(&node.control_plane.endpoint);
    let in_use = start_error(good.clone(), &node.folder).await;
    assert!(matches!(in_use, SpuError::Folder(FolderError::InUse)), "{in_use}");

    let empty = TempDir::new().unwrap();
    let taken = weir_dataplane::Config { listen: node.client.endpoint.clone(), ..good.clone() };
    let text = start_error(taken, &empty).await.to_string();
    assert!(text.contains(&node.client.endpoint) && text.contains("--listen"), "{text}");

    let everywhere = weir_dataplane::Config { listen: "0.0.0.0:0".to_owned(), ..good.clone() };
    let text = start_error(everywhere, &empty).await.to_string();
    assert!(text.contains("--advertise"), "{text}");

    let (_, _, folder, _) = node.stop().await;
    let other = weir_dataplane::Config { spu_id: SpuId(2), ..good };
    let not_ours = start_error(other, &folder).await;
    assert!(matches!(not_ours, SpuError::Folder(FolderError::NotOurs { .. })), "{not_ours}");
}

#[tokio::test]
async fn the_end_answers_what_was_taken() {
    let folder = Arc::new(TempDir::new().unwrap());
    let disk = real_disk(&folder).await;
    let control_plane = ControlPlane::start(vec![topic(1, 1, "t")]).await;
    let node = Node::on(folder, disk, control_plane).await;
    let mut producer = node.client.produce().await;
    for _ in 0..10 {
        producer.post(request(key(1, 0), batch(1, 10, None))).await;
    }
    // The first answer says that the stream is being read.
    producer.answer().await.1.unwrap();
    let (ended, ..) = node.stop().await;
    ended.unwrap();
    let last = loop {
        match producer.end().await {
            Ok(Some(response)) => {
                let result = response.result.unwrap();
                let acked =
                    matches!(result, weir_protocol::pb::data::produce_response::Result::Ack(_));
                assert!(acked, "{result:?}");
            }
            other => break other,
        }
    };
    // Whatever has no answer by now was not read.
    assert_eq!(crate::client::code_of(&last.unwrap_err()), ErrorCode::ShuttingDown);
}

#[tokio::test]
async fn once_all_is_closed_no_replica_starts() {
    let folder = TempDir::new().unwrap();
    let disk = real_disk(&folder).await;
    let registry = Registry::new(SpuId(1), disk, Limits::default(), LogConfig::default());
    let mut map = ClusterMap::default();
    map.apply(&update(1, true, vec![topic(1, 1, "t")])).unwrap();
    registry.reconcile(&map, Some(Incarnation(1)));
    assert!(registry.get(key(1, 0)).is_some());
    registry.close_all().await;
    map.apply(&update(2, false, vec![topic(2, 1, "late")])).unwrap();
    registry.reconcile(&map, Some(Incarnation(1)));
    assert!(registry.get(key(2, 0)).is_none());
}
