//! What a consumer reads and how much it holds.

use std::time::Duration;

use weir_protocol::{batch::DecodeLimits, ids::PartitionIndex};

use super::{ResetPolicy, Start, start::Opening};
use crate::ClientError;

/// Longest name of a consumer.
const NAME_CHARS_MAX: usize = 249;
/// Most of an application's own text beside an offset.
const METADATA_BYTES_MAX: usize = 4096;
/// Auto commit comes at most this often.
pub(super) const COMMIT_INTERVAL_MIN: Duration = Duration::from_millis(10);

/// When a record counts as processed: never when it is yielded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Processed {
    /// When the next one is asked for, or [`crate::Consumer::processed`] says so: for
    /// applications that work on one record after the other.
    #[default]
    OnNext,
    /// Only when [`crate::Consumer::processed`] or [`crate::Consumer::processed_through`] says
    /// so: for those that hand records on and hear later what became of them.
    WhenTold,
}

/// What a named consumer commits, and when; see [`Processed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// What is processed, in the background, at this interval.
    Auto {
        /// At least 10 ms. Default 1 s.
        interval: Duration,
    },
    /// What is processed at [`crate::Consumer::commit`] and [`crate::Consumer::close`], or what
    /// [`crate::Consumer::commit_offsets`] is told.
    Manual,
}

impl Default for Commit {
    fn default() -> Self {
        Self::Auto { interval: Duration::from_secs(1) }
    }
}

/// Whether records are read that may yet be lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    /// Records that every replica in sync holds: no failure that `acks=all` survives takes away
    /// what was read.
    #[default]
    Committed,
    /// As soon as the leader has them. Should it fail, records that were read may be gone, and
    /// others come under their offsets; where the log ends before what was read, the consumer is
    /// told by [`super::ConsumeError::OutOfRange`].
    Uncommitted,
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
    /// Default the beginning. A named consumer begins at what is committed, and here where
    /// nothing is.
    pub start: Start,
    /// What to do where that is out of range. Default: [`ResetPolicy::Error`] without a name,
    /// [`ResetPolicy::Nearest`] with one.
    pub reset: Option<ResetPolicy>,
    /// Default none: nothing is committed. With a name (1 to 249 of `A-Za-z0-9._-`) reading
    /// goes on where the consumer of this name had committed. The newest consumer of a name
    /// takes the partitions that it reads; one that read them before ends with
    /// [`super::ConsumeError::Fenced`].
    pub name: Option<String>,
    /// Default once a second. Without a name it means nothing.
    pub commit: Commit,
    /// Default when the next record is asked for. Without a name it means nothing.
    pub processed: Processed,
    /// The application's own, stored with each offset that is committed. At most 4,096 bytes.
    pub metadata: String,
    /// Default false. True: each partition ends at the high watermark that it had when
    /// reading it began, and the stream after the last of them. Whatever was acknowledged to
    /// anybody before that is read: the leader has its followers confirm that it leads, and a
    /// new one that does not know yet what was acknowledged (KIP-207) is waited for. Only where
    /// fewer than `min_insync_replicas` are in sync, the end is what the leader knows.
    /// Partitions added later are not read.
    pub until_end: bool,
    /// Bytes of batches, as stored, held for the application, about. Default 32 MiB.
    pub max_buffer_bytes: usize,
    /// Bytes of batches asked for per response; one larger batch comes whole. Default 1 MiB.
    pub fetch_bytes: u32,
    /// Default committed records only.
    pub isolation: Isolation,
    /// Default none: all is read from the leaders. With the rack that the application is on, a
    /// partition is read from an SPU of that rack wherever one is in sync, a little later than from
    /// the leader; it begins with the leader all the same, which alone knows where. Of uncommitted
    /// records only leaders know.
    pub rack: Option<String>,
    /// Default false: when the topic is deleted and created again the stream ends with
    /// `TOPIC_RECREATED`. True: it goes on with the new generation, from its beginning.
    pub follow_name: bool,
    /// How long a partition may be unreadable, or nothing can be committed, before that is
    /// reported, once per outage. The consumer goes on trying. It is also how long one call to
    /// commit tries. Default 30 s.
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
            reset: None,
            name: None,
            commit: Commit::default(),
            processed: Processed::default(),
            metadata: String::new(),
            until_end: false,
            max_buffer_bytes: 32 << 20,
            fetch_bytes: 1 << 20,
            isolation: Isolation::default(),
            rack: None,
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

    /// The same, under a name: it goes on where it had committed.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The same, with another answer to an offset out of range.
    #[must_use]
    pub fn reset(mut self, policy: ResetPolicy) -> Self {
        self.reset = Some(policy);
        self
    }

    /// The same, committing at other times.
    #[must_use]
    pub fn commit(mut self, commit: Commit) -> Self {
        self.commit = commit;
        self
    }

    /// The same, with another moment at which a record counts as processed.
    #[must_use]
    pub fn processed(mut self, processed: Processed) -> Self {
        self.processed = processed;
        self
    }

    /// The same, of some partitions only.
    #[must_use]
    pub fn partitions(mut self, partitions: impl IntoIterator<Item = PartitionIndex>) -> Self {
        self.partitions = Partitions::List(partitions.into_iter().collect());
        self
    }

    /// The same, with records that may yet be lost.
    #[must_use]
    pub fn uncommitted(mut self) -> Self {
        self.isolation = Isolation::Uncommitted;
        self
    }

    /// The same, read from SPUs on this rack wherever one is in sync.
    #[must_use]
    pub fn rack(mut self, rack: impl Into<String>) -> Self {
        self.rack = Some(rack.into());
        self
    }

    /// The same, ending at the high watermark of the start.
    #[must_use]
    pub fn until_end(mut self) -> Self {
        self.until_end = true;
        self
    }

    /// What decides where a partition of which nothing is known begins.
    pub(super) fn opening(&self, start: Start) -> Opening {
        let by_default =
            if self.name.is_some() { ResetPolicy::Nearest } else { ResetPolicy::Error };
        Opening { committed: None, start, reset: self.reset.unwrap_or(by_default) }
    }

    /// Whether a consumer can be made of this.
    ///
    /// # Errors
    /// [`ClientError::Configuration`] for a name or metadata that none can have.
    pub fn check(&self) -> Result<(), ClientError> {
        let wrong = |message: &str| Err(ClientError::Configuration(message.to_owned()));
        if self.metadata.len() > METADATA_BYTES_MAX {
            return wrong("the metadata of a commit has at most 4,096 bytes");
        }
        let Some(name) = &self.name else { return Ok(()) };
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let dots = name.chars().all(|c| c == '.') && name.len() <= 2;
        if dots || name.len() > NAME_CHARS_MAX || !name.chars().all(allowed) {
            return wrong(
                "the name of a consumer is 1 to 249 of A-Z a-z 0-9 . _ - and neither . nor ..",
            );
        }
        Ok(())
    }
}
