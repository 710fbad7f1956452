//! Deleted topics: listed, brought back, purged.

use weir_control_plane::{
    app::{self, AppError, PageFilter, Repeatable, TopicRequest, view::TopicView},
    store::{audit, partitions, purges, spus, tombstones, topics, types::TopicState},
};
use weir_protocol::ids::{
    ClusterId, GenerationNumber, PartitionEpoch, PartitionIndex, PartitionKey, SpuId,
    TopicGenerationId,
};

use crate::support::{Fixture, fixture, fresh};

async fn create(f: &Fixture, name: &str, partitions: u32) -> TopicView {
    let wanted = TopicRequest::new(name, partitions);
    fresh(app::topic_create(&f.app, &f.admin, "demo", &wanted, None).await.unwrap())
}

async fn delete(f: &Fixture, topic: &str) -> TopicView {
    app::topic_delete(&f.app, &f.admin, "demo", topic).await.unwrap()
}

async fn undelete(f: &Fixture, topic: &str) -> Result<TopicView, AppError> {
    app::topic_undelete(&f.app, &f.admin, "demo", topic, None).await.map(fresh)
}

async fn purge(f: &Fixture, topic: &str) -> Result<TopicView, AppError> {
    app::topic_purge(&f.app, &f.admin, "demo", topic, None).await.map(fresh)
}

/// An SPU confirms, as its session would store it.
async fn confirm(f: &Fixture, cluster: ClusterId, key: PartitionKey, spu: u32) -> bool {
    let mut tx = f.app.store.write().await.unwrap();
    let mut org = tx.scoped(f.admin.org);
    let removed =
        purges::removed(&mut org, cluster, key, SpuId(spu), PartitionEpoch(9)).await.unwrap();
    purges::settle(&mut org, cluster, key.generation, 9).await.unwrap();
    tx.commit().await.unwrap();
    removed
}

async fn orders(f: &Fixture, cluster: ClusterId, spu: u32) -> Vec<(PartitionKey, PartitionEpoch)> {
    let mut tx = f.app.store.read().await.unwrap();
    purges::of_spu(&mut tx.scoped(f.admin.org), cluster, SpuId(spu), 10).await.unwrap()
}

fn key(generation: TopicGenerationId, index: u32) -> PartitionKey {
    PartitionKey { generation, partition: PartitionIndex(index) }
}

async fn deleted(f: &Fixture) -> Vec<(String, u32, TopicState)> {
    const ALL: PageFilter = PageFilter { internal: false };
    let (mut found, mut after) = (Vec::new(), (String::new(), GenerationNumber(0)));
    loop {
        let from = (after.0.as_str(), after.1);
        // Pages of one, so that every step between two is taken.
        let page = app::topic_list_deleted(&f.app, &f.admin, "demo", ALL, from, 1).await;
        let (items, next) = page.unwrap();
        found.extend(items.into_iter().map(|t| (t.name, t.generation_number, t.state)));
        let Some(next) = next else { return found };
        after = next;
    }
}

#[tokio::test]
async fn an_undeleted_topic_is_the_same_generation() {
    let f = fixture().await;
    f.cluster("demo", 2).await;
    let before = create(&f, "orders", 2).await;
    delete(&f, "orders").await;
    let back = undelete(&f, "orders").await.unwrap();
    assert_eq!(back, before);
    assert_eq!(app::topic_get(&f.app, &f.admin, "demo", "orders").await.unwrap(), before);
    // By id, again and again; by name there is no tombstone any more.
    assert_eq!(undelete(&f, &before.generation_id.to_string()).await.unwrap(), before);
    let error = undelete(&f, "orders").await.unwrap_err();
    assert!(matches!(error, AppError::TopicNotDeleted(_)), "{error:?}");
    let error = undelete(&f, "payments").await.unwrap_err();
    assert!(matches!(error, AppError::TombstoneNotFound(_)), "{error:?}");
    assert!(deleted(&f).await.is_empty());
    let mut tx = f.app.store.read().await.unwrap();
    let acts = audit::recent(&mut tx.scoped(f.admin.org), 20).await.unwrap();
    assert_eq!(acts.iter().filter(|(action, _)| action == "topic.undelete").count(), 1);
}

