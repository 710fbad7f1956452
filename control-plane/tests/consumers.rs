//! Resetting and deleting consumers over HTTP, with SPUs that answer.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]
#![allow(dead_code, reason = "the client is shared")]

#[path = "http/client.rs"]
mod client;
#[path = "support_spus/mod.rs"]
mod support;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use axum::Router;
use client::{Answer, call};
use secrecy::SecretString;
use serde_json::{Value, json};
use support::{ControlPlane, provisioner::InMemory, spu};
use tempfile::TempDir;
use weir_control_plane::{
    app::{self, TopicRequest},
    http::router,
    store::{audit, consumer_offsets, types::ClusterState},
};
use weir_protocol::ids::{ClusterId, Offset, PartitionIndex, PartitionKey, TopicGenerationId};

struct World {
    control: ControlPlane,
    spus: InMemory,
    router: Router,
    key: SecretString,
    cluster: ClusterId,
    topic: TopicGenerationId,
    _folder: TempDir,
}

/// A running cluster of three SPUs with a topic of three partitions, whose offsets go from 2
/// to 10.
async fn world() -> World {
    let (folder, spus) = (TempDir::new().unwrap(), InMemory::default());
    let mut control = ControlPlane::start(&folder).await;
    control.reconcile(&spus);
    let cluster = control.create("demo", 3).await;
    control.until("it runs", cluster, |c| c.state == ClusterState::Running).await;
    let wanted = TopicRequest::new("orders", 3);
    let created = app::topic_create(&control.app, &control.principal, "demo", &wanted, None).await;
    let app::Answer::Fresh(topic) = created.unwrap() else { panic!("it was there") };
    spus.offsets.coordinate(Some(spu(1)));
    World {
        router: router(Arc::clone(&control.app), Duration::from_secs(30)),
        key: control.admin_key.take().unwrap(),
        topic: topic.generation_id,
        control,
        spus,
        cluster,
        _folder: folder,
    }
}

impl World {
    async fn reset(&self, body: &Value) -> Answer {
        let path = "/v1/clusters/demo/consumers/billing:reset";
        call("POST", path).key(&self.key).json(body).send(&self.router).await
    }

    async fn show(&self) -> Answer {
        let path = "/v1/clusters/demo/consumers/billing";
        call("GET", path).key(&self.key).send(&self.router).await
    }

    async fn delete(&self) -> Answer {
        let path = "/v1/clusters/demo/consumers/billing";
        call("DELETE", path).key(&self.key).send(&self.router).await
    }

    fn key(&self, index: u32) -> PartitionKey {
        PartitionKey { generation: self.topic, partition: PartitionIndex(index) }
    }

    /// What the coordinator has, by partition.
    fn committed(&self) -> Vec<(u32, u64)> {
        let all = self.spus.offsets.committed("billing");
        all.into_iter().map(|(key, offset)| (key.partition.get(), offset)).collect()
    }

    /// What the coordinator would have told the control plane.
    async fn stored(&self, index: u32, next: u64) {
        let change = consumer_offsets::Change {
            consumer: "billing".to_owned(),
            partition: self.key(index),
            position: Offset(1),
            committed: Some(consumer_offsets::Committed {
                next_offset: Some(Offset(next)),
                ..consumer_offsets::Committed::default()
            }),
        };
        let mut tx = self.control.app.store.write().await.unwrap();
        let mut org = tx.scoped(self.control.org());
        assert!(consumer_offsets::store(&mut org, self.cluster, &change, 1).await.unwrap());
        tx.commit().await.unwrap();
    }

    async fn acts(&self, action: &str) -> usize {
        let mut tx = self.control.app.store.read().await.unwrap();
        let acts = audit::recent(&mut tx.scoped(self.control.org()), 50).await.unwrap();
        acts.iter().filter(|(done, _)| done == action).count()
    }
}

