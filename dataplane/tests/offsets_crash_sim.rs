//! A coordinator that loses power again and again while a consumer commits, over many seeds.
//!
//! What is judged: every acknowledged commit is there after each crash, and the control plane
//! never heard of one that is not. What is *not* judged here: several replicas, partitions
//! of the network, the real control plane (the simulation suite does).
#![cfg(madsim)] // Only the simulated disk takes away what was not promised.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, dead_code)]

#[path = "spu/client.rs"]
mod client;
#[path = "spu/control_plane.rs"]
mod control_plane;

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use madsim::{
    rand::{Rng, thread_rng},
    runtime::{Handle, Runtime},
};
use uuid::Uuid;
use weir_dataplane::{Config, Deps, Limits, log::LogConfig};
use weir_protocol::{
    ids::{LaunchId, SpuId},
    pb::{
        metadata::TopicGeneration,
        offsets::{
            CommitRequest, CommittedOffset, OpenSessionRequest, offsets_client::OffsetsClient,
        },
    },
};
use weir_runtime::{
    clock::Clock,
    disk::sim::{DiskSim, SimDisk},
    plant,
    task::CancellationToken,
};

use client::{Client, soon, with_token};
use control_plane::{ControlPlane, key, led, topic};

const CONTROL_PLANE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const SPU: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const CRASHES: u32 = 4;
const SESSION: &[u8] = b"session-id-of-16";

fn config() -> Config {
    Config {
        org_id: client::ORG,
        cluster_id: client::CLUSTER,
        spu_id: SpuId(1),
        launch_id: LaunchId(Uuid::from_u128(5)),
        launch_secret: "secret".into(),
        control_plane: format!("{CONTROL_PLANE}:7000"),
        listen: format!("{SPU}:9500"),
        advertise: None,
        rack: None,
        build: "0.1.0".to_owned(),
        limits: Limits { offsets_flush_interval: Duration::from_millis(5), ..Limits::default() },
        log: LogConfig { segment_bytes_max: 4000, ..LogConfig::default() },
    }
}

fn topics(life: u32) -> Vec<TopicGeneration> {
    let led_by = |topic| led(topic, life, life.into());
    vec![led_by(topic(1, 1, "t")), led_by(topic(9, 1, "__offsets"))]
}

/// Claims the partition, once the coordinator serves; gives what is committed.
async fn open(client: &Client) -> Option<u64> {
    let request = || OpenSessionRequest {
        consumer: "c".to_owned(),
        session_id: SESSION.into(),
        partitions: vec![key(1, 0).to_wire()],
    };
    let opened = async {
        loop {
            let mut offsets = OffsetsClient::new(client.channel.clone());
            match offsets.open_session(with_token(request(), &client.token)).await {
                Ok(answer) => return answer.into_inner(),
                // Not registered, not leading, or not settled yet.
                Err(_) => Clock.sleep(Duration::from_millis(20)).await,
            }
        }
    };
    soon(opened).await.committed.first().map(|committed| committed.next_offset)
}

async fn commit(client: &Client, next_offset: u64) -> bool {
    let partition = Some(key(1, 0).to_wire());
    let request = CommitRequest {
        consumer: "c".to_owned(),
        session_id: SESSION.into(),
        sequence: next_offset,
        offsets: vec![CommittedOffset { partition, next_offset, ..CommittedOffset::default() }],
    };
    let mut offsets = OffsetsClient::new(client.channel.clone());
    soon(offsets.commit(with_token(request, &client.token))).await.is_ok()
}

