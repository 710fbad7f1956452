//! Consuming from a scripted SPU: nothing missing, nothing twice, and errors that say what.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod fake_spu;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use fake_spu::{FakeSpu, Fetch, NoHttp, generation, key, topic};
use weir_client::{Client, ConsumeError, Consumer, ConsumerConfig, Start};
use weir_protocol::{
    ErrorCode,
    batch::{BatchBuilder, BatchConfig, DecodeLimits, NewRecord},
    ids::{Offset, PartitionIndex},
    pb::metadata::GenerationState,
};
use weir_runtime::clock::Clock;

const P0: PartitionIndex = PartitionIndex(0);

async fn consumer(spu: &FakeSpu, config: ConsumerConfig) -> Consumer {
    spu.client().await.consumer(config).await.unwrap()
}

fn orders() -> ConsumerConfig {
    ConsumerConfig::new("orders")
}

async fn next(consumer: &mut Consumer) -> Option<Result<u64, ConsumeError>> {
    let next = Clock.timeout(Duration::from_secs(10), consumer.next()).await.expect("in time");
    next.map(|next| next.map(|record| record.offset.0))
}

/// Offsets until the end or the first error.
async fn read(consumer: &mut Consumer) -> (Vec<u64>, Option<ConsumeError>) {
    let mut offsets = Vec::new();
    loop {
        match next(consumer).await {
            Some(Ok(offset)) => offsets.push(offset),
            Some(Err(error)) => return (offsets, Some(error)),
            None => return (offsets, None),
        }
    }
}

#[tokio::test]
async fn reads_from_each_start_to_the_end_of_the_moment() {
    let spu = FakeSpu::start(1).await;
    spu.fill(key(1, 0), 0..5, 4);
    for (start, first) in [
        (Start::Beginning, 0),
        (Start::Absolute(Offset(6)), 6),
        (Start::End, 20),
        // Records as old as their offsets say: one in the middle of a batch, one beyond the last.
        (Start::Timestamp(0), 0),
        (Start::Timestamp(7), 7),
        (Start::Timestamp(99), 20),
    ] {
        let mut consumer = consumer(&spu, orders().start(start).until_end()).await;
        let (offsets, error) = read(&mut consumer).await;
        assert_eq!((offsets, error), ((first..20).collect(), None), "{start:?}");
    }
}

#[tokio::test]
async fn goes_on_where_it_was_after_disconnects_and_changes_of_leader() {
    let spu = FakeSpu::start(1).await;
    spu.fill(key(1, 0), 0..10, 3);
    spu.script_fetch([
        Fetch::BreakAfter(2),
        Fetch::Refuse(ErrorCode::NotLeader),
        Fetch::BreakAfter(0),
        Fetch::BreakAfter(3),
        Fetch::Refuse(ErrorCode::UnknownLeaderEpoch),
    ]);
    let mut consumer = consumer(&spu, orders().until_end()).await;
    assert_eq!(read(&mut consumer).await, ((0..30).collect(), None));
    assert_eq!(spu.state().subscriptions, 6);
}

#[tokio::test]
async fn an_end_that_a_new_leader_does_not_know_is_waited_for_by_who_reads_to_it() {
    let spu = FakeSpu::start(1).await;
    spu.fill(key(1, 0), 0..5, 4);
    spu.script_fetch([Fetch::KnowsOnly(8), Fetch::KnowsOnly(12), Fetch::BreakAfter(2)]);
    let mut to_the_end = consumer(&spu, orders().until_end()).await;
    assert_eq!(read(&mut to_the_end).await, ((0..20).collect(), None));
    assert_eq!(spu.state().subscriptions, 4);

    // Once it is known it is not asked for again, and who reads on need not know it.
    spu.script_fetch([Fetch::BreakAfter(2), Fetch::KnowsOnly(8)]);
    let mut broken = consumer(&spu, orders().until_end()).await;
    assert_eq!(read(&mut broken).await, ((0..20).collect(), None));
    spu.script_fetch([Fetch::KnowsOnly(8)]);
    let mut reads_on = consumer(&spu, orders()).await;
    for offset in 0..20 {
        assert_eq!(next(&mut reads_on).await, Some(Ok(offset)));
    }
    assert_eq!(spu.state().subscriptions, 7);
}

#[tokio::test]
async fn a_missing_batch_stops_the_partition_until_told_where_to_go_on() {
    let spu = FakeSpu::start(1).await;
    spu.fill(key(1, 0), 0..4, 2);
    spu.script_fetch([Fetch::Without(1)]);
    let mut consumer = consumer(&spu, orders().until_end()).await;
    let gap = ConsumeError::Gap { partition: P0, expected: Offset(2), found: Offset(4) };
    assert_eq!(read(&mut consumer).await, (vec![0, 1], Some(gap)));
    assert_eq!(next(&mut consumer).await, None, "nothing is passed by");
    assert!(consumer.skip_to(P0, Offset(2)));
    assert_eq!(read(&mut consumer).await, ((2..8).collect(), None));
}

