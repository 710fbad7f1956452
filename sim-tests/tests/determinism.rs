//! One seed, two processes started seconds apart: the traces are the same byte for byte,
//! and two seeds' traces are not.
#![cfg(madsim)] // There is nothing to simulate with in the real world.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, missing_docs)]

use std::{fs, path::Path, process::Command, time::Instant};

/// A shorter trace would have left something out.
const LINES_MIN: usize = 10_000;

fn trace(folder: &Path, name: &str, scenario: &str, seed: u64) -> String {
    let path = folder.join(name);
    let output = Command::new(env!("CARGO_BIN_EXE_sim"))
        .args(["one", scenario, "--seed", &seed.to_string(), "--trace"])
        .arg(&path)
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{scenario} failed with seed {seed}: {stdout}");
    fs::read_to_string(path).unwrap()
}

/// The traces of several seeds, one after another: a short story has few lines.
fn traces(folder: &Path, name: &str, scenario: &str, seeds: std::ops::Range<u64>) -> String {
    seeds.map(|seed| trace(folder, name, scenario, seed)).collect()
}

fn compare(scenario: &str, seeds: u64) {
    let folder = tempfile::tempdir().unwrap();
    let began = Instant::now();
    let first = traces(folder.path(), "first", scenario, 0..seeds);
    // So that nothing of the real clock can be in the trace unseen.
    while began.elapsed().as_secs() < 2 {
        std::thread::yield_now();
    }
    let second = traces(folder.path(), "second", scenario, 0..seeds);
    let lines = first.lines().count();
    assert!(lines >= LINES_MIN, "{scenario}: only {lines} lines");
    for kind in ["Net", "Disk", "Sql", "Http", "Rpc", "Step"] {
        assert!(first.lines().any(|line| line.contains(kind)), "{scenario}: no {kind} line");
    }
    if let Some((number, (a, b))) =
        first.lines().zip(second.lines()).enumerate().find(|(_, (a, b))| a != b)
    {
        panic!("{scenario}: line {number} differs:\n  {a}\n  {b}");
    }
    assert_eq!(lines, second.lines().count(), "{scenario}: one trace goes on longer");
    assert_ne!(
        first,
        traces(folder.path(), "other", scenario, 1..seeds + 1),
        "{scenario}: the seed is ignored"
    );
}

#[test]
fn spu_crash_replays() {
    compare("spu-crash", 1);
}

#[test]
fn topic_recreate_replays() {
    compare("topic-recreate", 4);
}

#[test]
fn partition_growth_replays() {
    compare("partition-growth", 1);
}

#[test]
fn stale_spu_replays() {
    compare("stale-spu", 4);
}

#[test]
fn control_plane_crash_replays() {
    compare("control-plane-crash", 1);
}
