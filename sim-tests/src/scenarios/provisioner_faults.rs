//! What starts and stops SPUs fails, hangs, loses its answer, or starts processes that die at once or
//! are up and do nothing, while a cluster is created, shut down, resumed and scaled. It never counts
//! what does not serve, every operation ends, and once the trouble is over it is as ordered.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use madsim::{runtime::NodeHandle, task::JoinHandle};
use weir_client::admin::{AdminError, Cluster, ClusterSpec, ClusterState, OperationState};
use weir_protocol::ids::SpuId;
use weir_runtime::clock::Clock;

use super::{
    Least, Scenario,
    setup::{between, observe, on_client_node, topic},
};
use crate::{
    workload::{self, Producing},
    world::{CLUSTER, StartFault, World},
};

/// A start that hangs is given up after a while, and those that fail are tried again with pauses
/// that grow.
const PATIENCE: Duration = Duration::from_secs(400);
const TOPIC: &str = "orders";

pub(super) const SCENARIO: Scenario = Scenario {
    name: "provisioner-faults",
    story: "what starts and stops SPUs fails, hangs, or starts what dies or does nothing",
    least: Least { acknowledged: 90, faults: 3, recoveries: 1, told: 0 },
    play: |world| {
        on_client_node(world, |world, node| async move {
            let admin = world.admin();
            let watching = Watching::start(&world, &node);
            // Whatever is drawn, something goes wrong.
            let faults = &world.control_plane.provision_faults;
            faults.at_next_start(SpuId(1), StartFault::Fails);
            faults.at_next_start(SpuId(2), StartFault::Dies);
            for spu in 1..=3 {
                trouble(&world, spu);
            }
            let spec = ClusterSpec { spus: 3, ..ClusterSpec::default() };
            until_taken(|| admin.cluster_create(CLUSTER, &spec)).await?;
            settled(&world, &[1, 2, 3]).await?;
            topic(&world, TOPIC, 3).await?;
            let first = Producing { records_max: 60, ..Producing::new(1, TOPIC) };
            workload::produce(&world, &node, first).ended().await;

            world.control_plane.provision_faults.stops_hang(stops());
            until_taken(|| admin.cluster_shutdown(CLUSTER)).await?;
            until_state(&world, ClusterState::Shutdown).await?;
            if let Some((id, _)) =
                world.machines.all().into_iter().find(|(_, machine)| machine.running().is_some())
            {
                return Err(format!("the cluster is shut down and SPU {id} runs"));
            }
            for spu in 1..=3 {
                trouble(&world, spu);
            }
            until_taken(|| admin.cluster_resume(CLUSTER)).await?;
            settled(&world, &[1, 2, 3]).await?;

            trouble(&world, 4);
            until_taken(|| admin.cluster_scale(CLUSTER, 4)).await?;
            settled(&world, &[1, 2, 3, 4]).await?;
            world.control_plane.provision_faults.stops_hang(stops());
            until_taken(|| admin.cluster_scale(CLUSTER, 2)).await?;
            let left = until_two(&world).await?;
            settled(&world, &left).await?;

            let more = Producing { records_max: 30, ..Producing::new(2, TOPIC) };
            workload::produce(&world, &node, more).ended().await;
            workload::final_read(&world, &node, 100, TOPIC, Duration::from_secs(60)).await?;
            watching.end().await;
            world
                .counters
                .faults
                .fetch_add(world.control_plane.provision_faults.struck(), Ordering::Relaxed);
            Ok(())
        })
    },
};

fn stops() -> u32 {
    u32::try_from(between(1, 3)).unwrap_or(1)
}

/// What becomes of the next starts of an SPU: some, one or none of them do what they should.
fn trouble(world: &World, spu: u32) {
    for _ in 0..between(0, 4) {
        let fault = match between(0, 6) {
            0 | 1 => StartFault::Fails,
            2 => StartFault::Hangs,
            3 => StartFault::AnswerLost,
            4 => StartFault::Dies,
            _ => StartFault::Idles,
        };
        world.control_plane.provision_faults.at_next_start(SpuId(spu), fault);
    }
}

