//! Replicas over HTTP.

use serde_json::{Value, json};

use crate::{
    client::{Answer, call},
    support::{Fixture, fixture},
};

const TOPICS: &str = "/v1/clusters/demo/topics";

async fn send(f: &Fixture, method: &str, path: &str, body: &Value) -> Answer {
    let call = call(method, &format!("{TOPICS}{path}")).key(&f.admin_key);
    call.json(body).send(&f.router()).await
}

#[tokio::test]
async fn replicas_and_how_many_commit_are_said_shown_and_changed() {
    let f = fixture().await;
    f.cluster("demo", 3).await;
    let body = json!({ "name": "orders", "partitions": 1, "replication": 3 });
    let made = send(&f, "POST", "", &body).await.ok(201);
    assert_eq!((&made["replication"], &made["min_insync_replicas"]), (&json!(3), &json!(2)));
    let partition = &made["partitions"][0];
    assert_eq!(partition["replica_spu_ids"], json!([1, 2, 3]));
    assert_eq!(partition["isr_spu_ids"], partition["replica_spu_ids"]);
    assert_eq!(
        (&partition["eligible_spu_ids"], &partition["under_replicated"]),
        (&json!([]), &json!(false))
    );
    let replica = &partition["replicas"][2];
    assert_eq!((&replica["spu_id"], &replica["in_sync"]), (&json!(3), &json!(true)));
    assert_eq!((&replica["log_end"], &replica["missing"]), (&Value::Null, &Value::Null));
    for (said, shown) in [(json!(3), 3), (json!(null), 2), (json!(1), 1)] {
        let changed = send(&f, "PATCH", "/orders", &json!({ "min_insync_replicas": said })).await;
        assert_eq!(changed.ok(200)["min_insync_replicas"], json!(shown));
    }
    // Together with the rest, or not at all.
    let both = json!({ "min_insync_replicas": 2, "config": { "retention_ms": null } });
    let changed = send(&f, "PATCH", "/orders", &both).await.ok(200);
    assert_eq!(
        (&changed["min_insync_replicas"], &changed["config"]["retention_ms"]),
        (&json!(2), &Value::Null)
    );
    let unchanged = send(&f, "PATCH", "/orders", &json!({})).await.ok(200);
    assert_eq!(unchanged, changed);
}

#[tokio::test]
async fn what_cannot_be_is_refused_with_a_hint() {
    let f = fixture().await;
    f.cluster("demo", 2).await;
    let body = |replication: u32, min: u32| {
        json!({ "name": "orders", "partitions": 1, "replication": replication,
            "min_insync_replicas": min })
    };
    for (replication, min, hint) in
        [(17, 1, "1 to 16"), (0, 1, "1 to 16"), (2, 3, "1 to 2"), (2, 0, "1 to 2")]
    {
        let problem = send(&f, "POST", "", &body(replication, min)).await;
        let problem = problem.problem(400, "INVALID_REQUEST");
        assert!(problem["hint"].as_str().unwrap().contains(hint), "{problem}");
    }
    let problem = send(&f, "POST", "", &body(3, 1)).await.problem(409, "NOT_ENOUGH_SPUS");
    assert!(problem["hint"].as_str().unwrap().contains("fewer replicas"), "{problem}");
    send(&f, "POST", "", &body(2, 2)).await.ok(201);
    for min in [json!(0), json!(3), json!("2"), json!(-1)] {
        let problem = send(&f, "PATCH", "/orders", &json!({ "min_insync_replicas": min })).await;
        problem.problem(400, "INVALID_REQUEST");
    }
}

