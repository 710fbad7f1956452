//! Coordinators tell what was committed, over loopback, with the generated client.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "support_spus/mod.rs"]
mod support;

use prost::Message as _;
use support::{
    case::{Case, case},
    spu::{self, Session},
};
use tonic::{Code, Status};
use uuid::Uuid;
use weir_control_plane::{
    app::{self, topic_create},
    plan::names::OFFSETS_TOPIC,
    store::{
        clusters, consumer_offsets,
        partition_state::{self, PartitionState},
        partitions::{self, NewPartition, PartitionRow},
        purges,
        topics::{self, NewTopic},
    },
};
use weir_protocol::{
    ErrorCode, WireError,
    ids::{Incarnation, PartitionIndex, PartitionKey, SpuId, TopicGenerationId},
    pb::{
        data,
        session::{
            AllocateProducerIdsRequest, StoreOffsetsRequest, StoredOffset,
            spu_control_client::SpuControlClient,
        },
    },
    topic_config::TopicConfig,
};
use weir_runtime::rpc::{Channel, ChannelConfig};

const OFFSETS: TopicGenerationId = TopicGenerationId(Uuid::from_u128(70));

struct Coordinator {
    case: Case,
    topic: TopicGenerationId,
    good: StoreOffsetsRequest,
    _session: Session,
}

/// A registered SPU 1 that leads partition 3 of the offsets topic at epoch 1.
async fn coordinator() -> Coordinator {
    let case = case().await;
    case.topic("orders").await;
    let session = spu::open(&case.control.rpc, case.first.register()).await.unwrap();
    let mut tx = case.control.app.store.write().await.unwrap();
    let mut org = tx.scoped(case.control.org());
    let cluster = clusters::by_id(&mut org, case.cluster).await.unwrap().unwrap();
    let new = NewTopic {
        generation: OFFSETS,
        name: OFFSETS_TOPIC.to_owned(),
        internal: true,
        replication: 1,
        min_insync: None,
        config: TopicConfig::default(),
    };
    let placed: Vec<_> = (0..4)
        .map(|index| NewPartition {
            index: PartitionIndex(index),
            label: String::new(),
            replicas: vec![SpuId(1)],
            leader: Some((SpuId(1), Incarnation(session.incarnation))),
        })
        .collect();
    topic_create::insert(&mut org, &cluster, &new, &placed, 1).await.unwrap();
    let topic = topics::by_name(&mut org, case.cluster, "orders").await.unwrap().unwrap();
    tx.commit().await.unwrap();
    let good = StoreOffsetsRequest {
        org_id: case.control.org().to_string(),
        cluster_id: case.cluster.to_string(),
        spu_id: 1,
        incarnation: session.incarnation,
        launch_id: case.first.launch.to_string(),
        launch_secret: "secret 1".to_owned(),
        offsets_partition: Some(key(OFFSETS, 3).to_wire()),
        leader_epoch: 1,
        offsets: vec![stored("billing", topic.generation, 5, 42)],
    };
    Coordinator { case, topic: topic.generation, good, _session: session }
}

const fn key(generation: TopicGenerationId, index: u32) -> PartitionKey {
    PartitionKey { generation, partition: PartitionIndex(index) }
}

fn stored(consumer: &str, generation: TopicGenerationId, position: u64, next: u64) -> StoredOffset {
    StoredOffset {
        consumer: consumer.to_owned(),
        partition: Some(key(generation, 0).to_wire()),
        position,
        next_offset: Some(next),
        leader_epoch: Some(1),
        metadata: "a\0b".to_owned(),
        committed_at_unix_ms: 7,
        ..StoredOffset::default()
    }
}

impl Coordinator {
    /// The generations that are gone.
    async fn store(&self, request: StoreOffsetsRequest) -> Result<Vec<TopicGenerationId>, Status> {
        let channel = Channel::new(&self.case.control.rpc, ChannelConfig::default());
        let answer = SpuControlClient::new(channel).store_offsets(request).await?.into_inner();
        let ids = answer.gone_generation_ids.iter();
        Ok(ids.map(|id| TopicGenerationId::from_wire(id).unwrap()).collect())
    }

