//! How a topic's records are kept: flush, retention, segments, and starts by time.

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;
use tempfile::TempDir;
use weir_dataplane::log::LogConfig;
use weir_protocol::{
    ErrorCode,
    batch::{BatchBuilder, BatchConfig, Compression, NewRecord},
    pb::{
        data::{
            ListOffset, ListOffsetsRequest, ProduceRequest, Start, listed_offset::Result as Found,
            start::Position,
        },
        metadata::TopicGeneration,
        session::ReplicaStatus,
    },
    topic_config::{Flush, TopicConfig},
};
use weir_runtime::clock::Clock;

use crate::{
    client::{at, batch, request, soon, with_token},
    consumer::next_life,
    control_plane::{ControlPlane, key, topic},
    faults::FaultyDisk,
    node::{Node, real_disk},
};

fn kept(config: TopicConfig) -> TopicGeneration {
    TopicGeneration { config: Some(config.to_wire()), ..topic(1, 1, "t") }
}

/// In segments of about two batches of 1,000 bytes.
async fn node(config: TopicConfig) -> Node {
    let folder = Arc::new(TempDir::new().unwrap());
    let disk = real_disk(&folder).await;
    let log = LogConfig { segment_bytes_max: 2_500, ..LogConfig::default() };
    Node::with_log(folder, disk, ControlPlane::start(vec![kept(config)]).await, log).await
}

#[tokio::test]
async fn what_is_too_much_goes_and_a_reader_below_is_told_where_the_log_starts() {
    let node = node(TopicConfig::default()).await;
    let mut producer = node.client.produce().await;
    for _ in 0..12 {
        producer.send(request(key(1, 0), batch(1, 1000, None))).await.unwrap();
    }
    // Nothing goes before it is asked for, and then at once.
    let mut fetcher = node.client.fetch().await;
    fetcher.subscribe(1, key(1, 0), at(0), 0).await;
    assert_eq!(fetcher.started(1).await, 0);
    let some = TopicConfig { retention_bytes: Some(4_000), ..TopicConfig::default() };
    node.control_plane.change(vec![kept(some)]).await;
    node.control_plane.reported(key(1, 0), |status| status.log_start == 8).await;

    fetcher.credit(1 << 20).await;
    let error = fetcher.error(1).await;
    assert_eq!(error.code, ErrorCode::OffsetOutOfRange);
    assert_eq!((error.wire.log_start, error.wire.high_watermark), (Some(8), Some(12)));
    fetcher.subscribe(2, key(1, 0), Position::Beginning(true), 0).await;
    assert_eq!(fetcher.started(2).await, 8);
    // With each new segment it is looked again, and a restart does not bring anything back.
    for _ in 0..13 {
        producer.send(request(key(1, 0), batch(1, 1000, None))).await.unwrap();
    }
    node.control_plane.reported(key(1, 0), |status| status.log_start == 20).await;
    let (_, control_plane, folder, disk) = node.stop().await;
    let node = Node::on(folder, disk, control_plane).await;
    node.control_plane.reported(key(1, 0), |status| status.log_start == 20).await;
}

#[tokio::test]
async fn without_a_free_byte_retention_frees_some() {
    let folder = Arc::new(TempDir::new().unwrap());
    let (disk, faults) = FaultyDisk::new(real_disk(&folder).await);
    let control_plane = ControlPlane::start(vec![kept(TopicConfig::default())]).await;
    let log = LogConfig { segment_bytes_max: 2_500, ..LogConfig::default() };
    let node = Node::with_log(folder.clone(), disk, control_plane, log).await;
    let mut producer = node.client.produce().await;
    let next = |partition| request(key(1, partition), batch(1, 1000, None));
    for n in 0..24 {
        producer.send(next(n % 2)).await.unwrap();
    }
    faults.no_room.store(true, Ordering::SeqCst);
    assert_eq!(producer.refused(next(0)).await.code, ErrorCode::StorageFull);
    // Both at once: one of them gets the room, and makes some for the other.
    let some = TopicConfig { retention_bytes: Some(4_000), ..TopicConfig::default() };
    node.control_plane.change(vec![kept(some)]).await;
    for partition in [0, 1] {
        node.control_plane.reported(key(1, partition), |status| status.log_start == 8).await;
    }
    assert_eq!(producer.send(next(0)).await.unwrap().base_offset, 12);
    // And again: what was given up for it was set aside anew. The last one begins a segment, so
    // that it is looked once all of them are there.
    for _ in 0..4 {
        producer.send(next(0)).await.unwrap();
    }
    node.control_plane.reported(key(1, 0), |status| status.log_start == 12).await;
    faults.no_room.store(true, Ordering::SeqCst);
    assert_eq!(producer.refused(next(0)).await.code, ErrorCode::StorageFull);
    let less = TopicConfig { retention_bytes: Some(1), ..TopicConfig::default() };
    node.control_plane.change(vec![kept(less)]).await;
    node.control_plane.reported(key(1, 0), |status| status.log_start == 16).await;
}

