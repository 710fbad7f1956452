//! What goes in and what comes back.

use bytes::Bytes;
use weir_protocol::{
    batch::Header,
    ids::{Offset, PartitionIndex, TopicGenerationId},
};

/// A record to be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProducerRecord {
    /// Decides the partition, by default.
    pub key: Option<Bytes>,
    /// The data; absent is not empty.
    pub value: Option<Bytes>,
    /// In order; keys may repeat.
    pub headers: Vec<Header>,
    /// Milliseconds since 1970, not negative; none: when it is sent.
    pub timestamp_ms: Option<i64>,
    /// Where it goes; none: the producer's [`crate::producer::Partitioning`] decides.
    pub partition: Option<PartitionIndex>,
}

impl ProducerRecord {
    /// A value without a key.
    #[must_use]
    pub fn value(value: impl Into<Bytes>) -> Self {
        Self { value: Some(value.into()), ..Self::default() }
    }

    /// A key and a value.
    #[must_use]
    pub fn key_value(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self { key: Some(key.into()), ..Self::value(value) }
    }

    /// The same, for one partition.
    #[must_use]
    pub fn to_partition(mut self, partition: PartitionIndex) -> Self {
        self.partition = Some(partition);
        self
    }

    /// The same, with one more header.
    #[must_use]
    pub fn header(mut self, header: Header) -> Self {
        self.headers.push(header);
        self
    }
}

/// Where an acknowledged record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordMetadata {
    /// The topic generation that it belongs to.
    pub generation: TopicGenerationId,
    /// The partition within it.
    pub partition: PartitionIndex,
    /// Its offset there.
    pub offset: Offset,
    /// Its timestamp, in milliseconds since 1970.
    pub timestamp_ms: i64,
    /// The batch had been appended by an earlier attempt: the last one wrote nothing.
    pub duplicate: bool,
}
