//! What every client did and saw, with its outcome: the only thing the oracle judges.
//!
//! A record's identity is in its value: `producer:sequence`, unique in a run. So the
//! history needs no help from the system under test to tell records apart.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Identity of a record: which of the scenario's producers made it, as its how-manieth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId {
    /// The scenario's own number of the producer, unique in a run.
    pub producer: u32,
    /// Counts up from 0 per producer.
    pub sequence: u32,
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.producer, self.sequence)
    }
}

impl RecordId {
    /// The value that carries this id.
    #[must_use]
    pub fn to_value(self) -> String {
        self.to_string()
    }

    /// Reads the id back from a value; `None` if no producer of this run wrote it.
    #[must_use]
    pub fn from_value(value: &[u8]) -> Option<Self> {
        let (producer, sequence) = std::str::from_utf8(value).ok()?.split_once(':')?;
        Some(Self { producer: producer.parse().ok()?, sequence: sequence.parse().ok()? })
    }
}

/// A place in a log, as clients know it. Texts, so that nothing of the servers' types
/// (and bugs) is shared with the oracle.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The topic generation's id.
    pub generation: String,
    /// The partition's index.
    pub partition: u32,
    /// The record's offset.
    pub offset: u64,
}

impl Place {
    /// Whether it lies at or above another place of the same log.
    #[must_use]
    pub fn is_from(&self, place: &Self) -> bool {
        (&self.generation, self.partition) == (&place.generation, place.partition)
            && self.offset >= place.offset
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}@{}", self.generation, self.partition, self.offset)
    }
}

/// How a produce ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProduceOutcome {
    /// Acknowledged, at this place.
    Acknowledged(Place),
    /// Refused: it is not in the log and never will be.
    NotDone(String),
    /// Nobody knows: it may be in the log, or come into it yet.
    Unknown(String),
}

/// One thing that a client did or saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A record was handed to a producer, which will write it to this generation.
    Sent {
        /// Which record.
        id: RecordId,
    },
    /// What became of it.
    Produced {
        /// Which record.
        id: RecordId,
        /// How it ended.
        outcome: ProduceOutcome,
    },
    /// A producer was told to stop, and everything that it took was waited for.
    ProducerStopped {
        /// Which producer.
        producer: u32,
    },
    /// A consumer got a record.
    Consumed {
        /// The scenario's own number of the consumer; a resumed consumer is another one.
        consumer: u32,
        /// Where the record lay.
        place: Place,
        /// Its value, as bytes.
        value: Vec<u8>,
    },
    /// A consumer's stream ended in an error.
    ConsumerEnded {
        /// Which consumer.
        consumer: u32,
        /// The error's code.
        code: String,
    },
    /// A fresh consumer read these generations' partitions from the beginning to the end,
    /// after all faults were healed: `consumer`'s events are the final content.
    FinalRead {
        /// The consumer that read.
        consumer: u32,
        /// The generation that was read whole.
        generation: String,
        /// How many partitions it has.
        partitions: u32,
    },
    /// As [`Event::FinalRead`], of a topic that does not keep everything, or that is written to
    /// meanwhile.
    KeptRead {
        /// The consumer that read.
        consumer: u32,
        /// The generation that was read whole.
        generation: String,
        /// How many events there were when the oldest record was sent that must be there.
        kept_from: usize,
        /// How many there were when the read began: what was acknowledged by then must be there.
        kept_to: usize,
        /// How many there were when the youngest was acknowledged that must be gone.
        gone_below: usize,
    },
    /// The cluster has told of a cut: a leader was elected that may lack what was acknowledged from
    /// this place on. Whatever was acknowledged before this event, and lies below, is there.
    Cut {
        /// The first offset that may be lost, and that may carry another record now.
        place: Place,
    },
    /// A topic was created (or created again): its name now means this generation.
    TopicCreated {
        /// The name.
        name: String,
        /// The generation's id.
        generation: String,
    },
    /// A topic's deletion has reached every SPU.
    TopicDeleted {
        /// The generation's id.
        generation: String,
    },
    /// A consumer asked to begin at this very offset of one partition.
    AskedFrom {
        /// Which consumer.
        consumer: u32,
        /// The offset that it asked for.
        offset: u64,
    },
    /// A consumer was told where it begins.
    Began {
        /// Which consumer.
        consumer: u32,
        /// The first offset that it reads.
        offset: u64,
    },
    /// An instance of a named consumer has claimed a partition and begins to read there.
    ConsumerStarted {
        /// The consumer.
        name: String,
        /// The scenario's own number of the instance, unique in a run.
        instance: u32,
        /// Where it begins.
        place: Place,
    },
    /// The application has finished with a record.
    Processed {
        /// The consumer.
        name: String,
        /// Which instance of it.
        instance: u32,
        /// The record's place.
        place: Place,
    },
    /// An instance asks for a commit of all that it has processed.
    Committing {
        /// The consumer.
        name: String,
        /// Which instance of it.
        instance: u32,
        /// The next offset to read.
        place: Place,
    },
    /// That commit was acknowledged.
    Committed {
        /// The consumer.
        name: String,
        /// Which instance of it.
        instance: u32,
        /// The next offset to read.
        place: Place,
    },
    /// A commit, or the reading, of an instance ended in an error.
    InstanceEnded {
        /// The consumer.
        name: String,
        /// Which instance of it.
        instance: u32,
        /// The error's code.
        code: String,
    },
    /// The HTTP API said what a consumer has committed.
    Reported {
        /// The consumer.
        name: String,
        /// The next offset to read.
        place: Place,
    },
    /// The HTTP API said all that it knows of a consumer.
    Told {
        /// The consumer.
        name: String,
        /// How many events there were when it was asked.
        asked_at: usize,
        /// It claims that this is so now, and not some time before.
        current: bool,
        /// The next offsets to read.
        offsets: Vec<Place>,
    },
    /// A consumer's offset was set by order; acknowledged.
    OffsetReset {
        /// The consumer.
        name: String,
        /// The next offset to read.
        place: Place,
    },
    /// A named consumer read this generation to its end, after all was healed.
    Drained {
        /// The consumer.
        name: String,
        /// The generation.
        generation: String,
    },
    /// The cluster said that it runs, counting these SPUs as ready.
    ReportedRunning {
        /// The SPUs that it says are ready, by id and launch id.
        ready: Vec<(u32, String)>,
    },
    /// What is really up: the SPU processes of the current launches that serve.
    ReallyUp {
        /// By id and launch id.
        up: Vec<(u32, String)>,
    },
}

/// The events of a run, in the order in which they happened.
#[derive(Clone, Default)]
pub struct History(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    events: Vec<Event>,
    acknowledged: usize,
}

impl History {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Poisoned only by a panic, which ends the simulation anyway.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an event.
    pub fn add(&self, event: Event) {
        let mut inner = self.lock();
        if matches!(event, Event::Produced { outcome: ProduceOutcome::Acknowledged(_), .. }) {
            inner.acknowledged += 1;
        }
        inner.events.push(event);
    }

    /// All events so far.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.lock().events.clone()
    }

    /// What `look` sees in the events from the `from`th on, and how many there are now: for
    /// waits, which need not look at anything twice.
    pub fn since<T>(&self, from: usize, look: impl FnOnce(&[Event]) -> T) -> (T, usize) {
        let inner = self.lock();
        (look(inner.events.get(from..).unwrap_or_default()), inner.events.len())
    }

    /// How many records were acknowledged so far.
    #[must_use]
    pub fn acknowledged(&self) -> usize {
        self.lock().acknowledged
    }
}
