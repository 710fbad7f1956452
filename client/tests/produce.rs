//! Producing against a scripted SPU: what is acknowledged, what is not, and in what order.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod fake_spu;

use std::time::Duration;

use fake_spu::{FakeSpu, Produce, key, topic};
use futures::future::join_all;
use weir_client::{Client, Producer, ProducerConfig, ProducerRecord};
use weir_protocol::{ErrorCode, Outcome, ids::PartitionIndex, pb::metadata::GenerationState};

async fn producer(client: &Client, config: ProducerConfig) -> Producer {
    client.producer("orders", config).await.unwrap()
}

/// Every record a batch of its own.
fn one_by_one() -> ProducerConfig {
    ProducerConfig { batch_bytes: 1, ..ProducerConfig::default() }
}

fn record(n: usize) -> ProducerRecord {
    ProducerRecord::value(format!("{n}")).to_partition(PartitionIndex(0))
}

fn numbers(n: usize) -> Vec<String> {
    (0..n).map(|n| n.to_string()).collect()
}

async fn outcomes(producer: &Producer, n: usize) -> Vec<Result<u64, (ErrorCode, Outcome)>> {
    let mut deliveries = Vec::new();
    for n in 0..n {
        deliveries.push(producer.send(record(n)).await.unwrap());
    }
    let results = join_all(deliveries).await;
    results.into_iter().map(|r| r.map(|m| m.offset.0).map_err(|e| (e.code, e.outcome))).collect()
}

#[tokio::test]
async fn every_record_is_acknowledged_with_its_own_offset() {
    let spu = FakeSpu::start(3).await;
    let producer = producer(&spu.client().await, ProducerConfig::default()).await;
    assert_eq!(outcomes(&producer, 100).await, (0..100).map(Ok).collect::<Vec<_>>());
    assert_eq!(spu.values(key(1, 0)), numbers(100));
    assert_eq!(spu.state().tokens, ["Bearer token"]);
}

#[tokio::test]
async fn order_and_number_survive_disconnects_lost_answers_and_refusals() {
    use Produce::{AppendAndBreak, Break, Refuse, Serve};
    let spu = FakeSpu::start(1).await;
    spu.script_produce([
        Refuse(ErrorCode::NotLeader),
        Serve,
        AppendAndBreak,
        Serve,
        Serve,
        Break,
        Refuse(ErrorCode::NotYetAvailable),
        AppendAndBreak,
        Refuse(ErrorCode::TimedOut),
        Refuse(ErrorCode::UnknownGeneration),
    ]);
    let producer = producer(&spu.client().await, one_by_one()).await;
    assert_eq!(outcomes(&producer, 40).await, (0..40).map(Ok).collect::<Vec<_>>());
    assert_eq!(spu.values(key(1, 0)), numbers(40));
}

#[tokio::test]
async fn an_answer_that_never_comes_is_unknown_in_time_and_the_next_record_goes_through() {
    let spu = FakeSpu::start(1).await;
    spu.script_produce([Produce::Silence]);
    let config = ProducerConfig { delivery_timeout: Duration::from_millis(300), ..one_by_one() };
    let producer = producer(&spu.client().await, config).await;
    assert_eq!(outcomes(&producer, 1).await, [Err((ErrorCode::TimedOut, Outcome::Unknown))]);
    assert_eq!(outcomes(&producer, 1).await, [Ok(0)]);
    assert_eq!(spu.state().producer_ids, 2, "the old id's sequence is not to be trusted");
}

#[tokio::test]
async fn a_refusal_says_that_nothing_was_written_and_does_not_poison_the_producer() {
    let spu = FakeSpu::start(1).await;
    spu.script_produce([Produce::Refuse(ErrorCode::BatchTooLarge)]);
    let producer = producer(&spu.client().await, one_by_one()).await;
    assert_eq!(outcomes(&producer, 1).await, [Err((ErrorCode::BatchTooLarge, Outcome::NotDone))]);
    assert_eq!(outcomes(&producer, 3).await, [Ok(0), Ok(1), Ok(2)]);
}

