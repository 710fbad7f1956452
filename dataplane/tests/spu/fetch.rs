//! What a reader is sent, and when.

use std::sync::Arc;

use tempfile::TempDir;
use weir_protocol::{
    ErrorCode,
    pb::{
        data::{self, fetch_message::Message, fetch_response::Event, start::Position},
        metadata::TopicGeneration,
    },
};

use crate::{
    client::{at, batch, request},
    control_plane::{ControlPlane, key, led, topic},
    node::{Node, real_disk},
};

async fn filled() -> Node {
    let node = Node::start().await;
    let mut producer = node.client.produce().await;
    for n in 0..4 {
        producer.send(request(key(1, n % 2), batch(2, 1000, None))).await.unwrap();
    }
    node
}

#[tokio::test]
async fn a_reader_begins_where_it_asked() {
    let node = filled().await;
    let mut fetcher = node.client.fetch().await;
    for (id, position, offset) in [
        (1, Position::Beginning(true), 0),
        (2, Position::End(true), 4),
        (3, at(3), 3),
        (4, at(4), 4),
    ] {
        fetcher.subscribe(id, key(1, 0), position, 0).await;
        assert_eq!(fetcher.started(id).await, offset);
    }
    fetcher.subscribe(5, key(1, 0), at(5), 0).await;
    let error = fetcher.error(5).await;
    assert_eq!(error.code, ErrorCode::OffsetOutOfRange);
    assert_eq!((error.wire.log_start, error.wire.high_watermark), (Some(0), Some(4)));
}

#[tokio::test]
async fn a_reader_at_the_end_is_woken_by_the_next_record() {
    let node = filled().await;
    let mut fetcher = node.client.fetch().await;
    fetcher.credit(1 << 20).await;
    fetcher.subscribe(1, key(1, 0), Position::End(true), 0).await;
    assert_eq!(fetcher.started(1).await, 4);
    let mut producer = node.client.produce().await;
    for n in 0..20 {
        producer.send(request(key(1, 0), batch(1, 10, None))).await.unwrap();
        assert_eq!(fetcher.records(1).await, [4 + n]);
    }
}

#[tokio::test]
async fn no_more_is_sent_than_was_paid_for() {
    let node = filled().await;
    let mut fetcher = node.client.fetch().await;
    fetcher.credit(1).await;
    fetcher.subscribe(1, key(1, 0), at(0), 1 << 20).await;
    assert_eq!(fetcher.started(1).await, 0);
    assert_eq!(fetcher.records(1).await, [0], "one whole batch, which takes the balance below 0");
    fetcher.subscribe(2, key(1, 1), at(0), 1 << 20).await;
    assert_eq!(fetcher.started(2).await, 0, "and nothing more of the first");
    fetcher.credit(1 << 20).await;
    assert_eq!(fetcher.records(1).await, [2]);
    assert_eq!(fetcher.records(2).await, [0, 2]);
}

#[tokio::test]
async fn at_least_one_whole_batch_however_small_the_bound() {
    let node = filled().await;
    let mut fetcher = node.client.fetch().await;
    fetcher.credit(1 << 20).await;
    fetcher.subscribe(1, key(1, 0), at(1), 1).await;
    assert_eq!(fetcher.started(1).await, 1);
    assert_eq!(fetcher.records(1).await, [0], "the batch that holds the offset");
    assert_eq!(fetcher.records(1).await, [2]);
}

#[tokio::test]
async fn subscriptions_take_turns() {
    let node = filled().await;
    let mut fetcher = node.client.fetch().await;
    fetcher.subscribe(1, key(1, 0), at(0), 1).await;
    fetcher.subscribe(2, key(1, 1), at(0), 1).await;
    assert_eq!((fetcher.started(1).await, fetcher.started(2).await), (0, 0));
    fetcher.credit(1 << 20).await;
    for base in [0, 2] {
        for id in [1, 2] {
            assert_eq!(fetcher.records(id).await, [base]);
        }
    }
}

