//! The client as such: connecting, topics, failing over, and leaving nothing behind.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod fake_spu;

use std::{sync::Arc, time::Duration};

use fake_spu::{FakeSpu, NoHttp, key, topic};
use secrecy::SecretString;
use weir_client::{
    Client, ClientConfig, ClientError, ConsumerConfig, ProducerConfig, ProducerRecord,
};
use weir_protocol::{
    ids::{Offset, PartitionIndex},
    pb::metadata::GenerationState,
};
use weir_runtime::clock::Clock;

async fn connect(config: ClientConfig) -> Result<Client, ClientError> {
    Client::connect(config, Arc::new(NoHttp), Clock).await
}

#[tokio::test]
async fn a_dead_bootstrap_is_passed_by() {
    let spu = FakeSpu::start(1).await;
    let mut config = spu.config();
    config.bootstrap.insert(0, "127.0.0.1:65000".into());
    let client = connect(config).await.unwrap();
    assert_eq!(client.topic("orders").await.unwrap().partition_count(), 1);
}

#[tokio::test]
async fn nobody_there_is_said_in_time_with_the_reason() {
    let spu = FakeSpu::start(1).await;
    let mut config = spu.config();
    config.bootstrap = vec!["127.0.0.1:65000".into()];
    config.connect_timeout = Duration::from_millis(200);
    let error = connect(config).await.unwrap_err();
    assert_eq!(error.code(), "UNREACHABLE");
    assert!(error.to_string().contains("127.0.0.1:65000"), "{error}");
}

#[tokio::test]
async fn another_cluster_s_spu_refuses_at_once() {
    let spu = FakeSpu::start(1).await;
    let mut config = spu.config();
    config.cluster = "cl_00000000000000000000000000000009".into();
    assert_eq!(connect(config).await.unwrap_err().code(), "UNKNOWN_CLUSTER");
}

#[tokio::test]
async fn a_configuration_that_cannot_work_is_refused() {
    let spu = FakeSpu::start(1).await;
    let by_name = ClientConfig { cluster: "name".into(), ..spu.config() };
    assert_eq!(connect(by_name).await.unwrap_err().code(), "INVALID_CONFIGURATION");
    let nowhere = ClientConfig { bootstrap: vec![], ..spu.config() };
    assert_eq!(connect(nowhere).await.unwrap_err().code(), "INVALID_CONFIGURATION");
    let mut away = ClientConfig::with_control_plane(
        "http://127.0.0.1:65000",
        SecretString::from("weir_x".to_owned()),
        "c",
    );
    away.connect_timeout = Duration::from_millis(100);
    let error = connect(away).await.unwrap_err();
    assert_eq!((error.code(), error.retryable()), ("UNREACHABLE", true));
}

#[tokio::test]
async fn a_topic_is_waited_for_and_a_wrong_name_gets_a_suggestion() {
    let spu = FakeSpu::start(1).await;
    let client = spu.client().await;
    let error = client.topic("ordres").await.unwrap_err();
    assert_eq!(error.code(), "UNKNOWN_TOPIC");
    assert_eq!(error.hint().unwrap(), "did you mean \"orders\"?");
    let (found, ()) = futures::join!(client.topic("late"), async {
        spu.publish(vec![
            topic(1, "orders", 1, GenerationState::Active),
            topic(2, "late", 4, GenerationState::Active),
        ]);
    });
    assert_eq!(found.unwrap().partition_count(), 4);
    let listed = ConsumerConfig::new("late").partitions([PartitionIndex(4)]);
    let error = client.consumer(listed).await.unwrap_err();
    assert_eq!(error.code(), "UNKNOWN_PARTITION");
    assert!(error.to_string().contains("it has 0 to 3"), "{error}");
}

#[tokio::test]
async fn when_an_spu_dies_metadata_and_records_come_from_the_next() {
    let (first, second) = (FakeSpu::start(1).await, FakeSpu::start(1).await);
    for spu in [&first, &second] {
        spu.publish_leader(2, 1, &[&first, &second]);
    }
    let client = first.client().await;
    let producer = client.producer("orders", ProducerConfig::default()).await.unwrap();
    let mut consumer = client.consumer(ConsumerConfig::new("orders")).await.unwrap();
    producer.send(ProducerRecord::value("1")).await.unwrap().await.unwrap();
    assert!(consumer.next().await.unwrap().is_ok());
    second.replicate(&first);
    second.publish_leader(3, 2, &[&first, &second]);
    first.stop();
    first.until("its streams are gone", |state| state.open_streams == 0).await;
    let written = producer.send(ProducerRecord::value("2")).await.unwrap().await.unwrap();
    assert_eq!(written.offset, Offset(1));
    assert_eq!(second.values(key(1, 0)), ["1", "2"]);
    assert_eq!(consumer.next().await.unwrap().unwrap().offset, Offset(1));
}

#[tokio::test]
async fn the_last_handle_ends_the_streams() {
    let spu = FakeSpu::start(1).await;
    let client = spu.client().await;
    let producer = client.producer("orders", ProducerConfig::default()).await.unwrap();
    let mut consumer = client.consumer(ConsumerConfig::new("orders")).await.unwrap();
    producer.send(ProducerRecord::value("v")).await.unwrap().await.unwrap();
    assert!(consumer.next().await.unwrap().is_ok());
    assert_eq!(spu.state().open_streams, 2, "one to produce, one to fetch");
    drop((client, producer));
    spu.fill(key(1, 0), 0..1, 1);
    assert!(consumer.next().await.unwrap().is_ok(), "a consumer keeps its client");
    drop(consumer);
    spu.until("all streams ended", |state| state.open_streams == 0).await;
}

#[tokio::test]
async fn streams_to_an_spu_that_was_removed_end() {
    let (first, second) = (FakeSpu::start(1).await, FakeSpu::start(1).await);
    for spu in [&first, &second] {
        spu.publish_leader(2, 1, &[&first, &second]);
    }
    let client = first.client().await;
    let producer = client.producer("orders", ProducerConfig::default()).await.unwrap();
    let mut consumer = client.consumer(ConsumerConfig::new("orders")).await.unwrap();
    producer.send(ProducerRecord::value("1")).await.unwrap().await.unwrap();
    assert!(consumer.next().await.unwrap().is_ok());
    assert_eq!(first.state().open_streams, 2, "one to produce, one to fetch");
    second.replicate(&first);
    for spu in [&first, &second] {
        spu.publish_leader(3, 2, &[&first, &second]);
        spu.publish_without(4, 1);
    }
    first.until("its streams are gone", |state| state.open_streams == 0).await;
    let written = producer.send(ProducerRecord::value("2")).await.unwrap().await.unwrap();
    assert_eq!(written.offset, Offset(1));
    assert_eq!(second.values(key(1, 0)), ["1", "2"]);
    assert_eq!(consumer.next().await.unwrap().unwrap().offset, Offset(1));
}
