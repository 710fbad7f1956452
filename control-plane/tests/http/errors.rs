//! Every error is a problem with a hint.

use std::{sync::Arc, time::Duration};

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use weir_control_plane::{auth::ApiKey, http::router};

use crate::{client::call, support::fixture};

#[tokio::test]
async fn keys_that_are_missing_mistyped_or_unknown() {
    let f = fixture().await;
    let router = f.router();
    let who = || call("GET", "/v1/whoami");
    let mistyped = format!("{}x", f.admin_key.expose_secret()).into();
    let unknown = ApiKey::generate("test").unwrap().to_text();
    let nonsense = SecretString::from("letmein".to_owned());
    for (call, detail) in [
        (who(), "needs an API key"),
        (who().header("authorization", "Basic abc"), "needs an API key"),
        (who().key(&mistyped), "mistyped"),
        (who().key(&unknown), "not valid"),
        (who().key(&nonsense), "looks like"),
    ] {
        let answer = call.send(&router).await;
        let problem = answer.problem(401, "UNAUTHENTICATED");
        assert!(answer.header("www-authenticate").starts_with("Bearer"));
        assert!(problem["detail"].as_str().unwrap().contains(detail), "{problem}");
        assert!(!answer.text.contains(unknown.expose_secret()));
    }
    // The scheme is not case-sensitive.
    let bearer = format!("bearer {}", f.admin_key.expose_secret());
    who().header("authorization", &bearer).send(&router).await.ok(200);
}

#[tokio::test]
async fn paths_and_methods_that_are_not_there() {
    let f = fixture().await;
    let router = f.router();
    for path in ["/", "/v1", "/v2/clusters", "/v1/clusters/demo/nothing", "/v1/clusters/"] {
        let answer = call("GET", path).key(&f.admin_key).send(&router).await;
        answer.problem(404, "ROUTE_NOT_FOUND");
    }
    for (method, path) in [("PATCH", "/v1/clusters"), ("POST", "/live"), ("PUT", "/v1/whoami")] {
        let answer = call(method, path).key(&f.admin_key).send(&router).await;
        answer.problem(405, "METHOD_NOT_ALLOWED");
        assert!(answer.header("allow").contains("GET"), "{}", answer.header("allow"));
    }
    f.cluster("demo", 1).await;
    for path in ["/v1/clusters/demo", "/v1/clusters/demo:explode", "/v1/clusters/demo/topics/t"] {
        let answer = call("POST", path).key(&f.admin_key).send(&router).await;
        answer.problem(404, "ROUTE_NOT_FOUND");
    }
}

#[tokio::test]
async fn bodies_that_are_not_what_they_should_be() {
    let f = fixture().await;
    let router = f.router();
    f.cluster("demo", 1).await;
    let post = || call("POST", "/v1/clusters/demo/topics").key(&f.admin_key);
    let json = || post().header("content-type", "application/json");
    for call in [
        json().raw(""),
        json().raw("{"),
        json().raw("[]"),
        json().raw(vec![0xff, 0xfe]),
        post().json(&json!({ "name": "orders" })),
        post().json(&json!({ "name": "orders", "partitions": "3" })),
        post().json(&json!({ "name": "orders", "partitions": -1 })),
        post().json(&json!({ "name": "orders", "partitions": 1, "surprise": 1 })),
        post().json(&json!({ "name": "a b", "partitions": 1 })),
        post().json(&json!({ "name": "orders", "partitions": 1, "replication": 17 })),
        post().json(&json!({ "name": "orders", "partitions": 1, "min_insync_replicas": 2 })),
    ] {
        call.send(&router).await.problem(400, "INVALID_REQUEST");
    }
    let text = post().header("content-type", "text/plain").raw("{}").send(&router).await;
    text.problem(415, "UNSUPPORTED_MEDIA_TYPE");
    let fits = json().raw(" ".repeat(1024 * 1024)).send(&router).await;
    fits.problem(400, "INVALID_REQUEST");
    let large = json().raw(" ".repeat(1024 * 1024 + 1)).send(&router).await;
    large.problem(413, "PAYLOAD_TOO_LARGE");
    let put = call("PUT", "/v1/clusters/x").key(&f.admin_key).header("if-none-match", "\"abc\"");
    put.json(&json!({ "spus": 1 })).send(&router).await.problem(400, "INVALID_REQUEST");
    let names = call("PUT", "/v1/clusters/Not_A_Name").key(&f.admin_key);
    names.json(&json!({ "spus": 1 })).send(&router).await.problem(400, "INVALID_REQUEST");
}

#[tokio::test]
async fn nothing_is_done_on_a_condition_that_is_not_looked_at() {
    let f = fixture().await;
    let router = f.router();
    let path = "/v1/clusters/dev";
    let made = call("PUT", path).key(&f.admin_key).json(&json!({"spus": 1}));
    made.send(&router).await.ok(201);
    let delete = || call("DELETE", path).key(&f.admin_key);
    let refused = delete().header("if-match", "\"abc\"").send(&router).await;
    refused.problem(400, "INVALID_REQUEST");
    let seen = call("GET", path).key(&f.admin_key).header("if-match", "\"abc\"");
    assert_eq!(seen.send(&router).await.ok(200)["desired"], "running");
}

#[tokio::test]
async fn texts_that_no_database_takes_are_refused_as_what_they_are() {
    let f = fixture().await;
    let router = f.router();
    f.cluster("demo", 1).await;
    let nul = "a\0b";
    for (path, body, status, code) in [
        (
            "/v1/clusters/demo/consumers/billing:reset",
            json!({ "topic": nul, "to": { "end": true } }),
            404,
            "TOPIC_NOT_FOUND",
        ),
        (
            "/v1/clusters/demo/topics",
            json!({ "name": nul, "partitions": 1 }),
            400,
            "INVALID_REQUEST",
        ),
    ] {
        let answer = call("POST", path).key(&f.admin_key).json(&body).send(&router).await;
        answer.problem(status, code);
    }
}

#[tokio::test]
async fn a_plain_request_id_is_kept_and_another_replaced() {
    let f = fixture().await;
    let router = f.router();
    let with = |id: &str| call("GET", "/nothing").header("x-request-id", id);
    let kept = with("abc-123").send(&router).await;
    assert_eq!(kept.problem(404, "ROUTE_NOT_FOUND")["request_id"], "abc-123");
    for odd in ["has space", &"x".repeat(129), ""] {
        let replaced = with(odd).send(&router).await;
        assert!(replaced.header("x-request-id").starts_with("req_"), "{odd}");
    }
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_unknown() {
    let f = fixture().await;
    f.cluster("demo", 1).await;
    let router = router(Arc::clone(&f.app), Duration::from_millis(50));
    // Whoever holds the writer keeps every other writer waiting.
    let held = f.app.store.write().await.unwrap();
    let body = json!({ "name": "orders", "partitions": 1 });
    let create = || call("POST", "/v1/clusters/demo/topics").key(&f.admin_key).json(&body);
    let problem = create().send(&router).await.problem(504, "TIMED_OUT");
    assert_eq!(problem["retryable"], true);
    drop(held);
    create().send(&f.router()).await.ok(201);
}
