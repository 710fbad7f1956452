//! How records are kept: chosen at the creation, changed later, and what SPUs are told of it.

use weir_control_plane::{
    app::{
        self, Answer, App, AppError, ConfigChange, FlushMode, KeyScope, PageFilter, Principal,
        Repeatable, TopicRequest, view::TopicView,
    },
    store::{Store, audit, topics},
};
use weir_protocol::{
    ids::{ClusterId, Revision},
    topic_config::{Flush, TopicConfig},
};

use crate::support::{Fixture, add_key, database::open, fixture, fresh};

const NOTHING: ConfigChange = ConfigChange {
    flush: None,
    flush_interval_ms: None,
    retention_ms: None,
    retention_bytes: None,
    segment_bytes: None,
    segment_ms: None,
    unclean_election: None,
};

/// Every field is otherwise than by default.
const ALL: ConfigChange = ConfigChange {
    flush: Some(FlushMode::Interval),
    flush_interval_ms: Some(Some(100)),
    retention_ms: Some(Some(3_600_000)),
    retention_bytes: Some(Some(i64::MAX as u64)),
    segment_bytes: Some(1 << 20),
    segment_ms: Some(Some(60_000)),
    unclean_election: Some(true),
};

const ALL_SET: TopicConfig = TopicConfig {
    flush: Flush::Interval { ms: 100 },
    retention_ms: Some(3_600_000),
    retention_bytes: Some(i64::MAX as u64),
    segment_bytes: 1 << 20,
    segment_ms: Some(60_000),
    unclean_election: true,
};

async fn create(f: &Fixture, name: &str, config: ConfigChange) -> Result<TopicView, AppError> {
    let wanted = TopicRequest { config, ..TopicRequest::new(name, 1) };
    app::topic_create(&f.app, &f.admin, "demo", &wanted, None).await.map(fresh)
}

async fn update(f: &Fixture, topic: &str, change: ConfigChange) -> Result<TopicView, AppError> {
    app::topic_update(&f.app, &f.admin, "demo", topic, &change.into(), None).await.map(fresh)
}

/// As the rows have it.
async fn stored(f: &Fixture, cluster: ClusterId, topic: &str) -> TopicConfig {
    let mut tx = f.app.store.read().await.unwrap();
    topics::find(&mut tx.scoped(f.admin.org), cluster, topic).await.unwrap().unwrap().config
}

async fn revision(f: &Fixture) -> u64 {
    app::cluster_get(&f.app, &f.admin, "demo").await.unwrap().revision
}

async fn acts(app: &App, who: &Principal) -> usize {
    let mut tx = app.store.read().await.unwrap();
    let acts = audit::recent(&mut tx.scoped(who.org), 50).await.unwrap();
    acts.iter().filter(|(action, _)| action == "topic.update").count()
}

#[tokio::test]
async fn a_new_topic_keeps_seven_days_unless_told_otherwise() {
    let f = fixture().await;
    let cluster = f.cluster("demo", 1).await.id;
    let view = create(&f, "plain", NOTHING).await.unwrap();
    assert_eq!(view.config.retention_ms, Some(7 * 24 * 3_600_000));
    assert_eq!((view.config.flush, view.config.flush_interval_ms), (FlushMode::BeforeAck, None));
    assert_eq!(stored(&f, cluster, "plain").await, TopicConfig::of_new_topic());
    let ever = ConfigChange { retention_ms: Some(None), ..NOTHING };
    assert_eq!(create(&f, "ever", ever).await.unwrap().config.retention_ms, None);
    assert_eq!(stored(&f, cluster, "ever").await, TopicConfig::default());
    let all = create(&f, "all", ALL).await.unwrap();
    assert_eq!(stored(&f, cluster, "all").await, ALL_SET);
    // Wherever it is shown.
    let shown = app::topic_get(&f.app, &f.admin, "demo", "all").await.unwrap();
    assert_eq!(shown.config, all.config);
    let filter = PageFilter { internal: false };
    let (listed, _) = app::topic_list(&f.app, &f.admin, "demo", filter, "", 1).await.unwrap();
    assert_eq!(listed[0].config, all.config);
    // The next generation of the name has nothing of it.
    app::topic_delete(&f.app, &f.admin, "demo", "all").await.unwrap();
    create(&f, "all", NOTHING).await.unwrap();
    assert_eq!(stored(&f, cluster, "all").await, TopicConfig::of_new_topic());
}

