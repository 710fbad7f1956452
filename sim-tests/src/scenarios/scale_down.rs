//! A cluster gets fewer SPUs, and then more, while it is written to and read: what those hold that go
//! is moved first, and those that come take their share, whatever crashes meanwhile. The
//! operations end, the count is exact, every record is there. Where a copy would not fit it is
//! refused by name, and nothing changes.

use std::time::Duration;

use weir_client::{
    ConsumerConfig,
    admin::{OperationState, TopicCreate},
};
use weir_protocol::ids::SpuId;
use weir_runtime::clock::Clock;

use super::{
    Least, Scenario,
    setup::{
        CONVERGE, acknowledged_more, between, cluster, done, every_partition_takes, observe,
        on_client_node, running, topic, topic_as,
    },
};
use crate::{
    faults::{Fault, Step},
    nemesis,
    workload::{self, Producing},
    world::{CLUSTER, World},
};

const TOPIC: &str = "spread";

pub(super) const SCENARIO: Scenario = Scenario {
    name: "scale-down",
    story: "a cluster gets fewer SPUs, then more, while it is written to and things crash",
    least: Least { acknowledged: 200, faults: 1, recoveries: 1, told: 0 },
    play: |world| {
        on_client_node(world, |world, node| async move {
            cluster(&world, 4).await?;
            // Something on each: none of the four is empty.
            let partitions = u32::try_from(between(5, 9)).unwrap_or(4);
            topic(&world, TOPIC, partitions).await?;
            let writer = workload::produce(&world, &node, Producing::new(1, TOPIC));
            let reader = workload::consume(&world, &node, 1, ConsumerConfig::new(TOPIC));
            acknowledged_more(&world, 50, Duration::from_secs(20)).await?;

            // Something that is needed for it, or somebody who stays, dies about now.
            let few = u32::try_from(between(1, 4)).unwrap_or(1);
            let crashes = draw_crashes(few);
            let crashing = madsim::task::spawn(nemesis::run(world.clone(), crashes, vec![]));
            Clock.sleep(Duration::from_millis(between(0, 1_500))).await;
            scaled(&world, few).await?;
            crashing.await.expect("a nemesis does not panic");
            // What died last is noticed within the reconciler's period.
            Clock.sleep(Duration::from_secs(3)).await;
            let stay: Vec<_> = (1..=few).collect();
            exactly(&world, &stay).await?;
            for gone in few + 1..=4 {
                if world.machines.get(gone).is_some_and(|machine| machine.running().is_some()) {
                    return Err(format!("SPU {gone} was removed and still runs"));
                }
            }
            gone_for_good(&world).await?;
            acknowledged_more(&world, 50, Duration::from_secs(30)).await?;
            every_partition_takes(&world, partitions, Duration::from_secs(30)).await?;

            let crashing = madsim::task::spawn(nemesis::run(world.clone(), one_of(few), vec![]));
            scaled(&world, few + 2).await?;
            crashing.await.expect("a nemesis does not panic");
            let all: Vec<_> = stay.into_iter().chain([5, 6]).collect();
            exactly(&world, &all).await?;
            took_their_share(&world, partitions, &all).await?;
            offsets_have_three_copies(&world).await?;
            refused(&world, few + 2).await?;
            exactly(&world, &all).await?;
            acknowledged_more(&world, 50, Duration::from_secs(30)).await?;
            every_partition_takes(&world, partitions, Duration::from_secs(30)).await?;
            writer.stop().await;
            workload::final_read(&world, &node, 100, TOPIC, Duration::from_secs(60)).await?;
            reader.stop().await;
            Ok(())
        })
    },
};

/// Orders so many SPUs, until the order is known to have arrived, and waits until that is done.
async fn scaled(world: &World, spus: u32) -> Result<(), String> {
    let admin = world.admin();
    let ordered = admin.cluster_scale(CLUSTER, spus).await;
    let ordered = ordered.map_err(|e| format!("scale to {spus}: {e}"))?;
    done(world, &ordered).await
}

/// Each that is new has as many partitions as there are for every SPU, rounded down.
async fn took_their_share(world: &World, partitions: u32, spus: &[u32]) -> Result<(), String> {
    let topic = world.admin().topic(CLUSTER, TOPIC).await.map_err(|e| e.to_string())?;
    let share = partitions / u32::try_from(spus.len()).unwrap_or(1);
    for new in [5, 6] {
        let held = topic.partitions.iter().filter(|p| p.replica_spu_ids[..] == [SpuId(new)]);
        let held = u32::try_from(held.count()).unwrap_or(u32::MAX);
        if held != share {
            return Err(format!("SPU {new} holds {held} partitions, its share is {share}"));
        }
    }
    Ok(())
}

