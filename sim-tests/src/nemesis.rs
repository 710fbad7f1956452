//! Who does the harm: carries a schedule out, step by step, and heals everything after.

mod refill;

use std::{ops::Range, sync::atomic::Ordering, time::Duration};

use madsim::{runtime::Handle, task::NodeId};
use weir_control_plane::store::FaultRates;
use weir_runtime::{
    clock::{Clock, skew},
    disk::sim::{DiskSim, Faults},
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
const SLOW: Range<Duration> = Duration::from_millis(20)..Duration::from_millis(200);

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
        Fault::CrashSpus { spus, down_ms } => {
            let machines: Vec<_> = spus.into_iter().filter_map(find).collect();
            let machines: Vec<_> = machines.into_iter().filter(|m| m.running().is_some()).collect();
            if machines.is_empty() {
                return;
            }
            count();
            machines.iter().for_each(Machine::power_off);
            sleep(down_ms).await;
            machines.iter().for_each(Machine::power_on);
        }
        Fault::WipeSpu { spu, down_ms, with_others } => {
            let down = Duration::from_millis(down_ms);
            refill::strike(&world, spu, with_others, down, refill::wipe).await;
        }
        Fault::DamageReplica { spu, down_ms, with_others } => {
            let down = Duration::from_millis(down_ms);
            refill::strike(&world, spu, with_others, down, refill::damage).await;
        }
        Fault::RotSegment { spu, down_ms } => {
            let down = Duration::from_millis(down_ms);
            refill::strike(&world, spu, false, down, refill::rot).await;
        }
        Fault::SwapFolders { one, other, for_ms } => {
            // What wipes a disk meanwhile would wipe another one's.
            let Ok(_turn) = world.refilling.try_lock() else { return };
            let (Some(one), Some(other)) = (up(one).await, up(other).await) else { return };
            if one.node == other.node {
                return;
            }
            count();
            let swap = || {
                one.power_off();
                other.power_off();
                one.swap_disks(&other);
                one.power_on();
                other.power_on();
            };
            swap();
            sleep(for_ms).await;
            swap();
        }
        Fault::RestartSpu { spu } => {
            let Some(machine) = up(spu).await else { return };
            count();
            machine.ask_to_stop();
        }
        Fault::MuteSpuToSpu { from, to, for_ms } => {
            let (Some(from), Some(to)) = (find(from), find(to)) else { return };
            if from.node == to.node {
                return;
            }
            count();
            cuts::cut_one_way(from.node, to.node);
            sleep(for_ms).await;
            cuts::heal_one_way(from.node, to.node);
        }
        Fault::PartSpuFromSpus { spu, for_ms } => {
            let Some(machine) = find(spu) else { return };
            count();
            let others: Vec<_> = world.machines.all().into_iter().map(|(_, m)| m.node).collect();
            let others: Vec<_> = others.into_iter().filter(|node| *node != machine.node).collect();
            cuts::cut_between(&[machine.node], &others);
            sleep(for_ms).await;
            cuts::heal_between(&[machine.node], &others);
        }
        Fault::PartSpuFromControlPlane { spu, for_ms } => {
            let Some(machine) = find(spu) else { return };
            count();
            let control_plane = [world.control_plane.node()];
            cuts::cut_between(&[machine.node], &control_plane);
            sleep(for_ms).await;
            cuts::heal_between(&[machine.node], &control_plane);
        }
        Fault::MuteControlPlaneToSpu { spu, for_ms } => {
            let Some(machine) = find(spu) else { return };
            count();
            cuts::cut_one_way(world.control_plane.node(), machine.node);
            sleep(for_ms).await;
            cuts::heal_one_way(world.control_plane.node(), machine.node);
        }
        Fault::CrashControlPlane { down_ms } => {
            if !world.control_plane.is_up() {
                return;
            }
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
            let set = |latency: [Range<Duration>; 4]| {
                DiskSim::current().faults(machine.node, |f| *f = with_latency(f, latency));
            };
            set([SLOW; 4]);
            sleep(for_ms).await;
            // Not what it was before: that may have been another fault's.
            let Faults { read, write, sync, name, .. } = Faults::default();
            set([read.latency, write.latency, sync.latency, name.latency]);
        }
        Fault::DiskFull { spu, for_ms } => {
            let Some(machine) = find(spu) else { return };
            count();
            DiskSim::current().faults(machine.node, |f| f.capacity_bytes = 0);
            sleep(for_ms).await;
            let size = Faults::default().capacity_bytes;
            DiskSim::current().faults(machine.node, |f| f.capacity_bytes = size);
        }
        Fault::FailedFsync { spu, crash_after_ms, down_ms } => {
            let Some(machine) = up(spu).await else { return };
            count();
            DiskSim::current().faults(machine.node, |f| f.sync.error_next = 1);
            sleep(crash_after_ms).await;
            machine.power_off();
            DiskSim::current().faults(machine.node, |f| f.sync.error_next = 0);
            sleep(down_ms).await;
            machine.power_on();
        }
        Fault::SqlTrouble { busy_per_million, unknown_per_million, for_ms } => {
            count();
            world.control_plane.sql_faults.set(FaultRates {
                delay_max: Duration::from_millis(20),
                busy_per_million,
                commit_unknown_per_million: unknown_per_million,
            });
            sleep(for_ms).await;
            world.control_plane.sql_faults.set(FaultRates::default());
        }
        Fault::SkewClock { spu, offset_ms, rate_ppm } => {
            let Some(machine) = find(spu) else { return };
            count();
            skew::set(machine.node, skew::Skew { offset_ms, rate_ppm });
        }
    }
}

fn with_latency(faults: &Faults, latency: [Range<Duration>; 4]) -> Faults {
    let mut faults = faults.clone();
    let [read, write, sync, name] = latency;
    faults.read.latency = read;
    faults.write.latency = write;
    faults.sync.latency = sync;
    faults.name.latency = name;
    faults
}

fn others(world: &World, machine: &Machine, clients: &[NodeId]) -> Vec<NodeId> {
    let machines = world.machines.all().into_iter().map(|(_, m)| m.node);
    machines
        .chain(clients.iter().copied())
        .chain([world.control_plane.node()])
        .filter(|node| *node != machine.node)
        .collect()
}
