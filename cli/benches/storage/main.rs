//! The storage engine beside plain programs: a real SPU, one connection, requests of 128 KiB,
//! fresh files on both sides, medians of interleaved rounds.
//!
//! ```sh
//! cargo bench -p weir-cli --bench storage                        # all of it: 4 to 15 minutes
//! cargo bench -p weir-cli --bench storage -- --only throughput --mib 64 --rounds 1
//! ```
//!
//! `MB` is 10^6 bytes of record values; CPU is user and system time of the whole SPU process
//! per GB of values; delivered records are counted. What the figures were, and on what, is in
//! `RESULTS.md` beside this file.
//!
//! | Module | Measures |
//! |---|---|
//! | [`throughput`] | produce and consume, against a plain writer, also one behind a socket, and raw loopback TCP |
//! | [`in_flight`] | one request at a time, each fsynced, against write + fdatasync, also behind a socket |
//! | [`replication`] | three replicas on three SPUs, against one |
//! | [`latency`] | produce to consume at 1,000 records/s, against a unary call |
//! | [`partitions`] | 2,000 partitions: to create, idle, to start after a crash |

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a benchmark measures the real world and may stop loudly"
)]

mod cluster;
mod in_flight;
mod latency;
mod partitions;
mod plain;
mod procfs;
mod replication;
mod stats;
mod throughput;

use std::path::PathBuf;

use tokio::runtime::Runtime;

use crate::stats::Results;

/// As in `weir` itself, whose `produce` and `consume` are this client.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Bytes of one produce request, and of one write of the plain program.
pub const BLOCK_BYTES: usize = 128 << 10;

pub struct Args {
    /// What each side writes in one round.
    pub mib: usize,
    /// What the sustained runs write.
    pub sustained_mib: usize,
    pub rounds: usize,
    pub partitions: usize,
    pub dir: PathBuf,
    /// Only records of this size.
    pub record_bytes: Option<usize>,
    only: Option<String>,
}

fn args() -> Args {
    let mut args = Args {
        mib: 512,
        sustained_mib: 8 << 10,
        rounds: 5,
        partitions: 2_000,
        dir: std::env::temp_dir(),
        record_bytes: None,
        only: None,
    };
    let mut given = std::env::args().skip(1);
    while let Some(name) = given.next() {
        let mut value = || given.next().unwrap_or_else(|| panic!("{name} needs a value"));
        let number = |text: String| text.parse().unwrap_or_else(|_| panic!("{text} is no number"));
        match name.as_str() {
            "--mib" => args.mib = number(value()),
            "--sustained-mib" => args.sustained_mib = number(value()),
            "--rounds" => args.rounds = number(value()),
            "--partitions" => args.partitions = number(value()),
            "--record-bytes" => args.record_bytes = Some(number(value())),
            "--dir" => args.dir = value().into(),
            "--only" => args.only = Some(value()),
            // Cargo passes it to every benchmark.
            "--bench" => {}
            other => panic!(
                "unknown argument {other}; there are --mib, --sustained-mib, --rounds, \
                 --partitions, --record-bytes, --dir, and --only throughput, sustained, in-flight, replication, \
                 latency or partitions"
            ),
        }
    }
    args
}

fn main() {
    let args = args();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut results = Results::default();
    let wanted = |part: &str| args.only.as_deref().is_none_or(|only| only == part);
    for round in 1..=args.rounds {
        eprintln!("round {round} of {}", args.rounds);
        if wanted("throughput") {
            throughput::round(&args, &runtime, &mut results);
        }
        if wanted("in-flight") {
            in_flight::round(&args, &runtime, &mut results);
        }
        if wanted("replication") {
            replication::round(&args, &runtime, &mut results);
        }
        if wanted("latency") {
            latency::round(&args, &runtime, &mut results);
        }
    }
    if wanted("sustained") {
        throughput::sustained(&args, &runtime, &mut results);
    }
    if wanted("partitions") {
        partitions::measure(&args, &runtime, &mut results);
    }
    results.print();
}

/// Runs an application as a task, which is where most applications call a client.
pub fn app<T: Send + 'static>(
    runtime: &Runtime,
    future: impl Future<Output = T> + Send + 'static,
) -> T {
    runtime.block_on(runtime.spawn(future)).unwrap()
}

/// Bytes that no codec could shrink to nothing, the same in every run.
pub fn payload(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..bytes)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}
