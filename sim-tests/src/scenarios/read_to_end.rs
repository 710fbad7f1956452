//! Leaders change, one or all at once, or are cut off and do not know it, and whoever reads a topic
//! to its end meanwhile gets all that was acknowledged before the read began. A new leader knows
//! less than its predecessor has told (KIP-207), and a deposed one less than its successor: neither
//! may name the end.

use std::time::Duration;

use futures::future::try_join_all;
use madsim::runtime::NodeHandle;
use weir_client::{Client, admin::TopicCreate};
use weir_runtime::clock::Clock;

use super::{
    Least, Scenario,
    replication::{count_elections, in_sync},
    schedule::one_of,
    setup::{acknowledged_more, between, cluster, on_client_node, running, topic_as},
};
use crate::{
    faults::{Fault, Step},
    history::Event,
    nemesis,
    workload::{self, Producing},
    world::World,
};

const TOPIC: &str = "orders";
const READ: Duration = Duration::from_secs(60);
/// Reads after each change.
const READS: u32 = 8;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "read-to-end",
    story: "leaders change, and a read to the end at once finds all that was acknowledged",
    least: Least { acknowledged: 100, faults: 2, recoveries: 0, told: 0 },
    play: |world| {
        on_client_node(world, |world, node| async move {
            let spus = between(3, 5);
            cluster(&world, u32::try_from(spus).unwrap_or(3)).await?;
            let partitions = u32::try_from(between(1, 4)).unwrap_or(1);
            let create = TopicCreate { replication: 3, ..TopicCreate::new(TOPIC, partitions) };
            topic_as(&world, &create).await?;
            let pace = Duration::from_millis(between(2, 12));
            let producing = Producing { pace, ..Producing::new(1, TOPIC) };
            let producer = workload::produce(&world, &node, producing);
            let mut connected = Vec::new();
            for _ in 0..READS / 2 {
                connected.push(world.connect().await);
            }
            for round in 1..=u32::try_from(between(2, 5)).unwrap_or(2) {
                acknowledged_more(&world, 50, Duration::from_secs(30)).await?;
                in_sync(&world, TOPIC).await?;
                let (fault, span_ms) = fault(spus);
                let schedule = vec![Step { at_ms: 0, fault }];
                let faults = nemesis::run(world.clone(), schedule, vec![node.id()]);
                let clients = connected.iter().map(Some).chain(std::iter::repeat(None));
                let reads = (0..READS).zip(clients).map(|(read, client)| {
                    read_all(&world, &node, client, 100 * round + read, span_ms)
                });
                let ((), read) = tokio::join!(faults, try_join_all(reads));
                read?;
            }
            running(&world).await?;
            producer.stop().await;
            workload::final_read(&world, &node, 10, TOPIC, READ).await?;
            count_elections(&world, TOPIC).await
        })
    },
};

/// What makes leaders change, and for how long it is worth reading, in milliseconds: at once, or
/// until who is cut off has been replaced for long.
fn fault(spus: u64) -> (Fault, u64) {
    let (spu, down_ms, for_ms) = (one_of(spus), between(1, 1_000), between(1_000, 9_000));
    let fault = match between(0, 12) {
        0..=3 => {
            let all = (1..=u32::try_from(spus).unwrap_or(1)).collect();
            Fault::CrashSpus { spus: all, down_ms }
        }
        4 => Fault::CrashSpu { spu, down_ms },
        5 => Fault::RestartSpu { spu },
        6 => Fault::PauseSpu { spu, for_ms },
        7 => Fault::PartSpuFromSpus { spu, for_ms },
        _ => return (Fault::PartSpuFromControlPlane { spu, for_ms: 5_000 + for_ms }, 12_000),
    };
    (fault, 1_500)
}

/// Reads to the end, by a client that was connected before or by one that is not yet, at some time or other, and writes down what had to be in it.
async fn read_all(
    world: &World,
    node: &NodeHandle,
    client: Option<&Client>,
    consumer: u32,
    span_ms: u64,
) -> Result<(), String> {
    Clock.sleep(Duration::from_millis(between(0, span_ms))).await;
    let (_, kept_to) = world.history.since(0, |_| ());
    let read = match client {
        Some(client) => {
            workload::read_whole_by(client, &world.history, consumer, TOPIC, READ).await
        }
        None => workload::read_whole(world, node, consumer, TOPIC, READ).await,
    };
    let (generation, _) = read?;
    let (kept_from, gone_below) = (0, 0);
    let read = Event::KeptRead { consumer, generation, kept_from, kept_to, gone_below };
    world.history.add(read);
    Ok(())
}
