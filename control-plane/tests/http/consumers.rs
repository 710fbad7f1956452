//! Named consumers as they are shown: what is stored of them, joined with what the leaders
//! reported.

use serde_json::json;
use weir_control_plane::{
    app::{self, TopicRequest, view::TopicView},
    store::{
        consumer_offsets::{self, Change, Committed},
        types::KeyScope,
    },
};
use weir_protocol::{
    ids::{
        ClusterId, Incarnation, LaunchId, LeaderEpoch, Offset, PartitionIndex, PartitionKey,
        Revision, SpuId,
    },
    pb::session::{ReplicaState, ReplicaStatus},
};

use crate::{
    client::call,
    support::{Fixture, add_key, fixture, fresh},
};

async fn topic(f: &Fixture, name: &str) -> TopicView {
    let wanted = TopicRequest::new(name, 2);
    fresh(app::topic_create(&f.app, &f.admin, "demo", &wanted, None).await.unwrap())
}

async fn commit(
    f: &Fixture,
    cluster: ClusterId,
    consumer: &str,
    topic: &TopicView,
    index: u32,
    next: Option<u64>,
) {
    let change = Change {
        consumer: consumer.to_owned(),
        partition: key(topic, index),
        position: Offset(u64::from(index)),
        committed: Some(Committed {
            next_offset: next.map(Offset),
            leader_epoch: Some(LeaderEpoch(1)),
            metadata: "batch 7".to_owned(),
            committed_at_unix_ms: 1_000 + i64::from(index),
        }),
    };
    let mut tx = f.app.store.write().await.unwrap();
    let mut org = tx.scoped(f.admin.org);
    assert!(consumer_offsets::store(&mut org, cluster, &change, 1).await.unwrap());
    tx.commit().await.unwrap();
}

const fn key(topic: &TopicView, index: u32) -> PartitionKey {
    PartitionKey { generation: topic.generation_id, partition: PartitionIndex(index) }
}

/// SPU 1 has a session, and reports these high watermarks.
fn report(f: &Fixture, cluster: ClusterId, replicas: &[(PartitionKey, u64)]) {
    let (board, now) = (&f.app.board, f.app.clock.now());
    let launch = LaunchId(uuid::Uuid::from_u128(1));
    let session = board.session_up(cluster, SpuId(1), launch, Incarnation(1), now);
    let replicas = replicas
        .iter()
        .map(|(key, high_watermark)| ReplicaStatus {
            partition: Some(key.to_wire()),
            leader_epoch: 1,
            log_start: 2,
            high_watermark: *high_watermark,
            log_end: *high_watermark,
            state: ReplicaState::Online.into(),
            ..ReplicaStatus::default()
        })
        .collect();
    assert!(board.heartbeat(cluster, SpuId(1), session, Revision(1), replicas, now));
}

#[tokio::test]
async fn a_consumer_is_shown_with_its_lag_and_its_generations() {
    let f = fixture().await;
    let router = f.router();
    let cluster = f.cluster("demo", 1).await.id;
    let old = topic(&f, "orders").await;
    commit(&f, cluster, "billing", &old, 0, Some(72)).await;
    app::topic_delete(&f.app, &f.admin, "demo", "orders").await.unwrap();
    let new = topic(&f, "orders").await;
    commit(&f, cluster, "billing", &new, 0, Some(4)).await;
    commit(&f, cluster, "billing", &new, 1, None).await;
    let get = |path: &str| call("GET", &format!("/v1/clusters/demo/consumers{path}"));
    let show = async || get("/billing").key(&f.admin_key).send(&router).await;

    // Nobody has reported anything.
    let away = show().await.ok(200);
    assert_eq!((&away["lag"], &away["partitions"][1]["end"]), (&json!(null), &json!(null)));
    report(&f, cluster, &[(key(&new, 0), 10), (key(&new, 1), 5)]);
    let shown = show().await;
    let consumer = shown.ok(200);
    assert_eq!((&consumer["name"], &consumer["lag"]), (&json!("billing"), &json!(9)));
    assert_eq!(consumer["current"], false, "no SPU can be asked");
    assert_eq!(consumer["committed_at_unix_ms"], 1_000);
    let rows = consumer["partitions"].as_array().unwrap();
    let brief: Vec<_> = rows
        .iter()
        .map(|row| {
            let fields = ["generation_number", "generation_state", "partition", "committed", "lag"];
            fields.map(|field| row[field].clone())
        })
        .collect();
    assert_eq!(
        brief,
        [
            [json!(1), json!("tombstone"), json!(0), json!(72), json!(null)],
            [json!(2), json!("active"), json!(0), json!(4), json!(6)],
            [json!(2), json!("active"), json!(1), json!(null), json!(3)],
        ]
    );
    assert_eq!(
        rows[1],
        json!({
            "topic": "orders", "generation_id": new.generation_id, "generation_number": 2,
            "generation_state": "active", "partition": 0, "committed": 4, "log_start": 2, "end": 10,
            "current": false, "lag": 6, "leader_epoch": 1, "metadata": "batch 7", "committed_at_unix_ms": 1_000,
        })
    );
    assert_eq!(rows[2]["committed_at_unix_ms"], json!(null));
    // Its tag is good until something changes.
    let tag = shown.header("etag").to_owned();
    let again = get("/billing").key(&f.admin_key).header("if-none-match", &tag);
    assert_eq!(again.send(&router).await.status, 304);

    let listed = get("").key(&f.admin_key).send(&router).await.ok(200);
    assert_eq!(
        listed["items"],
        json!([{
            "name": "billing",
            "topics": [
                { "name": "orders", "generation_id": old.generation_id, "generation_number": 1 },
                { "name": "orders", "generation_id": new.generation_id, "generation_number": 2 },
            ],
            "partitions": 3, "lag": 9, "committed_at_unix_ms": 1_000,
        }])
    );
}

