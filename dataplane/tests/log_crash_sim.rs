//! The log on a disk that loses power, tears writes, fails and fills, over many seeds.
//!
//! What is judged: after each crash, everything below the last end that a `sync()` returned
//! is there, byte for byte; what lies above is a prefix of what was appended; and the log
//! goes on. LOG_SEED=n in the environment plays only that seed. What is *not* judged here: bit rot below the recovery point (log_recovery does).
#![cfg(madsim)] // Only the simulated disk takes away what was not promised.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod log_support;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use log_support::*;
use madsim::{
    rand::{Rng, thread_rng},
    runtime::{Handle, Runtime},
    time::sleep,
};
use weir_dataplane::log::{Assigned, Log, LogConfig, LogError};
use weir_protocol::ids::Offset;
use weir_runtime::{
    disk::{
        Disk,
        sim::{DiskSim, SimDisk, Stats},
    },
    trace,
};

/// What a checker outside the crashing node knows.
#[derive(Default)]
struct Known {
    /// All that was ever handed to `append` and may be in the log.
    batches: Vec<Assigned>,
    /// The largest end that a sync returned.
    durable: Offset,
    /// Where a truncation that has not ended cuts: a sync beside it promises no more.
    cutting: Option<Offset>,
    epoch: u32,
    /// How often things happened, so that no check is idle.
    tally: Tally,
}

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    opens: u64,
    durable_records: u64,
    lost_batches: u64,
    set_aside: u64,
    full: u64,
    failed: u64,
    truncations: u64,
}

#[derive(Clone, Copy)]
struct Scenario {
    write_error: f64,
    sync_error: f64,
    capacity_bytes: u64,
    power_loss: f64,
    truncate: bool,
}

const HEALTHY: Scenario = Scenario {
    write_error: 0.0,
    sync_error: 0.0,
    capacity_bytes: 1 << 40,
    power_loss: 1.0,
    truncate: true,
};

fn config() -> LogConfig {
    LogConfig {
        segment_bytes_max: thread_rng().gen_range(300..4000),
        index_interval_bytes: 200,
        preallocate_bytes: [0, 1000][thread_rng().gen_range(0..2)],
        ..LogConfig::default()
    }
}

/// Checks a log that was just opened against what is known, and forgets what is lost.
async fn check(known: &Mutex<Known>, log: &Log) {
    let (batches, durable) = {
        let known = known.lock().unwrap();
        (known.batches.clone(), known.durable)
    };
    let end = log.log_end();
    assert!(end >= durable, "the log ends at {end}, and {durable} was durable");
    let kept: Vec<_> = batches.iter().take_while(|b| b.header.next_offset() <= end).collect();
    let last = kept.last().map_or(Offset(0), |b| b.header.next_offset());
    assert_eq!(last, end, "the log ends where a batch did");
    let expected: Vec<u8> = kept.iter().flat_map(|b| bytes_of(b)).collect();
    let max_bytes = thread_rng().gen_range(1..5000);
    let found = read_all(log, Offset(0), max_bytes).await.unwrap();
    assert!(found == expected, "bytes differ below {end}");
    let count = kept.len();
    let mut known = known.lock().unwrap();
    known.tally.lost_batches += (known.batches.len() - count) as u64;
    known.batches.truncate(count);
    // Opening promises what it found.
    assert_eq!(log.durable_end(), end);
    known.durable = end;
    known.cutting = None;
}

/// One life of the process: opens, checks, works until it is killed or the log fails.
async fn life(known: Arc<Mutex<Known>>, scenario: Scenario) {
    let disk: Arc<dyn Disk> = SimDisk::of_this_node();
    let (log, recovered) = loop {
        match open(&disk, &config()).await {
            Ok(opened) => break opened,
            Err(error @ LogError::Corrupt { .. }) => panic!("nothing was damaged, but: {error}"),
            // The disk errs or is full: tried again, as its owner would.
            Err(_) => sleep(Duration::from_millis(5)).await,
        }
    };
    {
        let mut known = known.lock().unwrap();
        known.tally.opens += 1;
        known.tally.set_aside += u64::from(recovered.set_aside.is_some());
        known.epoch += 1;
    }
    check(&known, &log).await;
    // As a leader does: one task appends, another syncs.
    let syncing = {
        let (log, known) = (log.clone(), known.clone());
        madsim::task::spawn(async move {
            while log.failure().is_none() {
                sleep(Duration::from_micros(thread_rng().gen_range(1..3000))).await;
                if let Ok(end) = log.sync().await {
                    let mut known = known.lock().unwrap();
                    let end = known.cutting.map_or(end, |cut| end.min(cut));
                    known.tally.durable_records += end.records_since(known.durable);
                    known.durable = known.durable.max(end);
                }
                if thread_rng().gen_bool(0.1) {
                    let _ = log.checkpoint().await;
                }
            }
        })
    };
    while log.failure().is_none() {
        work(&known, &log, scenario).await;
    }
    let _ = syncing.await;
    known.lock().unwrap().tally.failed += 1;
    // Until it is killed: what is durable is served all the same.
    let durable = log.durable_end();
    let mut at = Offset(0);
    while at < durable && scenario.write_error == 0.0 {
        let bytes = log.read(at, durable, 1000).await.unwrap();
        assert!(!bytes.is_empty());
        at = durable;
    }
}

