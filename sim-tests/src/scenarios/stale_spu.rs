//! A cluster of three is shut down and resumed while one machine stays dark, and a process
//! of that SPU's earlier life registers again and again. It is never counted and never
//! served; once the machine has power, the cluster runs with exactly its own.

use std::time::Duration;

use weir_client::admin::{Cluster, ClusterState};
use weir_protocol::ids::SpuId;
use weir_runtime::clock::Clock;

use super::{
    Least, Scenario,
    setup::{CONVERGE, between, cluster, observe, on_client_node, running, topic},
};
use crate::{
    workload::{self, Producing},
    world::{CLUSTER, Machine, World},
};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "stale-spu",
    story: "a cluster is resumed while an SPU process of an earlier life registers",
    least: Least { acknowledged: 90, faults: 1, recoveries: 2, told: 0 },
    play: |world| {
        on_client_node(world, |world, node| async move {
            let before = cluster(&world, 3).await?;
            topic(&world, "orders", 3).await?;
            let sixty = Producing { records_max: 60, ..Producing::new(1, "orders") };
            workload::produce(&world, &node, sixty).ended().await;

            let dark = u32::try_from(between(1, 4)).unwrap_or(1);
            let machine = world.machines.get(dark).ok_or("the machine was never started")?;
            let earlier = machine.last_spec().ok_or("nothing ever ran on the machine")?;
            let admin = world.admin();
            admin.cluster_shutdown(CLUSTER).await.map_err(|e| format!("shutdown: {e}"))?;
            until_state(&world, ClusterState::Shutdown).await?;
            machine.power_off();
            world.counters.faults.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            admin.cluster_resume(CLUSTER).await.map_err(|e| format!("resume: {e}"))?;

            let stale = world.machines.stranger("stale");
            let watched = Duration::from_millis(between(4_000, 10_000));
            let (began, mut refusals) = (Clock.now(), 0);
            while Clock.now().since(began) < watched {
                if stale.running().is_none() {
                    refusals += usize::from(stale.last_exit().is_some_and(|e| refused(&e)));
                    stale.start(earlier.clone())?;
                }
                served_by_the_stranger(&world, &stale).await?;
                observe(&world, &admin.cluster(CLUSTER).await.map_err(|e| e.to_string())?);
                Clock.sleep(Duration::from_millis(between(50, 400))).await;
            }
            if refusals == 0 {
                return Err(format!(
                    "the stale process was never refused: {:?}",
                    stale.last_exit()
                ));
            }

            machine.power_on();
            let after = running(&world).await?;
            observe(&world, &after);
            if after.spus_ready != 3 || ids(&after) != ids(&before) {
                return Err(format!(
                    "running with {} SPUs ready: {:?}",
                    after.spus_ready, after.spus
                ));
            }
            stale.power_off();
            let acknowledged = world.history.acknowledged();
            let more = Producing { records_max: 30, ..Producing::new(2, "orders") };
            workload::produce(&world, &node, more).ended().await;
            let resumed = world.history.acknowledged() - acknowledged;
            if resumed < 30 {
                return Err(format!("{resumed} of 30 records acknowledged after the resume"));
            }
            workload::final_read(&world, &node, 100, "orders", Duration::from_secs(60)).await
        })
    },
};

/// Whether a process ended because its launch is not the current one.
fn refused(exit: &str) -> bool {
    exit.contains("STALE_LAUNCH") || exit.contains("not the current one")
}

fn ids(cluster: &Cluster) -> Vec<SpuId> {
    cluster.spus.iter().map(|spu| spu.spu_id).collect()
}

/// The stranger was refused, so nobody may be sent to it.
async fn served_by_the_stranger(world: &World, stale: &Machine) -> Result<(), String> {
    let cluster = world.admin().cluster(CLUSTER).await.map_err(|e| e.to_string())?;
    let address = stale.ip().to_string();
    match cluster.spus.iter().find(|spu| spu.endpoint.iter().any(|e| e.starts_with(&address))) {
        Some(spu) => Err(format!("clients are sent to the stale process: {spu:?}")),
        None => Ok(()),
    }
}

async fn until_state(world: &World, wanted: ClusterState) -> Result<(), String> {
    let admin = world.admin();
    let wait = async {
        while !admin.cluster(CLUSTER).await.is_ok_and(|cluster| cluster.state == wanted) {
            Clock.sleep(Duration::from_millis(100)).await;
        }
    };
    Clock.timeout(CONVERGE, wait).await.map_err(|_| format!("the cluster never got {wanted}"))
}