/// What consumers have committed is kept three times again, where it could not be for a while.
async fn offsets_have_three_copies(world: &World) -> Result<(), String> {
    let mut copies = Vec::new();
    let wait = async {
        while copies.is_empty() || copies.iter().any(|copies| *copies != 3) {
            Clock.sleep(Duration::from_millis(200)).await;
            let Ok(topic) = world.admin().topic(CLUSTER, "__offsets").await else { continue };
            copies = topic.partitions.iter().map(|p| p.isr_spu_ids.len()).collect();
        }
    };
    let waited = Clock.timeout(CONVERGE, wait).await;
    waited.map_err(|_| format!("partitions of the offsets topic have {copies:?} copies in sync"))
}

/// A crash of one of those that are there, while more come.
fn one_of(few: u32) -> Vec<Step> {
    let spu = u32::try_from(between(1, u64::from(few) + 1)).unwrap_or(1);
    let fault = match between(0, 2) {
        0 => Fault::CrashSpu { spu, down_ms: between(50, 2_000) },
        _ => Fault::CrashControlPlane { down_ms: between(200, 3_000) },
    };
    vec![Step { at_ms: between(0, 2_000), fault }]
}

/// One crash of an SPU, and perhaps one of the control plane.
fn draw_crashes(few: u32) -> Vec<Step> {
    let spu = u32::try_from(between(1, 5)).unwrap_or(1);
    let crash = Fault::CrashSpu { spu, down_ms: between(50, 3_000) };
    let mut steps = vec![Step { at_ms: between(0, 2_000), fault: crash }];
    if between(0, 2) == 1 {
        let fault = Fault::CrashControlPlane { down_ms: between(200, 4_000) };
        steps.push(Step { at_ms: between(0, 2_500), fault });
    }
    // One that stays, so that every run has a recovery.
    let stays = u32::try_from(between(1, u64::from(few) + 1)).unwrap_or(1);
    let crash = Fault::CrashSpu { spu: stays, down_ms: between(50, 2_000) };
    steps.push(Step { at_ms: between(2_500, 5_000), fault: crash });
    steps.sort_by_key(|step| step.at_ms);
    steps
}

/// Asks for fewer SPUs than there are copies: refused by name, and the cluster is as it was.
async fn refused(world: &World, spus: u32) -> Result<(), String> {
    let copies = TopicCreate { replication: spus, ..TopicCreate::new("copies", 1) };
    topic_as(world, &copies).await?;
    let admin = world.admin();
    let before = admin.cluster(CLUSTER).await.map_err(|e| e.to_string())?;
    let error = match admin.cluster_scale(CLUSTER, spus - 1).await {
        Ok(_) => return Err(format!("scaled to {} with {spus} copies of a topic", spus - 1)),
        Err(error) => error,
    };
    if error.code() != "SCALE_REFUSED" || !error.to_string().contains("copies (partition") {
        return Err(format!("not refused by name: {error}"));
    }
    let after = admin.cluster(CLUSTER).await.map_err(|e| e.to_string())?;
    if (after.spec, after.operation_id) != (before.spec, before.operation_id) {
        return Err("a refused scale changed the cluster".into());
    }
    Ok(())
}

/// Waits until the cluster runs, with exactly these SPUs.
async fn exactly(world: &World, ids: &[u32]) -> Result<(), String> {
    let admin = world.admin();
    let mut last = String::new();
    let wait = async {
        loop {
            let cluster = running(world).await?;
            observe(world, &cluster);
            let listed: Vec<_> = cluster.spus.iter().map(|spu| spu.spu_id.0).collect();
            if listed == ids && cluster.spus_ready as usize == ids.len() {
                let running = admin.operation_list(CLUSTER).await.map_err(|e| e.to_string())?;
                if running.iter().all(|operation| operation.state != OperationState::Running) {
                    return Ok(());
                }
            }
            last = format!("{} ready of {listed:?}", cluster.spus_ready);
            Clock.sleep(Duration::from_millis(100)).await;
        }
    };
    match Clock.timeout(CONVERGE, wait).await {
        Ok(came) => came,
        Err(_) => Err(format!("not {ids:?} after {CONVERGE:?}: {last}")),
    }
}

/// The removed SPU's process comes back, on another machine: it is told that it is removed.
async fn gone_for_good(world: &World) -> Result<(), String> {
    let machine = world.machines.get(4).ok_or("SPU 4 was never started")?;
    let spec = machine.last_spec().ok_or("SPU 4 was never started")?;
    let back = world.machines.stranger("back");
    back.start(spec)?;
    let wait = async {
        while back.running().is_some() {
            Clock.sleep(Duration::from_millis(100)).await;
        }
    };
    let waited = Clock.timeout(CONVERGE, wait).await;
    waited.map_err(|_| "the removed SPU that came back was not sent away")?;
    let exit = back.last_exit().unwrap_or_default();
    if !exit.contains("SPU_REMOVED") && !exit.contains("removed from its cluster") {
        return Err(format!("the removed SPU that came back was told: {exit}"));
    }
    back.power_off();
    Ok(())
}