    async fn committed(&self, consumer: &str) -> Vec<(Option<u64>, String)> {
        let mut tx = self.case.control.app.store.read().await.unwrap();
        let mut org = tx.scoped(self.case.control.org());
        let rows = consumer_offsets::of_consumer(&mut org, self.case.cluster, consumer).await;
        let shown = |row: consumer_offsets::OffsetRow| {
            (row.committed.next_offset.map(|next| next.get()), row.committed.metadata)
        };
        rows.unwrap().into_iter().map(shown).collect()
    }
}

#[tokio::test]
async fn what_is_told_is_stored_and_may_be_told_again() {
    let c = coordinator().await;
    for _ in 0..2 {
        assert!(c.store(c.good.clone()).await.unwrap().is_empty());
        let odd = "a\u{fffd}b".to_owned();
        assert_eq!(c.committed("billing").await, [(Some(42), odd)]);
    }
    let deleted =
        StoredOffset { deleted: true, next_offset: None, ..stored("billing", c.topic, 6, 0) };
    let request = StoreOffsetsRequest { offsets: vec![deleted], ..c.good.clone() };
    c.store(request).await.unwrap();
    c.store(c.good.clone()).await.unwrap();
    assert!(c.committed("billing").await.is_empty(), "a late repetition brings nothing back");
}

#[tokio::test]
async fn generations_that_are_gone_are_named_and_the_others_stored() {
    let c = coordinator().await;
    let (app, principal) = (&c.case.control.app, &c.case.control.principal);
    let never = TopicGenerationId(Uuid::from_u128(99));
    let mixed = |position| StoreOffsetsRequest {
        offsets: vec![
            stored("billing", never, position, 1),
            stored("billing", c.topic, position, position),
            stored("other", never, position, 1),
        ],
        ..c.good.clone()
    };
    assert_eq!(c.store(mixed(10)).await.unwrap(), [never]);
    assert_eq!(c.committed("billing").await[0].0, Some(10));
    // A tombstone keeps its offsets, and takes what was committed just before.
    app::topic_delete(app, principal, "demo", "orders").await.unwrap();
    assert_eq!(c.store(mixed(11)).await.unwrap(), [never]);
    assert_eq!(c.committed("billing").await[0].0, Some(11));
    let mut tx = app.store.write().await.unwrap();
    let mut org = tx.scoped(c.case.control.org());
    assert!(purges::begin(&mut org, c.case.cluster, c.topic).await.unwrap());
    tx.commit().await.unwrap();
    let mut both = [never, c.topic];
    both.sort();
    assert_eq!(c.store(mixed(12)).await.unwrap(), both);
    assert!(c.committed("billing").await.is_empty());
}

#[tokio::test]
async fn a_cluster_that_is_shut_down_tells_its_last_and_a_deleted_one_nothing() {
    let c = coordinator().await;
    let (app, principal) = (&c.case.control.app, &c.case.control.principal);
    app::cluster_shutdown(app, principal, "demo", None).await.unwrap();
    c.store(c.good.clone()).await.unwrap();
    assert_eq!(c.committed("billing").await[0].0, Some(42));
    let guess = StoreOffsetsRequest { launch_secret: "guess".into(), ..c.good.clone() };
    assert_eq!(c.store(guess).await.unwrap_err().code(), Code::PermissionDenied);
    let channel = Channel::new(&c.case.control.rpc, ChannelConfig::default());
    let ids = AllocateProducerIdsRequest {
        org_id: c.good.org_id.clone(),
        cluster_id: c.good.cluster_id.clone(),
        spu_id: 1,
        incarnation: c.good.incarnation,
        launch_id: c.good.launch_id.clone(),
        launch_secret: c.good.launch_secret.clone(),
    };
    let refused = SpuControlClient::new(channel).allocate_producer_ids(ids).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "nobody begins to produce now");
    app::cluster_delete(app, principal, "demo").await.unwrap();
    assert_eq!(c.store(c.good.clone()).await.unwrap_err().code(), Code::PermissionDenied);
}

