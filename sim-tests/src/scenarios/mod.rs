//! The stories. Each says what happens to the cluster; the oracle says what must hold. A
//! story fails by itself only for what no history can show: a bound on time, an error's
//! code, a state that was never reached.

mod consumer_crash;
mod consumer_fence;
mod control_plane_crash;
mod coordinator_crash;
mod interval_power_loss;
mod nearest_reads;
mod old_backup;
mod order_sweep;
mod orderly_stop;
mod partition_growth;
mod provisioner_faults;
mod read_to_end;
mod recreate_offsets;
mod replica_move;
mod replica_refill;
mod replication;
mod retention;
mod scale_down;
mod schedule;
mod setup;
mod spu_crash;
mod stale_spu;
mod topic_recreate;
mod topic_tombstone;
mod twin_spu;
mod unclean_election;

use std::{future::Future, pin::Pin};

use crate::world::World;

/// How a story ended: the reason, when it failed by itself.
pub type Played = Pin<Box<dyn Future<Output = Result<(), String>>>>;

/// The least that must have happened for a clean run to mean anything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Least {
    /// Records acknowledged.
    pub acknowledged: u64,
    /// Faults that struck.
    pub faults: u64,
    /// SPU processes started again.
    pub recoveries: u64,
    /// Answers of the HTTP API about consumers that could have been too old.
    pub told: u64,
}

/// One story.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// For the command line.
    pub name: &'static str,
    /// In one sentence.
    pub story: &'static str,
    /// What must at least have happened.
    pub least: Least,
    /// Plays it.
    pub play: fn(World) -> Played,
}

/// Every scenario.
pub const ALL: &[Scenario] = &[
    spu_crash::SCENARIO,
    topic_recreate::SCENARIO,
    topic_tombstone::SCENARIO,
    partition_growth::SCENARIO,
    stale_spu::SCENARIO,
    twin_spu::SCENARIO,
    scale_down::SCENARIO,
    orderly_stop::SCENARIO,
    order_sweep::SCENARIO,
    provisioner_faults::SCENARIO,
    control_plane_crash::SCENARIO,
    consumer_crash::SCENARIO,
    recreate_offsets::SCENARIO,
    consumer_fence::SCENARIO,
    coordinator_crash::SCENARIO,
    retention::SCENARIO,
    replication::SCENARIO,
    replica_refill::SCENARIO,
    replica_move::SCENARIO,
    nearest_reads::SCENARIO,
    read_to_end::SCENARIO,
    old_backup::SCENARIO,
    unclean_election::SCENARIO,
    interval_power_loss::SCENARIO,
];

/// A scenario by its name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|scenario| scenario.name == name)
}
