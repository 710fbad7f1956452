//! What is counted of requests, and that a caller's trace is known.

use serde_json::json;

use crate::{client::call, support::fixture};

fn has(text: &str, line: &str) {
    assert!(text.lines().any(|found| found == line), "no {line:?} in\n{text}");
}

#[tokio::test]
async fn requests_are_counted_by_their_route_whatever_the_client_sends() {
    let f = fixture().await;
    let router = f.router();
    for name in ["one", "two"] {
        let path = format!("/v1/clusters/{name}");
        let made = call("PUT", &path).key(&f.admin_key).json(&json!({ "spus": 1 }));
        made.send(&router).await.ok(201);
    }
    call("GET", "/v1/clusters/three").key(&f.admin_key).send(&router).await;
    call("GET", "/v1/clusters/one").send(&router).await;
    call("GET", "/no/such/path").send(&router).await;
    call("BREW", "/live").send(&router).await;
    let text = f.app.metrics.set().text();
    let requests = |labels: &str, count: u32| {
        has(&text, &format!("weir_control_plane_http_requests_total{{{labels}}} {count}"));
    };
    let route = "route=\"/v1/clusters/{cluster}\"";
    requests(&format!("method=\"PUT\",{route},status=\"201\""), 2);
    requests(&format!("method=\"GET\",{route},status=\"404\""), 1);
    requests(&format!("method=\"GET\",{route},status=\"401\""), 1);
    requests("method=\"GET\",route=\"none\",status=\"404\"", 1);
    requests("method=\"other\",route=\"/live\",status=\"405\"", 1);
    let count = "weir_control_plane_http_request_duration_seconds_count";
    has(&text, &format!("{count}{{method=\"PUT\",{route}}} 2"));
    assert!(!text.contains("three"), "no name of a tenant's is a label");
}

#[tokio::test]
async fn the_caller_s_trace_comes_back_and_nonsense_is_ignored() {
    let f = fixture().await;
    let router = f.router();
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let answer = call("GET", "/live").header("traceparent", parent).send(&router).await;
    assert_eq!(answer.header("traceparent"), parent);
    for nonsense in ["", "00-0-0-0", "00-00000000000000000000000000000000-00f067aa0ba902b7-01"] {
        let answer = call("GET", "/live").header("traceparent", nonsense).send(&router).await;
        answer.ok(200);
        assert_eq!(answer.header("traceparent"), "");
    }
}
