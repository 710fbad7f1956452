//! Producers and consumers that write into the history what they did and saw.

use std::time::Duration;

use bytes::Bytes;
use madsim::runtime::NodeHandle;
use tokio::sync::mpsc;
use weir_client::{
    Client, ConsumeError, Consumer, ConsumerConfig, Delivery, ProduceError, Producer,
    ProducerConfig, ProducerRecord, RecordMetadata,
};
use weir_protocol::{Outcome, ids::PartitionIndex};
use weir_runtime::{
    clock::Clock,
    task::{CancellationToken, JoinHandle},
};

use crate::{
    history::{Event, History, Place, ProduceOutcome, RecordId},
    world::World,
};

/// Deliveries that may be awaited at once.
const DELIVERIES_MAX: usize = 1024;

/// What a producing client does.
#[derive(Clone, Debug)]
pub struct Producing {
    /// Its number, unique in the run.
    pub producer: u32,
    /// Where to.
    pub topic: String,
    /// Every record to this partition; none: in turn.
    pub partition: Option<u32>,
    /// Pause between records.
    pub pace: Duration,
    /// At most so many records.
    pub records_max: u32,
    /// How the producer is configured.
    pub config: ProducerConfig,
}

impl Producing {
    /// Records in turn to all partitions, one every few milliseconds.
    #[must_use]
    pub fn new(producer: u32, topic: &str) -> Self {
        Self {
            producer,
            topic: topic.into(),
            partition: None,
            pace: Duration::from_millis(5),
            records_max: u32::MAX,
            config: ProducerConfig {
                batch_bytes: 512,
                delivery_timeout: Duration::from_secs(60),
                ..ProducerConfig::default()
            },
        }
    }
}

/// A running producing or consuming client.
pub struct Running {
    stop: CancellationToken,
    done: JoinHandle<()>,
}

impl Running {
    /// Tells it to stop, and waits until every record's outcome is in the history.
    pub async fn stop(self) {
        self.stop.cancel();
        self.done.await.expect("a workload does not panic");
    }

    /// Waits until it ends by itself.
    pub async fn ended(self) {
        self.done.await.expect("a workload does not panic");
    }
}

/// Starts a producing client on `node`.
pub fn produce(world: &World, node: &NodeHandle, what: Producing) -> Running {
    let stop = CancellationToken::new();
    let (world, stopped) = (world.clone(), stop.clone());
    let history = world.history.clone();
    let done = node.spawn(async move {
        let client = world.connect().await;
        let producer = loop {
            match client.producer(&what.topic, what.config).await {
                Ok(producer) => break producer,
                Err(error) => {
                    tracing::info!(%error, "no producer yet");
                    Clock.sleep(Duration::from_millis(500)).await;
                }
            }
        };
        let (deliveries, outcomes) = mpsc::channel(DELIVERIES_MAX);
        let collector = tokio::spawn(collect(history.clone(), outcomes));
        send_all(&producer, &what, &history, &deliveries, &stopped).await;
        drop(deliveries);
        collector.await.expect("the collector does not panic");
        history.add(Event::ProducerStopped { producer: what.producer });
    });
    Running { stop, done }
}

async fn send_all(
    producer: &Producer,
    what: &Producing,
    history: &History,
    deliveries: &mpsc::Sender<(RecordId, Delivery)>,
    stopped: &CancellationToken,
) {
    for sequence in 0..what.records_max {
        if stopped.is_cancelled() {
            return;
        }
        let id = RecordId { producer: what.producer, sequence };
        history.add(Event::Sent { id });
        let record = ProducerRecord {
            value: Some(Bytes::from(id.to_value())),
            partition: what.partition.map(PartitionIndex),
            ..ProducerRecord::default()
        };
        match producer.send(record).await {
            Ok(delivery) => {
                if deliveries.send((id, delivery)).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                let outcome = ProduceOutcome::NotDone(error.code().into());
                history.add(Event::Produced { id, outcome });
                if !error.retryable() {
                    tracing::info!(%error, "the producer ends");
                    return;
                }
            }
        }
        Clock.sleep(what.pace).await;
    }
}

async fn collect(history: History, mut deliveries: mpsc::Receiver<(RecordId, Delivery)>) {
    while let Some((id, delivery)) = deliveries.recv().await {
        let outcome = outcome(delivery.await);
        history.add(Event::Produced { id, outcome });
    }
}

fn outcome(result: Result<RecordMetadata, ProduceError>) -> ProduceOutcome {
    match result {
        Ok(at) => ProduceOutcome::Acknowledged(Place {
            generation: at.generation.to_string(),
            partition: at.partition.0,
            offset: at.offset.0,
        }),
        Err(error) if error.outcome == Outcome::NotDone => {
            ProduceOutcome::NotDone(error.code.to_string())
        }
        Err(error) => ProduceOutcome::Unknown(error.code.to_string()),
    }
}