#[tokio::test]
async fn flush_waits_for_lingering_records_and_reports_failures() {
    let spu = FakeSpu::start(2).await;
    let config = ProducerConfig { linger: Duration::from_secs(3600), ..Default::default() };
    let producer = producer(&spu.client().await, config).await;
    let deliveries = [0, 1].map(|partition| {
        let record = ProducerRecord::value("v").to_partition(PartitionIndex(partition));
        producer.try_send(record).unwrap()
    });
    assert!(deliveries[0].outcome().is_none());
    producer.flush().await.unwrap();
    assert!(deliveries.iter().all(|delivery| delivery.outcome().unwrap().is_ok()));
    spu.script_produce([Produce::Refuse(ErrorCode::Forbidden)]);
    let delivery = producer.try_send(record(0)).unwrap();
    let clone = producer.clone();
    assert_eq!(producer.close().await.unwrap_err().code, ErrorCode::Forbidden);
    assert!(delivery.await.is_err());
    assert_eq!(clone.try_send(record(0)).unwrap_err().code(), "CLOSED");
}

#[tokio::test]
async fn what_an_spu_had_not_read_when_it_stopped_is_known_not_to_be_written() {
    let spu = FakeSpu::start(1).await;
    // Such a producer sends nothing again that may have been written.
    let config = ProducerConfig { idempotent: false, ..one_by_one() };
    let producer = producer(&spu.client().await, config).await;
    spu.script_produce([Produce::Break]);
    let unknown = Err((ErrorCode::Disconnected, Outcome::Unknown));
    assert_eq!(outcomes(&producer, 1).await, [unknown]);
    spu.script_produce([Produce::StopsBefore]);
    assert_eq!(outcomes(&producer, 1).await, [Ok(0)]);
}

#[tokio::test]
async fn waits_without_end_are_no_trouble() {
    let spu = FakeSpu::start(1).await;
    let config = ProducerConfig {
        delivery_timeout: Duration::MAX,
        linger: Duration::MAX,
        queue_bytes_max: 2000,
        ..Default::default()
    };
    let producer = producer(&spu.client().await, config).await;
    let large = || ProducerRecord::value(vec![b'x'; 1500]);
    let first = producer.send(large()).await.unwrap();
    // Waits for the room of the first.
    let (second, flushed) = futures::join!(producer.send(large()), producer.flush());
    flushed.unwrap();
    assert_eq!(first.await.unwrap().offset.0, 0);
    let second = second.unwrap();
    producer.flush().await.unwrap();
    assert_eq!(second.await.unwrap().offset.0, 1);
}

#[tokio::test]
async fn a_generation_that_comes_back_is_produced_to_again() {
    let spu = FakeSpu::start(1).await;
    let config = ProducerConfig {
        follow_name: true,
        delivery_timeout: Duration::from_millis(500),
        ..one_by_one()
    };
    let producer = producer(&spu.client().await, config).await;
    assert_eq!(outcomes(&producer, 1).await, [Ok(0)]);
    spu.publish(vec![topic(1, "orders", 1, GenerationState::Tombstone)]);
    let gone = [Err((ErrorCode::TopicDeleted, Outcome::NotDone))];
    while outcomes(&producer, 1).await != gone {}
    spu.publish(vec![topic(1, "orders", 1, GenerationState::Active)]);
    let first = loop {
        let outcome = outcomes(&producer, 1).await;
        if outcome != gone {
            break outcome;
        }
    };
    assert!(first[0].is_ok(), "{first:?}");
}

#[tokio::test]
async fn a_full_queue_waits_and_then_goes_on() {
    let spu = FakeSpu::start(1).await;
    spu.script_produce([Produce::Silence]);
    let config = ProducerConfig {
        queue_bytes_max: 2000,
        delivery_timeout: Duration::from_millis(400),
        ..one_by_one()
    };
    let producer = producer(&spu.client().await, config).await;
    let large = |n: usize| ProducerRecord::value(vec![b'x'; n]);
    let first = producer.try_send(large(1500)).unwrap();
    assert_eq!(producer.try_send(large(1500)).unwrap_err().code(), "QUEUE_FULL");
    let error = producer.send(large(2000)).await.unwrap_err();
    assert_eq!(error.code(), "RECORD_TOO_LARGE");
    assert!(error.to_string().contains("2000"), "{error}");
    // Room comes when the first is given up.
    let second = producer.send(large(1500)).await.unwrap();
    assert_eq!(first.outcome().unwrap().unwrap_err().outcome, Outcome::Unknown);
    second.await.unwrap();
}

