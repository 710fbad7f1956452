//! What a consumer yields.

use bytes::Bytes;
use weir_protocol::{
    batch::Header,
    ids::{Offset, PartitionIndex, TopicGenerationId},
};

/// A record that was read. Key, value and headers share the bytes of their batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerRecord {
    /// The topic generation that it belongs to.
    pub generation: TopicGenerationId,
    /// The partition within it.
    pub partition: PartitionIndex,
    /// Its offset there.
    pub offset: Offset,
    /// Milliseconds since 1970.
    pub timestamp_ms: i64,
    /// Absent is not empty.
    pub key: Option<Bytes>,
    /// Absent is not empty.
    pub value: Option<Bytes>,
    /// In order; keys may repeat.
    pub headers: Vec<Header>,
}
