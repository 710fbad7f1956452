//! What each route does when all is well.

use serde_json::{Value, json};

use crate::{client::call, support::fixture};

#[tokio::test]
async fn health_and_document_need_no_key() {
    let f = fixture().await;
    let router = f.router();
    assert_eq!(call("GET", "/live").send(&router).await.ok(200)["status"], "live");
    assert_eq!(call("GET", "/ready").send(&router).await.ok(200)["status"], "ready");
    let document = call("GET", "/v1/openapi.json").send(&router).await.ok(200);
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    assert_eq!(document["components"]["securitySchemes"]["api_key"]["scheme"], "bearer");
    assert!(document["components"]["schemas"]["Problem"].is_object());
    assert!(document["components"]["schemas"]["Cluster"].is_object());
}

#[tokio::test]
async fn whoami_names_org_and_key() {
    let f = fixture().await;
    let who = call("GET", "/v1/whoami").key(&f.admin_key).send(&f.router()).await.ok(200);
    assert_eq!(who["org_id"], f.admin.org.to_string());
    assert_eq!(who["key_id"], f.admin.key_id.to_string());
}

#[tokio::test]
async fn the_life_of_a_cluster() {
    let f = fixture().await;
    let router = f.router();
    let put = |spus: u32| {
        call("PUT", "/v1/clusters/demo").key(&f.admin_key).json(&json!({ "spus": spus }))
    };
    let created = put(3).header("if-none-match", "*").send(&router).await;
    let cluster = created.ok(201);
    assert!(!created.header("etag").is_empty());
    assert_eq!(cluster["state"], "provisioning");
    assert_eq!(cluster["desired"], "running");
    assert_eq!(cluster["spec"], json!({ "spus": 3, "port_base": null, "data_dir": null }));
    assert_eq!(cluster["spus"].as_array().unwrap().len(), 3);
    assert_eq!(cluster["reason"], json!(null));
    assert!(cluster["id"].as_str().unwrap().starts_with("cl_"));
    for field in ["org_id", "database_id", "revision", "created_at_unix_ms", "operation_id"] {
        assert!(!cluster[field].is_null(), "{field}");
    }
    assert_eq!(put(3).send(&router).await.ok(200)["id"], cluster["id"]);
    let exists = put(3).header("if-none-match", "*").send(&router).await;
    let problem = exists.problem(412, "CLUSTER_EXISTS");
    assert!(problem["detail"].as_str().unwrap().contains("provisioning"), "{problem}");
    assert!(problem["hint"].as_str().unwrap().contains("weir cluster"), "{problem}");
    put(4).send(&router).await.problem(412, "CLUSTER_EXISTS");
    let id = cluster["id"].as_str().unwrap();
    for path in ["/v1/clusters/demo".to_owned(), format!("/v1/clusters/{id}")] {
        let shown = call("GET", &path).key(&f.admin_key).send(&router).await;
        assert_eq!(shown.ok(200), cluster);
        let again = call("GET", &path)
            .key(&f.admin_key)
            .header("if-none-match", shown.header("etag"))
            .send(&router)
            .await;
        assert_eq!(again.status, 304);
        assert!(again.text.is_empty());
    }
    let spus = call("GET", "/v1/clusters/demo/spus").key(&f.admin_key).send(&router).await.ok(200);
    assert_eq!(spus["items"], cluster["spus"]);
    for (verb, desired) in [("shutdown", "shutdown"), ("resume", "running")] {
        for path in [format!("/v1/clusters/demo:{verb}"), format!("/v1/clusters/{id}:{verb}")] {
            let answer = call("POST", &path).key(&f.admin_key).send(&router).await.ok(202);
            assert_eq!(answer["desired"], desired);
        }
    }
    let gone = call("DELETE", "/v1/clusters/demo").key(&f.admin_key).send(&router).await.ok(202);
    assert_eq!((&gone["desired"], &gone["state"]), (&json!("deleted"), &json!("deleting")));
    call("POST", "/v1/clusters/demo:resume")
        .key(&f.admin_key)
        .send(&router)
        .await
        .problem(409, "CLUSTER_DELETING");
    let taken = put(1).header("if-none-match", "*").send(&router).await;
    assert_eq!(taken.problem(412, "CLUSTER_EXISTS")["retryable"], true);
}