async fn work(known: &Mutex<Known>, log: &Log, scenario: Scenario) {
    if scenario.truncate && thread_rng().gen_bool(0.03) {
        return truncate(known, log).await;
    }
    let end = log.log_end();
    let mut next = end.0;
    let epoch = known.lock().unwrap().epoch;
    let mut some = Vec::new();
    for _ in 0..thread_rng().gen_range(1..4) {
        let (records, filling) = (thread_rng().gen_range(1..4), thread_rng().gen_range(0..300));
        let one = batch(next, epoch, records, filling);
        next = one.header.next_offset().0;
        some.push(one);
    }
    // From here on they may be in the log.
    known.lock().unwrap().batches.extend(some.clone());
    match log.append(some).await {
        Ok(now) => assert_eq!(now.0, next),
        Err(LogError::StorageFull(_)) => {
            // They are not in the log and never will be.
            let mut known = known.lock().unwrap();
            known.batches.retain(|b| b.header.base_offset < end);
            known.tally.full += 1;
        }
        Err(_) => {}
    }
    if thread_rng().gen_bool(0.3) {
        sleep(Duration::from_micros(thread_rng().gen_range(1..2000))).await;
    }
}

/// Cuts a little, as a follower does: only what a leader told it to forget.
async fn truncate(known: &Mutex<Known>, log: &Log) {
    let end = log.log_end().0;
    let to = Offset(end.saturating_sub(thread_rng().gen_range(0..20)));
    {
        // What is above is no longer promised, whatever becomes of the cut.
        let mut known = known.lock().unwrap();
        let boundary =
            known.batches.iter().map(|b| b.header.base_offset).filter(|b| *b <= to).max();
        let boundary = boundary.unwrap_or_default();
        known.durable = known.durable.min(boundary);
        known.cutting = Some(boundary);
        known.tally.truncations += 1;
    }
    if let Ok(end) = log.truncate_to(to).await {
        let mut known = known.lock().unwrap();
        known.batches.retain(|b| b.header.next_offset() <= end);
        known.durable = known.durable.min(end);
        known.cutting = None;
    }
}

/// One node, killed `kills` times at random points.
fn simulate(seed: u64, scenario: Scenario, kills: u32) -> (Tally, Stats) {
    let run = move || {
        trace::start(false);
        let runtime = Runtime::with_seed_and_config(seed, madsim::Config::default());
        runtime.add_simulator::<DiskSim>();
        runtime.block_on(async {
            let known = Arc::new(Mutex::new(Known::default()));
            let mine = known.clone();
            let node = Handle::current()
                .create_node()
                .name("spu")
                .init(move || {
                    let known = mine.clone();
                    async move {
                        life(known, scenario).await;
                        std::future::pending::<()>().await;
                    }
                })
                .build();
            DiskSim::current().faults(node.id(), |faults| {
                faults.write.error = scenario.write_error;
                faults.sync.error = scenario.sync_error;
                faults.capacity_bytes = scenario.capacity_bytes;
                faults.power_loss = scenario.power_loss;
            });
            for _ in 0..kills {
                sleep(Duration::from_micros(thread_rng().gen_range(0..60_000))).await;
                Handle::current().kill(node.id());
                Handle::current().restart(node.id());
            }
            // Healed, it opens and holds what it promised.
            DiskSim::current().faults(node.id(), |faults| {
                faults.write.error = 0.0;
                faults.sync.error = 0.0;
                faults.capacity_bytes = 1 << 40;
                faults.power_loss = 1.0;
            });
            Handle::current().kill(node.id());
            let before = known.lock().unwrap().tally.opens;
            Handle::current().restart(node.id());
            for _ in 0..1000 {
                sleep(Duration::from_millis(5)).await;
                if known.lock().unwrap().tally.opens > before {
                    break;
                }
            }
            let tally = known.lock().unwrap().tally;
            assert!(tally.opens > before, "the log does not open on a healthy disk");
            (tally, DiskSim::current().stats(node.id()))
        })
    };
    std::thread::spawn(run).join().unwrap_or_else(|_| panic!("seed {seed}"))
}

fn many(scenario: Scenario, seeds: u64) -> (Tally, Stats) {
    let (mut tally, mut stats) = (Tally::default(), Stats::default());
    let only = std::env::var("LOG_SEED").ok().and_then(|s| s.parse::<u64>().ok());
    for seed in only.map_or(0..seeds, |s| s..s + 1) {
        let (t, s) = simulate(seed, scenario, 6);
        tally.opens += t.opens;
        tally.durable_records += t.durable_records;
        tally.lost_batches += t.lost_batches;
        tally.set_aside += t.set_aside;
        tally.full += t.full;
        tally.failed += t.failed;
        tally.truncations += t.truncations;
        stats.crashes += s.crashes;
        stats.process_deaths += s.process_deaths;
        stats.torn_files += s.torn_files;
        stats.failed_syncs += s.failed_syncs;
        stats.partial_writes += s.partial_writes;
        stats.full_errors += s.full_errors;
    }
    println!("{tally:?}\n{stats:?}");
    (tally, stats)
}

#[test]
fn power_losses() {
    let (tally, stats) = many(HEALTHY, 300);
    assert!(tally.opens > 1500 && tally.durable_records > 50_000, "{tally:?}");
    assert!(tally.lost_batches > 100 && tally.set_aside > 50 && tally.truncations > 100);
    assert!(stats.torn_files > 50);
}

#[test]
fn failing_writes_and_syncs_with_and_without_power() {
    let scenario = Scenario { write_error: 0.003, sync_error: 0.01, power_loss: 0.5, ..HEALTHY };
    let (tally, stats) = many(scenario, 200);
    assert!(tally.failed > 50 && stats.failed_syncs > 50 && stats.process_deaths > 100);
    assert!(tally.durable_records > 10_000, "{tally:?}");
}

#[test]
fn a_disk_that_fills() {
    let scenario = Scenario { capacity_bytes: 60_000, power_loss: 0.7, ..HEALTHY };
    let (tally, stats) = many(scenario, 100);
    assert!(tally.full > 100 && stats.full_errors > 100, "{tally:?} {stats:?}");
}