#[tokio::test]
async fn dropping_the_producer_resolves_what_is_left() {
    let spu = FakeSpu::start(1).await;
    spu.script_produce([Produce::Silence]);
    let client = spu.client().await;
    let producer = producer(&client, one_by_one()).await;
    let sent = producer.send(record(0)).await.unwrap();
    spu.until("the request came", |state| !state.produce_requests.is_empty()).await;
    drop(producer);
    assert_eq!(sent.await.unwrap_err().outcome, Outcome::Unknown);
}

#[tokio::test]
async fn new_partitions_are_used_and_unknown_ones_named() {
    let spu = FakeSpu::start(1).await;
    let client = spu.client().await;
    let producer = producer(&client, one_by_one()).await;
    let to_third = || ProducerRecord::value("v").to_partition(PartitionIndex(2));
    let error = producer.send(to_third()).await.unwrap_err();
    assert_eq!(error.code(), "UNKNOWN_PARTITION");
    assert!(error.to_string().contains("it has 0 to 0"), "{error}");
    spu.publish(vec![topic(1, "orders", 3, GenerationState::Active)]);
    let delivery = loop {
        match producer.send(to_third()).await {
            Ok(delivery) => break delivery,
            Err(error) => assert_eq!(error.code(), "UNKNOWN_PARTITION"),
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(delivery.await.unwrap().partition, PartitionIndex(2));
    for _ in 0..6 {
        producer.send(ProducerRecord::value("v")).await.unwrap().await.unwrap();
    }
    for partition in 0..3 {
        assert!(!spu.values(key(1, partition)).is_empty(), "partition {partition}");
    }
}

#[tokio::test]
async fn a_partition_without_a_leader_is_named_when_time_is_over() {
    let spu = FakeSpu::start(2).await;
    let mut orders = topic(1, "orders", 2, GenerationState::Active);
    orders.partitions[1].leader_spu_id = None;
    spu.publish(vec![orders]);
    let client = spu.client().await;
    let config = ProducerConfig { delivery_timeout: Duration::from_millis(100), ..one_by_one() };
    let producer = producer(&client, config).await;
    let delivery =
        producer.send(ProducerRecord::value("v").to_partition(PartitionIndex(1))).await.unwrap();
    let error = delivery.await.unwrap_err();
    assert_eq!((error.code, error.outcome), (ErrorCode::TimedOut, Outcome::NotDone));
    let text = error.to_string();
    assert!(
        text.contains("partition 1 of topic \"orders\"") && text.contains("no leader"),
        "{text}"
    );
    // Records that may go anywhere go where somebody leads.
    for _ in 0..4 {
        let delivery = producer.send(ProducerRecord::value("v")).await.unwrap();
        assert_eq!(delivery.await.unwrap().partition, PartitionIndex(0));
    }
}

fn recreated() -> Vec<weir_protocol::pb::metadata::TopicGeneration> {
    vec![
        topic(1, "orders", 1, GenerationState::Tombstone),
        topic(2, "orders", 1, GenerationState::Active),
    ]
}

#[tokio::test]
async fn a_recreated_topic_fails_what_is_queued_and_what_comes() {
    let spu = FakeSpu::start(1).await;
    let client = spu.client().await;
    let config = ProducerConfig { linger: Duration::from_secs(3600), ..Default::default() };
    let producer = producer(&client, config).await;
    let queued = producer.send(record(0)).await.unwrap();
    spu.publish(recreated());
    let mut map = client.map();
    map.wait_for(|map| map.active("orders").is_some_and(|g| g.number.0 == 2)).await.unwrap();
    assert!(producer.flush().await.is_err());
    let error = queued.await.unwrap_err();
    assert_eq!((error.code, error.outcome), (ErrorCode::TopicRecreated, Outcome::NotDone));
    assert_eq!(producer.send(record(1)).await.unwrap_err().code(), "TOPIC_RECREATED");
    assert!(spu.values(key(2, 0)).is_empty());
}

#[tokio::test]
async fn a_producer_that_follows_the_name_goes_on_with_the_new_generation() {
    let spu = FakeSpu::start(1).await;
    let client = spu.client().await;
    let producer = producer(&client, ProducerConfig { follow_name: true, ..one_by_one() }).await;
    assert_eq!(outcomes(&producer, 1).await, [Ok(0)]);
    spu.publish(recreated());
    let arrived = loop {
        match producer.send(record(7)).await.unwrap().await {
            Ok(metadata) if metadata.generation == fake_spu::generation(2) => break metadata,
            _ => {}
        }
    };
    assert_eq!(arrived.offset.0, 0);
    assert_eq!(spu.values(key(2, 0)), ["7"]);
}
