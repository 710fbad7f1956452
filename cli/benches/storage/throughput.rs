//! Produce and consume as fast as it goes, over one connection.

use std::time::Instant;

use bytes::Bytes;
use tokio::runtime::Runtime;
use weir_client::{Client, ConsumerConfig, ProducerConfig, ProducerRecord};

use crate::{
    Args, BLOCK_BYTES, app,
    cluster::{self, Cluster},
    plain, procfs,
    stats::Results,
};

const RECORD_BYTES: [usize; 3] = [100, 1 << 10, 10 << 10];

pub fn round(args: &Args, runtime: &Runtime, results: &mut Results) {
    let bytes = args.mib << 20;
    results.add("loopback TCP, MB/s", plain::loopback(bytes));
    results.add("plain write behind a socket, MB/s", plain::write_behind_socket(&args.dir, bytes));
    for fsync in [false, true] {
        let with = if fsync { ", fsync" } else { "" };
        let name = if fsync { "plain write, fdatasync per MiB, MB/s" } else { "plain write, MB/s" };
        results.add(name, plain::write(&args.dir, bytes, fsync));
        let sizes = RECORD_BYTES.into_iter();
        for record_bytes in sizes.filter(|size| args.record_bytes.is_none_or(|only| only == *size))
        {
            let cluster = Cluster::start(&args.dir, fsync);
            let records = bytes / record_bytes;
            let client = runtime.block_on(cluster.connect());
            let (topic, spus) = (cluster::TOPIC, vec![cluster.spu_pid]);
            let run = app(runtime, produce(client, topic, spus, record_bytes, records));
            run.add(results, &format!("produce {record_bytes} B{with}"));
            let client = runtime.block_on(cluster.connect());
            let run = app(runtime, consume(client, cluster.spu_pid, record_bytes, records));
            if !fsync {
                run.add(results, &format!("consume {record_bytes} B"));
            }
            if record_bytes == 1 << 10 && !fsync {
                results.add("SPU RSS, hot, MiB", procfs::rss_peak_mib(cluster.spu_pid));
            }
        }
    }
}

/// How many times both sides write, in turn.
const SUSTAINED_RUNS: usize = 5;

/// Until the disk, and not the page cache, sets the pace. Neither begins with what the other
/// left for the disk to do.
pub fn sustained(args: &Args, runtime: &Runtime, results: &mut Results) {
    let bytes = args.sustained_mib << 20;
    for _ in 0..SUSTAINED_RUNS {
        nix::unistd::sync();
        results.add("sustained plain write, MB/s", plain::write(&args.dir, bytes, false));
        let cluster = Cluster::start(&args.dir, false);
        nix::unistd::sync();
        let client = runtime.block_on(cluster.connect());
        let (topic, spus) = (cluster::TOPIC, vec![cluster.spu_pid]);
        let run = app(runtime, produce(client, topic, spus, 1 << 10, bytes >> 10));
        run.add(results, "sustained produce 1024 B");
    }
}

/// One measured run.
pub struct Run {
    mb_per_s: f64,
    client_cpu_s_per_gb: f64,
    spu_cpu_s_per_gb: f64,
}

impl Run {
    pub fn add(&self, results: &mut Results, name: &str) {
        results.add(format!("{name}, MB/s"), self.mb_per_s);
        results.add(format!("{name}, SPU CPU s/GB"), self.spu_cpu_s_per_gb);
        results.add(format!("{name}, client CPU s/GB"), self.client_cpu_s_per_gb);
    }
}

pub async fn produce(
    client: Client,
    topic: &str,
    spus: Vec<u32>,
    record_bytes: usize,
    records: usize,
) -> Run {
    let config = ProducerConfig { batch_bytes: BLOCK_BYTES, ..ProducerConfig::default() };
    let producer = client.producer(topic, config).await.unwrap();
    let value = Bytes::from(crate::payload(record_bytes));
    let measured = Measured::begin(spus);
    let mut last = None;
    for _ in 0..records {
        last = Some(producer.send(ProducerRecord::value(value.clone())).await.unwrap());
    }
    producer.flush().await.expect("every record is acknowledged");
    let last = last.expect("at least one record").await.unwrap();
    let run = measured.end(record_bytes * records);
    assert_eq!(last.offset.0 + 1, records as u64, "every record has its own offset");
    run
}

async fn consume(client: Client, spu_pid: u32, record_bytes: usize, records: usize) -> Run {
    let measured = Measured::begin(vec![spu_pid]);
    let mut consumer =
        client.consumer(ConsumerConfig::new(cluster::TOPIC).until_end()).await.unwrap();
    let (mut count, mut bytes) = (0, 0);
    while let Some(record) = consumer.next().await {
        count += 1;
        bytes += record.unwrap().value.map_or(0, |value| value.len());
    }
    let run = measured.end(bytes);
    assert_eq!((count, bytes), (records, record_bytes * records), "all of it came back");
    run
}

struct Measured {
    spus: Vec<u32>,
    began: Instant,
    client_cpu_s: f64,
    spu_cpu_s: f64,
}

impl Measured {
    fn begin(spus: Vec<u32>) -> Self {
        let spu_cpu_s = spus.iter().copied().map(procfs::cpu_s).sum();
        let client_cpu_s = procfs::cpu_s(std::process::id());
        Self { spus, began: Instant::now(), client_cpu_s, spu_cpu_s }
    }

    fn end(self, bytes: usize) -> Run {
        let seconds = self.began.elapsed().as_secs_f64();
        let gb = bytes as f64 / 1e9;
        let spu_cpu_s: f64 = self.spus.iter().copied().map(procfs::cpu_s).sum();
        Run {
            mb_per_s: bytes as f64 / 1e6 / seconds,
            client_cpu_s_per_gb: (procfs::cpu_s(std::process::id()) - self.client_cpu_s) / gb,
            spu_cpu_s_per_gb: (spu_cpu_s - self.spu_cpu_s) / gb,
        }
    }
}
