//! `acks=all` on three SPUs of one machine: a topic with three replicas beside one with a single
//! one, in turn, on the same cluster.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::runtime::Runtime;
use weir_client::{Client, ProducerConfig, ProducerRecord};

use crate::{
    Args, app,
    cluster::Cluster,
    stats::{Results, percentile},
    throughput,
};

const SPUS: usize = 3;
const REQUESTS: usize = 1_000;
const RECORD_BYTES: usize = 1 << 10;
/// Connections, and followers, are there by then.
const WARM_UP: usize = 100;

pub fn round(args: &Args, runtime: &Runtime, results: &mut Results) {
    for fsync in [true, false] {
        let with = if fsync { ", fsync" } else { "" };
        let cluster = Cluster::of(&args.dir, fsync, SPUS);
        for replicas in [1, SPUS] {
            let (name, topic) =
                (format!("{replicas} of {SPUS} SPUs{with}"), format!("r{replicas}"));
            let number = replicas.to_string();
            cluster.weir(&["topic", "create", &topic, "--partitions", "1", "-r", &number]);
            let client = runtime.block_on(cluster.connect());
            let mut times = app(runtime, acknowledged(client, topic.clone()));
            for percent in [50, 99] {
                let figure = format!("{name}, one in flight, p{percent} ms");
                results.add(figure, percentile(&mut times, percent));
            }
        }
        for replicas in [1, SPUS] {
            // Topics of their own: offsets are counted from 0.
            let (name, topic) =
                (format!("{replicas} of {SPUS} SPUs{with}"), format!("t{replicas}"));
            let number = replicas.to_string();
            cluster.weir(&["topic", "create", &topic, "--partitions", "1", "-r", &number]);
            nix::unistd::sync();
            let (client, spus) = (runtime.block_on(cluster.connect()), cluster.spus());
            assert_eq!(spus.len(), SPUS, "all of them are measured");
            let records = (args.mib << 20) / RECORD_BYTES;
            let run = async move {
                throughput::produce(client, &topic, spus, RECORD_BYTES, records).await
            };
            app(runtime, run).add(results, &format!("{name}, produce {RECORD_BYTES} B"));
        }
    }
}

/// How long each acknowledgement took, one record in flight.
async fn acknowledged(client: Client, topic: String) -> Vec<f64> {
    let config = ProducerConfig { linger: Duration::ZERO, ..ProducerConfig::default() };
    let producer = client.producer(&topic, config).await.unwrap();
    let value = Bytes::from(crate::payload(RECORD_BYTES));
    let mut times = Vec::with_capacity(REQUESTS);
    for request in 0..WARM_UP + REQUESTS {
        let began = Instant::now();
        let sent = producer.send(ProducerRecord::value(value.clone())).await.unwrap();
        sent.await.unwrap();
        if request >= WARM_UP {
            times.push(began.elapsed().as_secs_f64() * 1e3);
        }
    }
    times
}