#[tokio::test]
async fn an_unsubscribed_id_is_silent_and_free_again() {
    let node = filled().await;
    let mut fetcher = node.client.fetch().await;
    fetcher.subscribe(1, key(1, 0), at(0), 0).await;
    assert_eq!(fetcher.started(1).await, 0);
    fetcher.tell(Message::Unsubscribe(data::Unsubscribe { subscription_id: 1 })).await;
    fetcher.subscribe(1, key(1, 1), at(2), 0).await;
    fetcher.credit(1 << 20).await;
    assert_eq!(fetcher.started(1).await, 2);
    assert_eq!(fetcher.records(1).await, [2]);
}

#[tokio::test]
async fn an_id_in_use_and_an_empty_start_end_the_stream() {
    let node = filled().await;
    let mut fetcher = node.client.fetch().await;
    for _ in 0..2 {
        fetcher.subscribe(1, key(1, 0), at(0), 0).await;
    }
    let ended = loop {
        match fetcher.end().await {
            Ok(Some(_)) => {}
            other => break other,
        }
    };
    assert_eq!(crate::client::code_of(&ended.unwrap_err()), ErrorCode::InvalidRequest);

    let mut fetcher = node.client.fetch().await;
    fetcher.tell(Message::Subscribe(data::Subscribe::default())).await;
    let ended = fetcher.end().await.unwrap_err();
    assert_eq!(crate::client::code_of(&ended), ErrorCode::InvalidRequest);
}

#[tokio::test]
async fn a_change_of_the_leadership_ends_the_subscription() {
    let node = filled().await;
    let mut fetcher = node.client.fetch().await;
    fetcher.subscribe_at(1, key(1, 0), at(0), 0, 0).await;
    assert_eq!(fetcher.error(1).await.code, ErrorCode::FencedLeaderEpoch);
    fetcher.subscribe_at(2, key(1, 0), at(0), 0, 2).await;
    assert_eq!(fetcher.error(2).await.code, ErrorCode::UnknownLeaderEpoch);

    fetcher.subscribe(3, key(1, 0), Position::End(true), 0).await;
    assert_eq!(fetcher.started(3).await, 4);
    node.control_plane.change(vec![led(topic(1, 1, "t"), 2, 1)]).await;
    let fenced = fetcher.error(3).await;
    assert_eq!((fenced.code, fenced.wire.leader_epoch), (ErrorCode::FencedLeaderEpoch, Some(2)));

    fetcher.subscribe_at(4, key(1, 0), Position::End(true), 0, 2).await;
    assert_eq!(fetcher.started(4).await, 4);
    let mut moved = led(topic(1, 1, "t"), 3, 1);
    moved.partitions[0].leader_spu_id = Some(2);
    node.control_plane.change(vec![moved]).await;
    let moved = fetcher.error(4).await;
    assert_eq!((moved.code, moved.wire.leader_spu_id), (ErrorCode::NotLeader, Some(2)));
}

#[tokio::test]
async fn responses_keep_to_their_bound() {
    let node = Node::start().await;
    let mut producer = node.client.produce().await;
    let one = batch(1, 1000, None).len();
    for _ in 0..20 {
        producer.send(request(key(1, 0), batch(1, 1000, None))).await.unwrap();
    }
    let mut fetcher = node.client.fetch().await;
    fetcher.credit(1 << 20).await;
    fetcher.subscribe(1, key(1, 0), at(0), 3 * one as u32 + 1).await;
    fetcher.started(1).await;
    let mut next = 0;
    while next < 20 {
        let (_, Event::Records(records)) = fetcher.event().await else { panic!("no records") };
        assert!(records.batches.len() <= 3 * one + 1);
        for base in crate::client::bases(&records.batches) {
            assert_eq!(base, next);
            next += 1;
        }
    }
}

/// A topic of which nothing is committed: the other replica is in sync, and never there.
fn shared() -> TopicGeneration {
    let mut shared = topic(1, 1, "t");
    for partition in &mut shared.partitions {
        partition.replica_spu_ids = vec![1, 2];
        partition.isr_spu_ids = vec![1, 2];
    }
    shared.min_insync_replicas = 2;
    shared
}

/// Leads it.
async fn alone() -> Node {
    let folder = Arc::new(TempDir::new().unwrap());
    let disk = real_disk(&folder).await;
    let control_plane = ControlPlane::start(vec![shared()]).await;
    Node::on(folder, disk, control_plane).await
}

