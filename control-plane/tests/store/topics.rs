//! Topics: a recreated one shares nothing with its predecessor, partitions only grow.

use weir_control_plane::{
    app::{self, AppError, Repeatable, TopicRequest, view::TopicView},
    store::{
        audit, partitions,
        topics::PageFilter,
        types::{Desired, TopicState},
    },
};

use crate::support::{Fixture, fixture, fresh};

const NO_INTERNAL: PageFilter = PageFilter { internal: false };

fn topic(name: &str, partitions: u32) -> TopicRequest {
    TopicRequest::new(name, partitions)
}

async fn create(f: &Fixture, name: &str, partitions: u32) -> TopicView {
    let wanted = topic(name, partitions);
    fresh(app::topic_create(&f.app, &f.admin, "demo", &wanted, None).await.unwrap())
}

#[tokio::test]
async fn partitions_are_spread_over_the_spus() {
    let f = fixture().await;
    f.cluster("demo", 3).await;
    let view = create(&f, "orders", 6).await;
    assert_eq!((view.generation_number, view.state), (1, TopicState::Active));
    assert!(!view.ready, "nobody serves it yet");
    let leaders: Vec<_> = view.partitions.iter().map(|p| p.leader_spu_id.unwrap()).collect();
    assert_eq!(leaders, [1, 2, 3, 1, 2, 3]);
    for (index, partition) in (0..).zip(&view.partitions) {
        assert_eq!(partition.index, index);
        assert_eq!(partition.replica_spu_ids, [partition.leader_spu_id.unwrap()]);
        assert_eq!(partition.isr_spu_ids, partition.replica_spu_ids);
        assert_eq!(partition.partition_epoch, 1);
        assert_eq!(partition.high_watermark, None);
    }
    // The next topic goes where there is least.
    assert_eq!(create(&f, "a", 1).await.partitions[0].leader_spu_id, Some(1));
    assert_eq!(create(&f, "b", 1).await.partitions[0].leader_spu_id, Some(2));
}

#[tokio::test]
async fn a_recreated_topic_is_another_generation() {
    let f = fixture().await;
    f.cluster("demo", 1).await;
    let first = create(&f, "orders", 2).await;
    let taken = app::topic_create(&f.app, &f.admin, "demo", &topic("orders", 1), None).await;
    assert!(matches!(taken.unwrap_err(), AppError::TopicExists(_)));
    let gone = app::topic_delete(&f.app, &f.admin, "demo", "orders").await.unwrap();
    assert_eq!((gone.generation_id, gone.state), (first.generation_id, TopicState::Tombstone));
    assert!(gone.deleted_at_unix_ms.is_some());
    // By name it is gone at once; by id the tombstone is still there.
    let missing = app::topic_get(&f.app, &f.admin, "demo", "orders").await.unwrap_err();
    assert!(matches!(missing, AppError::TopicNotFound(_)));
    let id = first.generation_id.to_string();
    let tombstone = app::topic_get(&f.app, &f.admin, "demo", &id).await.unwrap();
    assert_eq!(tombstone, gone);
    let second = create(&f, "orders", 3).await;
    assert_eq!(second.generation_number, 2);
    assert_ne!(second.generation_id, first.generation_id);
    assert_eq!(second.partitions.len(), 3);
    // Deleting the old generation again does not touch the new one.
    let again = app::topic_delete(&f.app, &f.admin, "demo", &id).await.unwrap();
    assert_eq!(again, gone);
    let current = app::topic_get(&f.app, &f.admin, "demo", "orders").await.unwrap();
    assert_eq!(current.generation_id, second.generation_id);
    let (listed, _) = app::topic_list(&f.app, &f.admin, "demo", NO_INTERNAL, "", 10).await.unwrap();
    assert_eq!(listed, [current]);
}

#[tokio::test]
async fn partitions_only_grow() {
    let f = fixture().await;
    f.cluster("demo", 2).await;
    let before = create(&f, "orders", 2).await;
    let grown = app::topic_add_partitions(&f.app, &f.admin, "demo", "orders", 3, None).await;
    let grown = fresh(grown.unwrap());
    assert_eq!(grown.generation_id, before.generation_id);
    assert_eq!(grown.partitions.len(), 5);
    assert_eq!(grown.partitions[..2], before.partitions[..]);
    let indexes: Vec<_> = grown.partitions.iter().map(|p| p.index).collect();
    assert_eq!(indexes, [0, 1, 2, 3, 4]);
    for add in [0, 10_000, u32::MAX] {
        let error = app::topic_add_partitions(&f.app, &f.admin, "demo", "orders", add, None).await;
        assert!(matches!(error.unwrap_err(), AppError::Invalid { .. }));
    }
    app::topic_delete(&f.app, &f.admin, "demo", "orders").await.unwrap();
    let id = before.generation_id.to_string();
    let error = app::topic_add_partitions(&f.app, &f.admin, "demo", &id, 1, None).await;
    assert!(matches!(error.unwrap_err(), AppError::TopicDeleted(_)));
}

