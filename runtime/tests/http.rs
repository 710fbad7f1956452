//! The HTTP server and transport, in both worlds.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, missing_docs)]

use std::time::Duration;

use axum::{Router, response::Redirect, routing::get};
use bytes::Bytes;
use weir_runtime::{
    clock::Clock,
    http::{HttpError, ServerConfig, serve, transport},
    net::Listener,
    task::{CancellationToken, spawn},
};

const LIMIT: Duration = Duration::from_secs(5);

async fn start() -> (String, CancellationToken) {
    let router = Router::new()
        .route("/hello", get(|| async { "hello" }))
        .route("/slow", get(|| async { Clock.sleep(Duration::from_secs(3600)).await }))
        .route("/elsewhere", get(|| async { Redirect::temporary("/hello") }))
        .route("/large", get(|| async { "x".repeat(10_000) }));
    let listener = Listener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let shutdown = CancellationToken::new();
    spawn(serve(listener, router, ServerConfig::default(), shutdown.clone()));
    (address, shutdown)
}

fn request(url: &str) -> http::Request<Bytes> {
    http::Request::get(url).body(Bytes::new()).unwrap()
}

#[tokio::test]
async fn an_exchange_brings_status_and_body() {
    let (address, _shutdown) = start().await;
    let client = transport(1 << 20);
    let found = client.send(request(&format!("http://{address}/hello")), LIMIT).await.unwrap();
    assert_eq!((found.status().as_u16(), &found.body()[..]), (200, &b"hello"[..]));
    let missing = client.send(request(&format!("http://{address}/none")), LIMIT).await.unwrap();
    assert_eq!(missing.status().as_u16(), 404);
}

#[tokio::test]
async fn a_redirect_is_handed_on_and_not_obeyed() {
    let (address, _shutdown) = start().await;
    let url = format!("http://{address}/elsewhere");
    let answer = transport(1 << 20).send(request(&url), LIMIT).await.unwrap();
    assert_eq!(answer.status().as_u16(), 307);
    assert_eq!(answer.headers()["location"], "/hello");
}

/// Says to this very test, begun as a process of its own, that it is the one with a proxy.
#[cfg(not(madsim))]
const PROXIED: &str = "WEIR_TEST_PROXIED";

#[cfg(not(madsim))]
#[tokio::test]
async fn no_proxy_of_the_environment_sees_a_request() {
    if std::env::var_os(PROXIED).is_some() {
        let (address, _shutdown) = start().await;
        let url = format!("http://{address}/hello");
        let answer = transport(1 << 20).send(request(&url), LIMIT).await.unwrap();
        assert_eq!(answer.status().as_u16(), 200);
        return;
    }
    // Nothing listens there: a request by way of it fails.
    let proxy = "http://127.0.0.1:9";
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "no_proxy_of_the_environment_sees_a_request"])
        .envs([(PROXIED, "1"), ("HTTP_PROXY", proxy), ("http_proxy", proxy)])
        .env_remove("NO_PROXY")
        .env_remove("no_proxy")
        .env_remove("REQUEST_METHOD")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[tokio::test]
async fn failures_say_whether_the_request_was_sent() {
    let (address, _shutdown) = start().await;
    let client = transport(100);
    let short = Duration::from_millis(100);
    let error = client.send(request(&format!("http://{address}/slow")), short).await.unwrap_err();
    assert!(matches!(error, HttpError::TimedOut { .. }), "{error}");
    let error = client.send(request(&format!("http://{address}/large")), LIMIT).await.unwrap_err();
    assert!(matches!(error, HttpError::Broken { .. }), "{error}");
    let error = client.send(request("http://127.0.0.1:9/"), LIMIT).await.unwrap_err();
    assert!(matches!(error, HttpError::Unreachable { .. }), "{error}");
    for url in ["/hello", "ftp://127.0.0.1/"] {
        let error = client.send(request(url), LIMIT).await.unwrap_err();
        assert!(matches!(error, HttpError::Invalid(_)), "{error}");
    }
}

#[tokio::test]
async fn the_server_ends_when_told() {
    let (address, shutdown) = start().await;
    let client = transport(100);
    client.send(request(&format!("http://{address}/hello")), LIMIT).await.unwrap();
    shutdown.cancel();
    let refused = async {
        while client.send(request(&format!("http://{address}/hello")), LIMIT).await.is_ok() {
            Clock.sleep(Duration::from_millis(1)).await;
        }
    };
    Clock.timeout(LIMIT, refused).await.unwrap();
}
