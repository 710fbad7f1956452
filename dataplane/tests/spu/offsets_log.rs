//! The offsets topic's log: kept short, and not believed blindly.

use std::sync::Arc;

use bytes::Bytes;
use tempfile::TempDir;
use weir_dataplane::Config;
use weir_protocol::{
    ErrorCode,
    batch::{BatchBuilder, BatchConfig, NewRecord, split_first},
    murmur2::partition_of,
    pb::{
        metadata::TopicGeneration,
        session::{ReplicaState, ReplicaStatus},
    },
    token::Scope,
};

use crate::{
    client::{Client, code_of, request, token},
    consumer::{Consumer, OFFSETS, again, at, committed, next_life, quick, start, start_with},
    control_plane::{key, topic},
    node::{Node, real_disk},
};

/// Which offsets partition holds a consumer.
fn held_by(name: &str) -> u32 {
    partition_of(name.as_bytes(), 2)
}

fn of(name: &str) -> weir_protocol::ids::PartitionKey {
    key(OFFSETS, held_by(name))
}

fn small_segments(config: &mut Config) {
    quick(config);
    config.log.segment_bytes_max = 20_000;
}

#[tokio::test]
async fn a_long_log_is_written_anew_and_says_the_same() {
    let folder = Arc::new(TempDir::new().unwrap());
    let disk = real_disk(&folder).await;
    let node = start_with(folder, disk, small_segments).await;
    let name = "c";
    let twin = (0..).map(|n| format!("twin-{n}")).find(|twin| held_by(twin) == held_by(name));
    committed(&node, &twin.clone().unwrap(), 3, 33).await;
    // One that is deleted while the control plane does not hear of it: the word stays.
    *node.control_plane.state.store_refusal.lock().unwrap() = Some(ErrorCode::Overloaded);
    let gone = (0..).map(|n| format!("gone-{n}")).find(|gone| held_by(gone) == held_by(name));
    let gone = gone.unwrap();
    committed(&node, &gone, 4, 44).await.delete(&[]).await.unwrap();

    let mut consumer = committed(&node, name, 1, 0).await;
    for next in 1..=1_100 {
        consumer.commit(vec![at(key(1, 0), next)]).await.unwrap();
    }
    let shortened = |status: &ReplicaStatus| status.log_start > 1_000;
    node.control_plane.reported(of(name), shortened).await;
    let files = || {
        let generation = key(OFFSETS, 0).generation.0.simple().to_string();
        let path = node.folder.path().join("topics").join(generation);
        std::fs::read_dir(path.join(held_by(name).to_string())).unwrap().count()
    };
    assert!(files() <= 8, "{} files: old segments are gone", files());

    *node.control_plane.state.store_refusal.lock().unwrap() = None;
    let node = again(node, small_segments).await;
    node.control_plane.uploaded(&gone, key(1, 0), |it| it.deleted).await;
    for (name, next) in [(name, 1_100), (twin.as_ref().unwrap(), 33)] {
        let consumer = Consumer::new(&node.client, name, 9);
        assert_eq!(consumer.open(&[key(1, 0)]).await.unwrap(), [(key(1, 0), next)], "{name}");
    }
    let mut consumer = Consumer::new(&node.client, name, 9);
    consumer.commit(vec![at(key(1, 0), 1_101)]).await.unwrap();
}

#[tokio::test]
async fn a_record_of_another_format_stops_its_partition_alone() {
    let node = start().await;
    let mut builder = BatchBuilder::new(BatchConfig::default());
    let key_bytes = Some(Bytes::from_static(b"\x02whatever"));
    builder.push(NewRecord { key: key_bytes, ..NewRecord::default() }).unwrap();
    let foreign = builder.finish(None).unwrap();
    let internal = token(&[Scope::Produce, Scope::Internal], 600);
    let client = Client { token: internal, ..Client::new(&node.client.endpoint) };
    let mut producer = client.produce().await;
    producer.send(request(of("c"), foreign)).await.unwrap();

    let node = again(node, quick).await;
    let refused = Consumer::new(&node.client, "c", 1).open(&[key(1, 0)]).await.unwrap_err();
    assert_eq!(code_of(&refused), ErrorCode::UnsupportedVersion);
    assert!(refused.message().contains("version 2"), "{refused}");
    let other = (0..).map(|n| format!("o-{n}")).find(|other| held_by(other) != held_by("c"));
    assert!(Consumer::new(&node.client, &other.unwrap(), 1).open(&[key(1, 0)]).await.is_ok());
}