#[tokio::test]
async fn what_cannot_be_is_refused() {
    let f = fixture().await;
    f.cluster("demo", 1).await;
    for wanted in [
        topic("", 1),
        topic("a b", 1),
        topic("__probe", 1),
        topic(&"x".repeat(250), 1),
        topic("orders", 0),
        topic("orders", 10_001),
        TopicRequest { replication: 0, ..topic("orders", 1) },
        TopicRequest { replication: 17, ..topic("orders", 1) },
        TopicRequest { min_insync_replicas: Some(0), ..topic("orders", 1) },
        TopicRequest { min_insync_replicas: Some(2), ..topic("orders", 1) },
    ] {
        let error = app::topic_create(&f.app, &f.admin, "demo", &wanted, None).await.unwrap_err();
        assert!(matches!(error, AppError::Invalid { .. }), "{wanted:?}: {error:?}");
    }
    let wanted = TopicRequest { replication: 2, ..topic("orders", 1) };
    let error = app::topic_create(&f.app, &f.admin, "demo", &wanted, None).await.unwrap_err();
    assert_eq!(error.code(), "NOT_ENOUGH_SPUS");
    for (desired, expected) in
        [(Desired::Shutdown, "CLUSTER_SHUT_DOWN"), (Desired::Deleted, "CLUSTER_DELETING")]
    {
        if desired == Desired::Shutdown {
            app::cluster_shutdown(&f.app, &f.admin, "demo", None).await.unwrap();
        } else {
            app::cluster_delete(&f.app, &f.admin, "demo").await.unwrap();
        }
        let error = app::topic_create(&f.app, &f.admin, "demo", &topic("orders", 1), None).await;
        assert_eq!(error.unwrap_err().code(), expected);
    }
}

#[tokio::test]
async fn a_repeated_request_gets_the_first_answer_and_acts_once() {
    let f = fixture().await;
    f.cluster("demo", 1).await;
    let request = Repeatable {
        key: "k1".to_owned(),
        route: "POST /topics".to_owned(),
        request_hash: "h".to_owned(),
    };
    let wanted = topic("orders", 1);
    let create = |request: Repeatable| {
        let (f, wanted) = (&f, &wanted);
        async move { app::topic_create(&f.app, &f.admin, "demo", wanted, Some(&request)).await }
    };
    let first = fresh(create(request.clone()).await.unwrap());
    app::topic_delete(&f.app, &f.admin, "demo", "orders").await.unwrap();
    let app::Answer::Repeated { status, body } = create(request.clone()).await.unwrap() else {
        panic!("it acted again")
    };
    assert_eq!(status, 201);
    assert_eq!(serde_json::from_str::<TopicView>(&body).unwrap(), first);
    for other in [
        Repeatable { request_hash: "other".to_owned(), ..request.clone() },
        Repeatable { route: "other".to_owned(), ..request.clone() },
    ] {
        let error = create(other).await.unwrap_err();
        assert!(matches!(error, AppError::IdempotencyKeyReused));
    }
    // Another key of the request is another request.
    let fresh_key = Repeatable { key: "k2".to_owned(), ..request };
    assert_eq!(fresh(create(fresh_key).await.unwrap()).generation_number, 2);
    let mut tx = f.app.store.read().await.unwrap();
    let acts = audit::recent(&mut tx.scoped(f.admin.org), 20).await.unwrap();
    let created = acts.iter().filter(|(action, _)| action == "topic.create").count();
    assert_eq!(created, 2);
}

#[tokio::test]
async fn another_org_sees_no_topics() {
    let f = fixture().await;
    let cluster = f.cluster("demo", 1).await;
    let view = create(&f, "orders", 1).await;
    for cluster in ["demo", &cluster.id.to_string()] {
        for topic in ["orders", &view.generation_id.to_string()] {
            for error in [
                app::topic_get(&f.app, &f.other, cluster, topic).await.unwrap_err(),
                app::topic_delete(&f.app, &f.other, cluster, topic).await.unwrap_err(),
            ] {
                assert!(matches!(error, AppError::ClusterNotFound(_)), "{error:?}");
            }
        }
    }
    // Neither through a cluster of their own.
    let spec = crate::support::spec(1);
    app::cluster_create(&f.app, &f.other, "demo", spec, true).await.unwrap();
    let id = view.generation_id.to_string();
    let error = app::topic_get(&f.app, &f.other, "demo", &id).await.unwrap_err();
    assert!(matches!(error, AppError::TopicNotFound(_)));
    assert_eq!(
        app::topic_get(&f.app, &f.admin, "demo", "orders").await.unwrap().state,
        TopicState::Active
    );
}

#[tokio::test]
async fn what_spus_hold_counts_deleted_topics_too() {
    let f = fixture().await;
    let cluster = f.cluster("demo", 1).await.id;
    create(&f, "gone", 3).await;
    app::topic_delete(&f.app, &f.admin, "demo", "gone").await.unwrap();
    create(&f, "orders", 2).await;
    let mut tx = f.app.store.read().await.unwrap();
    let load = partitions::load(&mut tx.scoped(f.admin.org), cluster).await.unwrap();
    let load: Vec<_> = load.values().copied().collect();
    assert_eq!(load, [partitions::SpuLoad { replicas: 2, held: 5, preferred: 2 }]);
}

#[tokio::test]
async fn the_largest_topic_cannot_grow() {
    let f = fixture().await;
    f.cluster("demo", 3).await;
    let view = create(&f, "orders", 10_000).await;
    assert_eq!(view.partitions.len(), 10_000);
    let more = app::topic_add_partitions(&f.app, &f.admin, "demo", "orders", 1, None).await;
    assert!(matches!(more.unwrap_err(), AppError::Invalid { .. }));
}
