//! Three copies of each partition, everything that can go wrong between them, and a few things
//! at once. What was acknowledged is there, once, in order; and once all is healed every copy
//! is in sync again.

use std::{sync::atomic::Ordering, time::Duration};

use weir_client::{ConsumerConfig, admin::TopicCreate};
use weir_runtime::clock::Clock;

use super::{
    Least, Scenario,
    schedule::{self, against_one, one_of},
    setup::{
        CONVERGE, acknowledged_more, between, cluster, done, drained, every_partition_takes,
        on_client_node, running, topic_as,
    },
};
use crate::{
    application::{self, Working},
    faults::Fault,
    nemesis,
    workload::{self, Producing},
    world::{CLUSTER, World},
};

const TOPIC: &str = "orders";
const NAME: &str = "billing";
const REPLICATION: u32 = 3;
/// Faults strike within so long.
const OVER_MS: u64 = 25_000;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "replication",
    story: "three copies, while SPUs crash together, lose each other, the control plane, their disks",
    least: Least { acknowledged: 300, faults: 5, recoveries: 1, told: 0 },
    play: |world| {
        on_client_node(world, |world, node| async move {
            let spus = between(3, 6);
            let partitions = u32::try_from(between(1, 4)).unwrap_or(1);
            cluster(&world, u32::try_from(spus).unwrap_or(3)).await?;
            let create =
                TopicCreate { replication: REPLICATION, ..TopicCreate::new(TOPIC, partitions) };
            topic_as(&world, &create).await?;
            let other = world.client_node();
            let pace = Duration::from_millis(between(2, 12));
            let producing = |producer| Producing { pace, ..Producing::new(producer, TOPIC) };
            let first = workload::produce(&world, &node, producing(1));
            let second = workload::produce(&world, &other, producing(2));
            let reader = workload::consume(&world, &other, 1, ConsumerConfig::new(TOPIC));
            let machine = world.client_node();
            // Not waited for: it works until the end.
            let _working = application::work(&world, &machine, Working::new(NAME, 1, TOPIC));
            acknowledged_more(&world, 50, Duration::from_secs(20)).await?;

            let clients = vec![node.id(), other.id(), machine.id()];
            let mut schedule = schedule::draw(between(10, 18), spus, OVER_MS, || fault(spus));
            let mut rotten = false;
            schedule.retain(|step| {
                let rots = matches!(step.fault, Fault::RotSegment { .. });
                !rots || !std::mem::replace(&mut rotten, true)
            });
            nemesis::run(world.clone(), schedule, clients).await;

            running(&world).await?;
            every_partition_takes(&world, partitions, Duration::from_secs(60)).await?;
            acknowledged_more(&world, 50, Duration::from_secs(30)).await?;
            // What was found damaged in use is filled again after that.
            restart_one_by_one(&world).await?;
            in_sync(&world, TOPIC).await?;
            first.stop().await;
            second.stop().await;
            madsim::runtime::Handle::current().kill(machine.id());
            drained(&world, NAME, TOPIC, 2).await?;
            workload::final_read(&world, &node, 100, TOPIC, Duration::from_secs(60)).await?;
            reader.stop().await;
            count_elections(&world, TOPIC).await
        })
    },
};

/// Waits until every partition has all its replicas in sync.
pub(super) async fn in_sync(world: &World, topic: &str) -> Result<(), String> {
    let mut last = String::new();
    let wait = async {
        loop {
            match world.admin().topic(CLUSTER, topic).await {
                Ok(topic)
                    if topic
                        .partitions
                        .iter()
                        .all(|p| p.isr_spu_ids.len() == p.replica_spu_ids.len()) =>
                {
                    return;
                }
                Ok(topic) => last = format!("{:?}", topic.partitions),
                Err(error) => last = error.to_string(),
            }
            Clock.sleep(Duration::from_millis(200)).await;
        }
    };
    let waited = Clock.timeout(CONVERGE, wait).await;
    waited.map_err(|_| format!("not all in sync after {CONVERGE:?}: {last}"))
}

/// Has every SPU started anew, one after the other.
async fn restart_one_by_one(world: &World) -> Result<(), String> {
    let ordered = world.admin().cluster_restart(CLUSTER, None).await;
    done(world, &ordered.map_err(|error| error.to_string())?).await?;
    running(world).await.map(drop)
}

/// Every leader epoch after the first one was an election.
pub(super) async fn count_elections(world: &World, topic: &str) -> Result<(), String> {
    let topic = world.admin().topic(CLUSTER, topic).await.map_err(|error| error.to_string())?;
    let epochs = topic.partitions.iter().map(|p| u64::from(p.leader_epoch.0.saturating_sub(1)));
    world.counters.elections.fetch_add(epochs.sum(), Ordering::Relaxed);
    Ok(())
}

/// What can go wrong between replicas, or anywhere else.
fn fault(spus: u64) -> Fault {
    let (spu, for_ms) = (one_of(spus), between(200, 9_000));
    match between(0, 22) {
        0..=7 => against_one(spus),
        8 => Fault::CrashSpus { spus: vec![spu, one_of(spus)], down_ms: between(50, 6_000) },
        9 => {
            let all = (1..=u32::try_from(spus).unwrap_or(1)).collect();
            Fault::CrashSpus { spus: all, down_ms: between(50, 3_000) }
        }
        10 | 11 => Fault::MuteSpuToSpu { from: spu, to: one_of(spus), for_ms },
        12 => Fault::PartSpuFromSpus { spu, for_ms: between(200, 15_000) },
        13 | 14 => Fault::PartSpuFromControlPlane { spu, for_ms },
        15 => Fault::WipeSpu { spu, down_ms: between(50, 4_000), with_others: between(0, 2) == 0 },
        16 => {
            let (down_ms, with_others) = (between(50, 4_000), between(0, 2) == 0);
            Fault::DamageReplica { spu, down_ms, with_others }
        }
        17 => Fault::RotSegment { spu, down_ms: between(50, 4_000) },
        18 => Fault::SwapFolders { one: spu, other: one_of(spus), for_ms },
        19 => Fault::RestartSpu { spu },
        20 => Fault::MuteControlPlaneToSpu { spu, for_ms },
        _ => Fault::CrashControlPlane { down_ms: between(50, 6_000) },
    }
}
