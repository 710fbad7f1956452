//! The command line of `sim`.

use std::{
    ops::Range,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::{Args, Parser, Subcommand};
use weir_sim_tests::{
    runner::{self, Options, Report},
    scenarios::{self, Scenario},
};

#[path = "pool.rs"]
mod pool;
#[path = "summary.rs"]
mod summary;

/// A run that takes longer hangs.
const WALL_CLOCK_MAX: Duration = Duration::from_secs(180);

#[derive(Parser)]
#[command(
    name = "sim",
    about = "Plays scenarios of Weir in simulation, one process per seed",
    after_help = "Examples:\n  sim list\n  sim run --seeds 0..200\n  sim run spu-crash --seed 17\n  sim run stale-spu --seeds 0..50 --plant readiness_counts_registrations"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Names the scenarios.
    List,
    /// Plays scenarios over seeds, in parallel processes. Exit code 1 when a seed failed.
    Run(Run),
    /// Plays one seed in this process and prints its report as JSON.
    One(One),
}

#[derive(Args)]
struct Run {
    /// Which scenarios; none: all.
    scenarios: Vec<String>,
    /// One seed.
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// A range of seeds, the end excluded.
    #[arg(long, value_parser = seed_range, default_value = "0..10")]
    seeds: Range<u64>,
    /// How many processes at once.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Switches a planted bug on: the run must then fail, and exit code 1 is success.
    #[arg(long)]
    plant: Vec<String>,
    /// Stops at the first seed that fails.
    #[arg(long)]
    fail_fast: bool,
}

#[derive(Args)]
struct One {
    /// Which scenario.
    scenario: String,
    /// The seed.
    #[arg(long)]
    seed: u64,
    /// Switches a planted bug on.
    #[arg(long)]
    plant: Vec<String>,
    /// Writes every packet, disk operation and SQL statement to this file.
    #[arg(long)]
    trace: Option<PathBuf>,
}

fn seed_range(text: &str) -> Result<Range<u64>, String> {
    let wrong = || format!("{text:?} is no range of seeds such as 0..200");
    let (from, to) = text.split_once("..").ok_or_else(wrong)?;
    let range = from.parse().map_err(|_| wrong())?..to.parse().map_err(|_| wrong())?;
    if range.is_empty() { Err(format!("{text:?} holds no seed")) } else { Ok(range) }
}

pub(super) fn main() -> ExitCode {
    match Cli::parse().command {
        Command::List => {
            for scenario in scenarios::ALL {
                println!("{:22} {}", scenario.name, scenario.story);
            }
            ExitCode::SUCCESS
        }
        Command::Run(run) => play_all(&run),
        Command::One(one) => play_one(&one),
    }
}

fn selected(names: &[String]) -> Result<Vec<&'static Scenario>, String> {
    if names.is_empty() {
        return Ok(scenarios::ALL.iter().collect());
    }
    let known =
        || scenarios::ALL.iter().map(|scenario| scenario.name).collect::<Vec<_>>().join(", ");
    names
        .iter()
        .map(|name| {
            scenarios::find(name)
                .ok_or_else(|| format!("no scenario {name:?}; there are {}", known()))
        })
        .collect()
}

fn play_all(run: &Run) -> ExitCode {
    let chosen = match selected(&run.scenarios) {
        Ok(chosen) => chosen,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let seeds = run.seed.map_or(run.seeds.clone(), |seed| seed..seed + 1);
    let mut failed = false;
    for scenario in chosen {
        let began = Instant::now();
        let reports = pool::play(scenario.name, seeds.clone(), run.jobs, &run.plant, run.fail_fast);
        failed |= summary::print(scenario.name, &reports, &run.plant, began.elapsed());
    }
    ExitCode::from(u8::from(failed))
}

fn play_one(one: &One) -> ExitCode {
    let Some(scenario) = scenarios::find(&one.scenario) else {
        eprintln!("no scenario {:?}", one.scenario);
        return ExitCode::from(2);
    };
    if let Ok(filter) = std::env::var("SIM_LOG") {
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(false)
            .init();
    }
    // In memory where there is such a file system: an fsync of the control plane's database
    // costs nothing there, and what a simulated crash does to it is simulated anyway.
    let base = PathBuf::from("/dev/shm");
    let base = if base.is_dir() { base } else { std::env::temp_dir() };
    let folder = match tempfile::Builder::new().prefix("weir-sim-").tempdir_in(base) {
        Ok(folder) => folder,
        Err(error) => {
            eprintln!("no folder for the control plane's database: {error}");
            return ExitCode::from(2);
        }
    };
    // A task that never yields stops simulated time, and with it every bound inside.
    std::thread::spawn(|| {
        std::thread::sleep(WALL_CLOCK_MAX);
        eprintln!("no end after {WALL_CLOCK_MAX:?} of real time");
        std::process::exit(3);
    });
    let options = Options { plants: one.plant.clone(), keep_trace: one.trace.is_some() };
    let report: Report = runner::run(scenario, one.seed, &options, folder.path());
    if let Some(path) = &one.trace
        && let Err(error) = std::fs::write(path, report.trace.join("\n"))
    {
        eprintln!("cannot write {}: {error}", path.display());
        return ExitCode::from(2);
    }
    match serde_json::to_string(&report) {
        Ok(json) => println!("{json}"),
        Err(error) => eprintln!("cannot print the report: {error}"),
    }
    // Whatever the simulation still holds dies with the process.
    drop(folder);
    ExitCode::from(u8::from(!report.failures.is_empty()))
}