/// Starts a consuming client on `node`. It ends when told, or with its stream.
pub fn consume(world: &World, node: &NodeHandle, consumer: u32, config: ConsumerConfig) -> Running {
    let stop = CancellationToken::new();
    let (world, history, stopped) = (world.clone(), world.history.clone(), stop.clone());
    let done = node.spawn(async move {
        let client = world.connect().await;
        let mut records = open(&client, config).await;
        let mut told = false;
        loop {
            let next = tokio::select! {
                biased;
                () = stopped.cancelled() => return,
                next = records.next() => next,
            };
            if let (false, Some(begun)) = (told, records.starts().values().next()) {
                told = true;
                history.add(Event::Began { consumer, offset: begun.offset.0 });
            }
            if !note(&history, consumer, next) {
                return;
            }
        }
    });
    Running { stop, done }
}

async fn open(client: &Client, config: ConsumerConfig) -> Consumer {
    loop {
        match client.consumer(config.clone()).await {
            Ok(consumer) => return consumer,
            Err(error) => {
                tracing::info!(%error, "no consumer yet");
                Clock.sleep(Duration::from_millis(500)).await;
            }
        }
    }
}

/// Writes down what came; false when the stream is over.
fn note(
    history: &History,
    consumer: u32,
    next: Option<Result<weir_client::ConsumerRecord, ConsumeError>>,
) -> bool {
    match next {
        None => false,
        Some(Ok(record)) => {
            history.add(Event::Consumed {
                consumer,
                place: Place {
                    generation: record.generation.to_string(),
                    partition: record.partition.0,
                    offset: record.offset.0,
                },
                value: record.value.map(|v| v.to_vec()).unwrap_or_default(),
            });
            true
        }
        Some(Err(error)) => {
            tracing::info!(%error, consumer, "consumer error");
            let over = error.is_terminal() || error.halted().is_some();
            if over {
                history.add(Event::ConsumerEnded { consumer, code: error.code().into() });
            }
            !over
        }
    }
}

/// Reads a topic whole, after all was healed, and enters it as its generation's final
/// content. `within` bounds the whole: a topic that cannot be read by then is an error.
///
/// # Errors
/// What stopped the read.
pub async fn final_read(
    world: &World,
    node: &NodeHandle,
    consumer: u32,
    topic: &str,
    within: Duration,
) -> Result<(), String> {
    let (generation, partitions) = read_whole(world, node, consumer, topic, within).await?;
    world.history.add(Event::FinalRead { consumer, generation, partitions });
    Ok(())
}

/// Reads a topic from its beginning to its end, by a client that connects now: which generation,
/// and how many partitions.
///
/// # Errors
/// What stopped the read, or that it did not end `within`.
pub async fn read_whole(
    world: &World,
    node: &NodeHandle,
    consumer: u32,
    topic: &str,
    within: Duration,
) -> Result<(String, u32), String> {
    let (connecting, history, topic) = (world.clone(), world.history.clone(), topic.to_owned());
    let reading = node.spawn(async move {
        let client = connecting.connect().await;
        read_by(&client, &history, consumer, &topic).await
    });
    let read = Clock.timeout(within, reading).await.map_err(|_| too_long(within))?;
    read.expect("the final read does not panic")
}

/// As [`read_whole`], by a client that is connected already.
///
/// # Errors
/// As [`read_whole`].
pub async fn read_whole_by(
    client: &Client,
    history: &History,
    consumer: u32,
    topic: &str,
    within: Duration,
) -> Result<(String, u32), String> {
    let read = read_by(client, history, consumer, topic);
    Clock.timeout(within, read).await.map_err(|_| too_long(within))?
}

fn too_long(within: Duration) -> String {
    format!("the final read did not end within {within:?}")
}

async fn read_by(
    client: &Client,
    history: &History,
    consumer: u32,
    topic: &str,
) -> Result<(String, u32), String> {
    let generation = client.topic(topic).await.map_err(|e| e.to_string())?;
    let mut records = open(client, ConsumerConfig::new(topic).until_end()).await;
    while let Some(next) = records.next().await {
        match next {
            Err(error @ ConsumeError::Unavailable { .. }) => {
                tracing::info!(%error, "final read waits");
            }
            Err(error) => return Err(format!("the final read of {topic} failed: {error}")),
            ok @ Ok(_) => {
                note(history, consumer, Some(ok));
            }
        }
    }
    let partitions = u32::try_from(generation.partitions.len()).unwrap_or(u32::MAX);
    Ok((generation.id.to_string(), partitions))
}