#[tokio::test]
async fn undelete_is_refused_while_the_name_is_taken() {
    let f = fixture().await;
    f.cluster("demo", 1).await;
    let old = create(&f, "orders", 1).await;
    delete(&f, "orders").await;
    let new = create(&f, "orders", 1).await;
    for which in ["orders".to_owned(), old.generation_id.to_string()] {
        let error = undelete(&f, &which).await.unwrap_err();
        assert_eq!(error.code(), "TOPIC_EXISTS");
        assert!(error.to_string().contains(&new.generation_id.to_string()), "{error}");
        // The way on names ids: by name, the newest tombstone would be the wrong one then.
        assert!(error.hint().contains(&old.generation_id.to_string()), "{}", error.hint());
    }
    delete(&f, "orders").await;
    assert_eq!(
        deleted(&f).await,
        [
            ("orders".to_owned(), 1, TopicState::Tombstone),
            ("orders".to_owned(), 2, TopicState::Tombstone)
        ]
    );
    let newest = undelete(&f, "orders").await.unwrap();
    assert_eq!(newest.generation_id, new.generation_id);
    delete(&f, "orders").await;
    let oldest = undelete(&f, &old.generation_id.to_string()).await.unwrap();
    assert_eq!((oldest.generation_number, oldest.state), (1, TopicState::Active));
    delete(&f, "orders").await;
    assert_eq!(create(&f, "orders", 1).await.generation_number, 3, "numbers are not used again");
}

#[tokio::test]
async fn a_purge_waits_for_every_holder_and_then_leaves_nothing() {
    let f = fixture().await;
    let cluster = f.cluster("demo", 2).await.id;
    let topic = create(&f, "orders", 3).await;
    let id = topic.generation_id;
    let error = purge(&f, &id.to_string()).await.unwrap_err();
    assert!(matches!(error, AppError::TopicNotDeleted(_)), "{error:?}");
    assert!(matches!(purge(&f, "orders").await.unwrap_err(), AppError::TopicNotDeleted(_)));
    delete(&f, "orders").await;
    assert!(orders(&f, cluster, 1).await.is_empty(), "a tombstone's data is kept");
    assert!(!confirm(&f, cluster, key(id, 0), 1).await, "and no SPU can take it away");
    let purging = purge(&f, "orders").await.unwrap();
    assert_eq!((purging.state, purging.partitions.len()), (TopicState::Purging, 3));
    // Again, and nothing more happens.
    let revision = app::metadata_snapshot(&f.app, f.admin.org, cluster).await.unwrap().revision;
    assert_eq!(purge(&f, "orders").await.unwrap(), purging);
    let snapshot = app::metadata_snapshot(&f.app, f.admin.org, cluster).await.unwrap();
    assert_eq!((snapshot.revision, snapshot.topics[0].partitions.len()), (revision, 3));
    let error = undelete(&f, "orders").await.unwrap_err();
    assert!(matches!(error, AppError::TopicPurging(_)), "{error:?}");

    let epoch = PartitionEpoch(1);
    assert_eq!(orders(&f, cluster, 1).await, [(key(id, 0), epoch), (key(id, 2), epoch)]);
    assert!(confirm(&f, cluster, key(id, 0), 1).await);
    assert!(!confirm(&f, cluster, key(id, 0), 1).await, "a repeated one says nothing new");
    assert_eq!(orders(&f, cluster, 1).await, [(key(id, 2), epoch)]);
    assert!(!confirm(&f, cluster, key(id, 1), 1).await, "it holds no replica of that one");
    assert!(confirm(&f, cluster, key(id, 1), 2).await);
    assert_eq!(deleted(&f).await, [("orders".to_owned(), 1, TopicState::Purging)]);
    {
        let mut tx = f.app.store.read().await.unwrap();
        let load = partitions::load(&mut tx.scoped(f.admin.org), cluster).await.unwrap();
        assert_eq!(load.values().map(|load| load.held).sum::<u32>(), 1, "room is free at once");
    }
    assert!(confirm(&f, cluster, key(id, 2), 1).await);
    assert!(deleted(&f).await.is_empty());
    let error = app::topic_get(&f.app, &f.admin, "demo", &id.to_string()).await.unwrap_err();
    assert!(matches!(error, AppError::TopicNotFound(_)));
    let error = purge(&f, &id.to_string()).await.unwrap_err();
    assert!(matches!(error, AppError::TombstoneNotFound(_)), "{error:?}");
    assert_eq!(create(&f, "orders", 1).await.generation_number, 2);
}

