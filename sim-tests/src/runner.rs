//! One run of one seed, in this process: builds the runtime, plays a scenario, judges.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::atomic::Ordering,
    time::Duration,
};

use madsim::{Config, runtime::Runtime, time::TimeHandle};
use serde::{Deserialize, Serialize};
use weir_runtime::{
    disk::sim::DiskSim,
    plant,
    trace::{self, Kind},
};

use crate::{oracle, scenarios::Scenario, world::World};

/// A run that takes longer than this in simulated time hangs, which is a failure.
const SIMULATED_MAX: Duration = Duration::from_secs(900);

/// What a run should do besides its seed.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Planted bugs to switch on.
    pub plants: Vec<String>,
    /// Keep the trace's lines.
    pub keep_trace: bool,
}

/// What a run found and counted.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// The scenario's name.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// What was wrong: an invariant's name, or `scenario`, `minimum`, `honesty`, `panic`.
    pub failures: Vec<Failure>,
    /// Records acknowledged.
    pub acknowledged: u64,
    /// Faults that struck.
    pub faults: u64,
    /// SPU processes started again.
    pub recoveries: u64,
    /// Leaders elected after the first ones, where the scenario counts them.
    #[serde(default)]
    pub elections: u64,
    /// Answers about consumers that could have been too old.
    #[serde(default)]
    pub told: u64,
    /// Simulated time, in milliseconds.
    pub simulated_ms: u64,
    /// Effects per kind, over all nodes.
    pub effects: BTreeMap<String, u64>,
    /// The trace, where it was kept.
    #[serde(skip)]
    pub trace: Vec<String>,
}

/// One thing that was wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Which check found it.
    pub check: String,
    /// What it found.
    pub detail: String,
}

/// Plays `scenario` with `seed`. `folder` is an empty folder for the control plane's
/// database; its name never enters the run.
#[must_use]
pub fn run(scenario: &'static Scenario, seed: u64, options: &Options, folder: &Path) -> Report {
    let (options, folder) = (options.clone(), folder.to_owned());
    // A thread of its own: one that has used a HashMap before has its hash keys already, and
    // madsim could not seed them any more.
    std::thread::spawn(move || run_here(scenario, seed, &options, &folder))
        .join()
        .expect("panics of a run are caught inside")
}

fn run_here(scenario: &Scenario, seed: u64, options: &Options, folder: &Path) -> Report {
    trace::start(options.keep_trace);
    plant::clear();
    options.plants.iter().for_each(|name| plant::activate(name));
    let mut report = Report { scenario: scenario.name.into(), seed, ..Report::default() };
    let played = catch_unwind(AssertUnwindSafe(|| play(scenario, seed, folder, &mut report)));
    if let Err(panic) = played {
        let detail = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()))
            .unwrap_or_else(|| "a panic without a message".into());
        report.failures.push(Failure { check: "panic".into(), detail });
    }
    for ((_, kind), count) in trace::counts() {
        *report.effects.entry(format!("{kind:?}")).or_default() += count;
    }
    report.trace = trace::take();
    plant::clear();
    report
}

fn play(scenario: &Scenario, seed: u64, folder: &Path, report: &mut Report) {
    let mut runtime = Runtime::with_seed_and_config(seed, Config::default());
    runtime.add_simulator::<DiskSim>();
    runtime.set_time_limit(SIMULATED_MAX);
    let folder = folder.to_owned();
    runtime.block_on(async {
        let world = World::new(folder);
        let story = (scenario.play)(world.clone()).await;
        if let Err(detail) = story {
            report.failures.push(Failure { check: "scenario".into(), detail });
        }
        judge_honesty(&world, report);
        let violations = oracle::judge(&world.history.events());
        report.failures.extend(violations.into_iter().map(|violation| Failure {
            check: violation.invariant.into(),
            detail: violation.detail,
        }));
        report.told = oracle::told_is_current::judged(&world.history.events());
        report.acknowledged = world.history.acknowledged() as u64;
        report.faults = world.counters.faults.load(Ordering::Relaxed);
        report.elections = world.counters.elections.load(Ordering::Relaxed);
        report.recoveries = world.counters.recoveries.load(Ordering::Relaxed);
        let elapsed = TimeHandle::current().elapsed();
        report.simulated_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    });
    let least = &scenario.least;
    for (what, had, wanted) in [
        ("acknowledged records", report.acknowledged, least.acknowledged),
        ("faults", report.faults, least.faults),
        ("recoveries", report.recoveries, least.recoveries),
        ("current answers about consumers", report.told, least.told),
    ] {
        if had < wanted {
            let detail = format!("{had} {what}, at least {wanted} are needed to prove anything");
            report.failures.push(Failure { check: "minimum".into(), detail });
        }
    }
}

/// A run in which some node's layer did nothing tested something else than it says.
fn judge_honesty(world: &World, report: &mut Report) {
    let counts = trace::counts();
    let machines = world.machines.all();
    let spus = machines.iter().map(|(_, m)| (m.node, &[Kind::Net, Kind::Disk, Kind::Rpc][..]));
    let clients = world.clients().into_iter().map(|node| (node, &[Kind::Net][..]));
    let control_plane = (world.control_plane.node(), &[Kind::Net, Kind::Sql, Kind::Http][..]);
    for (node, kinds) in spus.chain(clients).chain([control_plane]) {
        for kind in kinds {
            if counts.get(&(node.to_string(), *kind)).copied().unwrap_or(0) == 0 {
                let detail = format!("node {node} had no {kind:?} effect: that layer was not used");
                report.failures.push(Failure { check: "honesty".into(), detail });
            }
        }
    }
}
