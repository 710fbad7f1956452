//! What a consumer yields.

use bytes::Bytes;
use weir_protocol::{
    batch::Header,
    ids::{LeaderEpoch, Offset, PartitionIndex, TopicGenerationId},
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
    /// Of the leader that appended it.
    pub leader_epoch: LeaderEpoch,
    /// Milliseconds since 1970.
    pub timestamp_ms: i64,
    /// Absent is not empty.
    pub key: Option<Bytes>,
    /// Absent is not empty.
    pub value: Option<Bytes>,
    /// In order; keys may repeat.
    pub headers: Vec<Header>,
}

/// Where a record was read: what is left to remember of it once its content was handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// As [`ConsumerRecord::generation`].
    pub generation: TopicGenerationId,
    /// As [`ConsumerRecord::partition`].
    pub partition: PartitionIndex,
    /// As [`ConsumerRecord::offset`].
    pub offset: Offset,
    /// As [`ConsumerRecord::leader_epoch`].
    pub leader_epoch: LeaderEpoch,
}

impl ConsumerRecord {
    /// Where it was read.
    #[must_use]
    pub const fn place(&self) -> Place {
        let Self { generation, partition, offset, leader_epoch, .. } = *self;
        Place { generation, partition, offset, leader_epoch }
    }
}
