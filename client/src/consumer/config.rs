//! What a consumer reads and how much it holds.

use std::time::Duration;

use weir_protocol::{
    batch::DecodeLimits,
    ids::{Offset, PartitionIndex},
    pb::data,
};

/// Where reading a partition begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// At the oldest kept record.
    #[default]
    Beginning,
    /// Behind the newest committed record: only what comes later.
    End,
    /// At this offset, which must lie within log start and high watermark.
    Absolute(Offset),
}

impl Start {
    pub(crate) const fn to_wire(self) -> data::Start {
        use data::start::Position;
        data::Start {
            position: Some(match self {
                Self::Beginning => Position::Beginning(true),
                Self::End => Position::End(true),
                Self::Absolute(offset) => Position::Absolute(offset.0),
            }),
            committed: None,
            reset_policy: data::ResetPolicy::Error as i32,
        }
    }
}

/// Which partitions are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Partitions {
    /// All of them, those added later included (from their beginning).
    #[default]
    All,
    /// These and no others.
    List(Vec<PartitionIndex>),
}

/// What a consumer reads and how much it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerConfig {
    /// The topic's name. What is read is the generation that carries it at the start.
    pub topic: String,
    /// Default all.
    pub partitions: Partitions,
    /// Default the beginning.
    pub start: Start,
    /// Default false. True: each partition ends at the high watermark that it had when
    /// reading it began, and the stream after the last of them. Partitions added later are
    /// not read.
    pub until_end: bool,
    /// Bytes of batches, as stored, held for the application, about. Default 32 MiB.
    pub max_buffer_bytes: usize,
    /// Bytes of batches asked for per response; one larger batch comes whole. Default 1 MiB.
    pub fetch_bytes: u32,
    /// Default false: when the topic is deleted and created again the stream ends with
    /// `TOPIC_RECREATED`. True: it goes on with the new generation, from its beginning.
    pub follow_name: bool,
    /// How long a partition may be unreadable before that is reported, once per outage. The
    /// consumer goes on trying. Default 30 s.
    pub unavailable_after: Duration,
    /// Bounds of decompression. Default 64 MiB per batch.
    pub decode: DecodeLimits,
}

impl ConsumerConfig {
    /// All of a topic from its beginning, for ever.
    #[must_use]
    pub fn new(topic: impl Into<String>) -> Self {
        Self {
            topic: topic.into(),
            partitions: Partitions::All,
            start: Start::Beginning,
            until_end: false,
            max_buffer_bytes: 32 << 20,
            fetch_bytes: 1 << 20,
            follow_name: false,
            unavailable_after: Duration::from_secs(30),
            decode: DecodeLimits::default(),
        }
    }

    /// The same, beginning elsewhere.
    #[must_use]
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// The same, of some partitions only.
    #[must_use]
    pub fn partitions(mut self, partitions: impl IntoIterator<Item = PartitionIndex>) -> Self {
        self.partitions = Partitions::List(partitions.into_iter().collect());
        self
    }

    /// The same, ending at the high watermark of the start.
    #[must_use]
    pub fn until_end(mut self) -> Self {
        self.until_end = true;
        self
    }
}