#[tokio::test]
async fn a_reset_is_resolved_by_the_leaders_and_committed_by_the_coordinator() {
    let w = world().await;
    // What is stored is older than what the coordinator has.
    w.stored(1, 5).await;
    w.spus.offsets.commit("billing", w.key(1), Some(6));
    w.spus.offsets.commit_before_reset("billing", w.key(1), 7);
    let done = w.reset(&json!({ "topic": "orders", "to": { "from_end": 3 } })).await.ok(200);
    assert_eq!(
        done["partitions"][0],
        json!(
            { "partition": 0, "old": null, "new": 7, "log_start": 2, "end": 10 }
        )
    );
    assert_eq!(done["partitions"][1]["old"], 7);
    assert_eq!(done["generation_id"], w.topic.to_string());
    assert_eq!((&done["generation_number"], &done["dry_run"]), (&json!(1), &json!(false)));
    assert_eq!(w.committed(), [(0, 7), (1, 7), (2, 7)]);
    for (to, offset) in [
        (json!({ "beginning": true }), 2),
        (json!({ "end": true }), 10),
        (json!({ "offset": 5 }), 5),
        (json!({ "from_beginning": 1 }), 3),
        (json!({ "timestamp_ms": 6 }), 6),
        (json!({ "timestamp_ms": 1_767_225_600_000_i64 }), 10),
    ] {
        let one = json!({ "topic": w.topic, "partitions": [2, 2], "to": to });
        assert_eq!(w.reset(&one).await.ok(200)["partitions"].as_array().unwrap().len(), 1);
        assert_eq!(w.committed(), [(0, 7), (1, 7), (2, offset)]);
    }
    // Each under a session of its own, which no consumer has.
    let mut sessions = w.spus.offsets.sessions();
    assert!(sessions.iter().all(|session| session.len() == 16));
    sessions.sort();
    sessions.dedup();
    assert_eq!((sessions.len(), w.acts("consumer.reset").await), (7, 7));
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let w = world().await;
    let body = json!({ "topic": "orders", "to": { "end": true }, "dry_run": true });
    w.stored(0, 3).await;
    w.spus.offsets.commit("billing", w.key(0), Some(4));
    let shown = w.reset(&body).await.ok(200);
    assert_eq!((&shown["dry_run"], &shown["partitions"][0]["new"]), (&json!(true), &json!(10)));
    assert_eq!(
        (&shown["partitions"][0]["old"], &shown["partitions"][1]["old"]),
        (&json!(4), &json!(null))
    );
    assert!(w.spus.offsets.asked().is_empty());
    assert_eq!(w.committed(), [(0, 4)]);
    assert_eq!(w.acts("consumer.reset").await, 0);
}

#[tokio::test]
async fn what_cannot_be_is_refused_and_nothing_changed() {
    let w = world().await;
    for to in [json!({ "offset": 11 }), json!({ "offset": 1 }), json!({ "from_end": 9 })] {
        let answer = w.reset(&json!({ "topic": "orders", "to": to })).await;
        let problem = answer.problem(422, "OFFSET_OUT_OF_RANGE");
        assert!(problem["detail"].as_str().unwrap().contains("from offset 2 to 10"), "{problem}");
    }
    for (body, status, code) in [
        (json!({ "topic": "order", "to": { "end": true } }), 404, "TOPIC_NOT_FOUND"),
        (json!({ "topic": "__offsets", "to": { "end": true } }), 403, "FORBIDDEN"),
        (json!({ "topic": "orders", "partitions": [3], "to": { "end": true } }), 400, ""),
        (json!({ "topic": "orders", "partitions": [], "to": { "end": true } }), 400, ""),
        (json!({ "topic": "orders", "to": { "end": false } }), 400, ""),
        (json!({ "topic": "orders", "to": { "end": true, "beginning": true } }), 400, ""),
        (json!({ "topic": "orders", "to": {} }), 400, ""),
        (json!({ "topic": "orders", "to": { "offset": -1 } }), 400, ""),
        (json!({ "topic": "orders" }), 400, ""),
    ] {
        let code = if code.is_empty() { "INVALID_REQUEST" } else { code };
        w.reset(&body).await.problem(status, code);
    }
    let odd = "/v1/clusters/demo/consumers/a%20b:reset";
    let body = json!({ "topic": "orders", "to": { "end": true } });
    let answer = call("POST", odd).key(&w.key).json(&body).send(&w.router).await;
    answer.problem(400, "INVALID_REQUEST");
    let id = w.topic.to_string();
    app::topic_delete(&w.control.app, &w.control.principal, "demo", &id).await.unwrap();
    let body = json!({ "topic": id, "to": { "end": true } });
    w.reset(&body).await.problem(410, "TOPIC_DELETED");
    assert!(w.spus.offsets.asked().is_empty());
}