#[tokio::test]
async fn deleted_and_purged_at_once() {
    let f = fixture().await;
    f.cluster("demo", 1).await;
    let id = create(&f, "orders", 1).await.generation_id.to_string();
    let gone = app::topic_delete_and_purge(&f.app, &f.admin, "demo", "orders").await.unwrap();
    assert_eq!(gone.state, TopicState::Purging);
    assert!(gone.deleted_at_unix_ms.is_some());
    // By id it is safe to repeat, as a delete is.
    let again = app::topic_delete_and_purge(&f.app, &f.admin, "demo", &id).await.unwrap();
    assert_eq!(again, gone);
    assert_eq!(delete(&f, &id).await, gone);
    let error = app::topic_delete_and_purge(&f.app, &f.admin, "demo", "orders").await.unwrap_err();
    assert!(matches!(error, AppError::TopicNotFound(_)));
    assert_eq!(create(&f, "orders", 1).await.generation_number, 2, "the name is free at once");
    // A newer tombstone is meant before what is being purged.
    delete(&f, "orders").await;
    assert_eq!(undelete(&f, "orders").await.unwrap().generation_number, 2);
}

#[tokio::test]
async fn an_spu_that_is_gone_for_good_is_not_waited_for() {
    let f = fixture().await;
    let cluster = f.cluster("demo", 2).await.id;
    let id = create(&f, "orders", 2).await.generation_id;
    delete(&f, "orders").await;
    let mut tx = f.app.store.write().await.unwrap();
    spus::remove(&mut tx.scoped(f.admin.org), cluster, SpuId(2), 1).await.unwrap();
    tx.commit().await.unwrap();
    let error = undelete(&f, "orders").await.unwrap_err();
    assert_eq!(error.code(), "REPLICAS_LOST");
    assert!(error.to_string().contains("partition 1"), "{error}");
    purge(&f, "orders").await.unwrap();
    assert!(confirm(&f, cluster, key(id, 0), 1).await);
    assert!(deleted(&f).await.is_empty());
}

#[tokio::test]
async fn a_repeated_request_gets_the_first_answer() {
    let f = fixture().await;
    f.cluster("demo", 1).await;
    create(&f, "orders", 1).await;
    delete(&f, "orders").await;
    let request = |key: &str| Repeatable {
        key: key.to_owned(),
        route: key.to_owned(),
        request_hash: "h".to_owned(),
    };
    let (one, two) = (request("one"), request("two"));
    let undelete = || app::topic_undelete(&f.app, &f.admin, "demo", "orders", Some(&one));
    fresh(undelete().await.unwrap());
    assert!(matches!(undelete().await, Ok(app::Answer::Repeated { status: 200, .. })));
    delete(&f, "orders").await;
    let purge = || app::topic_purge(&f.app, &f.admin, "demo", "orders", Some(&two));
    fresh(purge().await.unwrap());
    assert!(matches!(purge().await, Ok(app::Answer::Repeated { status: 202, .. })));
}

#[tokio::test]
async fn another_org_finds_no_tombstone() {
    let f = fixture().await;
    let cluster = f.cluster("demo", 1).await.id;
    let id = create(&f, "orders", 1).await.generation_id;
    delete(&f, "orders").await;
    for topic in ["orders".to_owned(), id.to_string()] {
        for error in [
            app::topic_undelete(&f.app, &f.other, "demo", &topic, None).await.unwrap_err(),
            app::topic_purge(&f.app, &f.other, "demo", &topic, None).await.unwrap_err(),
            app::topic_delete_and_purge(&f.app, &f.other, "demo", &topic).await.unwrap_err(),
        ] {
            assert!(matches!(error, AppError::ClusterNotFound(_)), "{error:?}");
        }
    }
    let mut tx = f.app.store.write().await.unwrap();
    let mut foreign = tx.scoped(f.other.org);
    assert_eq!(tombstones::find(&mut foreign, cluster, "orders").await.unwrap(), None);
    assert!(!tombstones::undelete(&mut foreign, cluster, "orders", id).await.unwrap());
    assert!(!purges::begin(&mut foreign, cluster, id).await.unwrap());
    let mut own = tx.scoped(f.admin.org);
    let row = topics::by_id(&mut own, cluster, id).await.unwrap().unwrap();
    assert_eq!(row.state, TopicState::Tombstone);
}
