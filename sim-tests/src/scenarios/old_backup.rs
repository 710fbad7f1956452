//! The control plane comes back on an old backup of its database, after leaders have changed, a
//! topic was created and much was acknowledged since. It notices, decides nothing, and says so;
//! once it was told to recover all is writable again, and nothing that was acknowledged is gone.

use std::{sync::atomic::Ordering, time::Duration};

use weir_client::{
    ConsumerConfig,
    admin::{Recovery, TopicCreate},
};
use weir_protocol::ids::TopicGenerationId;
use weir_runtime::clock::Clock;

use super::{
    Least, Scenario,
    replication::{count_elections, in_sync},
    schedule::one_of,
    setup::{
        CONVERGE, acknowledged_more, between, cluster, drained, every_partition_takes,
        on_client_node, running, topic_as, topic_ready,
    },
};
use crate::{
    application::{self, Working},
    faults::{Fault, Step},
    nemesis,
    workload::{self, Producing},
    world::{Backup, CLUSTER, World},
};

const TOPIC: &str = "orders";
/// Created after the backup.
const LATER: &str = "later";
const NAME: &str = "billing";
const SPUS: u32 = 3;
const LOOK_AGAIN: Duration = Duration::from_millis(100);

pub(super) const SCENARIO: Scenario = Scenario {
    name: "old-backup",
    story: "the control plane comes back on an old backup: it freezes the cluster, and recovers it",
    least: Least { acknowledged: 150, faults: 1, recoveries: 0, told: 0 },
    play: |world| {
        on_client_node(world, |world, node| async move {
            cluster(&world, SPUS).await?;
            let partitions = u32::try_from(between(1, 4)).unwrap_or(1);
            let create = TopicCreate { replication: SPUS, ..TopicCreate::new(TOPIC, partitions) };
            topic_as(&world, &create).await?;
            let other = world.client_node();
            let pace = Duration::from_millis(between(2, 12));
            let producing = Producing { pace, ..Producing::new(1, TOPIC) };
            let producer = workload::produce(&world, &node, producing);
            let reader = workload::consume(&world, &other, 1, ConsumerConfig::new(TOPIC));
            let machine = world.client_node();
            // Not waited for: it works until the end.
            let _working = application::work(&world, &machine, Working::new(NAME, 1, TOPIC));
            acknowledged_more(&world, 50, Duration::from_secs(20)).await?;

            let backup = world.control_plane.back_up();
            let since = since_the_backup(&world).await?;
            go_back(&world, &backup, since.alone).await;

            let frozen = is_frozen(&world).await;
            if frozen.is_ok() {
                nothing_is_decided(&world).await?;
                if since.undisturbed {
                    let more = acknowledged_more(&world, 20, Duration::from_secs(20)).await;
                    more.map_err(|e| format!("by the old leaders, while it is frozen: {e}"))?;
                }
                let recovery = recovered(&world).await?;
                kept_what_it_does_not_know(&recovery, since.later)?;
            }
            let serves = serves(&world, partitions).await;
            // Also where it does not: what is there is what it is judged by.
            producer.stop().await;
            madsim::runtime::Handle::current().kill(machine.id());
            let read = workload::final_read(&world, &node, 100, TOPIC, CONVERGE).await;
            reader.stop().await;
            frozen.and(serves).and(read)?;
            drained(&world, NAME, TOPIC, 2).await?;
            count_elections(&world, TOPIC).await
        })
    },
};

/// What happened after the backup.
struct Since {
    /// An SPU without power since then, which led before: it has seen nothing of the rest.
    alone: Option<u32>,
    /// Whether all SPUs run as they did at the backup.
    undisturbed: bool,
    /// A topic that was created.
    later: Option<TopicGenerationId>,
}

async fn since_the_backup(world: &World) -> Result<Since, String> {
    let (crashes, power_off) = (between(0, 3), between(0, 2) == 0);
    let undisturbed = crashes == 0 && !power_off;
    let mut since = Since { alone: None, undisturbed, later: None };
    // Where nothing at all was decided since, the backup is no older than the database.
    if undisturbed || between(0, 2) == 0 {
        let create = TopicCreate { replication: SPUS, ..TopicCreate::new(LATER, 1) };
        let made = world.admin().topic_create(CLUSTER, &create).await;
        since.later = Some(made.map_err(|e| format!("topic {LATER}: {e}"))?.generation_id);
        topic_ready(world, LATER).await?;
    }
    for _ in 0..crashes {
        let fault = Fault::CrashSpu { spu: one_of(u64::from(SPUS)), down_ms: between(50, 5_000) };
        nemesis::run(world.clone(), vec![Step { at_ms: 0, fault }], vec![]).await;
        acknowledged_more(world, 30, Duration::from_secs(30)).await?;
    }
    if power_off {
        let topic = world.admin().topic(CLUSTER, TOPIC).await.map_err(|e| e.to_string())?;
        let leader = topic.partitions.first().and_then(|partition| partition.leader_spu_id);
        since.alone = leader.map(|spu| spu.0);
        if let Some(machine) = since.alone.and_then(|spu| world.machines.get(spu)) {
            world.counters.faults.fetch_add(1, Ordering::Relaxed);
            machine.power_off();
        }
    }
    acknowledged_more(world, 50, Duration::from_secs(30)).await?;
    Ok(since)
}

