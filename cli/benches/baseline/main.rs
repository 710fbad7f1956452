//! A first, honest baseline: produce and consume through a real SPU over one connection,
//! beside a plain program that writes the same volume in the same blocks.
//!
//! ```sh
//! cargo bench -p weir-cli --bench baseline                      # 512 MiB a side, 5 rounds
//! cargo bench -p weir-cli --bench baseline -- --mib 64 --rounds 1
//! ```
//!
//! Variants are interleaved, every side writes fresh files, delivered records are counted,
//! and the table shows medians. `MB` is 10^6 bytes of record values; CPU is user and system
//! time of the whole process per GB of values.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a benchmark measures the real world and may stop loudly"
)]

mod cluster;
mod plain;
mod procfs;
mod table;

use std::{path::PathBuf, time::Instant};

use bytes::Bytes;
use weir_client::{Client, ConsumerConfig, ProducerConfig, ProducerRecord};

use crate::{
    cluster::Cluster,
    table::{Row, Table},
};

/// Bytes of one produce request, and of one write of the plain program.
pub const BLOCK_BYTES: usize = 128 << 10;
const RECORD_BYTES: [usize; 3] = [100, 1 << 10, 10 << 10];

struct Args {
    mib: usize,
    rounds: usize,
    dir: PathBuf,
}

fn args() -> Args {
    let mut args = Args { mib: 512, rounds: 5, dir: std::env::temp_dir() };
    let mut given = std::env::args().skip(1);
    while let Some(name) = given.next() {
        let mut value = || given.next().unwrap_or_else(|| panic!("{name} needs a value"));
        match name.as_str() {
            "--mib" => args.mib = value().parse().expect("--mib takes a number"),
            "--rounds" => args.rounds = value().parse().expect("--rounds takes a number"),
            "--dir" => args.dir = value().into(),
            // Cargo passes it to every benchmark.
            "--bench" => {}
            other => panic!("unknown argument {other}; there are --mib, --rounds, --dir"),
        }
    }
    args
}

fn main() {
    let args = args();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut table = Table::default();
    for round in 1..=args.rounds {
        eprintln!("round {round} of {}", args.rounds);
        for fsync in [false, true] {
            let plain = plain::write(&args.dir, args.mib << 20, fsync);
            table.add(Row { what: "plain write", record_bytes: BLOCK_BYTES, fsync, run: plain });
            for record_bytes in RECORD_BYTES {
                let cluster = Cluster::start(&args.dir, fsync);
                let records = (args.mib << 20) / record_bytes;
                let produced = runtime.block_on(produce(&cluster, record_bytes, records));
                table.add(Row { what: "produce", record_bytes, fsync, run: produced });
                let consumed = runtime.block_on(consume(&cluster, record_bytes, records));
                table.add(Row { what: "consume", record_bytes, fsync, run: consumed });
            }
        }
    }
    table.print(args.mib, args.rounds);
}

/// One measured run.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    pub mb_per_s: f64,
    pub client_cpu_s_per_gb: f64,
    pub spu_cpu_s_per_gb: f64,
    pub spu_rss_mib: f64,
}

async fn produce(cluster: &Cluster, record_bytes: usize, records: usize) -> Run {
    let client = cluster.connect().await;
    let config = ProducerConfig { batch_bytes: BLOCK_BYTES, ..ProducerConfig::default() };
    let producer = client.producer(cluster::TOPIC, config).await.unwrap();
    let value = Bytes::from(payload(record_bytes));
    let measured = Measured::begin(cluster);
    let mut last = None;
    for _ in 0..records {
        last = Some(producer.send(ProducerRecord::value(value.clone())).await.unwrap());
    }
    producer.flush().await.expect("every record is acknowledged");
    let last = last.expect("at least one record").await.unwrap();
    let run = measured.end(cluster, record_bytes * records);
    assert_eq!(last.offset.0 + 1, records as u64, "every record has its own offset");
    run
}

async fn consume(cluster: &Cluster, record_bytes: usize, records: usize) -> Run {
    let client: Client = cluster.connect().await;
    let measured = Measured::begin(cluster);
    let mut consumer =
        client.consumer(ConsumerConfig::new(cluster::TOPIC).until_end()).await.unwrap();
    let (mut count, mut bytes) = (0, 0);
    while let Some(record) = consumer.next().await {
        count += 1;
        bytes += record.unwrap().value.map_or(0, |value| value.len());
    }
    let run = measured.end(cluster, bytes);
    assert_eq!((count, bytes), (records, record_bytes * records), "all of it came back");
    run
}

/// Bytes that no codec could shrink to nothing, the same in every run.
fn payload(bytes: usize) -> Vec<u8> {
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

struct Measured {
    began: Instant,
    client_cpu_s: f64,
    spu_cpu_s: f64,
}

impl Measured {
    fn begin(cluster: &Cluster) -> Self {
        Self {
            began: Instant::now(),
            client_cpu_s: procfs::cpu_s(std::process::id()),
            spu_cpu_s: procfs::cpu_s(cluster.spu_pid),
        }
    }

    fn end(self, cluster: &Cluster, bytes: usize) -> Run {
        let seconds = self.began.elapsed().as_secs_f64();
        let gb = bytes as f64 / 1e9;
        Run {
            mb_per_s: bytes as f64 / 1e6 / seconds,
            client_cpu_s_per_gb: (procfs::cpu_s(std::process::id()) - self.client_cpu_s) / gb,
            spu_cpu_s_per_gb: (procfs::cpu_s(cluster.spu_pid) - self.spu_cpu_s) / gb,
            spu_rss_mib: procfs::rss_peak_mib(cluster.spu_pid),
        }
    }
}
