//! An SPU that loses power again and again while a producer writes, over many seeds.
//!
//! What is judged: every acknowledged batch is there after each crash, at its offset, with
//! its bytes, and no batch is there twice. What is *not* judged here: several replicas,
//! partitions of the network, the real control plane (the simulation suite does).
#![cfg(madsim)] // Only the simulated disk takes away what was not promised.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, dead_code)]

#[path = "spu/client.rs"]
mod client;
#[path = "spu/control_plane.rs"]
mod control_plane;

use std::{
    collections::BTreeMap,
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
    batch,
    ids::{LaunchId, SpuId},
    pb::{
        data::{ProduceRequest, fetch_response::Event},
        session::ReplicaState,
    },
};
use weir_runtime::{
    clock::Clock,
    disk::sim::{DiskSim, SimDisk},
    plant,
    task::CancellationToken,
};

use client::{Client, at, batch, request};
use control_plane::{ControlPlane, key, led, topic};

const CONTROL_PLANE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const SPU: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const CRASHES: u32 = 4;

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
        limits: Limits::default(),
        log: LogConfig { segment_bytes_max: 4000, ..LogConfig::default() },
    }
}

/// Everything in the partition, by base offset.
async fn read_all(client: &Client, epoch: u32, end: u64) -> BTreeMap<u64, bytes::Bytes> {
    let mut fetcher = client.fetch().await;
    fetcher.credit(1 << 40).await;
    fetcher.subscribe_at(1, key(1, 0), at(0), 1500, epoch).await;
    assert_eq!(fetcher.started(1).await, 0);
    let (mut found, mut next) = (BTreeMap::new(), 0);
    while next < end {
        let (_, Event::Records(records)) = fetcher.event().await else { panic!("no records") };
        let mut rest = records.batches;
        while let Some((header, whole, after)) = batch::split_first(&rest).unwrap() {
            batch::verify(&whole).unwrap();
            assert_eq!(header.base_offset.get(), next, "offsets are dense");
            // What lies outside the checksum is the server's.
            found.insert(next, whole.slice(17..));
            next = header.next_offset().get();
            rest = after;
        }
    }
    found
}

/// One seed. Panics if a promise is broken; gives the number of acknowledged batches.
async fn story() -> usize {
    let control_plane_node =
        Handle::current().create_node().name("cp").ip(IpAddr::from(CONTROL_PLANE)).build();
    let serve = async {
        ControlPlane::start_at(&format!("{CONTROL_PLANE}:7000"), vec![topic(1, 1, "t")]).await
    };
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
    DiskSim::current().faults(spu_id, |faults| faults.power_loss = 1.0);
    let test = Handle::current().create_node().name("test").ip("10.0.0.3".parse().unwrap()).build();
    let work = test.spawn(async move {
        let mut acknowledged = BTreeMap::new();
        let mut sequence = 0;
        // The batch whose fate the crash left open.
        let mut open: Option<(u32, bytes::Bytes)> = None;
        for life in 1..=CRASHES {
            let led_by_us = control_plane.reported(key(1, 0), |status| {
                status.state() == ReplicaState::Online && status.leader_epoch == life
            });
            led_by_us.await;
            let client = Client::new(&format!("{SPU}:9500"));
            let end = control_plane.state.replicas.borrow()[&key(1, 0)].log_end;
            let found = read_all(&client, life, end).await;
            for (offset, bytes) in &acknowledged {
                assert_eq!(found.get(offset), Some(bytes), "the batch acknowledged at {offset}");
            }
            let distinct: std::collections::BTreeSet<_> = found.values().collect();
            assert_eq!(distinct.len(), found.len(), "a batch is there twice");

            let mut producer = client.produce().await;
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
                let (first, bytes) = open.take().unwrap_or_else(|| {
                    (sequence, batch(2, thread_rng().gen_range(1..300), Some((7, sequence))))
                });
                let asked =
                    ProduceRequest { leader_epoch: life, ..request(key(1, 0), bytes.clone()) };
                open = Some((first, bytes.clone()));
                let Some(ack) = producer.try_send(asked).await else { break };
                acknowledged.insert(ack.base_offset, bytes.slice(17..));
                sequence = first + 2;
                open = None;
            }
            killing.await.unwrap();
            control_plane.state.replicas.send_modify(|all| all.clear());
            control_plane.state.incarnation.store(u64::from(life) + 1, Ordering::SeqCst);
            let next = led(topic(1, 1, "t"), life + 1, u64::from(life) + 1);
            *control_plane.state.topics.lock().unwrap() = vec![next];
            control_plane.state.revision.fetch_add(1, Ordering::SeqCst);
            Handle::current().restart(spu_id);
        }
        acknowledged.len()
    });
    work.await.unwrap()
}

/// One seed on a thread of its own, since what a simulation keeps is the thread's.
#[allow(clippy::disallowed_methods)]
fn run(seed: u64, planted: Option<&'static str>) -> std::thread::Result<usize> {
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
fn what_was_acknowledged_survives_every_crash() {
    let acknowledged = |seed| run(seed, None).unwrap_or_else(|_| panic!("seed {seed}"));
    let all: usize = (0..100).map(acknowledged).sum();
    assert!(all > 1000, "only {all} batches were acknowledged");
}

#[test]
fn an_acknowledgement_before_its_fsync_is_caught() {
    let broken = |seed| match run(seed, Some("ack_before_fsync")) {
        Ok(_) => false,
        Err(panic) => {
            let message = panic.downcast_ref::<String>().expect("a formatted message");
            assert!(message.contains("the batch acknowledged at"), "by another check: {message}");
            true
        }
    };
    // One seed in a dozen kills it between the two.
    assert!((0..100).any(broken), "no seed noticed the planted bug");
}
