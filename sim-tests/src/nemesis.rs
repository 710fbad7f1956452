//! Who does the harm: carries a schedule out, step by step, and heals everything after.

use std::{sync::atomic::Ordering, time::Duration};

use madsim::{runtime::Handle, task::NodeId};
use weir_runtime::{
    clock::{Clock, skew},
    disk::sim::DiskSim,
    net::cuts,
    trace::{self, Kind},
};

use crate::{
    faults::{Fault, Schedule},
    world::{Machine, World},
};

/// How often a fault looks whether its machine is up again.
const UP_TRIES_MAX: u32 = 300;
/// What a slow disk's operations take.
const SLOW: std::ops::Range<Duration> = Duration::from_millis(20)..Duration::from_millis(200);

/// Carries `schedule` out from now on; returns when every fault has been healed.
/// `clients` are the nodes that network faults against clients concern.
pub async fn run(world: World, schedule: Schedule, clients: Vec<NodeId>) {
    let began = Clock.now();
    let mut healing = Vec::new();
    for step in schedule {
        let at = Duration::from_millis(step.at_ms);
        Clock.sleep(at.saturating_sub(Clock.now().since(began))).await;
        trace::line(Kind::Step, || format!("fault {:?}", step.fault));
        tracing::info!(fault = ?step.fault, "fault");
        let (world, clients) = (world.clone(), clients.clone());
        healing.push(madsim::task::spawn(strike(world, step.fault, clients)));
    }
    for healed in healing {
        healed.await.expect("a fault's healing does not panic");
    }
}

async fn strike(world: World, fault: Fault, clients: Vec<NodeId>) {
    let sleep = |ms| Clock.sleep(Duration::from_millis(ms));
    let count = || world.counters.faults.fetch_add(1, Ordering::Relaxed);
    let find = |spu| world.machines.get(spu);
    // A fault against a machine that another one has struck waits its turn.
    let up = async |spu| {
        for _ in 0..UP_TRIES_MAX {
            if let Some(machine) = find(spu).filter(|machine| machine.running().is_some()) {
                return Some(machine);
            }
            sleep(100).await;
        }
        None
    };
    match fault {
        Fault::CrashSpu { spu, down_ms } => {
            let Some(machine) = up(spu).await else { return };
            count();
            machine.power_off();
            sleep(down_ms).await;
            machine.power_on();
        }
        Fault::CrashControlPlane { down_ms } => {
            count();
            world.control_plane.crash();
            sleep(down_ms).await;
            world.control_plane.restart();
        }
        Fault::IsolateSpu { spu, for_ms } => {
            let Some(machine) = find(spu) else { return };
            count();
            let others = others(&world, &machine, &clients);
            cuts::cut_between(&[machine.node], &others);
            sleep(for_ms).await;
            cuts::heal_between(&[machine.node], &others);
        }
        Fault::MuteSpuToClients { spu, for_ms } => {
            let Some(machine) = find(spu) else { return };
            count();
            clients.iter().for_each(|client| cuts::cut_one_way(machine.node, *client));
            sleep(for_ms).await;
            clients.iter().for_each(|client| cuts::heal_one_way(machine.node, *client));
        }
        Fault::PauseSpu { spu, for_ms } => {
            let Some(machine) = up(spu).await else { return };
            count();
            Handle::current().pause(machine.node);
            sleep(for_ms).await;
            Handle::current().resume(machine.node);
        }
        Fault::SlowDisk { spu, for_ms } => {
            let Some(machine) = find(spu) else { return };
            count();
            let mut usual = None;
            DiskSim::current().faults(machine.node, |f| {
                usual = Some(f.clone());
                for class in [&mut f.read, &mut f.write, &mut f.sync, &mut f.name] {
                    class.latency = SLOW;
                }
            });
            sleep(for_ms).await;
            DiskSim::current().faults(machine.node, |f| *f = usual.take().unwrap_or_default());
        }
        Fault::SkewClock { spu, offset_ms, rate_ppm } => {
            let Some(machine) = find(spu) else { return };
            count();
            skew::set(machine.node, skew::Skew { offset_ms, rate_ppm });
        }
    }
}

fn others(world: &World, machine: &Machine, clients: &[NodeId]) -> Vec<NodeId> {
    let machines = world.machines.all().into_iter().map(|(_, m)| m.node);
    machines
        .chain(clients.iter().copied())
        .chain([world.control_plane.node()])
        .filter(|node| *node != machine.node)
        .collect()
}