#[tokio::test]
async fn what_is_too_old_goes_and_a_tombstone_keeps_everything() {
    let node = node(TopicConfig::default()).await;
    let mut producer = node.client.produce().await;
    let old = |ms: i64| timed(&[Clock.unix_ms() - ms; 2]);
    for (partition, ms) in [(0, 100_000), (0, 100_000), (0, 0), (1, 100_000)] {
        producer.send(request(key(1, partition), old(ms))).await.unwrap();
    }
    let minute = TopicConfig { retention_ms: Some(60_000), ..TopicConfig::default() };
    let deleted = crate::control_plane::tombstone(kept(minute));
    node.control_plane.change(vec![deleted]).await;
    node.control_plane.reported(key(1, 0), |status| status.log_end == 6).await;
    node.control_plane.change(vec![kept(minute)]).await;
    // The last segment of partition 1 goes as well, and the offsets go on.
    node.control_plane.reported(key(1, 1), |status| status.log_start == 2).await;
    let ack = producer.send(request(key(1, 1), old(0))).await.unwrap();
    assert_eq!((ack.base_offset, ack.log_start), (2, 2));
    // The young one holds what shares its segment.
    node.control_plane.reported(key(1, 0), |status| status.log_start == 0).await;
}

#[tokio::test]
async fn nothing_goes_for_its_age_while_the_clocks_disagree() {
    let kept_for = |ms| TopicConfig { retention_ms: Some(ms), ..TopicConfig::default() };
    let node = node(TopicConfig::default()).await;
    // This machine's clock went a day ahead, seen from there.
    let day_ms = 24 * 3600 * 1000;
    node.control_plane.state.clock_ahead_ms.store(-day_ms, Ordering::SeqCst);
    let heartbeats = *node.control_plane.state.heartbeats.borrow();
    let mut beats = node.control_plane.state.heartbeats.subscribe();
    soon(beats.wait_for(|count| *count > heartbeats + 2)).await.unwrap();
    let mut producer = node.client.produce().await;
    for partition in [0, 1] {
        for _ in 0..60 {
            producer.send(request(key(1, partition), timed(&[1_000; 4]))).await.unwrap();
        }
    }
    // What is too much still goes, of one that is looked at after all that is too old was.
    let both = TopicConfig { retention_bytes: Some(1), ..kept_for(60_000) };
    node.control_plane.change(vec![kept(kept_for(60_000))]).await;
    node.control_plane.change(vec![kept(both)]).await;
    for partition in [0, 1] {
        let least = |status: &ReplicaStatus| status.log_start > 0;
        node.control_plane.reported(key(1, partition), least).await;
        let log_start = node.control_plane.state.replicas.borrow()[&key(1, partition)].log_start;
        assert!(log_start < 240, "size takes not the last segment, age would: {log_start}");
    }
    node.control_plane.state.clock_ahead_ms.store(0, Ordering::SeqCst);
    for partition in [0, 1] {
        node.control_plane.reported(key(1, partition), |status| status.log_start == 240).await;
    }
}

/// A batch of 600 bytes a record, with these timestamps.
fn timed(times: &[i64]) -> Bytes {
    let config = BatchConfig { compression: Compression::Lz4, ..BatchConfig::default() };
    let mut builder = BatchBuilder::new(config);
    for timestamp_ms in times {
        let value = Some(Bytes::from(vec![7; 600]));
        let record = NewRecord { timestamp_ms: *timestamp_ms, value, ..Default::default() };
        builder.push(record).unwrap();
    }
    builder.finish(None).unwrap()
}

