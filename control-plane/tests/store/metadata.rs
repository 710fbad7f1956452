//! The map of a cluster: snapshots, and what changed since.

use uuid::Uuid;
use weir_control_plane::{
    app::{self, AppError, TopicRequest},
    store::{
        changes::{self, Change},
        purges,
        spus::{self, Registration},
    },
};
use weir_protocol::{
    ids::{
        ClusterId, FolderId, Incarnation, LaunchId, PartitionEpoch, PartitionIndex, PartitionKey,
        ProcessId, Revision, SpuId, TopicGenerationId,
    },
    pb::{metadata, session},
};

use crate::support::{Fixture, fixture, fresh};

async fn create(f: &Fixture, name: &str, partitions: u32) -> TopicGenerationId {
    let wanted = TopicRequest::new(name, partitions);
    fresh(app::topic_create(&f.app, &f.admin, "demo", &wanted, None).await.unwrap()).generation_id
}

async fn register(f: &Fixture, cluster: ClusterId, spu: SpuId, launch: LaunchId) -> Revision {
    let registration = Registration {
        incarnation: Incarnation(1),
        folder_id: FolderId(Uuid::from_u128(5)),
        process_id: ProcessId(Uuid::from_u128(6)),
        endpoint: "127.0.0.1:9500".to_owned(),
        rack: None,
        boot_id: None,
    };
    let mut tx = f.app.store.write().await.unwrap();
    let mut org = tx.scoped(f.admin.org);
    spus::set_launch(&mut org, cluster, spu, launch, 0, 1).await.unwrap();
    assert!(spus::register(&mut org, cluster, spu, &registration, 1).await.unwrap());
    assert!(!spus::register(&mut org, cluster, spu, &registration, 1).await.unwrap(), "stale");
    let revision = changes::record(&mut org, cluster, &Change::Spu(spu), 1).await.unwrap();
    tx.commit().await.unwrap();
    revision
}

#[tokio::test]
async fn deltas_name_what_changed_whole_and_snapshots_everything() {
    let f = fixture().await;
    let cluster = f.cluster("demo", 2).await.id;
    let org = f.admin.org;
    let orders = create(&f, "orders", 2).await;
    let all = app::metadata_snapshot(&f.app, org, cluster).await.unwrap();
    assert!(all.snapshot);
    assert_eq!(all.database, Some(f.app.database_ref(Default::default())));
    assert_eq!(all.spus.len(), 2);
    assert_eq!(all.topics.len(), 1);
    let at = Revision(all.revision);
    // Nothing changed: nothing is said, and it is no snapshot.
    let nothing = app::metadata_since(&f.app, org, cluster, at).await.unwrap();
    assert_eq!((nothing.snapshot, nothing.revision), (false, at.0));
    assert!(nothing.topics.is_empty() && nothing.spus.is_empty());
    // Several changes of one subject are one entry.
    let mut heard = f.app.signals.on_metadata(cluster);
    let clicks = create(&f, "clicks", 1).await;
    app::topic_add_partitions(&f.app, &f.admin, "demo", "orders", 1, None).await.unwrap();
    app::topic_add_partitions(&f.app, &f.admin, "demo", "orders", 1, None).await.unwrap();
    let registered = register(&f, cluster, SpuId(2), LaunchId(Uuid::from_u128(1))).await;
    app::topic_delete(&f.app, &f.admin, "demo", "clicks").await.unwrap();
    assert_eq!(heard.borrow_and_update().0, registered.0 + 1);
    let delta = app::metadata_since(&f.app, org, cluster, at).await.unwrap();
    assert!(!delta.snapshot);
    assert_eq!(delta.revision, at.0 + 5);
    let topics: Vec<_> = delta
        .topics
        .iter()
        .map(|t| (t.generation_id.clone(), t.state(), t.partitions.len()))
        .collect();
    let expected = [
        (orders.to_wire(), metadata::GenerationState::Active, 4),
        (clicks.to_wire(), metadata::GenerationState::Tombstone, 1),
    ];
    assert_eq!(topics.len(), 2);
    assert!(expected.iter().all(|entry| topics.contains(entry)), "{topics:?}");
    assert_eq!(delta.spus.len(), 1);
    assert_eq!(delta.spus[0].state(), metadata::SpuState::Online);
    assert_eq!(delta.spus[0].endpoint, "127.0.0.1:9500");
    // From the beginning, it is everything.
    let all = app::metadata_since(&f.app, org, cluster, Revision(0)).await.unwrap();
    assert!(all.snapshot);
    assert_eq!(all, app::metadata_snapshot(&f.app, org, cluster).await.unwrap());
}