#[tokio::test]
async fn consumers_come_in_pages_and_unknown_ones_are_not_found() {
    let f = fixture().await;
    let router = f.router();
    let cluster = f.cluster("demo", 1).await.id;
    let orders = topic(&f, "orders").await;
    for name in ["c", "a", "b"] {
        commit(&f, cluster, name, &orders, 0, Some(1)).await;
        commit(&f, cluster, name, &orders, 1, Some(1)).await;
    }
    let (mut names, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/v1/clusters/demo/consumers?limit=2{cursor}");
        let page = call("GET", &path).key(&f.admin_key).send(&router).await.ok(200);
        let items = page["items"].as_array().unwrap();
        names.extend(items.iter().map(|item| item["name"].as_str().unwrap().to_owned()));
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(names, ["a", "b", "c"]);
    let one = |name: &str| call("GET", &format!("/v1/clusters/demo/consumers/{name}"));
    let problem = one("d").key(&f.admin_key).send(&router).await.problem(404, "CONSUMER_NOT_FOUND");
    assert!(problem["hint"].as_str().unwrap().contains("weir consumer list"));
    for odd in ["a%20b", "a%00", "%C3%A4", &"x".repeat(250)] {
        one(odd).key(&f.admin_key).send(&router).await.problem(400, "INVALID_REQUEST");
    }
}

#[tokio::test]
async fn readers_may_look_and_only_admins_change() {
    let f = fixture().await;
    let router = f.router();
    let cluster = f.cluster("demo", 1).await.id;
    commit(&f, cluster, "a", &topic(&f, "orders").await, 0, Some(1)).await;
    let (_, reader) = add_key(&f.app, f.admin.org, &[KeyScope::Read]).await;
    let path = "/v1/clusters/demo/consumers/a";
    call("GET", path).key(&reader).send(&router).await.ok(200);
    call("DELETE", path).key(&reader).send(&router).await.problem(403, "FORBIDDEN");
    let body = json!({ "topic": "orders", "to": { "end": true } });
    let reset = || call("POST", &format!("{path}:reset")).json(&body);
    reset().key(&reader).send(&router).await.problem(403, "FORBIDDEN");
    // No SPU has registered: nobody can be asked.
    let answer = call("DELETE", path).key(&f.admin_key).send(&router).await;
    assert_eq!(answer.problem(503, "COORDINATOR_UNAVAILABLE")["retryable"], true);
    let answer = reset().key(&f.admin_key).send(&router).await;
    assert_eq!(answer.problem(503, "LEADER_UNAVAILABLE")["retryable"], true);
    app::cluster_shutdown(&f.app, &f.admin, "demo", None).await.unwrap();
    call("DELETE", path).key(&f.admin_key).send(&router).await.problem(409, "CLUSTER_SHUT_DOWN");
    call("GET", path).key(&reader).send(&router).await.ok(200);
}