#[tokio::test]
async fn a_repeated_reset_is_done_once() {
    let w = world().await;
    let reset = async || {
        let body = json!({ "topic": "orders", "to": { "offset": 4 } });
        let path = "/v1/clusters/demo/consumers/billing:reset";
        let call = call("POST", path).key(&w.key).header("idempotency-key", "k").json(&body);
        call.send(&w.router).await
    };
    let first = reset().await.ok(200);
    let again = reset().await;
    assert_eq!(again.ok(200), first);
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(w.spus.offsets.sessions().len(), 1);
}

#[tokio::test]
async fn the_coordinator_is_found_whoever_it_is() {
    let w = world().await;
    w.spus.offsets.coordinate(Some(spu(3)));
    w.reset(&json!({ "topic": "orders", "to": { "offset": 4 } })).await.ok(200);
    assert_eq!(w.spus.offsets.asked(), [spu(1), spu(3)]);
    let shown = w.show().await.ok(200);
    assert_eq!(
        (&shown["current"], shown["partitions"].as_array().unwrap().len()),
        (&json!(true), 3)
    );
    assert_eq!(w.delete().await.ok(200), json!({ "name": "billing", "partitions": 3 }));
    assert_eq!(w.spus.offsets.asked(), [spu(1), spu(3)]);
}

#[tokio::test]
async fn a_deleted_consumer_is_gone_here_and_there() {
    let w = world().await;
    w.reset(&json!({ "topic": "orders", "partitions": [0], "to": { "offset": 4 } })).await.ok(200);
    // Stored of before, and more than the coordinator has.
    w.stored(0, 3).await;
    w.stored(1, 3).await;
    assert_eq!(w.delete().await.ok(200)["partitions"], 2);
    assert!(w.committed().is_empty());
    w.show().await.problem(404, "CONSUMER_NOT_FOUND");
    w.delete().await.problem(404, "CONSUMER_NOT_FOUND");
    // Both were ordered.
    assert_eq!(w.acts("consumer.delete").await, 2);
}

#[tokio::test]
async fn without_a_coordinator_nothing_changes_and_a_repetition_is_worth_it() {
    let w = world().await;
    w.stored(0, 3).await;
    w.spus.offsets.coordinate(None);
    let problem = w.delete().await.problem(503, "COORDINATOR_UNAVAILABLE");
    assert_eq!(problem["retryable"], true);
    assert!(problem["detail"].as_str().unwrap().contains("it is loading"), "{problem}");
    assert_eq!(w.spus.offsets.asked(), [spu(1), spu(2), spu(3)]);
    let body = json!({ "topic": "orders", "to": { "offset": 4 } });
    w.reset(&body).await.problem(503, "COORDINATOR_UNAVAILABLE");
    w.reset(&json!({ "topic": "orders", "to": { "offset": 4 }, "dry_run": true }))
        .await
        .problem(503, "COORDINATOR_UNAVAILABLE");
    let shown = w.show().await.ok(200);
    assert_eq!(
        (&shown["current"], &shown["partitions"][0]["committed"]),
        (&json!(false), &json!(3))
    );
    // Another one may have committed just now: only a coordinator knows that it did not.
    let path = "/v1/clusters/demo/consumers/another";
    let another = call("GET", path).key(&w.key).send(&w.router).await;
    another.problem(503, "COORDINATOR_UNAVAILABLE");
    // What the leaders say is not less true by that.
    assert_eq!(
        (&shown["partitions"][0]["end"], &shown["partitions"][0]["current"]),
        (&json!(10), &json!(true))
    );
    // Orders may have reached a coordinator that was not heard of any more; a dry run is none.
    assert_eq!((w.acts("consumer.delete").await, w.acts("consumer.reset").await), (1, 1));
    w.spus.offsets.coordinate(Some(spu(2)));
    w.delete().await.ok(200);
}