#[tokio::test]
async fn a_repeated_batch_is_not_yielded_twice() {
    let spu = FakeSpu::start(1).await;
    spu.fill(key(1, 0), 0..2, 2);
    spu.script_fetch([Fetch::Twice]);
    let mut consumer = consumer(&spu, orders().until_end()).await;
    let gap = ConsumeError::Gap { partition: P0, expected: Offset(2), found: Offset(0) };
    assert_eq!(read(&mut consumer).await, (vec![0, 1], Some(gap)));
}

#[tokio::test]
async fn a_damaged_batch_names_its_place_and_can_be_skipped() {
    let spu = FakeSpu::start(1).await;
    spu.fill(key(1, 0), 0..4, 2);
    spu.script_fetch([Fetch::Damage(1)]);
    let mut consumer = consumer(&spu, orders().until_end()).await;
    let (offsets, error) = read(&mut consumer).await;
    assert_eq!(offsets, [0, 1]);
    let Some(ConsumeError::Malformed {
        partition: P0, offset: Offset(2), next: Some(next), ..
    }) = error
    else {
        panic!("{error:?}");
    };
    assert!(consumer.skip_to(P0, next));
    assert_eq!(read(&mut consumer).await, ((4..8).collect(), None));
}

#[tokio::test]
async fn what_follows_a_skipped_batch_comes_though_all_was_fetched_before() {
    let spu = FakeSpu::start(1).await;
    spu.fill(key(1, 0), 0..2, 2);
    let mut builder = BatchBuilder::new(BatchConfig::default());
    let value = Some(Bytes::from(vec![b'x'; 5000]));
    builder.push(NewRecord { value, ..Default::default() }).unwrap();
    let large = builder.finish(None).unwrap();
    spu.state().logs.entry(key(1, 0)).or_default().append(&large).unwrap();
    spu.fill(key(1, 0), 0..2, 2);
    let decode = DecodeLimits { uncompressed_bytes_max: 1000 };
    let mut consumer = consumer(&spu, ConsumerConfig { decode, ..orders().until_end() }).await;
    // The partition's end is among what the application has not looked at.
    spu.until("fetched to the end", |state| state.unsubscribed == 1).await;
    let (offsets, error) = read(&mut consumer).await;
    assert_eq!(offsets, [0, 1, 2, 3]);
    let Some(ConsumeError::Malformed { next: Some(Offset(5)), .. }) = error else {
        panic!("{error:?}");
    };
    assert!(consumer.skip_to(P0, Offset(5)));
    assert_eq!(read(&mut consumer).await, ((5..9).collect(), None));
}

#[tokio::test]
async fn out_of_range_comes_with_the_range() {
    let spu = FakeSpu::start(1).await;
    spu.fill(key(1, 0), 0..4, 2);
    spu.state().log_start = 3;
    spu.script_fetch([Fetch::Refuse(ErrorCode::OffsetOutOfRange)]);
    let mut consumer = consumer(&spu, orders().start(Start::Absolute(Offset(1))).until_end()).await;
    let (_, error) = read(&mut consumer).await;
    let expected = ConsumeError::OutOfRange {
        partition: P0,
        requested: Offset(1),
        log_start: Offset(3),
        high_watermark: Offset(8),
    };
    assert_eq!(error, Some(expected));
    assert!(consumer.skip_to(P0, Offset(3)));
    assert_eq!(read(&mut consumer).await, ((3..8).collect(), None));
}

#[tokio::test]
async fn a_small_buffer_is_enough_and_is_kept_to() {
    let spu = FakeSpu::start(2).await;
    spu.fill(key(1, 0), 0..50, 10);
    spu.fill(key(1, 1), 0..50, 10);
    let config = ConsumerConfig { max_buffer_bytes: 500, fetch_bytes: 100, ..orders().until_end() };
    let mut consumer = consumer(&spu, config).await;
    let (offsets, error) = read(&mut consumer).await;
    assert_eq!((offsets.len(), error), (1000, None));
}

#[tokio::test]
async fn a_consumer_that_does_not_read_does_not_hold_up_another() {
    let spu = FakeSpu::start(1).await;
    spu.fill(key(1, 0), 0..200, 10);
    let client = spu.client().await;
    let config = ConsumerConfig { max_buffer_bytes: 500, fetch_bytes: 100, ..orders().until_end() };
    let mut slow = client.consumer(config.clone()).await.unwrap();
    assert_eq!(next(&mut slow).await, Some(Ok(0)));
    let mut fast = client.consumer(config).await.unwrap();
    let (offsets, error) = read(&mut fast).await;
    assert_eq!((offsets.len(), error), (2000, None));
    let (offsets, error) = read(&mut slow).await;
    assert_eq!((offsets, error), ((1..2000).collect(), None));
}

#[tokio::test]
async fn partitions_added_later_are_read_from_their_beginning() {
    let spu = FakeSpu::start(1).await;
    spu.fill(key(1, 1), 0..1, 2);
    let mut consumer = consumer(&spu, orders().start(Start::End)).await;
    spu.until("subscribed", |state| state.subscriptions == 1).await;
    spu.publish(vec![topic(1, "orders", 2, GenerationState::Active)]);
    let record = consumer.next().await.unwrap().unwrap();
    assert_eq!((record.partition, record.offset), (PartitionIndex(1), Offset(0)));
}

