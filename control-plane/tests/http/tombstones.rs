//! Deleted topics over HTTP.

use serde_json::{Value, json};

use crate::{
    client::{Answer, call},
    support::{Fixture, fixture},
};

const TOPICS: &str = "/v1/clusters/demo/topics";

async fn send(f: &Fixture, method: &str, path: &str) -> Answer {
    call(method, &format!("{TOPICS}{path}")).key(&f.admin_key).send(&f.router()).await
}

async fn create(f: &Fixture) -> Value {
    let body = json!({ "name": "orders", "partitions": 2 });
    call("POST", TOPICS).key(&f.admin_key).json(&body).send(&f.router()).await.ok(201)
}

#[tokio::test]
async fn a_deleted_topic_is_listed_undeleted_and_purged() {
    let f = fixture().await;
    f.cluster("demo", 1).await;
    let topic = create(&f).await;
    let id = topic["generation_id"].as_str().unwrap();
    send(&f, "POST", "/orders:purge").await.problem(409, "TOPIC_NOT_DELETED");
    send(&f, "POST", "/orders:undelete").await.problem(409, "TOPIC_NOT_DELETED");
    send(&f, "DELETE", "/orders").await.ok(200);
    let listed = send(&f, "GET", "?deleted=true").await.ok(200);
    let listed = &listed["items"][0];
    assert_eq!((&listed["name"], &listed["state"]), (&json!("orders"), &json!("tombstone")));
    assert_eq!((&listed["generation_number"], &listed["generation_id"]), (&json!(1), &json!(id)));
    assert!(listed["deleted_at_unix_ms"].is_i64(), "{listed}");
    assert_eq!(send(&f, "GET", "").await.ok(200)["items"], json!([]));

    let second = create(&f).await;
    let taken = send(&f, "POST", "/orders:undelete").await;
    let taken = taken.problem(409, "TOPIC_EXISTS");
    assert!(taken["detail"].as_str().unwrap().contains(second["generation_id"].as_str().unwrap()));
    send(&f, "DELETE", "/orders").await.ok(200);
    let back = send(&f, "POST", &format!("/{id}:undelete")).await.ok(200);
    assert_eq!(back, topic);

    // The other tombstone, by its name; then the name stands for nothing that can come back.
    let purging = send(&f, "POST", "/orders:purge").await.ok(202);
    assert_eq!((&purging["state"], &purging["generation_number"]), (&json!("purging"), &json!(2)));
    send(&f, "DELETE", &format!("/{id}?purge=true")).await.ok(202);
    let gone = send(&f, "POST", "/orders:undelete").await.problem(410, "TOPIC_PURGED");
    assert!(gone["hint"].as_str().unwrap().contains("weir topic create"), "{gone}");
    let listed = send(&f, "GET", "?deleted=true&limit=1").await.ok(200);
    let next = listed["next_cursor"].as_str().unwrap();
    let rest = send(&f, "GET", &format!("?deleted=true&limit=1&cursor={next}")).await.ok(200);
    assert_eq!(
        (&rest["items"][0]["generation_number"], &rest["next_cursor"]),
        (&json!(2), &json!(null))
    );
    send(&f, "GET", &format!("?cursor={next}")).await.problem(400, "INVALID_REQUEST");
}

#[tokio::test]
async fn what_was_not_deleted_is_not_found() {
    let f = fixture().await;
    f.cluster("demo", 1).await;
    for verb in ["undelete", "purge"] {
        let answer = send(&f, "POST", &format!("/orders:{verb}")).await;
        let problem = answer.problem(404, "TOPIC_NOT_FOUND");
        assert!(problem["detail"].as_str().unwrap().contains("deleted topic"), "{problem}");
        assert!(problem["hint"].as_str().unwrap().contains("--deleted"), "{problem}");
        send(&f, "POST", &format!("/__probe:{verb}")).await.problem(404, "TOPIC_NOT_FOUND");
    }
    send(&f, "DELETE", "/orders?purge=true").await.problem(404, "TOPIC_NOT_FOUND");
    for query in ["purge=maybe", "purge", "force=true"] {
        let answer = send(&f, "DELETE", &format!("/orders?{query}")).await;
        answer.problem(400, "INVALID_REQUEST");
    }
}
