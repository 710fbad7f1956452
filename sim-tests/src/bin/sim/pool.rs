//! One process per seed, a few at a time: memory is given back, and no state of one run
//! can reach another.

use std::{
    ops::Range,
    process::{Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use weir_sim_tests::runner::{Failure, Report};

/// Lines of a failed run's standard error that are shown.
const STDERR_LINES: usize = 12;

/// Long ranges say after so many seeds how far they are.
const TOLD_EVERY: usize = 100;

/// Plays every seed of `seeds` and returns the reports by seed. A seed that fails is told on
/// standard error at once, unless a planted bug is to fail it.
pub(super) fn play(
    scenario: &str,
    seeds: Range<u64>,
    jobs: usize,
    plants: &[String],
    fail_fast: bool,
) -> Vec<Report> {
    let next = AtomicU64::new(seeds.start);
    let stop = AtomicBool::new(false);
    let reports = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let report = child(scenario, seed, plants);
                    if fail_fast && !report.failures.is_empty() {
                        stop.store(true, Ordering::Relaxed);
                    }
                    if plants.is_empty() {
                        tell(&report);
                    }
                    let mut reports = reports.lock().expect("no thread panics with it");
                    reports.push(report);
                    if reports.len().is_multiple_of(TOLD_EVERY) {
                        eprintln!("{scenario}: {} seeds played", reports.len());
                    }
                }
            });
        }
    });
    let mut reports = reports.into_inner().expect("no thread panicked");
    reports.sort_by_key(|report| report.seed);
    reports
}

fn tell(report: &Report) {
    for failure in &report.failures {
        eprintln!(
            "{} seed {}: {}: {}",
            report.scenario, report.seed, failure.check, failure.detail
        );
    }
}

fn child(scenario: &str, seed: u64, plants: &[String]) -> Report {
    let died = |detail: String| Report {
        scenario: scenario.into(),
        seed,
        failures: vec![Failure { check: "process".into(), detail }],
        ..Report::default()
    };
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return died(format!("cannot find this program: {error}")),
    };
    let mut command = Command::new(program);
    command.args(["one", scenario, "--seed", &seed.to_string()]);
    for plant in plants {
        command.args(["--plant", plant]);
    }
    let output = match command.stdin(Stdio::null()).output() {
        Ok(output) => output,
        Err(error) => return died(format!("cannot start a process: {error}")),
    };
    let stdout = String::from_utf8_lossy(&output.stdout);
    match stdout.lines().last().and_then(|line| serde_json::from_str(line).ok()) {
        Some(report) => report,
        None => {
            let stderr = String::from_utf8_lossy(&output.stderr);
            let lines: Vec<_> = stderr.lines().rev().take(STDERR_LINES).collect();
            let tail: Vec<_> = lines.into_iter().rev().collect();
            died(format!("{} without a report:\n{}", output.status, tail.join("\n")))
        }
    }
}