#[tokio::test]
async fn a_damaged_record_takes_the_replica_offline() {
    let node = start().await;
    committed(&node, "c", 1, 5).await;
    let (ended, control_plane, folder, disk) = node.stop().await;
    ended.unwrap();
    let generation = key(OFFSETS, 0).generation.0.simple().to_string();
    let path = folder.path().join("topics").join(generation).join(held_by("c").to_string());
    let files = std::fs::read_dir(path).unwrap().map(|file| file.unwrap().path());
    let mut logs = files.filter(|path| path.extension().is_some_and(|it| it == "log"));
    let log = logs.find(|path| std::fs::metadata(path).unwrap().len() > 0).unwrap();
    let mut bytes = std::fs::read(&log).unwrap();
    // The last byte of the first batch: its header says where it lies, and stays as it is.
    let (_, first, _) = split_first(&Bytes::from(bytes.clone())).unwrap().unwrap();
    bytes[first.len() - 1] ^= 0x10;
    std::fs::write(&log, bytes).unwrap();

    next_life(&control_plane);
    let node = Node::with(folder, disk, control_plane, quick).await;
    let offline = |status: &ReplicaStatus| status.state() == ReplicaState::Offline;
    node.control_plane.reported(of("c"), offline).await;
    let refused = Consumer::new(&node.client, "c", 2).open(&[key(1, 0)]).await.unwrap_err();
    assert_eq!(code_of(&refused), ErrorCode::ReplicaOffline);
}

#[tokio::test]
async fn many_consumers_at_once_share_batches_and_all_are_answered() {
    let node = start().await;
    let consumers: Vec<_> = (0..100).map(|n| format!("c-{n}")).collect();
    let work = consumers.iter().map(|name| {
        let mut consumer = Consumer::new(&node.client, name, 1);
        async move {
            consumer.open(&[key(1, 0)]).await.unwrap();
            for next in 1..=5 {
                consumer.commit(vec![at(key(1, 0), next)]).await.unwrap();
            }
        }
    });
    futures::future::join_all(work).await;
    for name in &consumers {
        let found = Consumer::new(&node.client, name, 2).open(&[key(1, 0)]).await.unwrap();
        assert_eq!(found, [(key(1, 0), 5)], "{name}");
    }
}

#[tokio::test]
async fn ten_thousand_partitions_go_in_one_request() {
    let node = start().await;
    let mut wide: TopicGeneration = topic(3, 1, "wide");
    let first = wide.partitions[0].clone();
    wide.partitions = (0..10_000)
        .map(|index| {
            let mut partition = first.clone();
            (partition.index, partition.leader_spu_id) = (index, Some(2));
            (partition.replica_spu_ids, partition.isr_spu_ids) = (vec![2], vec![2]);
            partition
        })
        .collect();
    node.control_plane.change(vec![wide, topic(4, 1, "after")]).await;
    node.leads(4, 0).await;
    let all: Vec<_> = (0..10_000).map(|index| key(3, index)).collect();
    let mut consumer = Consumer::new(&node.client, &"n".repeat(249), 1);
    consumer.open(&all).await.unwrap();
    consumer.commit(all.iter().map(|key| at(*key, 7)).collect()).await.unwrap();
    let found = consumer.open(&all).await.unwrap();
    assert_eq!(found.len(), 10_000);
    assert!(found.iter().all(|(_, next)| *next == 7));
    assert_eq!(consumer.delete(&[]).await.unwrap(), 10_000);
}