#[tokio::test]
async fn only_the_leader_at_its_epoch_may_store() {
    let c = coordinator().await;
    let mut tx = c.case.control.app.store.write().await.unwrap();
    let mut org = tx.scoped(c.case.control.org());
    let row = partitions::get(&mut org, c.case.cluster, key(OFFSETS, 2)).await.unwrap().unwrap();
    let leadership = |row: &PartitionRow, spu| PartitionState {
        leader: Some(spu),
        leader_incarnation: Incarnation(1),
        leader_epoch: row.leader_epoch.next(),
        ..PartitionState::from(row)
    };
    let other = leadership(&row, SpuId(2));
    let moved = partition_state::set_state(&mut org, c.case.cluster, &row, &other);
    assert!(moved.await.unwrap());
    let row = partitions::get(&mut org, c.case.cluster, key(OFFSETS, 1)).await.unwrap().unwrap();
    let same = leadership(&row, SpuId(1));
    let moved = partition_state::set_state(&mut org, c.case.cluster, &row, &same);
    assert!(moved.await.unwrap());
    tx.commit().await.unwrap();
    let at = |partition: PartitionKey, leader_epoch| StoreOffsetsRequest {
        offsets_partition: Some(partition.to_wire()),
        leader_epoch,
        ..c.good.clone()
    };
    for (request, code, leader) in [
        (at(key(OFFSETS, 2), 1), ErrorCode::NotLeader, Some(2)),
        (at(key(OFFSETS, 1), 1), ErrorCode::FencedLeaderEpoch, Some(1)),
        (at(key(OFFSETS, 3), 2), ErrorCode::UnknownLeaderEpoch, Some(1)),
        (at(key(OFFSETS, 4), 1), ErrorCode::UnknownPartition, None),
        (at(key(c.topic, 0), 1), ErrorCode::UnknownPartition, None),
    ] {
        let status = c.store(request).await.unwrap_err();
        let error = WireError::from(data::Error::decode(status.details()).unwrap());
        assert_eq!((error.code, error.wire.leader_spu_id), (code, leader), "{status:?}");
    }
    assert!(c.committed("billing").await.is_empty());
    assert!(c.store(at(key(OFFSETS, 1), 2)).await.is_ok());
}

#[tokio::test]
async fn strangers_and_malformed_requests_are_refused() {
    let c = coordinator().await;
    let good = || c.good.clone();
    let with = |offset: StoredOffset| StoreOffsetsRequest { offsets: vec![offset], ..good() };
    let entry = || stored("billing", c.topic, 5, 42);
    for (request, code) in [
        (StoreOffsetsRequest { launch_secret: "guess".into(), ..good() }, Code::PermissionDenied),
        (StoreOffsetsRequest { spu_id: 2, ..good() }, Code::PermissionDenied),
        (StoreOffsetsRequest { incarnation: 9, ..good() }, Code::FailedPrecondition),
        (StoreOffsetsRequest { cluster_id: "x".into(), ..good() }, Code::InvalidArgument),
        (StoreOffsetsRequest { offsets_partition: None, ..good() }, Code::InvalidArgument),
        (StoreOffsetsRequest { offsets: vec![entry(); 1_001], ..good() }, Code::InvalidArgument),
        (with(StoredOffset { consumer: "a/b".into(), ..entry() }), Code::InvalidArgument),
        (with(StoredOffset { partition: None, ..entry() }), Code::InvalidArgument),
        (with(StoredOffset { position: u64::MAX, ..entry() }), Code::InvalidArgument),
        (with(StoredOffset { next_offset: Some(1 << 63), ..entry() }), Code::InvalidArgument),
        (with(StoredOffset { metadata: "x".repeat(4_097), ..entry() }), Code::InvalidArgument),
        (StoreOffsetsRequest::default(), Code::InvalidArgument),
    ] {
        let status = c.store(request).await.unwrap_err();
        assert_eq!(status.code(), code, "{status:?}");
    }
    assert!(c.committed("billing").await.is_empty());
    assert!(c.store(StoreOffsetsRequest { offsets: vec![entry(); 1_000], ..good() }).await.is_ok());
}
