//! Replicas removed by order: open ones, those of before a restart, those that are half gone.

use std::{path::PathBuf, sync::atomic::Ordering};

use weir_protocol::{
    ErrorCode,
    pb::{
        data::start::Position,
        session::{RemoveReplica, control_message::Message},
    },
};

use crate::{
    client::{batch, request, soon},
    control_plane::{database, key, led, purged, tombstone, topic},
    node::Node,
};

fn order(partition: u32, partition_epoch: u32) -> Message {
    let (partition, database) = (Some(key(1, partition).to_wire()), Some(database()));
    Message::RemoveReplica(RemoveReplica { partition, partition_epoch, database })
}

/// Where generation 1 lies.
fn generation_folder(node: &Node) -> PathBuf {
    node.folder.path().join("topics").join(key(1, 0).generation.0.simple().to_string())
}

/// Stops the SPU, and starts it on the same folder in its next life, with these topics.
async fn reborn(node: Node, topics: Vec<weir_protocol::pb::metadata::TopicGeneration>) -> Node {
    let (ended, control_plane, folder, disk) = node.stop().await;
    ended.unwrap();
    control_plane.state.incarnation.store(2, Ordering::SeqCst);
    *control_plane.state.topics.lock().unwrap() = topics;
    Node::idle(folder, disk, control_plane).await
}

#[tokio::test]
async fn an_open_replica_goes_with_its_folder_and_is_confirmed() {
    let node = Node::start().await;
    let mut producer = node.client.produce().await;
    producer.send(request(key(1, 0), batch(3, 10, None))).await.unwrap();
    node.control_plane.change(vec![purged(topic(1, 1, "t")), topic(3, 1, "after")]).await;
    let refused = producer.refused(request(key(1, 0), batch(1, 10, None))).await;
    assert_eq!(refused.code, ErrorCode::TopicDeleted);
    node.leads(3, 0).await;
    assert!(generation_folder(&node).join("0").exists(), "no order, no removal");
    node.control_plane.tell(order(0, 1)).await;
    assert_eq!(node.control_plane.confirmed(1).await, (key(1, 0), 1));
    assert!(!generation_folder(&node).join("0").exists());
    assert!(generation_folder(&node).join("1").exists());
    // Again: it is so already. And the folder above goes with the last one in it.
    node.control_plane.tell(order(0, 1)).await;
    assert_eq!(node.control_plane.confirmed(2).await, (key(1, 0), 1));
    node.control_plane.tell(order(1, 1)).await;
    assert_eq!(node.control_plane.confirmed(3).await, (key(1, 1), 1));
    assert!(!generation_folder(&node).exists());
    // The last word on the generation: it is unknown from then on.
    let mut last = purged(topic(1, 1, "t"));
    last.partitions.clear();
    node.control_plane.change(vec![last, topic(4, 1, "last")]).await;
    node.leads(4, 0).await;
    let refused = producer.refused(request(key(1, 0), batch(1, 10, None))).await;
    assert_eq!(refused.code, ErrorCode::UnknownGeneration);
}

#[tokio::test]
async fn orders_without_end_do_not_hold_up_the_heartbeat() {
    let node = Node::start().await;
    node.control_plane.change(vec![purged(topic(1, 1, "t")), topic(3, 1, "after")]).await;
    node.leads(3, 0).await;
    let before = *node.control_plane.state.heartbeats.borrow();
    let mut heartbeats = node.control_plane.state.heartbeats.subscribe();
    let orders = async {
        loop {
            node.control_plane.tell(order(0, 1)).await;
        }
    };
    tokio::select! {
        came = soon(heartbeats.wait_for(|count| *count > before + 3)) => drop(came.unwrap()),
        () = orders => {}
    }
}

#[tokio::test]
async fn after_a_restart_a_tombstone_s_data_is_there_and_goes_by_order() {
    let node = Node::start().await;
    let mut producer = node.client.produce().await;
    producer.send(request(key(1, 0), batch(3, 10, None))).await.unwrap();
    let gone = led(topic(1, 1, "t"), 2, 2);
    let other = led(topic(3, 1, "other"), 1, 2);
    let node = reborn(node, vec![tombstone(gone.clone()), other]).await;
    node.leads(3, 0).await;
    assert!(generation_folder(&node).join("0").exists());
    // It is not open, and an order of before is refused all the same.
    node.control_plane.tell(order(0, 1)).await;
    node.control_plane.change(vec![purged(gone)]).await;
    node.control_plane.tell(order(1, 2)).await;
    assert_eq!(node.control_plane.confirmed(1).await, (key(1, 1), 2));
    assert!(generation_folder(&node).join("0").exists(), "the order was stale");
    node.control_plane.tell(order(0, 2)).await;
    assert_eq!(node.control_plane.confirmed(2).await, (key(1, 0), 2));
    assert!(!generation_folder(&node).exists());
}

#[tokio::test]
async fn a_removal_that_a_crash_cut_off_is_finished_by_the_next_order() {
    let node = Node::start().await;
    let mut producer = node.client.produce().await;
    producer.send(request(key(1, 0), batch(3, 10, None))).await.unwrap();
    let (folder, generation) = (node.folder.clone(), generation_folder(&node));
    let (ended, control_plane, _, disk) = node.stop().await;
    ended.unwrap();
    // Some files were gone when the power went.
    std::fs::remove_file(generation.join("0/checkpoint")).unwrap();
    std::fs::remove_file(generation.join("0/format")).unwrap();
    control_plane.state.incarnation.store(2, Ordering::SeqCst);
    *control_plane.state.topics.lock().unwrap() = vec![purged(led(topic(1, 1, "t"), 2, 2))];
    let node = Node::idle(folder, disk, control_plane).await;
    // In a snapshot it is not opened, so it is not reported as broken either.
    assert!(node.control_plane.registered(2).await.replicas.is_empty());
    for partition in 0..2 {
        node.control_plane.tell(order(partition, 2)).await;
        let confirmed = node.control_plane.confirmed(partition as usize + 1).await;
        assert_eq!(confirmed, (key(1, partition), 2));
    }
    assert!(!generation.exists());
}

#[tokio::test]
async fn an_undeleted_topic_is_led_again_in_the_same_epoch_of_the_same_life() {
    let node = Node::start().await;
    let mut producer = node.client.produce().await;
    producer.send(request(key(1, 0), batch(3, 10, None))).await.unwrap();
    node.control_plane.change(vec![tombstone(topic(1, 1, "t"))]).await;
    let refused = producer.refused(request(key(1, 0), batch(1, 10, None))).await;
    assert_eq!(refused.code, ErrorCode::TopicDeleted);
    node.control_plane.change(vec![topic(1, 1, "t"), topic(3, 1, "after")]).await;
    node.leads(3, 0).await;
    let online = weir_protocol::pb::session::ReplicaState::Online;
    node.control_plane.reported(key(1, 0), |s| s.state() == online && s.log_end == 3).await;
    let ack = producer.send(request(key(1, 0), batch(1, 10, None))).await.unwrap();
    assert_eq!(ack.base_offset, 3);
    let mut fetcher = node.client.fetch().await;
    fetcher.subscribe(1, key(1, 0), Position::Beginning(true), 0).await;
    assert_eq!(fetcher.started(1).await, 0);
}