/// The control plane dies and comes back on the backup; with it, some or all of the machines.
async fn go_back(world: &World, backup: &Backup, alone: Option<u32>) {
    world.counters.faults.fetch_add(1, Ordering::Relaxed);
    let all = world.machines.all();
    // The one that has seen least comes back with all others down: it must not be taken for them.
    let with_all = alone.is_some();
    world.control_plane.crash_back_to(backup);
    if with_all {
        all.iter().for_each(|(_, machine)| machine.power_off());
    }
    Clock.sleep(Duration::from_millis(between(0, 5_000))).await;
    all.iter().for_each(|(_, machine)| machine.power_on());
    world.control_plane.restart();
}

/// Waits until the cluster is frozen, and says so.
async fn is_frozen(world: &World) -> Result<(), String> {
    let mut last = String::new();
    let wait = async {
        loop {
            match world.admin().cluster(CLUSTER).await {
                Ok(cluster) => {
                    let told = cluster.reason.as_deref().unwrap_or_default();
                    if cluster.frozen.is_some() && told.contains("frozen") {
                        return;
                    }
                    last = format!("{}: {told}, {:?}", cluster.state, cluster.frozen);
                }
                Err(error) => last = error.to_string(),
            }
            Clock.sleep(LOOK_AGAIN).await;
        }
    };
    let waited = Clock.timeout(CONVERGE, wait).await;
    waited.map_err(|_| format!("it went back, and is not frozen after {CONVERGE:?}: {last}"))
}

async fn nothing_is_decided(world: &World) -> Result<(), String> {
    let admin = world.admin();
    let create = admin.topic_create(CLUSTER, &TopicCreate::new("never", 1)).await.map(drop);
    let scale = admin.cluster_scale(CLUSTER, SPUS + 1).await.map(drop);
    let delete = admin.topic_delete(CLUSTER, TOPIC).await.map(drop);
    for (order, answer) in [("create", create), ("scale", scale), ("delete", delete)] {
        match answer {
            Err(error) if error.code() == "CLUSTER_FROZEN" && !error.retryable() => {}
            other => return Err(format!("{order}, while it is frozen: {other:?}")),
        }
    }
    Ok(())
}

/// Orders the recovery, as soon as every SPU was heard. Twice: the second finds it done.
async fn recovered(world: &World) -> Result<Recovery, String> {
    let admin = world.admin();
    let preview = admin.cluster_recover_preview(CLUSTER).await.map_err(|e| e.to_string())?;
    if !preview.frozen || preview.recovered {
        return Err(format!("only asked, and not frozen any more: {preview:?}"));
    }
    let mut last = String::new();
    let wait = async {
        loop {
            match admin.cluster_recover(CLUSTER, false).await {
                Ok(recovery) => return recovery,
                Err(error) => last = error.to_string(),
            }
            Clock.sleep(LOOK_AGAIN).await;
        }
    };
    let waited = Clock.timeout(CONVERGE, wait).await;
    let recovery = waited.map_err(|_| format!("not recovered after {CONVERGE:?}: {last}"))?;
    let again = admin.cluster_recover(CLUSTER, false).await.map_err(|e| e.to_string())?;
    if !recovery.recovered || again.frozen || again.recovered {
        return Err(format!("recovered: {recovery:?}, and again: {again:?}"));
    }
    Ok(recovery)
}

/// A topic of after the backup is not in the database. What SPUs hold of it is told and kept.
fn kept_what_it_does_not_know(
    recovery: &Recovery,
    later: Option<TopicGenerationId>,
) -> Result<(), String> {
    let told = |later| recovery.unknown.iter().any(|held| held.generation_id == later);
    match later {
        Some(later) if !told(later) => {
            Err(format!("{LATER} ({later}) is not told as held and unknown: {recovery:?}"))
        }
        _ => Ok(()),
    }
}

async fn serves(world: &World, partitions: u32) -> Result<(), String> {
    running(world).await?;
    every_partition_takes(world, partitions, Duration::from_secs(60)).await?;
    acknowledged_more(world, 50, Duration::from_secs(30)).await?;
    in_sync(world, TOPIC).await
}
