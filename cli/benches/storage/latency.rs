//! From `send` to the consumer's hands at 1,000 records a second, and what a unary call to the
//! same SPU takes at the same pace.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::{runtime::Runtime, sync::mpsc, time};
use weir_client::{Client, ConsumerConfig, ProducerConfig, ProducerRecord, consumer::Start};
use weir_protocol::pb::data::{ListOffsetsRequest, data_plane_client::DataPlaneClient};
use weir_runtime::rpc::{Channel, ChannelConfig};

use crate::{
    Args, app,
    cluster::{self, Cluster},
    stats::{Results, percentile},
};

const PACE: Duration = Duration::from_millis(1);
const RECORDS: usize = 3_000;
const RECORD_BYTES: usize = 100;

pub fn round(args: &Args, runtime: &Runtime, results: &mut Results) {
    let cluster = Cluster::start(&args.dir, false);
    let endpoint = runtime.block_on(cluster.spu_endpoint());
    let mut unary = app(runtime, calls(endpoint));
    let client = runtime.block_on(cluster.connect());
    let mut records = app(runtime, records(client));
    for (name, times) in [("unary call", &mut unary), ("produce to consume", &mut records)] {
        for percent in [50, 99] {
            results.add(format!("{name}, p{percent} ms"), percentile(times, percent));
        }
    }
}

/// Calls that the SPU answers at once, since they bring no token.
async fn calls(endpoint: String) -> Vec<f64> {
    let channel = Channel::new(&endpoint, ChannelConfig::default());
    let mut client = DataPlaneClient::new(channel);
    let mut pace = time::interval(PACE);
    let mut times = Vec::with_capacity(RECORDS);
    for _ in 0..RECORDS {
        pace.tick().await;
        let began = Instant::now();
        client.list_offsets(ListOffsetsRequest::default()).await.expect_err("it has no token");
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    times
}

async fn records(client: Client) -> Vec<f64> {
    let config = ConsumerConfig { start: Start::End, ..ConsumerConfig::new(cluster::TOPIC) };
    let mut consumer = client.consumer(config).await.unwrap();
    let producer = client.producer(cluster::TOPIC, ProducerConfig::default()).await.unwrap();
    let (sent, mut sent_at) = mpsc::unbounded_channel();
    let reader = tokio::spawn(async move {
        let mut times = Vec::with_capacity(RECORDS);
        while times.len() < RECORDS {
            consumer.next().await.expect("it goes on").unwrap();
            let arrived = Instant::now();
            let at: Instant = sent_at.recv().await.unwrap();
            times.push(arrived.duration_since(at).as_secs_f64() * 1e3);
        }
        times
    });
    // The subscription is at the end by then.
    time::sleep(Duration::from_millis(500)).await;
    let value = Bytes::from(crate::payload(RECORD_BYTES));
    let mut pace = time::interval(PACE);
    for _ in 0..RECORDS {
        pace.tick().await;
        sent.send(Instant::now()).unwrap();
        let delivery = producer.send(ProducerRecord::value(value.clone())).await.unwrap();
        drop(delivery);
    }
    producer.flush().await.unwrap();
    reader.await.unwrap()
}
