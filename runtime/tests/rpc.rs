//! The channel and the server, in both worlds: the same file runs on TCP and on the
//! simulated network.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, missing_docs)]

mod common;

use std::{sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use common::{Echo, Ping, SLOW, channel, start, stream, unary};
use tonic::{Code, Request};
use weir_runtime::{clock::Clock, rpc};

fn ping(id: u64) -> Ping {
    Ping { id, body: Bytes::from_static(b"body") }
}

#[tokio::test]
async fn a_unary_call_comes_back_and_the_connection_is_shared() {
    let server = start(Echo::default(), "127.0.0.1:0", rpc::ServerConfig::default()).await;
    let channel = channel(&server.endpoint);
    for id in 0..3 {
        assert_eq!(unary(&channel, Request::new(ping(id))).await.unwrap().id, id);
    }
}

#[tokio::test]
async fn a_stream_answers_message_by_message() {
    let server = start(Echo::default(), "127.0.0.1:0", rpc::ServerConfig::default()).await;
    let channel = channel(&server.endpoint);
    let (tx, rx) = tokio::sync::mpsc::channel(4);
    let mut answers = stream(&channel, rx).await.unwrap();
    for id in 0..10 {
        tx.send(ping(id)).await.unwrap();
        assert_eq!(answers.message().await.unwrap().unwrap().id, id);
    }
    drop(tx);
    assert!(answers.message().await.unwrap().is_none());
}

#[tokio::test]
async fn the_caller_s_deadline_ends_the_call_on_both_sides() {
    let echo = Echo::default();
    let server = start(echo.clone(), "127.0.0.1:0", rpc::ServerConfig::default()).await;
    let channel = channel(&server.endpoint);
    let request = rpc::within(Duration::from_millis(100), ping(SLOW));
    let error = unary(&channel, request).await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded);
    // The server notices by its own timer, or by the reset; either way the handler ends.
    let gone = async {
        while echo.abandoned.load(Ordering::SeqCst) == 0 {
            Clock.sleep(Duration::from_millis(1)).await;
        }
    };
    Clock.timeout(Duration::from_secs(5), gone).await.unwrap();
}

#[tokio::test]
async fn the_server_bounds_a_call_whose_client_asks_for_no_limit() {
    let config =
        rpc::ServerConfig { call_timeout_max: Duration::from_millis(50), ..Default::default() };
    let server = start(Echo::default(), "127.0.0.1:0", config).await;
    let error = unary(&channel(&server.endpoint), Request::new(ping(SLOW))).await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn nobody_there_is_unavailable_and_names_the_endpoint() {
    let channel = channel("127.0.0.1:9");
    let error = unary(&channel, Request::new(ping(1))).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    assert!(error.message().contains("127.0.0.1:9"), "{error}");
}

#[tokio::test]
async fn the_channel_dials_again_after_the_server_came_back() {
    let server = start(Echo::default(), "127.0.0.1:0", rpc::ServerConfig::default()).await;
    let channel = channel(&server.endpoint);
    unary(&channel, Request::new(ping(1))).await.unwrap();
    server.shutdown.cancel();
    server.done.await.unwrap();
    assert_eq!(unary(&channel, Request::new(ping(2))).await.unwrap_err().code(), Code::Unavailable);
    let _server = start(Echo::default(), &server.endpoint, rpc::ServerConfig::default()).await;
    assert_eq!(unary(&channel, Request::new(ping(3))).await.unwrap().id, 3);
}

#[tokio::test]
async fn shutdown_waits_for_open_calls_but_not_for_ever() {
    let config =
        rpc::ServerConfig { drain_timeout: Duration::from_millis(100), ..Default::default() };
    let echo = Echo::default();
    let server = start(echo.clone(), "127.0.0.1:0", config).await;
    let channel = channel(&server.endpoint);
    let call =
        weir_runtime::task::spawn(async move { unary(&channel, Request::new(ping(SLOW))).await });
    while echo.started.load(Ordering::SeqCst) == 0 {
        Clock.sleep(Duration::from_millis(1)).await;
    }
    server.shutdown.cancel();
    Clock.timeout(Duration::from_secs(5), server.done).await.unwrap().unwrap();
    call.abort();
}

#[tokio::test]
async fn garbage_and_silence_on_the_port_end_only_their_own_connection() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let config =
        rpc::ServerConfig { handshake_timeout: Duration::from_millis(100), ..Default::default() };
    let server = start(Echo::default(), "127.0.0.1:0", config).await;
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 100], b"PRI"] {
        let mut peer = weir_runtime::net::connect(&server.endpoint).await.unwrap();
        peer.write_all(garbage).await.unwrap();
        let mut rest = Vec::new();
        // Ends, by an answer and a close or by a reset.
        let ended = Clock.timeout(Duration::from_secs(5), peer.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "the server kept a connection of {garbage:?}");
    }
    assert_eq!(unary(&channel(&server.endpoint), Request::new(ping(1))).await.unwrap().id, 1);
}