#[tokio::test]
async fn a_reader_begins_at_a_time() {
    let node = node(TopicConfig::default()).await;
    let mut producer = node.client.produce().await;
    for times in [&[100, 200, 300][..], &[250, 50], &[400, 150], &[500]] {
        producer.send(request(key(1, 0), timed(times))).await.unwrap();
    }
    let mut fetcher = node.client.fetch().await;
    let cases = [(0, 0), (100, 0), (101, 1), (300, 2), (301, 5), (401, 7), (501, 8), (i64::MAX, 8)];
    for (id, (ms, offset)) in (0..).zip(cases) {
        fetcher.subscribe(id, key(1, 0), Position::TimestampMs(ms), 0).await;
        assert_eq!(fetcher.started(id).await, offset, "{ms}");
    }
    let start = Some(Start { position: Some(Position::TimestampMs(301)), ..Start::default() });
    let asked = ListOffset { partition: Some(key(1, 0).to_wire()), leader_epoch: 1, start };
    let request = with_token(ListOffsetsRequest { partitions: vec![asked] }, &node.client.token);
    let listed = soon(node.client.data().list_offsets(request)).await.unwrap().into_inner();
    let Some(Found::Found(found)) = &listed.partitions[0].result else { panic!("{listed:?}") };
    assert_eq!(found.offset, 5);
}

#[tokio::test]
async fn with_an_interval_the_log_is_enough_and_the_disk_follows() {
    let folder = Arc::new(TempDir::new().unwrap());
    let (disk, faults) = FaultyDisk::new(real_disk(&folder).await);
    let later = TopicConfig { flush: Flush::Interval { ms: 60_000 }, ..TopicConfig::default() };
    let control_plane = ControlPlane::start(vec![kept(later)]).await;
    let node = Node::on(folder, disk, control_plane).await;
    faults.sync_fails.store(true, Ordering::SeqCst);
    let mut producer = node.client.produce().await;
    let ack = producer.send(request(key(1, 0), batch(3, 10, None))).await.unwrap();
    assert_eq!(ack.base_offset, 0, "acknowledged without a sync, which would have failed");
    let mut fetcher = node.client.fetch().await;
    fetcher.credit(1 << 20).await;
    fetcher.subscribe(1, key(1, 0), at(0), 0).await;
    assert_eq!(fetcher.started(1).await, 0);
    assert_eq!(fetcher.records(1).await, [0]);
    faults.sync_fails.store(false, Ordering::SeqCst);

    // Soon is soon; and nothing is acknowledged any more before it is on the disk.
    let soon = TopicConfig { flush: Flush::Interval { ms: 1 }, ..TopicConfig::default() };
    node.control_plane.change(vec![kept(soon)]).await;
    producer.send(request(key(1, 1), batch(3, 10, None))).await.unwrap();
    node.control_plane.reported(key(1, 1), |status| status.durable_end == 3).await;
    node.control_plane.change(vec![kept(TopicConfig::default())]).await;
    node.control_plane.reported(key(1, 0), |status| status.durable_end == 3).await;
}

#[tokio::test]
async fn producers_are_known_again_after_a_restart() {
    let node = node(TopicConfig::default()).await;
    let mut producer = node.client.produce().await;
    for n in 0..40_u32 {
        let one = batch(1, 500, Some((1000, n)));
        producer.send(request(key(1, 0), one)).await.unwrap();
    }
    let (_, control_plane, folder, disk) = node.stop().await;
    next_life(&control_plane);
    let node = Node::on(folder, disk, control_plane).await;
    let mut producer = node.client.produce().await;
    let sent = |n| ProduceRequest {
        leader_epoch: 2,
        ..request(key(1, 0), batch(1, 500, Some((1000, n))))
    };
    let again = producer.send(sent(39)).await.unwrap();
    assert!(again.duplicate && again.base_offset == 39);
    let next = producer.send(sent(40)).await.unwrap();
    assert_eq!((next.duplicate, next.base_offset), (false, 40));
}