/// Looks again and again at what the cluster says, and at what is so; and ends processes that are up
/// and do nothing, as a person would at last.
struct Watching {
    ends: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Watching {
    fn start(world: &World, node: &NodeHandle) -> Self {
        let (ends, world) = (Arc::new(AtomicBool::new(false)), world.clone());
        let end = ends.clone();
        let task = node.spawn(async move {
            let admin = world.admin();
            while !end.load(Ordering::Relaxed) {
                if let Ok(cluster) = admin.cluster(CLUSTER).await {
                    observe(&world, &cluster);
                }
                for (_, machine) in world.machines.all() {
                    let idle = machine.running().is_some() && machine.working().is_none();
                    if idle && between(0, 60) == 0 {
                        machine.kill();
                    }
                }
                Clock.sleep(Duration::from_millis(between(20, 200))).await;
            }
        });
        Self { ends, task }
    }

    async fn end(self) {
        self.ends.store(true, Ordering::Relaxed);
        self.task.await.expect("a watcher does not panic");
    }
}

/// Asks until there is an answer, which says yes.
async fn until_taken<F>(mut ask: impl FnMut() -> F) -> Result<Cluster, String>
where
    F: Future<Output = Result<Cluster, AdminError>>,
{
    let wait = async {
        loop {
            match ask().await {
                Ok(cluster) => return Ok(cluster),
                Err(error) if error.retryable() => {}
                Err(error) => return Err(error.to_string()),
            }
            Clock.sleep(Duration::from_millis(100)).await;
        }
    };
    Clock.timeout(PATIENCE, wait).await.map_err(|_| "nobody takes orders".to_owned())?
}

async fn until_state(world: &World, wanted: ClusterState) -> Result<(), String> {
    let admin = world.admin();
    let wait = async {
        while !admin.cluster(CLUSTER).await.is_ok_and(|cluster| cluster.state == wanted) {
            Clock.sleep(Duration::from_millis(100)).await;
        }
    };
    Clock.timeout(PATIENCE, wait).await.map_err(|_| format!("the cluster never got {wanted}"))
}

/// Which two stay is the cluster's to say.
async fn until_two(world: &World) -> Result<Vec<u32>, String> {
    let admin = world.admin();
    let wait = async {
        loop {
            if let Ok(cluster) = admin.cluster(CLUSTER).await
                && cluster.spus.len() == 2
            {
                return cluster.spus.iter().map(|spu| spu.spu_id.0).collect();
            }
            Clock.sleep(Duration::from_millis(100)).await;
        }
    };
    Clock.timeout(PATIENCE, wait).await.map_err(|_| "the scale never ended".to_owned())
}

/// Waits until the cluster runs with exactly these, each of them one process, and every operation
/// has ended.
async fn settled(world: &World, ids: &[u32]) -> Result<(), String> {
    let admin = world.admin();
    let mut last = String::new();
    let wait = async {
        loop {
            Clock.sleep(Duration::from_millis(100)).await;
            let (Ok(cluster), Ok(operations)) =
                (admin.cluster(CLUSTER).await, admin.operation_list(CLUSTER).await)
            else {
                continue;
            };
            let wanted: Vec<_> =
                cluster.spus.iter().map(|spu| (spu.spu_id.0, spu.launch_id)).collect();
            let machines = world.machines.all().into_iter();
            let up: Vec<_> =
                machines.filter_map(|(id, machine)| Some((id, Some(machine.running()?)))).collect();
            let ended = operations.iter().all(|of| of.state != OperationState::Running);
            let exact = cluster.spus.iter().map(|spu| spu.spu_id.0).eq(ids.iter().copied());
            if cluster.state == ClusterState::Running && exact && ended && wanted == up {
                return;
            }
            last = format!("{} {:?}, wanted {wanted:?}, up {up:?}", cluster.state, cluster.reason);
        }
    };
    let waited = Clock.timeout(PATIENCE, wait).await;
    waited.map_err(|_| format!("not exactly {ids:?} after {PATIENCE:?}: {last}"))
}
