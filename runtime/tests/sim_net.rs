//! The simulated network and clocks: what madsim alone gets wrong.
#![cfg(madsim)] // There is no cut table and no skew in the real world.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, missing_docs)]

mod common;

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use common::{Echo, Ping, channel, start, unary};
use madsim::runtime::{Handle, NodeHandle};
use tonic::{Code, Request};
use weir_runtime::{
    clock::{Clock, skew},
    net::cuts,
    rpc,
};

fn node(name: &str, ip: [u8; 4]) -> NodeHandle {
    let node = Handle::current().create_node().name(name).ip(IpAddr::from(ip)).build();
    cuts::register(IpAddr::from(ip), node.id());
    node
}

fn server_node() -> NodeHandle {
    let node = node("server", [10, 0, 0, 1]);
    node.spawn(async {
        start(Echo::default(), "10.0.0.1:50", rpc::ServerConfig::default())
            .await
            .done
            .await
            .unwrap();
    });
    node
}

fn ping() -> Request<Ping> {
    rpc::within(Duration::from_secs(3), Ping { id: 1, body: Bytes::new() })
}

#[tokio::test]
async fn a_connect_across_a_cut_hangs_until_it_heals() {
    cuts::reset();
    let server = server_node();
    let client = node("client", [10, 0, 0, 2]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    for (from, to) in [(client.id(), server.id()), (server.id(), client.id())] {
        cuts::cut_one_way(from, to);
        let call = client.spawn(async {
            let before = Clock.now();
            let error = unary(&channel("10.0.0.1:50"), ping()).await.unwrap_err();
            (error.code(), Clock.now().since(before))
        });
        let (code, took) = call.await.unwrap();
        assert_eq!(code, Code::DeadlineExceeded, "a lost SYN is silence, not a refusal");
        assert!(took >= Duration::from_secs(3), "{took:?}");
        cuts::heal_all();
        let call = client.spawn(async { unary(&channel("10.0.0.1:50"), ping()).await.is_ok() });
        assert!(call.await.unwrap());
    }
}

#[tokio::test]
async fn a_death_behind_a_cut_is_seen_by_keep_alive_only() {
    cuts::reset();
    let server = server_node();
    let client = node("client", [10, 0, 0, 2]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let seen_ms = Arc::new(AtomicU64::new(0));
    let seen = seen_ms.clone();
    client.spawn(async move {
        let (_keep, rx) = tokio::sync::mpsc::channel(1);
        let mut stream = common::stream(&channel("10.0.0.1:50"), rx).await.unwrap();
        let before = Clock.now();
        assert!(!matches!(stream.message().await, Ok(Some(_))));
        let took = u64::try_from(Clock.now().since(before).as_millis()).unwrap();
        seen.store(took, Ordering::SeqCst);
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    cuts::cut_between(&[server.id()], &[client.id()]);
    Handle::current().kill(server.id());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(seen_ms.load(Ordering::SeqCst), 0, "the death crossed the cut");
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_ne!(seen_ms.load(Ordering::SeqCst), 0, "keep-alive never noticed");
}

#[tokio::test]
async fn a_skewed_node_reads_another_clock_and_its_timers_follow() {
    skew::reset();
    let fast = node("fast", [10, 0, 0, 3]);
    skew::set(fast.id(), skew::Skew { offset_ms: 60_000, rate_ppm: 1_000_000 });
    let (true_wall, true_before) = (Clock.unix_ms(), Clock.now());
    let on_fast = fast.spawn(async {
        let (wall, before) = (Clock.unix_ms(), Clock.now());
        Clock.sleep(Duration::from_secs(10)).await;
        (wall, Clock.now().since(before))
    });
    let (wall, local) = on_fast.await.unwrap();
    assert!((wall - true_wall - 60_000).abs() < 100, "{wall} {true_wall}");
    assert!(local >= Duration::from_secs(10));
    let passed = Clock.now().since(true_before);
    assert!(
        passed < Duration::from_secs(6),
        "double speed: ten seconds there are five here: {passed:?}"
    );
    skew::reset();
}
