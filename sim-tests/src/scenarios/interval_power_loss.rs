//! A topic that acknowledges before the fsync, on two machines: one loses its power, and with it
//! what it had acknowledged; the other one has it. Before the first has fetched it again the other
//! one is out of sight, and then its process ends. Whoever is elected meanwhile, nothing that was
//! acknowledged is lost, for one machine never lost its power.

use std::{sync::atomic::Ordering, time::Duration};

use weir_client::{
    ConsumerConfig,
    admin::{FlushMode, SpuState, TopicConfigChange, TopicCreate},
};
use weir_protocol::ids::SpuId;
use weir_runtime::{
    clock::Clock,
    disk::sim::{DiskSim, Faults},
    net::cuts,
};

use super::{
    Least, Scenario,
    replication::{count_elections, in_sync},
    schedule::one_of,
    setup::{CONVERGE, acknowledged_more, between, cluster, on_client_node, running, topic_as},
};
use crate::{
    workload::{self, Producing},
    world::{CLUSTER, World},
};

const TOPIC: &str = "orders";
const LOOK_AGAIN: Duration = Duration::from_millis(50);

pub(super) const SCENARIO: Scenario = Scenario {
    name: "interval-power-loss",
    story: "flush=interval on two machines: one loses its power, then the other is out of sight",
    least: Least { acknowledged: 150, faults: 2, recoveries: 1, told: 0 },
    play: |world| {
        on_client_node(world, |world, node| async move {
            cluster(&world, 2).await?;
            let flush_interval_ms = Some(u32::try_from(between(500, 5_000)).unwrap_or(500));
            let flush = Some(FlushMode::Interval);
            let config =
                TopicConfigChange { flush, flush_interval_ms, ..TopicConfigChange::default() };
            let partitions = u32::try_from(between(1, 4)).unwrap_or(1);
            let create =
                TopicCreate { replication: 2, config, ..TopicCreate::new(TOPIC, partitions) };
            topic_as(&world, &create).await?;
            let pace = Duration::from_millis(between(2, 8));
            let producing = Producing { pace, ..Producing::new(1, TOPIC) };
            let producer = workload::produce(&world, &node, producing);
            let reader = workload::consume(&world, &node, 1, ConsumerConfig::new(TOPIC));
            for _ in 0..2 {
                acknowledged_more(&world, 50, Duration::from_secs(30)).await?;
                in_sync(&world, TOPIC).await?;
                dark(&world, one_of(2)).await?;
            }
            running(&world).await?;
            acknowledged_more(&world, 50, Duration::from_secs(60)).await?;
            in_sync(&world, TOPIC).await?;
            producer.stop().await;
            workload::final_read(&world, &node, 100, TOPIC, Duration::from_secs(60)).await?;
            reader.stop().await;
            count_elections(&world, TOPIC).await
        })
    },
};

/// `first` loses its power and comes back, and hears nothing of the other, which is alone with what
/// was acknowledged; then nobody hears of the other for longer than its lease.
async fn dark(world: &World, first: u32) -> Result<(), String> {
    let machine = |spu| world.machines.get(spu).ok_or("a machine was never started");
    let (one, other) = (machine(first)?, machine(3 - first)?);
    let before = incarnation(world, first).await?;
    cuts::cut_between(&[one.node], &[other.node]);
    one.power_off();
    world.counters.faults.fetch_add(1, Ordering::Relaxed);
    Clock.sleep(Duration::from_millis(between(50, 2_000))).await;
    one.power_on();
    online_after(world, first, before).await?;
    let mut everybody = world.clients();
    everybody.extend([one.node, world.control_plane.node()]);
    cuts::cut_between(&[other.node], &everybody);
    world.counters.faults.fetch_add(1, Ordering::Relaxed);
    Clock.sleep(Duration::from_millis(between(5_000, 15_000))).await;
    cuts::heal_between(&[other.node], &everybody);
    let before = online_after(world, 3 - first, 0).await?;
    // Its process ends, and takes nothing with it: the machine keeps its power.
    let disk = DiskSim::current();
    disk.faults(other.node, |faults| faults.power_loss = 0.0);
    other.kill();
    online_after(world, 3 - first, before).await?;
    disk.faults(other.node, |faults| faults.power_loss = Faults::default().power_loss);
    Ok(())
}

/// Waits until an SPU is online in a later life than `before`, and answers which.
async fn online_after(world: &World, spu: u32, before: u64) -> Result<u64, String> {
    let back = async {
        loop {
            match incarnation(world, spu).await {
                Ok(now) if now > before => return now,
                _ => Clock.sleep(LOOK_AGAIN).await,
            }
        }
    };
    Clock.timeout(CONVERGE, back).await.map_err(|_| format!("SPU {spu} never came back"))
}

/// The life in which an SPU is online.
async fn incarnation(world: &World, spu: u32) -> Result<u64, String> {
    let cluster = world.admin().cluster(CLUSTER).await.map_err(|error| error.to_string())?;
    let of = cluster.spus.iter().find(|of| of.spu_id == SpuId(spu));
    let online = of.filter(|of| of.state == SpuState::Online);
    let life = online.and_then(|of| of.incarnation);
    life.map(|life| life.0).ok_or_else(|| format!("SPU {spu} is not online"))
}