#[tokio::test]
async fn a_consumer_is_shown_as_its_coordinator_and_the_leaders_have_it_now() {
    let w = world().await;
    w.show().await.problem(404, "CONSUMER_NOT_FOUND");
    // Nothing is stored yet.
    w.spus.offsets.commit("billing", w.key(0), Some(9));
    w.spus.offsets.commit("billing", w.key(1), None);
    let shown = w.show().await.ok(200);
    assert_eq!((&shown["current"], &shown["lag"]), (&json!(true), &json!(1 + 8 + 8)));
    let brief = |shown: &Value| -> Vec<_> {
        let rows = shown["partitions"].as_array().unwrap().iter();
        rows.map(|row| {
            ["partition", "committed", "log_start", "end", "current", "lag"].map(|f| row[f].clone())
        })
        .collect()
    };
    let row = |index: u32, committed: Option<u64>, lag: u64| {
        [json!(index), json!(committed), json!(2), json!(10), json!(true), json!(lag)]
    };
    // The last one was not even claimed; whoever reads under the name would read it.
    let all = [row(0, Some(9), 1), row(1, None, 8), row(2, None, 8)];
    assert_eq!(brief(&shown), all);
    // What is stored is older, and not asked for.
    w.stored(0, 3).await;
    assert_eq!(brief(&w.show().await.ok(200)), all);
    // In the list is what was reported, and no leader has reported an end.
    let list = call("GET", "/v1/clusters/demo/consumers").key(&w.key);
    let list = list.send(&w.router).await.ok(200);
    assert_eq!(
        (&list["items"][0]["partitions"], &list["items"][0]["lag"]),
        (&json!(3), &json!(null))
    );
}

#[tokio::test]
async fn what_the_coordinator_forgot_is_gone_and_a_deleted_topic_keeps_its_offsets() {
    let w = world().await;
    w.stored(0, 3).await;
    w.show().await.problem(404, "CONSUMER_NOT_FOUND");
    w.spus.offsets.commit("billing", w.key(2), Some(5));
    let id = w.topic.to_string();
    app::topic_delete(&w.control.app, &w.control.principal, "demo", &id).await.unwrap();
    let shown = w.show().await.ok(200);
    let rows = shown["partitions"].as_array().unwrap();
    let fields = ["generation_state", "partition", "committed", "end", "current"];
    assert_eq!(rows.len(), 1, "of a deleted topic what was read");
    assert_eq!(
        fields.map(|field| rows[0][field].clone()),
        [json!("tombstone"), json!(2), json!(5), json!(null), json!(false)]
    );
    assert_eq!((&shown["lag"], &shown["current"]), (&json!(null), &json!(true)));
}

#[tokio::test]
async fn without_a_leader_its_last_report_is_shown_and_said_to_be_one() {
    let w = world().await;
    w.spus.offsets.commit("billing", w.key(0), Some(9));
    // As the heartbeats of these SPUs do not.
    let leader = |shown: &Value| shown["partitions"][0]["leader_spu_id"].as_u64().unwrap();
    let topic = async || {
        let topic = call("GET", "/v1/clusters/demo/topics/orders").key(&w.key);
        topic.send(&w.router).await.ok(200)
    };
    let before = topic().await;
    assert_eq!(
        (&before["partitions"][0]["log_start"], &before["partitions"][0]["high_watermark"]),
        (&json!(2), &json!(10))
    );
    assert_eq!(before["partitions"][0]["log_end"], 10);
    let leader = spu(u32::try_from(leader(&before)).unwrap());
    w.spus.offsets.coordinate([1, 2, 3].map(spu).into_iter().find(|id| *id != leader));
    w.spus.data_plane.mute.store(true, Ordering::Relaxed);
    let shown = w.show().await.ok(200);
    assert_eq!(
        (&shown["current"], &shown["partitions"][0]["committed"]),
        (&json!(true), &json!(9))
    );
    let ends = ["end", "current", "lag"].map(|field| shown["partitions"][0][field].clone());
    assert_eq!(ends, [json!(null), json!(false), json!(null)], "nothing was ever reported");
    assert_eq!(topic().await["partitions"][0]["high_watermark"], json!(null));
}