#[tokio::test]
async fn the_life_of_a_topic() {
    let f = fixture().await;
    let router = f.router();
    f.cluster("demo", 2).await;
    let topics = "/v1/clusters/demo/topics";
    let create = || {
        let body = json!({ "name": "orders", "partitions": 2, "replication": 1 });
        call("POST", topics).key(&f.admin_key).json(&body)
    };
    let topic = create().send(&router).await.ok(201);
    assert_eq!(topic["generation_number"], 1);
    assert_eq!(topic["state"], "active");
    assert_eq!(topic["partitions"][1]["leader_spu_id"], 2);
    assert_eq!(topic["partitions"][1]["label"], json!(null));
    create().send(&router).await.problem(409, "TOPIC_EXISTS");
    let one = format!("{topics}/orders");
    let shown = call("GET", &one).key(&f.admin_key).send(&router).await;
    assert_eq!(shown.ok(200), topic);
    assert!(!shown.header("etag").is_empty());
    let default = json!({ "flush": "before_ack", "flush_interval_ms": null,
        "retention_ms": 604_800_000, "retention_bytes": null, "segment_bytes": 1_073_741_824,
        "segment_ms": null, "unclean_election": false });
    assert_eq!(topic["config"], default);
    let grown = call("POST", &format!("{one}:add-partitions"))
        .key(&f.admin_key)
        .json(&json!({ "add": 1 }))
        .send(&router)
        .await
        .ok(200);
    assert_eq!(grown["partitions"].as_array().unwrap().len(), 3);
    let tombstone = call("DELETE", &one).key(&f.admin_key).send(&router).await.ok(200);
    assert_eq!(tombstone["state"], "tombstone");
    assert_eq!(tombstone["generation_id"], topic["generation_id"]);
    call("GET", &one).key(&f.admin_key).send(&router).await.problem(404, "TOPIC_NOT_FOUND");
    let by_id = format!("{topics}/{}", topic["generation_id"].as_str().unwrap());
    assert_eq!(call("GET", &by_id).key(&f.admin_key).send(&router).await.ok(200), tombstone);
    call("POST", &format!("{by_id}:add-partitions"))
        .key(&f.admin_key)
        .json(&json!({ "add": 1 }))
        .send(&router)
        .await
        .problem(410, "TOPIC_DELETED");
    assert_eq!(create().send(&router).await.ok(201)["generation_number"], 2);
}

#[tokio::test]
async fn an_idempotency_key_makes_a_repetition_safe() {
    let f = fixture().await;
    let router = f.router();
    f.cluster("demo", 1).await;
    let create = |name: &str, key: &str| {
        call("POST", "/v1/clusters/demo/topics")
            .key(&f.admin_key)
            .header("idempotency-key", key)
            .json(&json!({ "name": name, "partitions": 1 }))
    };
    let first = create("orders", "one").send(&router).await;
    assert_eq!(first.header("idempotency-replayed"), "");
    let again = create("orders", "one").send(&router).await;
    assert_eq!(again.ok(201), first.ok(201));
    assert_eq!(again.header("idempotency-replayed"), "true");
    create("other", "one").send(&router).await.problem(422, "IDEMPOTENCY_KEY_REUSED");
    create("orders", "two").send(&router).await.problem(409, "TOPIC_EXISTS");
    create("x", &"k".repeat(256)).send(&router).await.problem(400, "INVALID_REQUEST");
    let grow = || {
        call("POST", "/v1/clusters/demo/topics/orders:add-partitions")
            .key(&f.admin_key)
            .header("idempotency-key", "three")
            .json(&json!({ "add": 1 }))
    };
    for _ in 0..3 {
        let grown = grow().send(&router).await.ok(200);
        assert_eq!(grown["partitions"].as_array().unwrap().len(), 2);
    }
}