#[tokio::test]
async fn an_update_is_one_revision_that_spus_hear_of() {
    let f = fixture().await;
    let cluster = f.cluster("demo", 1).await.id;
    let before = create(&f, "orders", NOTHING).await.unwrap();
    let at = revision(&f).await;
    let mut heard = f.app.signals.on_metadata(cluster);
    let after = update(&f, "orders", ALL).await.unwrap();
    assert_eq!(after.generation_id, before.generation_id);
    assert_eq!(stored(&f, cluster, "orders").await, ALL_SET);
    assert_eq!((revision(&f).await, heard.borrow_and_update().0), (at + 1, at + 1));
    let delta = app::metadata_since(&f.app, f.admin.org, cluster, Revision(at)).await.unwrap();
    assert_eq!((delta.topics.len(), delta.spus.len()), (1, 0));
    assert_eq!(delta.topics[0].config, Some(ALL_SET.to_wire()));
    assert_eq!(delta.topics[0].partitions.len(), 1, "told whole");
    let all = app::metadata_snapshot(&f.app, f.admin.org, cluster).await.unwrap();
    assert_eq!(all.topics, delta.topics);
    // What is not said stays; by the generation's id as well.
    let id = before.generation_id.to_string();
    let ever = ConfigChange { retention_ms: Some(None), ..NOTHING };
    update(&f, &id, ever).await.unwrap();
    let expected = TopicConfig { retention_ms: None, ..ALL_SET };
    assert_eq!(stored(&f, cluster, "orders").await, expected);
    assert_eq!((revision(&f).await, acts(&f.app, &f.admin).await), (at + 2, 2));
}

#[tokio::test]
async fn what_is_so_already_changes_nothing() {
    let f = fixture().await;
    let cluster = f.cluster("demo", 1).await.id;
    let before = create(&f, "orders", ALL).await.unwrap();
    let at = revision(&f).await;
    let mut heard = f.app.signals.on_metadata(cluster);
    heard.mark_unchanged();
    for same in [NOTHING, ALL, ConfigChange { segment_bytes: Some(1 << 20), ..NOTHING }] {
        assert_eq!(update(&f, "orders", same).await.unwrap(), before);
    }
    assert_eq!((revision(&f).await, acts(&f.app, &f.admin).await), (at, 0));
    assert!(!heard.has_changed().unwrap());
}

#[tokio::test]
async fn what_cannot_be_names_the_field_and_changes_nothing() {
    let f = fixture().await;
    let cluster = f.cluster("demo", 1).await.id;
    create(&f, "orders", NOTHING).await.unwrap();
    let at = revision(&f).await;
    for (change, field, bounds) in [
        (ConfigChange { retention_ms: Some(Some(1)), ..NOTHING }, "retention_ms", "1000 to"),
        (ConfigChange { retention_bytes: Some(Some(0)), ..NOTHING }, "retention_bytes", "1 to"),
        (ConfigChange { segment_bytes: Some(1), ..NOTHING }, "segment_bytes", "1048576 to"),
        (ConfigChange { segment_ms: Some(Some(1)), ..NOTHING }, "segment_ms", "1000 to"),
        (
            ConfigChange { flush: Some(FlushMode::Interval), ..NOTHING },
            "flush_interval_ms",
            "1 to 60000",
        ),
    ] {
        for error in [
            create(&f, "new", change).await.unwrap_err(),
            update(&f, "orders", change).await.unwrap_err(),
        ] {
            assert!(matches!(error, AppError::Invalid { field: "config", .. }), "{error:?}");
            let text = error.to_string();
            assert!(text.contains(field) && text.contains(bounds), "{text}");
        }
    }
    assert_eq!(revision(&f).await, at);
    assert_eq!(stored(&f, cluster, "orders").await, TopicConfig::of_new_topic());
}