#[tokio::test]
async fn a_recreated_topic_ends_the_stream_after_what_was_received() {
    let spu = FakeSpu::start(1).await;
    spu.fill(key(1, 0), 0..1, 3);
    let mut consumer = consumer(&spu, orders()).await;
    assert_eq!(next(&mut consumer).await, Some(Ok(0)));
    spu.publish(vec![
        topic(1, "orders", 1, GenerationState::Tombstone),
        topic(2, "orders", 1, GenerationState::Active),
    ]);
    let (offsets, error) = read(&mut consumer).await;
    assert_eq!(offsets, [1, 2]);
    assert_eq!(
        error,
        Some(ConsumeError::TopicRecreated {
            topic: "orders".into(),
            generation: generation(1),
            successor: Some(generation(2)),
        })
    );
    assert_eq!(next(&mut consumer).await, None);
}

#[tokio::test]
async fn a_consumer_that_follows_the_name_reads_the_new_generation() {
    let spu = FakeSpu::start(1).await;
    spu.fill(key(1, 0), 0..1, 1);
    spu.fill(key(2, 0), 0..1, 1);
    let mut consumer = consumer(&spu, ConsumerConfig { follow_name: true, ..orders() }).await;
    assert_eq!(consumer.next().await.unwrap().unwrap().generation, generation(1));
    spu.publish(vec![topic(1, "orders", 1, GenerationState::Tombstone)]);
    spu.publish(vec![topic(2, "orders", 1, GenerationState::Active)]);
    let record = consumer.next().await.unwrap().unwrap();
    assert_eq!((record.generation, record.offset), (generation(2), Offset(0)));
}

#[tokio::test]
async fn a_skip_in_the_old_generation_does_not_touch_the_new_one() {
    let spu = FakeSpu::start(1).await;
    spu.fill(key(1, 0), 0..4, 2);
    spu.script_fetch([Fetch::Without(1)]);
    let mut consumer = consumer(&spu, ConsumerConfig { follow_name: true, ..orders() }).await;
    let (_, error) = read(&mut consumer).await;
    assert_eq!(error.unwrap().code(), "GAP");
    spu.publish(vec![
        topic(1, "orders", 1, GenerationState::Tombstone),
        topic(2, "orders", 1, GenerationState::Active),
    ]);
    spu.until("the new one is subscribed", |state| state.subscriptions == 2).await;
    assert_eq!(consumer.generation(), generation(1), "the application does not know yet");
    assert!(consumer.skip_to(P0, Offset(2)));
    spu.fill(key(2, 0), 0..1, 1);
    assert_eq!(next(&mut consumer).await, Some(Ok(0)));
    assert_eq!(consumer.generation(), generation(2));
}

#[tokio::test]
async fn waits_without_end_are_no_trouble() {
    let spu = FakeSpu::start(1).await;
    spu.fill(key(1, 0), 0..1, 1);
    // The second refusal finds an outage whose report is never due.
    spu.script_fetch(vec![Fetch::Refuse(ErrorCode::ReplicaOffline); 2]);
    let mut config = spu.config();
    config.connect_timeout = Duration::MAX;
    config.topic_timeout = Duration::MAX;
    config.request_timeout = Duration::MAX;
    let client = Client::connect(config, Arc::new(NoHttp), Clock).await.unwrap();
    let config = ConsumerConfig { unavailable_after: Duration::MAX, ..orders().until_end() };
    let mut consumer = client.consumer(config).await.unwrap();
    assert_eq!(read(&mut consumer).await, (vec![0], None));
}

#[tokio::test]
async fn a_deleted_topic_ends_the_stream() {
    let spu = FakeSpu::start(1).await;
    let mut consumer = consumer(&spu, orders()).await;
    spu.publish(vec![topic(1, "orders", 1, GenerationState::Tombstone)]);
    let (_, error) = read(&mut consumer).await;
    assert_eq!(error.unwrap().code(), "TOPIC_DELETED");
}

#[tokio::test]
async fn a_partition_that_stays_unreadable_is_reported_once_and_read_when_it_is_back() {
    let spu = FakeSpu::start(1).await;
    spu.script_fetch(vec![Fetch::Refuse(ErrorCode::ReplicaOffline); 12]);
    spu.fill(key(1, 0), 0..1, 1);
    let config =
        ConsumerConfig { unavailable_after: Duration::from_millis(60), ..orders().until_end() };
    let mut consumer = consumer(&spu, config).await;
    let (_, error) = read(&mut consumer).await;
    let Some(ConsumeError::Unavailable { partition: P0, code, .. }) = error else {
        panic!("{error:?}");
    };
    assert_eq!(code, ErrorCode::ReplicaOffline);
    assert_eq!(read(&mut consumer).await, (vec![0], None));
}