/// One seed. Panics if a promise is broken; gives the number of acknowledged commits.
async fn story() -> u64 {
    let control_plane_node =
        Handle::current().create_node().name("cp").ip(IpAddr::from(CONTROL_PLANE)).build();
    let serve = ControlPlane::start_at("10.0.0.1:7000", topics(1));
    let control_plane = control_plane_node.spawn(serve).await.unwrap();
    let spu = Handle::current()
        .create_node()
        .name("spu")
        .ip(IpAddr::from(SPU))
        .init(|| async {
            let deps = Deps { disk: SimDisk::of_this_node(), clock: Clock };
            weir_dataplane::run(config(), deps, CancellationToken::new()).await.unwrap();
        })
        .build();
    let spu_id = spu.id();
    DiskSim::current().faults(spu_id, |faults| {
        faults.power_loss = 1.0;
        // Slower than the network, so that the power can go between an upload and its fsync.
        faults.sync.latency = Duration::from_millis(2)..Duration::from_millis(30);
    });
    let test = Handle::current().create_node().name("test").ip("10.0.0.3".parse().unwrap()).build();
    let work = test.spawn(async move {
        let (mut acknowledged, mut tried, mut count) = (0, 0, 0);
        for life in 1..=CRASHES {
            let client = Client::new(&format!("{SPU}:9500"));
            // What the control plane heard from the lives before.
            let uploads = control_plane.state.uploads.borrow().clone();
            let stored = ControlPlane::stored(&uploads, "c", key(1, 0));
            let stored = stored.and_then(|stored| stored.next_offset).unwrap_or(0);
            let found = open(&client).await.unwrap_or(0);
            assert!(found >= acknowledged, "{acknowledged} was acknowledged, {found} is left");
            assert!(found >= stored, "the control plane heard of {stored}, {found} is left");
            assert!(found <= tried, "{found} was never committed");

            let killed = Arc::new(AtomicBool::new(false));
            let killing = {
                let killed = killed.clone();
                let after = Duration::from_micros(thread_rng().gen_range(2_000..300_000));
                madsim::task::spawn(async move {
                    Clock.sleep(after).await;
                    killed.store(true, Ordering::SeqCst);
                    Handle::current().kill(spu_id);
                })
            };
            while !killed.load(Ordering::SeqCst) {
                tried += 1;
                if !commit(&client, tried).await {
                    break;
                }
                (acknowledged, count) = (tried, count + 1);
            }
            killing.await.unwrap();
            control_plane.state.replicas.send_modify(|all| all.clear());
            control_plane.state.incarnation.store(u64::from(life) + 1, Ordering::SeqCst);
            *control_plane.state.topics.lock().unwrap() = topics(life + 1);
            control_plane.state.revision.fetch_add(1, Ordering::SeqCst);
            Handle::current().restart(spu_id);
        }
        let uploads = control_plane.state.uploads.borrow().len();
        assert!(uploads > 0, "the control plane heard nothing");
        count
    });
    work.await.unwrap()
}

/// One seed on a thread of its own, since what a simulation keeps is the thread's.
#[allow(clippy::disallowed_methods)]
fn run(seed: u64, planted: Option<&'static str>) -> std::thread::Result<u64> {
    let run = move || {
        plant::clear();
        if let Some(planted) = planted {
            plant::activate(planted);
        }
        let mut runtime = Runtime::with_seed_and_config(seed, madsim::Config::default());
        runtime.add_simulator::<DiskSim>();
        runtime.set_time_limit(Duration::from_secs(300));
        runtime.block_on(story())
    };
    std::thread::spawn(run).join()
}

#[test]
fn what_was_committed_survives_every_crash_and_sql_is_never_ahead() {
    let acknowledged = |seed| run(seed, None).unwrap_or_else(|_| panic!("seed {seed}"));
    let all: u64 = (0..40).map(acknowledged).sum();
    assert!(all > 400, "only {all} commits were acknowledged");
}

fn caught(seed: u64, planted: &'static str, by: &str) -> bool {
    match run(seed, Some(planted)) {
        Ok(_) => false,
        Err(panic) => {
            let message = panic.downcast_ref::<String>().expect("a formatted message");
            assert!(message.contains(by), "by another check: {message}");
            true
        }
    }
}

#[test]
fn an_upload_before_its_commit_is_caught() {
    let broken = |seed| caught(seed, "flush_above_hw", "the control plane heard of");
    assert!((0..60).any(broken), "no seed noticed the planted bug");
}