#[tokio::test]
async fn how_a_topic_is_kept_is_said_shown_and_changed() {
    let f = fixture().await;
    let router = f.router();
    f.cluster("demo", 1).await;
    let topics = "/v1/clusters/demo/topics";
    let one = format!("{topics}/orders");
    let body = json!({ "name": "orders", "partitions": 1, "config": {
        "flush": "interval", "flush_interval_ms": 100, "retention_ms": null,
        "retention_bytes": 1_048_576, "segment_bytes": 2_097_152 } });
    let made = call("POST", topics).key(&f.admin_key).json(&body).send(&router).await.ok(201);
    let mut config = json!({ "flush": "interval", "flush_interval_ms": 100, "retention_ms": null,
        "retention_bytes": 1_048_576, "segment_bytes": 2_097_152, "segment_ms": null,
        "unclean_election": false });
    assert_eq!(made["config"], config);
    let patch =
        |change: Value| call("PATCH", &one).key(&f.admin_key).json(&json!({ "config": change }));
    let show = async || call("GET", &one).key(&f.admin_key).send(&router).await.ok(200);
    for (change, field, value) in [
        (json!({ "retention_ms": 60_000 }), "retention_ms", json!(60_000)),
        (json!({ "retention_ms": null }), "retention_ms", json!(null)),
        (json!({ "retention_bytes": null }), "retention_bytes", json!(null)),
        (json!({ "segment_ms": 60_000 }), "segment_ms", json!(60_000)),
        (json!({ "segment_ms": null }), "segment_ms", json!(null)),
        (json!({ "flush_interval_ms": 5 }), "flush_interval_ms", json!(5)),
        (json!({ "unclean_election": true }), "unclean_election", json!(true)),
        (json!({}), "flush", json!("interval")),
    ] {
        let answer = patch(change).send(&router).await.ok(200);
        config[field] = value;
        assert_eq!((&answer["config"], &show().await["config"]), (&config, &config));
    }
    // What is shown is what is taken.
    patch(config.clone()).send(&router).await.ok(200);
    let safe = patch(json!({ "flush": "before_ack" })).send(&router).await.ok(200);
    assert_eq!(safe["config"]["flush_interval_ms"], json!(null));
    patch(safe["config"].clone()).send(&router).await.ok(200);

    for (change, part) in [
        (json!({ "retention_ms": 999 }), "it must be from 1000 to 3153600000000"),
        (json!({ "segment_bytes": 1 }), "it must be from 1048576 to 1073741824"),
        (json!({ "segment_bytes": null }), "null"),
        (json!({ "flush": "interval" }), "flush_interval_ms is missing"),
        (json!({ "flush_interval_ms": 5 }), "of no use"),
        (json!({ "retention": 1 }), "unknown field"),
    ] {
        let problem = patch(change).send(&router).await.problem(400, "INVALID_REQUEST");
        assert!(problem["detail"].as_str().unwrap().contains(part), "{problem}");
    }
    let whole = call("PATCH", &one).key(&f.admin_key).json(&json!({ "partitions": 2 }));
    whole.send(&router).await.problem(400, "INVALID_REQUEST");
    let bad = json!({ "name": "new", "partitions": 1, "config": { "retention_bytes": 0 } });
    let bad = call("POST", topics).key(&f.admin_key).json(&bad).send(&router).await;
    bad.problem(400, "INVALID_REQUEST");
    assert_eq!(show().await["config"], safe["config"]);
    // A repetition undoes nothing.
    let again = |ms: u64| {
        patch(json!({ "retention_ms": ms })).header("idempotency-key", &format!("key-{ms}"))
    };
    again(1_000).send(&router).await.ok(200);
    again(2_000).send(&router).await.ok(200);
    let replayed = again(1_000).send(&router).await;
    assert_eq!(replayed.header("idempotency-replayed"), "true");
    assert_eq!(replayed.ok(200)["config"]["retention_ms"], 1_000);
    assert_eq!(show().await["config"]["retention_ms"], 2_000);
}
