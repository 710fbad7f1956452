//! Many partitions on one SPU: how long they take to make, what they cost while nothing
//! happens, and how long until all serve again after a crash.

use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use weir_client::ConsumerConfig;

use crate::{Args, cluster::Cluster, procfs, stats::Results};

const TOPIC: &str = "many";
const IDLE: Duration = Duration::from_secs(20);

pub fn measure(args: &Args, runtime: &Runtime, results: &mut Results) {
    let count = args.partitions;
    let mut cluster = Cluster::start(&args.dir, true);
    let before_mib = procfs::rss_mib(cluster.spu_pid);
    let began = Instant::now();
    cluster.weir(&["topic", "create", TOPIC, "--partitions", &count.to_string()]);
    runtime.block_on(all_serve(&cluster));
    results.add("2,000 partitions, create s", began.elapsed().as_secs_f64());

    // What was made is settled, and nothing but heartbeats is left.
    std::thread::sleep(Duration::from_secs(3));
    let (began, cpu_s) = (Instant::now(), procfs::cpu_s(cluster.spu_pid));
    std::thread::sleep(IDLE);
    let cpu_s = procfs::cpu_s(cluster.spu_pid) - cpu_s;
    results.add("2,000 partitions idle, CPU %", cpu_s / began.elapsed().as_secs_f64() * 100.0);
    let idle_mib = procfs::rss_mib(cluster.spu_pid);
    results.add("SPU RSS, 2,000 partitions, MiB", idle_mib);
    let each_kib = (idle_mib - before_mib) * 1024.0 / count as f64;
    results.add("SPU RSS per idle partition, KiB", each_kib);

    let began = Instant::now();
    cluster.kill_spu();
    cluster.await_spu();
    runtime.block_on(all_serve(&cluster));
    results.add("2,000 partitions, start s", began.elapsed().as_secs_f64());
}

/// Until a reader has been told by every partition that it has come to its end.
async fn all_serve(cluster: &Cluster) {
    let client = cluster.connect().await;
    let mut consumer = client.consumer(ConsumerConfig::new(TOPIC).until_end()).await.unwrap();
    if let Some(record) = consumer.next().await {
        panic!("an empty topic has no {record:?}");
    }
}
