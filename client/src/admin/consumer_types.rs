//! What the control plane's HTTP API says of named consumers, as Rust types.

use serde::{Deserialize, Serialize, Serializer, ser::SerializeMap as _};
use weir_protocol::ids::{
    GenerationNumber, LeaderEpoch, Offset, PartitionIndex, TopicGenerationId,
};

use super::TopicState;

/// A named consumer in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsumerSummary {
    /// Its name.
    pub name: String,
    /// The topic generations that it has read.
    #[serde(default)]
    pub topics: Vec<ConsumerTopic>,
    /// How many partitions it has read.
    #[serde(default)]
    pub partitions: u32,
    /// Records that it has not committed yet, of topics that are there; none: not known.
    #[serde(default)]
    pub lag: Option<u64>,
    /// When it last committed, in milliseconds since 1970.
    #[serde(default)]
    pub committed_at_unix_ms: Option<i64>,
}

/// A topic generation that a consumer has read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsumerTopic {
    /// Its name.
    pub name: String,
    /// What its data belongs to.
    pub generation_id: TopicGenerationId,
    /// Which generation of the name.
    pub generation_number: GenerationNumber,
}

/// A named consumer with its partitions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsumerDetail {
    /// Its name.
    pub name: String,
    /// As in the list.
    #[serde(default)]
    pub lag: Option<u64>,
    /// When it last committed, in milliseconds since 1970.
    #[serde(default)]
    pub committed_at_unix_ms: Option<i64>,
    /// What is committed is what the coordinator says now. False: it could not be asked in
    /// time, and this is what it reported last.
    #[serde(default)]
    pub current: bool,
    /// By topic, generation and index: every partition of a topic of which it has read one. Of
    /// deleted topics those that it has read.
    #[serde(default)]
    pub partitions: Vec<ConsumerPartition>,
}

/// What a consumer has committed for a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsumerPartition {
    /// The topic's name.
    pub topic: String,
    /// What the data belongs to.
    pub generation_id: TopicGenerationId,
    /// Which generation of the name.
    pub generation_number: GenerationNumber,
    /// What is so of the generation.
    pub generation_state: TopicState,
    /// Which partition.
    pub partition: PartitionIndex,
    /// The next offset to read; none: nothing is committed yet.
    #[serde(default)]
    pub committed: Option<Offset>,
    /// Oldest kept offset.
    #[serde(default)]
    pub log_start: Option<Offset>,
    /// First offset not committed to the log.
    #[serde(default)]
    pub end: Option<Offset>,
    /// Both are what the leader says now. False: they are what it reported last.
    #[serde(default)]
    pub current: bool,
    /// Records between what is committed, or without that the log start, and the end.
    #[serde(default)]
    pub lag: Option<u64>,
    /// Leader epoch of the last record that was read, where one was.
    #[serde(default)]
    pub leader_epoch: Option<LeaderEpoch>,
    /// The application's own.
    #[serde(default)]
    pub metadata: String,
    /// When it was committed, in milliseconds since 1970.
    #[serde(default)]
    pub committed_at_unix_ms: Option<i64>,
}

/// What was forgotten of a consumer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsumerDeleted {
    /// Its name.
    pub name: String,
    /// How many partitions had something to forget.
    pub partitions: u32,
}

/// Where a consumer should go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConsumerResetRequest {
    /// Name of the topic, or id of its generation.
    pub topic: String,
    /// Which partitions; none: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partitions: Option<Vec<PartitionIndex>>,
    /// The place in each of them.
    pub to: ResetTo,
    /// Change nothing: only say what would be.
    pub dry_run: bool,
}

/// A place in a partition. Out of range it is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetTo {
    /// The oldest kept record.
    Beginning,
    /// After the last committed record.
    End,
    /// This very offset.
    Offset(Offset),
    /// So many offsets behind the oldest kept record.
    FromBeginning(u64),
    /// So many offsets before the end.
    FromEnd(u64),
    /// The first record whose timestamp, in milliseconds since 1970, is not below this; where
    /// there is none, the end.
    Timestamp(i64),
}

impl Serialize for ResetTo {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        match self {
            Self::Beginning => map.serialize_entry("beginning", &true)?,
            Self::End => map.serialize_entry("end", &true)?,
            Self::Offset(offset) => map.serialize_entry("offset", offset)?,
            Self::FromBeginning(count) => map.serialize_entry("from_beginning", count)?,
            Self::FromEnd(count) => map.serialize_entry("from_end", count)?,
            Self::Timestamp(ms) => map.serialize_entry("timestamp_ms", ms)?,
        }
        map.end()
    }
}

/// What a reset did to a consumer, or would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsumerReset {
    /// Its name.
    pub consumer: String,
    /// The topic's name.
    pub topic: String,
    /// What the data belongs to.
    pub generation_id: TopicGenerationId,
    /// Which generation of the name.
    pub generation_number: GenerationNumber,
    /// Nothing was changed: this is what would be.
    #[serde(default)]
    pub dry_run: bool,
    /// By index.
    #[serde(default)]
    pub partitions: Vec<PartitionReset>,
}

/// What a reset did to a partition of a consumer, or would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionReset {
    /// Which partition.
    pub partition: PartitionIndex,
    /// What was committed until then; none: nothing was.
    #[serde(default)]
    pub old: Option<Offset>,
    /// What is committed now: the next offset to read.
    pub new: Offset,
    /// Oldest kept offset.
    pub log_start: Offset,
    /// First offset not committed to the log.
    pub end: Offset,
}