#[tokio::test]
async fn what_is_not_committed_is_sent_to_who_asks_for_it_alone() {
    let node = alone().await;
    let mut producer = node.client.produce().await;
    let mut fetcher = node.client.fetch().await;
    fetcher.credit(1 << 20).await;
    fetcher.subscribe(1, key(1, 0), Position::Beginning(true), 0).await;
    assert_eq!(fetcher.started(1).await, 0);
    fetcher.subscribe_uncommitted(2, key(1, 0)).await;
    assert_eq!(fetcher.started(2).await, 0);
    for n in 0..5 {
        let acks = data::Acks::Leader.into();
        let record = data::ProduceRequest { acks, ..request(key(1, 0), batch(1, 10, None)) };
        producer.send(record).await.unwrap();
        assert_eq!(fetcher.records(2).await, [n]);
    }
}

#[tokio::test]
async fn who_reads_to_the_end_is_told_to_wait_until_a_new_leader_knows_it() {
    let node = alone().await;
    let mut producer = node.client.produce().await;
    let acks = data::Acks::Leader.into();
    let record = data::ProduceRequest { acks, ..request(key(1, 0), batch(3, 10, None)) };
    producer.send(record).await.unwrap();
    // The predecessor may have told of these three that they are committed.
    node.control_plane.change(vec![led(shared(), 2, 1)]).await;
    node.leads(1, 0).await;
    let mut fetcher = node.client.fetch().await;
    fetcher.credit(1 << 20).await;
    fetcher.subscribe_settled(1, key(1, 0), 2).await;
    assert_eq!(fetcher.error(1).await.code, ErrorCode::NotYetAvailable);
    fetcher.subscribe_at(2, key(1, 0), Position::Beginning(true), 0, 2).await;
    assert_eq!(fetcher.started(2).await, 0);

    // The other one is not in sync any more: all that is here is committed.
    let mut without = led(shared(), 2, 1);
    for partition in &mut without.partitions {
        partition.isr_spu_ids = vec![1];
        partition.partition_epoch = 3;
    }
    without.min_insync_replicas = 1;
    node.control_plane.change(vec![without]).await;
    assert_eq!(fetcher.records(2).await, [0]);
    fetcher.subscribe_settled(3, key(1, 0), 2).await;
    let (_, Event::Started(started)) = fetcher.event().await else { panic!("no start") };
    assert_eq!((started.offset, started.high_watermark), (0, 3));
}

#[tokio::test]
async fn who_reads_to_the_end_waits_until_followers_confirm_the_leader() {
    let node = alone().await;
    let mut fetcher = node.client.fetch().await;
    fetcher.subscribe_settled(1, key(1, 0), 1).await;
    fetcher.subscribe(2, key(1, 0), Position::Beginning(true), 0).await;
    assert_eq!(fetcher.started(2).await, 0, "it need not know the end");
    let mut without = shared();
    for partition in &mut without.partitions {
        partition.isr_spu_ids = vec![1];
        partition.partition_epoch = 2;
    }
    without.min_insync_replicas = 1;
    node.control_plane.change(vec![without]).await;
    assert_eq!(fetcher.started(1).await, 0);
}

#[tokio::test]
async fn the_end_is_what_the_leader_knows_where_too_few_are_in_sync_to_commit() {
    let mut few = shared();
    for partition in &mut few.partitions {
        partition.isr_spu_ids = vec![1];
    }
    let folder = Arc::new(TempDir::new().unwrap());
    let disk = real_disk(&folder).await;
    let node = Node::on(folder, disk, ControlPlane::start(vec![few]).await).await;
    let mut fetcher = node.client.fetch().await;
    fetcher.subscribe_settled(1, key(1, 0), 1).await;
    assert_eq!(fetcher.started(1).await, 0);
}

#[tokio::test]
async fn a_deadline_that_passes_says_who_was_waited_for() {
    let node = alone().await;
    let mut producer = node.client.produce().await;
    let record =
        data::ProduceRequest { timeout_ms: 3_000, ..request(key(1, 0), batch(1, 10, None)) };
    let error = producer.send(record).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::TimedOut);
    assert!(error.to_string().contains("SPU 2 is in sync and lacks"), "{error}");
}