#[tokio::test]
async fn a_purged_generation_is_named_once_more() {
    let f = fixture().await;
    let cluster = f.cluster("demo", 1).await.id;
    let orders = create(&f, "orders", 1).await;
    app::topic_delete(&f.app, &f.admin, "demo", "orders").await.unwrap();
    let before = app::metadata_snapshot(&f.app, f.admin.org, cluster).await.unwrap();
    let mut tx = f.app.store.write().await.unwrap();
    let mut org = tx.scoped(f.admin.org);
    assert_eq!(purges::settle(&mut org, cluster, orders, 1).await.unwrap(), None);
    assert!(purges::begin(&mut org, cluster, orders).await.unwrap());
    let key = PartitionKey { generation: orders, partition: PartitionIndex(0) };
    let late = purges::removed(&mut org, cluster, key, SpuId(1), PartitionEpoch(0)).await.unwrap();
    assert!(!late, "an order from before it was held");
    assert!(purges::removed(&mut org, cluster, key, SpuId(1), PartitionEpoch(9)).await.unwrap());
    assert!(purges::settle(&mut org, cluster, orders, 1).await.unwrap().is_some());
    tx.commit().await.unwrap();
    let from = Revision(before.revision);
    let delta = app::metadata_since(&f.app, f.admin.org, cluster, from).await.unwrap();
    assert_eq!(delta.topics.len(), 1);
    assert_eq!(delta.topics[0].state(), metadata::GenerationState::Purged);
    assert_eq!(delta.topics[0].name, "orders");
    assert_eq!(create(&f, "orders", 1).await.to_wire().len(), 16);
    let next = app::topic_get(&f.app, &f.admin, "demo", "orders").await.unwrap();
    assert_eq!(next.generation_number, 2, "numbers survive the purge");
}

#[tokio::test]
async fn who_is_too_far_back_takes_a_snapshot_and_who_is_ahead_an_error() {
    let f = fixture().await;
    let cluster = f.cluster("demo", 1).await.id;
    let at = app::metadata_snapshot(&f.app, f.admin.org, cluster).await.unwrap().revision;
    create(&f, "orders", 1).await;
    let mut tx = f.app.store.write().await.unwrap();
    let sql = "DELETE FROM changes WHERE cluster_id = $1 AND revision <= $2";
    tx.execute(sql, weir_control_plane::params![cluster, at + 1]).await.unwrap();
    changes::record(&mut tx.scoped(f.admin.org), cluster, &Change::Cluster, 1).await.unwrap();
    tx.commit().await.unwrap();
    let update = app::metadata_since(&f.app, f.admin.org, cluster, Revision(at)).await.unwrap();
    assert!(update.snapshot);
    assert_eq!(update.topics.len(), 1);
    let ahead = Revision(update.revision + 1);
    let error = app::metadata_since(&f.app, f.admin.org, cluster, ahead).await.unwrap_err();
    assert_eq!(error.code(), "DATABASE_WENT_BACK");
    let error = app::metadata_snapshot(&f.app, f.other.org, cluster).await.unwrap_err();
    assert!(matches!(error, AppError::ClusterNotFound(_)));
}

#[tokio::test]
async fn a_topic_is_ready_while_its_leaders_serve_it_at_its_epoch() {
    let f = fixture().await;
    let cluster = f.cluster("demo", 1).await.id;
    let (spu, launch, now) = (SpuId(1), LaunchId(Uuid::from_u128(1)), f.app.clock.now());
    register(&f, cluster, spu, launch).await;
    let generation = create(&f, "orders", 1).await;
    let session = f.app.board.session_up(cluster, spu, launch, Incarnation(1), now);
    let report = |leader_epoch: u32, state: session::ReplicaState| session::ReplicaStatus {
        partition: Some(PartitionKey { generation, partition: PartitionIndex(0) }.to_wire()),
        leader_epoch,
        log_start: 1,
        high_watermark: 2,
        log_end: 3,
        durable_end: 3,
        state: state.into(),
        problem: None,
        last_epoch: None,
    };
    let (online, offline) = (session::ReplicaState::Online, session::ReplicaState::Offline);
    for (status, ready) in
        [(report(0, online), false), (report(1, offline), false), (report(1, online), true)]
    {
        let beat = vec![status];
        assert!(f.app.board.heartbeat(cluster, spu, session, Revision(1), beat, now));
        let view = app::topic_get(&f.app, &f.admin, "demo", "orders").await.unwrap();
        assert_eq!(view.ready, ready);
        let seen = &view.partitions[0];
        assert_eq!(
            (seen.log_start, seen.high_watermark, seen.log_end),
            (Some(1), Some(2), Some(3))
        );
    }
    let demo = app::cluster_get(&f.app, &f.admin, "demo").await.unwrap();
    assert_eq!((demo.spus_ready, demo.spus[0].ready), (0, false), "no probe passed yet");
    assert!(f.app.board.probe_passed(cluster, spu, session));
    let demo = app::cluster_get(&f.app, &f.admin, "demo").await.unwrap();
    assert_eq!((demo.spus_ready, demo.spus[0].ready), (1, true));
    assert!(f.app.board.session_down(cluster, spu, session));
    let view = app::topic_get(&f.app, &f.admin, "demo", "orders").await.unwrap();
    assert!(!view.ready);
    assert_eq!(view.partitions[0].high_watermark, None);
    assert_eq!(app::cluster_get(&f.app, &f.admin, "demo").await.unwrap().spus_ready, 0);
}
