//! An application that works on a topic through a named consumer, and writes down what it
//! did: which records it finished with, what it committed, how it ended or died.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use madsim::runtime::NodeHandle;
use weir_client::{Commit, ConsumeError, Consumer, ConsumerConfig, ConsumerRecord};
use weir_runtime::{
    clock::Clock,
    task::{CancellationToken, JoinHandle},
};

use crate::{
    history::{Event, History, Place},
    world::World,
};

/// Pause before another attempt to open a consumer.
const OPEN_AGAIN: Duration = Duration::from_millis(300);

/// What an instance of an application does.
#[derive(Clone, Debug)]
pub struct Working {
    /// The consumer's name.
    pub name: String,
    /// This instance, unique in the run.
    pub instance: u32,
    /// How long it works on a record.
    pub pace: Duration,
    /// Asks for a commit after so many records, and waits for it; none: auto commit alone.
    pub commit_every: Option<u32>,
    /// Dies while it works on the record of this number (counted from 1), finished with
    /// everything before: without a word, as a process does.
    pub dies_at: Option<u32>,
    /// How the consumer is configured, its name aside.
    pub config: ConsumerConfig,
}

impl Working {
    /// An instance that reads a topic for ever, with auto commit.
    #[must_use]
    pub fn new(name: &str, instance: u32, topic: &str) -> Self {
        let mut config = ConsumerConfig::new(topic).named(name);
        config.commit = Commit::Auto { interval: Duration::from_millis(200) };
        Self {
            name: name.into(),
            instance,
            pace: Duration::from_millis(2),
            commit_every: None,
            dies_at: None,
            config,
        }
    }

    /// The same, ending when all that is there has been read.
    #[must_use]
    pub fn until_end(mut self) -> Self {
        self.config = self.config.until_end();
        self
    }
}

/// A running instance.
pub struct Instance {
    stop: CancellationToken,
    done: JoinHandle<()>,
}

impl Instance {
    /// Tells it to finish the record at hand, commit, and end.
    pub async fn stop(self) {
        self.stop.cancel();
        self.done.await.expect("an application does not panic");
    }

    /// Waits until it ends, or dies, by itself.
    pub async fn ended(self) {
        self.done.await.expect("an application does not panic");
    }
}

/// Starts an instance on `node`.
pub fn work(world: &World, node: &NodeHandle, what: Working) -> Instance {
    let stop = CancellationToken::new();
    let (world, stopped) = (world.clone(), stop.clone());
    let done = node.spawn(async move {
        let client = world.connect().await;
        let consumer = loop {
            match client.consumer(what.config.clone()).await {
                Ok(consumer) => break consumer,
                Err(error) => {
                    tracing::info!(%error, "no consumer yet");
                    Clock.sleep(OPEN_AGAIN).await;
                }
            }
        };
        let history = world.history.clone();
        Application { what, history, consumer, noted: BTreeSet::new(), ends: BTreeMap::new() }
            .run(stopped)
            .await;
    });
    Instance { stop, done }
}

struct Application {
    what: Working,
    history: History,
    consumer: Consumer,
    /// The partitions whose start is written down.
    noted: BTreeSet<(String, u32)>,
    /// Behind the last processed record, by partition of the generation.
    ends: BTreeMap<(String, u32), u64>,
}

impl Application {
    async fn run(mut self, stopped: CancellationToken) {
        let mut records = 0;
        loop {
            let next = tokio::select! {
                biased;
                () = stopped.cancelled() => break,
                next = self.consumer.next() => next,
            };
            self.note_starts();
            match next {
                None => break,
                Some(Err(error)) => {
                    if self.is_over(&error) {
                        return;
                    }
                }
                Some(Ok(record)) => {
                    records += 1;
                    if !self.process(&record, records).await {
                        return;
                    }
                }
            }
        }
        let generation = self.consumer.generation().to_string();
        if self.commit().await && self.what.config.until_end {
            self.history.add(Event::Drained { name: self.what.name.clone(), generation });
        }
    }

    /// Works on a record; false when the instance is no more.
    async fn process(&mut self, record: &ConsumerRecord, number: u32) -> bool {
        Clock.sleep(self.what.pace).await;
        if self.what.dies_at == Some(number) {
            return false;
        }
        let place = Place {
            generation: record.generation.to_string(),
            partition: record.partition.0,
            offset: record.offset.0,
        };
        self.ends.insert((place.generation.clone(), place.partition), place.offset + 1);
        let Working { name, instance, .. } = &self.what;
        self.history.add(Event::Processed { name: name.clone(), instance: *instance, place });
        match self.what.commit_every {
            Some(every) if number.is_multiple_of(every) => {
                self.consumer.processed();
                self.commit().await
            }
            _ => true,
        }
    }

    /// Commits what is processed; false when the instance is over by that.
    async fn commit(&mut self) -> bool {
        self.consumer.processed();
        let asked = std::mem::take(&mut self.ends);
        let Working { name, instance, .. } = self.what.clone();
        let places: Vec<_> = asked
            .iter()
            .map(|((generation, partition), offset)| Place {
                generation: generation.clone(),
                partition: *partition,
                offset: *offset,
            })
            .collect();
        for place in &places {
            let place = place.clone();
            self.history.add(Event::Committing { name: name.clone(), instance, place });
        }
        match self.consumer.commit().await {
            Ok(()) => {
                for place in places {
                    self.history.add(Event::Committed { name: name.clone(), instance, place });
                }
                true
            }
            Err(error) => {
                tracing::info!(%error, name, instance, "commit failed");
                // What is not known to be committed is part of the next commit.
                for (key, end) in asked {
                    self.ends.entry(key).or_insert(end);
                }
                let over = !error.retryable();
                if over {
                    let code = error.code().into();
                    self.history.add(Event::InstanceEnded { name, instance, code });
                }
                !over
            }
        }
    }

    fn is_over(&self, error: &ConsumeError) -> bool {
        let Working { name, instance, .. } = &self.what;
        tracing::info!(%error, name, instance, "consumer error");
        let over = error.is_terminal() || error.halted().is_some();
        if over {
            let (name, code) = (name.clone(), error.code().into());
            self.history.add(Event::InstanceEnded { name, instance: *instance, code });
        }
        over
    }

    /// Writes down where partitions began since it was asked last.
    fn note_starts(&mut self) {
        let generation = self.consumer.generation().to_string();
        for begun in self.consumer.starts().values() {
            if !self.noted.insert((generation.clone(), begun.partition.0)) {
                continue;
            }
            self.history.add(Event::ConsumerStarted {
                name: self.what.name.clone(),
                instance: self.what.instance,
                place: Place {
                    generation: generation.clone(),
                    partition: begun.partition.0,
                    offset: begun.offset.0,
                },
            });
        }
    }
}
