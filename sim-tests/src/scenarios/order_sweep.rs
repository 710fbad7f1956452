//! The control plane is killed at every step of an order, one step after the other: before and after
//! each commit, and after each thing that its provisioner did. Whatever it was at, the next one goes
//! on from there: the operation ends, exactly the SPUs of the spec run, each once.
//!
//! A sweep over steps and not luck: the seed chooses the order, and a run plays it again and again,
//! until it ends before the step at which it would be killed.

use std::{sync::atomic::Ordering, time::Duration};

use madsim::runtime::{Handle, NodeHandle};
use weir_client::admin::{AdminError, Cluster, ClusterSpec, ClusterState};
use weir_runtime::clock::Clock;

use super::{
    Least, Scenario,
    setup::{CONVERGE, between, done, observe, on_client_node, running, topic},
};
use crate::{
    workload::{self, Producing},
    world::{CLUSTER, World},
};

const TOPIC: &str = "orders";
/// No order has so many steps: one that never ends is told from one that takes long.
const STEPS_MAX: u64 = 400;
/// How often it is looked whether everything stands still.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

pub(super) const SCENARIO: Scenario = Scenario {
    name: "order-sweep",
    story: "the control plane is killed at every step of an order, one after the other",
    least: Least { acknowledged: 90, faults: 10, recoveries: 0, told: 0 },
    play: |world| {
        on_client_node(world, |world, node| async move {
            let orders = Order::ALL.len() as u64;
            let order = Order::ALL[usize::try_from(Handle::current().seed() % orders).unwrap_or(0)];
            ready(&world).await?;
            if !matches!(order, Order::Create | Order::Delete) {
                order_of(&world, Order::Create).await?;
                settled(&world, 3).await?;
                topic(&world, TOPIC, 3).await?;
                produced(&world, &node, 1, 60).await?;
            }
            sweep(&world, &node, order).await.map_err(|e| format!("{order:?}: {e}"))?;
            // Whatever came before, it is a cluster as any.
            prepared(&world, Order::Shutdown).await?;
            if matches!(order, Order::Create | Order::Delete) {
                topic(&world, TOPIC, 3).await?;
                produced(&world, &node, 1, 60).await?;
            }
            produced(&world, &node, 2, 30).await?;
            workload::final_read(&world, &node, 100, TOPIC, Duration::from_secs(60)).await
        })
    },
};

/// What is ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Create,
    Shutdown,
    Resume,
    ScaleUp,
    ScaleDown,
    Restart,
    Delete,
}

impl Order {
    const ALL: [Self; 7] = [
        Self::Create,
        Self::Shutdown,
        Self::Resume,
        Self::ScaleUp,
        Self::ScaleDown,
        Self::Restart,
        Self::Delete,
    ];
}

async fn sweep(world: &World, node: &NodeHandle, order: Order) -> Result<(), String> {
    for step in 0..STEPS_MAX {
        prepared(world, order).await?;
        world.control_plane.sql_faults.stand_still_after(step);
        let ordering = {
            let world = world.clone();
            node.spawn(async move {
                let ordered = order_of(&world, order).await?;
                match order {
                    Order::Delete => gone(&world).await,
                    _ => done(&world, &ordered.ok_or("nothing was ordered")?).await,
                }
            })
        };
        let struck = killed_when_it_stands_still(world, || ordering.is_finished()).await;
        let ended = Clock.timeout(CONVERGE, ordering).await;
        let ended = ended.map_err(|_| format!("killed at step {step}, it has not ended"))?;
        ended.map_err(|e| format!("step {step}: {e}"))??;
        as_ordered(world, order).await.map_err(|e| format!("killed at step {step}: {e}"))?;
        if !struck {
            return Ok(());
        }
    }
    Err(format!("it has not ended after {STEPS_MAX} steps"))
}

/// Kills the control plane once it stands still, and starts it again after a while; says whether
/// it came to that before the order was done.
async fn killed_when_it_stands_still(world: &World, done: impl Fn() -> bool) -> bool {
    let control_plane = &world.control_plane;
    while !control_plane.sql_faults.stands_still() {
        if done() {
            // What comes after the end is of no order.
            if !control_plane.sql_faults.go_on() {
                return false;
            }
            break;
        }
        Clock.sleep(LOOK_AGAIN).await;
    }
    world.counters.faults.fetch_add(1, Ordering::Relaxed);
    control_plane.crash();
    Clock.sleep(Duration::from_millis(between(10, 1_000))).await;
    control_plane.restart();
    true
}

/// Orders it until the order is known to have arrived.
async fn order_of(world: &World, order: Order) -> Result<Option<Cluster>, String> {
    let admin = world.admin();
    let wait = async {
        loop {
            let ordered = match order {
                Order::Create => {
                    let spec = ClusterSpec { spus: 3, ..ClusterSpec::default() };
                    admin.cluster_create(CLUSTER, &spec).await.map(Some)
                }
                Order::Shutdown => admin.cluster_shutdown(CLUSTER).await.map(Some),
                Order::Resume => admin.cluster_resume(CLUSTER).await.map(Some),
                Order::ScaleUp => admin.cluster_scale(CLUSTER, 3).await.map(Some),
                Order::ScaleDown => admin.cluster_scale(CLUSTER, 2).await.map(Some),
                Order::Restart => admin.cluster_restart(CLUSTER, None).await.map(Some),
                Order::Delete => admin.cluster_delete(CLUSTER).await.map(|()| None),
            };
            match ordered {
                Ok(ordered) => return Ok(ordered),
                // By name it is not repeated by itself: whether it arrived is to be seen.
                Err(error) if error.outcome_unknown() || is_away(&error) => {}
                Err(error) if error.code() == "CLUSTER_EXISTS" && order == Order::Create => {
                    return admin.cluster(CLUSTER).await.map(Some).map_err(|e| e.to_string());
                }
                Err(error) if is_gone(&error) && order == Order::Delete => return Ok(None),
                Err(error) => return Err(format!("{order:?}: {error}")),
            }
            Clock.sleep(Duration::from_millis(100)).await;
        }
    };
    let waited = Clock.timeout(CONVERGE, wait).await;
    waited.map_err(|_| format!("{order:?} could not be ordered in {CONVERGE:?}"))?
}

