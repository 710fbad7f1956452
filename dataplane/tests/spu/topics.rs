//! Generations: unknown, deleted, created again, removed.

use weir_protocol::{
    ErrorCode,
    ids::PartitionKey,
    pb::{
        data::{fetch_response::Event, start::Position},
        session::{RemoveReplica, ReplicaState, control_message::Message},
    },
};

use crate::{
    client::{batch, request, soon},
    control_plane::{database, key, led, tombstone, topic},
    node::Node,
};

#[tokio::test]
async fn a_deleted_topic_ends_readers_and_refuses_producers() {
    let node = Node::start().await;
    let mut producer = node.client.produce().await;
    let mut fetcher = node.client.fetch().await;
    fetcher.subscribe(1, key(1, 0), Position::End(true), 0).await;
    fetcher.started(1).await;
    node.control_plane.change(vec![tombstone(topic(1, 1, "t"))]).await;
    assert_eq!(fetcher.error(1).await.code, ErrorCode::TopicDeleted);
    let refused = producer.refused(request(key(1, 0), batch(1, 10, None))).await;
    assert_eq!(refused.code, ErrorCode::TopicDeleted);
}

#[tokio::test]
async fn a_recreated_topic_names_its_successor_and_shares_nothing() {
    let node = Node::start().await;
    let mut producer = node.client.produce().await;
    producer.send(request(key(1, 0), batch(5, 10, Some((7, 0))))).await.unwrap();
    let mut fetcher = node.client.fetch().await;
    fetcher.subscribe(1, key(1, 0), Position::End(true), 0).await;
    fetcher.started(1).await;
    let change = vec![tombstone(topic(1, 1, "t")), topic(2, 2, "t")];
    node.control_plane.change(change).await;
    let successor = key(2, 0).generation.to_wire();
    let ended = fetcher.error(1).await;
    assert_eq!(ended.code, ErrorCode::TopicRecreated);
    assert_eq!(ended.wire.successor_generation_id, successor);
    let refused = producer.refused(request(key(1, 0), batch(1, 10, Some((7, 5))))).await;
    assert_eq!(refused.code, ErrorCode::TopicRecreated);
    assert_eq!(refused.wire.successor_generation_id, successor);

    node.leads(2, 0).await;
    let ack = producer.send(request(key(2, 0), batch(1, 10, Some((7, 0))))).await.unwrap();
    assert_eq!((ack.base_offset, ack.duplicate), (0, false));
}

#[tokio::test]
async fn a_topic_that_comes_back_has_its_records_still() {
    let node = Node::start().await;
    let mut producer = node.client.produce().await;
    producer.send(request(key(1, 0), batch(3, 10, None))).await.unwrap();
    node.control_plane.change(vec![tombstone(topic(1, 1, "t"))]).await;
    node.control_plane.change(vec![led(topic(1, 1, "t"), 2, 1)]).await;
    node.leads(1, 0).await;
    let mut fetcher = node.client.fetch().await;
    fetcher.subscribe_at(1, key(1, 0), Position::End(true), 0, 2).await;
    assert_eq!(fetcher.started(1).await, 3);
}

fn order(key: PartitionKey, partition_epoch: u32) -> Message {
    let (partition, database) = (Some(key.to_wire()), Some(database()));
    Message::RemoveReplica(RemoveReplica { partition, partition_epoch, database })
}

#[tokio::test]
async fn only_a_current_order_removes_a_replica() {
    let node = Node::start().await;
    let folder = |partition: u32| {
        let generation = key(1, 0).generation.0.simple().to_string();
        node.folder.path().join("topics").join(generation).join(partition.to_string())
    };
    let other_database = {
        let Message::RemoveReplica(mut order) = order(key(1, 0), 9) else { unreachable!() };
        order.database.as_mut().unwrap().restore_number = 3;
        Message::RemoveReplica(order)
    };
    // Stale, of another history, and against a map that names us at the same epoch.
    for refused in [order(key(1, 0), 0), other_database, order(key(1, 0), 1)] {
        node.control_plane.tell(refused).await;
    }
    // Orders are carried out one after another: when this one is, those were looked at.
    node.control_plane.change(vec![tombstone(topic(1, 1, "t"))]).await;
    node.control_plane.tell(order(key(1, 1), 1)).await;
    node.control_plane.change(vec![led(topic(1, 1, "t"), 2, 1), topic(3, 1, "after")]).await;
    node.leads(3, 0).await;
    assert!(folder(0).exists());
    node.leads(1, 0).await;
    let mut producer = node.client.produce().await;
    let request = |partition| {
        let mut request = request(key(1, partition), batch(1, 10, None));
        request.leader_epoch = 2;
        request
    };
    producer.send(request(0)).await.unwrap();
    let online = ReplicaState::Online;
    let anew = |status: &weir_protocol::pb::session::ReplicaStatus| {
        status.state() == online && status.leader_epoch == 2 && status.log_end == 0
    };
    node.control_plane.reported(key(1, 1), anew).await;
}

#[tokio::test]
async fn absence_deletes_nothing() {
    let node = Node::start().await;
    let mut producer = node.client.produce().await;
    producer.send(request(key(1, 0), batch(3, 10, None))).await.unwrap();
    // A snapshot that does not name the topic comes with the next session.
    let topics = std::mem::take(&mut *node.control_plane.state.topics.lock().unwrap());
    node.control_plane.change(vec![topic(3, 1, "after")]).await;
    node.control_plane.hang_up();
    node.control_plane.registered(2).await;
    node.leads(3, 0).await;
    let refused = producer.refused(request(key(1, 0), batch(1, 10, None))).await;
    assert_eq!(refused.code, ErrorCode::UnknownGeneration);
    node.control_plane.change(topics).await;
    let mut fetcher = node.client.fetch().await;
    let started = soon(async {
        loop {
            fetcher.subscribe(1, key(1, 0), Position::End(true), 0).await;
            // Before the change arrived, the answer is an error.
            if let (1, Event::Started(started)) = fetcher.event().await {
                break started;
            }
        }
    });
    assert_eq!(started.await.offset, 3);
}
