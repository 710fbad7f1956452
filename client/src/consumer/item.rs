//! What a consumer's task hands to the application's side, and what it is told.

use bytes::Bytes;
use weir_protocol::{
    batch::{BatchError, DecodeLimits, Records, records},
    ids::{LeaderEpoch, Offset, PartitionIndex, TopicGenerationId},
};

use super::{Begun, ConsumeError, ConsumerRecord, position::Span};
use crate::pool::Lease;

/// What comes out of a consumer's task, in order.
pub(super) enum Item {
    /// From here on the stream is of this generation, and these partitions of it are read.
    Generation(TopicGenerationId, Vec<PartitionIndex>),
    /// There is no generation just now; one may come.
    Waiting,
    /// A partition is read.
    Assigned(PartitionIndex),
    /// An SPU said where a partition begins, in this session of it.
    Begun(Begun, u32),
    /// A partition came to its end, in this session of it.
    Done(PartitionIndex, u32),
    Batch(Box<Batch>),
    Error {
        error: ConsumeError,
        session: u32,
    },
}

/// The application's word to its task.
pub(super) struct SkipTo {
    /// Whose offset it is. The task may have gone on to another generation meanwhile.
    pub generation: TopicGenerationId,
    pub partition: PartitionIndex,
    pub offset: Offset,
    pub session: u32,
}

/// A verified batch that follows on.
pub(super) struct Batch {
    pub partition: PartitionIndex,
    /// Which run of the partition it belongs to: skipping begins a new one.
    pub session: u32,
    pub bytes: Bytes,
    pub span: Span,
    pub next_offset: Offset,
    pub lease: Lease,
}

/// A batch that is being read.
pub(super) struct Reading {
    generation: TopicGenerationId,
    partition: PartitionIndex,
    records: Records,
    /// The offset of the next record, wanted or not.
    expected: Offset,
    span: Span,
    next_offset: Offset,
    over: bool,
    _lease: Lease,
}

impl Reading {
    pub(super) fn begin(
        generation: TopicGenerationId,
        batch: Batch,
        limits: &DecodeLimits,
    ) -> Result<Self, ConsumeError> {
        let Batch { partition, bytes, span, next_offset, lease, .. } = batch;
        let records = records(&bytes, limits)
            .map_err(|error| malformed(partition, span.from, Some(next_offset), &error))?;
        let expected = records.header().base_offset;
        let (over, _lease) = (false, lease);
        Ok(Self { generation, partition, records, expected, span, next_offset, over, _lease })
    }
}

impl Reading {
    pub(super) fn partition(&self) -> PartitionIndex {
        self.partition
    }

    fn leader_epoch(&self) -> LeaderEpoch {
        self.records.header().partition_leader_epoch
    }
}

impl Iterator for Reading {
    type Item = Result<ConsumerRecord, ConsumeError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.over && self.expected < self.span.below {
            let record = match self.records.next() {
                Some(Ok(record)) => record,
                Some(Err(error)) => {
                    self.over = true;
                    let at = self.expected.max(self.span.from);
                    return Some(Err(malformed(
                        self.partition,
                        at,
                        Some(self.next_offset),
                        &error,
                    )));
                }
                None => {
                    self.over = true;
                    let (partition, found) = (self.partition, self.next_offset);
                    return Some(Err(ConsumeError::Gap {
                        partition,
                        expected: self.expected,
                        found,
                    }));
                }
            };
            if record.offset != self.expected {
                self.over = true;
                let (partition, expected) = (self.partition, self.expected);
                return Some(Err(ConsumeError::Gap { partition, expected, found: record.offset }));
            }
            self.expected = self.expected.next();
            if record.offset >= self.span.from {
                return Some(Ok(ConsumerRecord {
                    generation: self.generation,
                    partition: self.partition,
                    offset: record.offset,
                    leader_epoch: self.leader_epoch(),
                    timestamp_ms: record.timestamp_ms,
                    key: record.key,
                    value: record.value,
                    headers: record.headers,
                }));
            }
        }
        None
    }
}

pub(super) fn malformed(
    partition: PartitionIndex,
    offset: Offset,
    next: Option<Offset>,
    error: &BatchError,
) -> ConsumeError {
    ConsumeError::Malformed { partition, offset, next, reason: error.to_string() }
}
