//! One request at a time, each fsynced before it is acknowledged.

use std::time::Instant;

use bytes::Bytes;
use tokio::runtime::Runtime;
use weir_client::{Client, ProducerConfig, ProducerRecord};

use crate::{
    Args, BLOCK_BYTES, app,
    cluster::{self, Cluster},
    plain,
    stats::{Results, percentile},
};

const REQUESTS: usize = 1_000;

pub fn round(args: &Args, runtime: &Runtime, results: &mut Results) {
    results.add("plain 128 KiB + fdatasync, p50 ms", plain::write_each(&args.dir, REQUESTS));
    let behind_socket = plain::write_each_behind_socket(&args.dir, REQUESTS);
    results.add("plain 128 KiB + fdatasync behind a socket, p50 ms", behind_socket);
    let cluster = Cluster::start(&args.dir, true);
    let client = runtime.block_on(cluster.connect());
    let mut times = app(runtime, produce(client));
    results.add("one in flight, fsync, p50 ms", percentile(&mut times, 50));
    results.add("one in flight, fsync, p99 ms", percentile(&mut times, 99));
}

async fn produce(client: Client) -> Vec<f64> {
    let config = ProducerConfig { batch_bytes: BLOCK_BYTES, ..ProducerConfig::default() };
    let producer = client.producer(cluster::TOPIC, config).await.unwrap();
    // A batch's header and a record's take less than the rest.
    let value = Bytes::from(crate::payload(BLOCK_BYTES - 128));
    let mut times = Vec::with_capacity(REQUESTS);
    for _ in 0..REQUESTS {
        let began = Instant::now();
        let sent = producer.send(ProducerRecord::value(value.clone())).await.unwrap();
        sent.await.unwrap();
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    times
}