fn is_away(error: &AdminError) -> bool {
    error.retryable()
}

fn is_gone(error: &AdminError) -> bool {
    error.code() == "CLUSTER_NOT_FOUND"
}

/// Brings the cluster to where the order makes sense.
async fn prepared(world: &World, order: Order) -> Result<(), String> {
    let admin = world.admin();
    let there = match admin.cluster(CLUSTER).await {
        Ok(cluster) => Some(cluster),
        Err(error) if is_gone(&error) => None,
        Err(error) => return Err(error.to_string()),
    };
    let before = match (order, there) {
        (Order::Create, Some(_)) => {
            order_of(world, Order::Delete).await?;
            return gone(world).await;
        }
        (Order::Create, None) => return Ok(()),
        (_, None) => Order::Create,
        (Order::Resume, Some(cluster)) if cluster.state != ClusterState::Shutdown => {
            Order::Shutdown
        }
        (Order::Resume, Some(_)) => return Ok(()),
        (_, Some(cluster)) if cluster.state == ClusterState::Shutdown => Order::Resume,
        (Order::ScaleUp, Some(cluster)) if cluster.spec.spus == 3 => Order::ScaleDown,
        (Order::ScaleDown, Some(cluster)) if cluster.spec.spus == 2 => Order::ScaleUp,
        (_, Some(_)) => return Ok(()),
    };
    let ordered = order_of(world, before).await?.ok_or("nothing was ordered")?;
    done(world, &ordered).await?;
    as_ordered(world, before).await
}

/// What the order wants is so: these SPUs and no others, each of them once.
async fn as_ordered(world: &World, order: Order) -> Result<(), String> {
    match order {
        Order::Create | Order::Resume | Order::ScaleUp => settled(world, 3).await,
        Order::ScaleDown => settled(world, 2).await,
        Order::Restart => {
            let spus = world.admin().cluster(CLUSTER).await.map_err(|e| e.to_string())?.spec.spus;
            settled(world, spus).await
        }
        Order::Shutdown => {
            let state = world.admin().cluster(CLUSTER).await.map_err(|e| e.to_string())?.state;
            match (state, up(world).as_slice()) {
                (ClusterState::Shutdown, []) => Ok(()),
                other => Err(format!("it is shut down, and there is {other:?}")),
            }
        }
        Order::Delete => match up(world).as_slice() {
            [] => Ok(()),
            left => Err(format!("it is deleted, and there run {left:?}")),
        },
    }
}

/// Waits until the cluster runs with so many SPUs, and no process runs beside theirs.
async fn settled(world: &World, spus: u32) -> Result<(), String> {
    let mut last = String::new();
    let wait = async {
        loop {
            let cluster = running(world).await?;
            observe(world, &cluster);
            let mut wanted: Vec<_> = cluster
                .spus
                .iter()
                .map(|spu| (spu.spu_id.0, spu.launch_id.map(|id| id.to_string())))
                .collect();
            wanted.sort();
            let up = up(world);
            if cluster.spec.spus == spus
                && cluster.spus_ready == spus
                && wanted.len() == spus as usize
                && wanted == up
            {
                return Ok(());
            }
            last = format!("{} ready, wanted {wanted:?}, up {up:?}", cluster.spus_ready);
            Clock.sleep(Duration::from_millis(100)).await;
        }
    };
    match Clock.timeout(CONVERGE, wait).await {
        Ok(settled) => settled,
        Err(_) => Err(format!("not {spus} SPUs after {CONVERGE:?}: {last}")),
    }
}

/// The processes that run.
fn up(world: &World) -> Vec<(u32, Option<String>)> {
    let machines = world.machines.all().into_iter();
    let mut up: Vec<_> = machines
        .filter_map(|(id, machine)| Some((id, Some(machine.running()?.to_string()))))
        .collect();
    up.sort();
    up
}

async fn ready(world: &World) -> Result<(), String> {
    let admin = world.admin();
    let wait = async {
        while admin.ready().await.is_err() {
            Clock.sleep(Duration::from_millis(100)).await;
        }
    };
    Clock.timeout(CONVERGE, wait).await.map_err(|_| "the control plane never got ready".into())
}

async fn gone(world: &World) -> Result<(), String> {
    let admin = world.admin();
    let wait = async {
        loop {
            match admin.cluster(CLUSTER).await {
                Err(error) if is_gone(&error) => return,
                _ => Clock.sleep(Duration::from_millis(50)).await,
            }
        }
    };
    Clock.timeout(CONVERGE, wait).await.map_err(|_| "the cluster is never gone".into())
}

async fn produced(
    world: &World,
    node: &NodeHandle,
    writer: u32,
    records: u32,
) -> Result<(), String> {
    let before = world.history.acknowledged() as u64;
    let some = Producing { records_max: records, ..Producing::new(writer, TOPIC) };
    workload::produce(world, node, some).ended().await;
    match world.history.acknowledged() as u64 - before {
        all if all >= u64::from(records) => Ok(()),
        some => Err(format!("{some} of {records} records were acknowledged")),
    }
}