#[tokio::test]
async fn only_what_is_served_and_one_s_own_is_changed() {
    let f = fixture().await;
    let cluster = f.cluster("demo", 1).await.id;
    let ever = ConfigChange { retention_ms: Some(None), ..NOTHING };
    let code = async |topic: &str| update(&f, topic, ever).await.unwrap_err().code();
    assert_eq!(code("orders").await, "TOPIC_NOT_FOUND");
    // Weir's own.
    let generation = weir_protocol::ids::TopicGenerationId(f.app.uuid_v7().unwrap());
    let name = "__offsets".to_owned();
    let config = TopicConfig::default();
    let own = topics::NewTopic {
        generation,
        name,
        internal: true,
        replication: 1,
        min_insync: None,
        config,
    };
    let mut tx = f.app.store.write().await.unwrap();
    topics::insert(&mut tx.scoped(f.admin.org), cluster, &own, 1).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(code("__offsets").await, "FORBIDDEN");
    assert_eq!(stored(&f, cluster, "__offsets").await, TopicConfig::default());

    let id = create(&f, "orders", ALL).await.unwrap().generation_id.to_string();
    let foreign = app::topic_update(&f.app, &f.other, "demo", &id, &ever.into(), None).await;
    assert_eq!(foreign.unwrap_err().code(), "CLUSTER_NOT_FOUND");
    app::topic_delete(&f.app, &f.admin, "demo", "orders").await.unwrap();
    assert_eq!((code("orders").await, code(&id).await), ("TOPIC_NOT_FOUND", "TOPIC_DELETED"));
    // Whoever may only look.
    let (reader, _) = add_key(&f.app, f.admin.org, &[KeyScope::Read]).await;
    let denied = app::topic_update(&f.app, &reader, "demo", &id, &ever.into(), None).await;
    assert_eq!(denied.unwrap_err().code(), "FORBIDDEN");
    // It comes back as it was.
    app::topic_undelete(&f.app, &f.admin, "demo", &id, None).await.unwrap();
    assert_eq!(stored(&f, cluster, "orders").await, ALL_SET);
    // A cluster that is shut down has it changed for its next start.
    app::cluster_shutdown(&f.app, &f.admin, "demo", None).await.unwrap();
    assert_eq!(update(&f, "orders", ever).await.unwrap().config.retention_ms, None);
    app::topic_delete_and_purge(&f.app, &f.admin, "demo", "orders").await.unwrap();
    assert_eq!(code(&id).await, "TOPIC_PURGED");
    app::cluster_delete(&f.app, &f.admin, "demo").await.unwrap();
    assert_eq!(code(&id).await, "CLUSTER_DELETING");
}

#[tokio::test]
async fn a_repetition_gets_the_first_answer_and_undoes_nothing() {
    let f = fixture().await;
    let cluster = f.cluster("demo", 1).await.id;
    create(&f, "orders", ALL).await.unwrap();
    let request = |key: &str| Repeatable {
        key: key.to_owned(),
        route: "PATCH /topics/orders".to_owned(),
        request_hash: "h".to_owned(),
    };
    let ever = ConfigChange { retention_ms: Some(None), ..NOTHING };
    let hour = ConfigChange { retention_ms: Some(Some(3_600_000)), ..NOTHING };
    let send = async |key: &str, change: &ConfigChange| {
        let request = request(key);
        let change = (*change).into();
        app::topic_update(&f.app, &f.admin, "demo", "orders", &change, Some(&request))
            .await
            .unwrap()
    };
    // The first had nothing to do.
    let first = fresh(send("one", &hour).await);
    fresh(send("two", &ever).await);
    for (key, change, retention_ms) in [("one", &hour, Some(3_600_000)), ("two", &ever, None)] {
        let Answer::Repeated { status, body } = send(key, change).await else {
            panic!("it acted again")
        };
        let body: TopicView = serde_json::from_str(&body).unwrap();
        assert_eq!((status, body.config.retention_ms), (200, retention_ms));
        assert_eq!(body.generation_id, first.generation_id);
    }
    assert_eq!(stored(&f, cluster, "orders").await.retention_ms, None);
    assert_eq!(acts(&f.app, &f.admin).await, 1);
}

/// The row of a generation as it was before there was a choice, and the migration after.
#[tokio::test]
async fn what_was_there_before_keeps_everything() {
    let f = fixture().await;
    let cluster = f.cluster("demo", 1).await.id;
    create(&f, "orders", ALL).await.unwrap();
    let mut tx = f.app.store.write().await.unwrap();
    for sql in [
        "ALTER TABLE topic_generations DROP COLUMN flush_interval_ms",
        "ALTER TABLE topic_generations DROP COLUMN retention_ms",
        "ALTER TABLE topic_generations DROP COLUMN retention_bytes",
        "ALTER TABLE topic_generations DROP COLUMN segment_bytes",
        "ALTER TABLE topic_generations DROP COLUMN segment_ms",
        "DELETE FROM _sqlx_migrations WHERE version = 5",
        // What came later is as for what was there then.
        "UPDATE topic_generations SET unclean_election = 0",
    ] {
        tx.execute(sql, vec![]).await.unwrap();
    }
    tx.commit().await.unwrap();
    let later = open(&f.folder).await;
    assert_eq!(later.migrate().await, Ok(1));
    let later = Store::new(later);
    let mut tx = later.read().await.unwrap();
    let row = topics::find(&mut tx.scoped(f.admin.org), cluster, "orders").await.unwrap();
    assert_eq!(row.unwrap().config, TopicConfig::default());
}