#[tokio::test]
async fn partitions_are_reassigned_and_spus_drained() {
    let f = fixture().await;
    f.cluster("demo", 3).await;
    let body = json!({ "name": "orders", "partitions": 1, "replication": 2 });
    let made = send(&f, "POST", "", &body).await.ok(201);
    assert_eq!(made["partitions"][0]["replica_spu_ids"], json!([1, 2]));
    assert_eq!(made["partitions"][0]["reassignment"], json!(null));
    let reassign = async |partition: &str, body: Value| {
        send(&f, "POST", &format!("/orders/partitions/{partition}:reassign"), &body).await
    };
    for (partition, body, status, code) in [
        ("0", json!({ "replicas": [3] }), 400, "INVALID_REQUEST"),
        ("0", json!({ "replicas": [3, 3] }), 400, "INVALID_REQUEST"),
        ("0", json!({ "replicas": [3, 9] }), 404, "SPU_NOT_FOUND"),
        ("0", json!({}), 400, "INVALID_REQUEST"),
        ("0", json!({ "replicas": [1, 3], "cancel": true }), 400, "INVALID_REQUEST"),
        ("x", json!({ "replicas": [1, 3] }), 400, "INVALID_REQUEST"),
        ("2", json!({ "replicas": [1, 3] }), 404, "PARTITION_NOT_FOUND"),
    ] {
        reassign(partition, body).await.problem(status, code);
    }
    let would = reassign("0", json!({ "replicas": [3, 2], "dry_run": true })).await.ok(200);
    let (from, to) = (json!([1, 2]), json!([3, 2]));
    let moved = json!({ "topic": "orders", "generation_id": made["generation_id"],
        "partition": 0, "from_spu_ids": from, "to_spu_ids": to });
    assert_eq!(would, json!({ "dry_run": true, "moves": [moved], "stays": [] }));
    let list = async || {
        let call = call("GET", "/v1/clusters/demo/reassignments?limit=1").key(&f.admin_key);
        call.send(&f.router()).await.ok(200)
    };
    assert_eq!(list().await["items"], json!([]), "nothing was stored");
    let done = reassign("0", json!({ "replicas": [3, 2] })).await.ok(202);
    assert_eq!(done, json!({ "dry_run": false, "moves": [moved], "stays": [] }));
    let shown = list().await;
    let item = &shown["items"][0];
    assert_eq!(
        (&item["partition"], &item["waits_for"]),
        (&json!(0), &json!("it waits for its turn"))
    );
    assert_eq!(item["reassignment"]["target_spu_ids"], json!([3, 2]));
    assert_eq!(shown["next_cursor"], json!(null));
    reassign("0", json!({ "replicas": [2, 3] })).await.problem(409, "REASSIGNMENT_RUNNING");
    let drain = async |body: Value| {
        let call = call("POST", "/v1/clusters/demo:drain").key(&f.admin_key);
        call.json(&body).send(&f.router()).await
    };
    // What is on its way off it is passed over; what goes to it has to be waited for.
    let would = drain(json!({ "spu_id": 1, "dry_run": true })).await.ok(200);
    assert_eq!(would["moves"], json!([]));
    drain(json!({ "spu_id": 3 })).await.problem(409, "REASSIGNMENT_RUNNING");
    drain(json!({ "spu_id": 3, "to": [1], "cancel": true })).await.problem(400, "INVALID_REQUEST");
    drain(json!({ "spu_id": 7 })).await.problem(404, "SPU_NOT_FOUND");
    // Of what waits for its turn nothing is left.
    let back = drain(json!({ "spu_id": 1, "cancel": true })).await.ok(202);
    assert_eq!(back["moves"][0]["to_spu_ids"], json!([1, 2]));
    assert_eq!(list().await["items"], json!([]));
    let refused = drain(json!({ "spu_id": 1, "to": [2] })).await;
    refused.problem(409, "NOT_ENOUGH_SPUS");
    let moved = drain(json!({ "spu_id": 1, "to": [3] })).await.ok(202);
    assert_eq!(moved["moves"][0]["to_spu_ids"], json!([3, 2]));
    // A topic is given more.
    reassign("0", json!({ "cancel": true })).await.ok(202);
    let more = send(&f, "PATCH", "/orders", &json!({ "replication": 3 })).await.ok(200);
    assert_eq!(more["replication"], json!(2), "once they are there");
    assert_eq!(more["partitions"][0]["reassignment"]["adding_spu_ids"], json!([3]));
    // One that was to have fewer, and did not come to it, demands as many again.
    reassign("0", json!({ "cancel": true })).await.ok(202);
    let fewer = send(&f, "PATCH", "/orders", &json!({ "replication": 1 })).await.ok(200);
    assert_eq!((&fewer["replication"], &fewer["min_insync_replicas"]), (&json!(1), &json!(1)));
    reassign("0", json!({ "cancel": true })).await.ok(202);
    let shown = call("GET", "/v1/clusters/demo/topics/orders").key(&f.admin_key);
    let shown = shown.send(&f.router()).await.ok(200);
    assert_eq!((&shown["replication"], &shown["min_insync_replicas"]), (&json!(2), &json!(2)));
    send(&f, "PATCH", "/orders", &json!({ "replication": 3 })).await.ok(200);
    let both = json!({ "replication": 1, "min_insync_replicas": 2 });
    send(&f, "PATCH", "/orders", &both).await.problem(400, "INVALID_REQUEST");
    // What is only on its way to one that goes stays where it is.
    let scale = call("POST", "/v1/clusters/demo:scale").key(&f.admin_key);
    let scale = scale.json(&json!({ "spus": 2 })).send(&f.router()).await;
    assert_eq!(scale.ok(202)["spus"][2]["leaving"], json!(true));
    assert_eq!(list().await["items"], json!([]));
}
