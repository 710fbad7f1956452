//! What a person reads after a range of seeds.

use std::{collections::BTreeMap, process::Command, time::Duration};

use weir_sim_tests::runner::Report;

/// Failed seeds that are shown whole.
const SHOWN_MAX: usize = 3;

/// Prints a scenario's reports; true when one of them failed.
pub(super) fn print(scenario: &str, reports: &[Report], plants: &[String], wall: Duration) -> bool {
    let failed: Vec<_> = reports.iter().filter(|report| !report.failures.is_empty()).collect();
    let total = |get: fn(&Report) -> u64| reports.iter().map(get).sum::<u64>();
    let simulated_s = total(|r| r.simulated_ms) as f64 / 1000.0;
    println!(
        "{scenario}: {} seeds, {} failed; acknowledged {}, faults {}, recoveries {}, elections {}, told {}; \
         {simulated_s:.0} simulated s in {:.1} s ({:.0} per wall second)",
        reports.len(),
        failed.len(),
        total(|r| r.acknowledged),
        total(|r| r.faults),
        total(|r| r.recoveries),
        total(|r| r.elections),
        total(|r| r.told),
        wall.as_secs_f64(),
        simulated_s / wall.as_secs_f64().max(0.001),
    );
    let mut checks: BTreeMap<&str, u64> = BTreeMap::new();
    for failure in failed.iter().flat_map(|report| &report.failures) {
        *checks.entry(failure.check.as_str()).or_default() += 1;
    }
    if let Some(first) = failed.first() {
        let by = checks.iter().map(|(check, n)| format!("{check} {n}")).collect::<Vec<_>>();
        println!("  first failing seed {}; failed checks: {}", first.seed, by.join(", "));
    }
    for report in failed.iter().take(SHOWN_MAX) {
        println!("  seed {} at commit {}", report.seed, commit());
        for failure in &report.failures {
            println!("    {}: {}", failure.check, failure.detail);
        }
        println!("    replay: {}", replay(scenario, report.seed, plants));
    }
    !failed.is_empty()
}

fn replay(scenario: &str, seed: u64, plants: &[String]) -> String {
    let plants: String = plants.iter().map(|plant| format!(" --plant {plant}")).collect();
    format!(
        "RUSTFLAGS=\"--cfg madsim\" cargo run --profile sim --target-dir target/sim -p weir-sim-tests \
         --bin sim -- run {scenario} --seed {seed}{plants}"
    )
}

fn commit() -> String {
    let output = Command::new("git").args(["describe", "--always", "--dirty"]).output();
    match output {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        _ => "unknown (no git here)".into(),
    }
}
