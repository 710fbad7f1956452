//! One partition of the offsets topic as its coordinator reads and writes it.

use std::sync::Arc;

use bytes::Bytes;
use weir_protocol::{
    ErrorCode, WireError,
    batch::{self, BatchBuilder, BatchConfig, BatchError, DecodeLimits},
    ids::{LeaderEpoch, Offset, PartitionKey},
};

use super::{
    fold::Fold,
    record::{Record, RecordError},
};
use crate::{
    log::LogError,
    partition::{Offer, Partition},
    replica::{Acks, start_offset::Readable},
};

/// Read at once while folding, in bytes.
const READ_BYTES: usize = 1 << 20;

/// The largest batch, about: smaller than what travels to followers. What had gathered, with
/// the largest claim, commit or reset after it, fits in. Deleting a consumer of very many
/// partitions takes several, and so does writing a long log anew.
const BATCH_BYTES_MAX: usize = 14 << 20;

/// The log of one leadership.
pub struct Journal {
    /// The replica that leads.
    pub partition: Arc<Partition>,
    /// At this epoch.
    pub epoch: LeaderEpoch,
}

/// Why the log could not be folded.
#[derive(Debug, thiserror::Error)]
pub enum Unfolded {
    /// It holds what this build cannot read: trying again would not help.
    #[error("offset {at}: {error}")]
    Record {
        /// Where.
        at: Offset,
        /// What.
        error: RecordError,
    },
    /// A batch in it is damaged.
    #[error("a batch at or after offset {at} is damaged: {error}")]
    Batch {
        /// Where.
        at: Offset,
        /// What.
        error: BatchError,
    },
    /// The disk did not give it.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The log is not open.
    #[error("the replica's log is not open")]
    NotOpen,
}

impl Unfolded {
    /// Whether it may be otherwise later, without anybody's help.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        matches!(self, Self::Log(_) | Self::NotOpen)
    }
}

impl From<&Unfolded> for WireError {
    fn from(unfolded: &Unfolded) -> Self {
        let code = match unfolded {
            Unfolded::Record { error, .. } => error.code(),
            Unfolded::Batch { .. } => ErrorCode::ReplicaOffline,
            Unfolded::Log(_) | Unfolded::NotOpen => ErrorCode::NotYetAvailable,
        };
        let text = format!("the offsets partition cannot be served: {unfolded}");
        Self::new(code, text)
    }
}

impl Journal {
    /// Which partition of the offsets topic.
    #[must_use]
    pub fn key(&self) -> PartitionKey {
        self.partition.key()
    }

    /// Reads all that is committed.
    ///
    /// # Errors
    /// [`Unfolded`].
    pub async fn fold(&self, readable: Readable) -> Result<Fold, Unfolded> {
        let log = self.partition.log().ok_or(Unfolded::NotOpen)?;
        let mut fold = Fold::beginning_at(readable.log_start);
        while fold.end() < readable.high_watermark {
            let read = log.read(fold.end(), readable.high_watermark, READ_BYTES).await;
            let batches = read.inspect_err(|error| self.partition.read_failed(error))?;
            let before = fold.end();
            let folded = fold_batches(batches, &mut fold);
            folded.inspect_err(|unfolded| self.fold_failed(unfolded))?;
            if fold.end() == before {
                // Nothing below the high watermark is left: a batch that reaches beyond it.
                return Err(Unfolded::NotOpen);
            }
        }
        Ok(fold)
    }

    /// A damaged batch is as much trouble as one that the log found damaged itself.
    fn fold_failed(&self, unfolded: &Unfolded) {
        if let Unfolded::Batch { .. } = unfolded {
            self.partition.damaged(unfolded.to_string());
        }
    }

    /// Appends records as one batch; gives the offset of the first once all are committed.
    ///
    /// # Errors
    /// As an `acks=all` produce has them. With an unknown outcome the state must be read anew.
    pub async fn append(&self, records: &[Record], now_ms: i64) -> Result<Offset, WireError> {
        let batch = encode(records, now_ms).map_err(|error| {
            let text = format!("the offsets make no batch: {error}");
            WireError::new(ErrorCode::InvalidRequest, text)
        })?;
        let header = batch::verify(&batch).map_err(|error| {
            WireError::new(ErrorCode::InvalidRequest, format!("the batch is malformed: {error}"))
        })?;
        let offer = Offer { header, batch, leader_epoch: self.epoch, acks: Acks::All };
        let answer = self.partition.queue().offer(offer).await?;
        let ack = answer.await.map_err(|_| {
            WireError::new(ErrorCode::Internal, "the replica ended without an answer")
        })?;
        ack.map(|ack| ack.base_offset).map_err(ours)
    }

    /// Waits until this leadership is known to have lasted until after this was asked: else
    /// somebody else may have committed what this coordinator has not heard of.
    ///
    /// # Errors
    /// As [`Journal::append`].
    pub async fn confirm(&self) -> Result<(), WireError> {
        self.partition.confirm().await.map(drop).map_err(ours)
    }
}

/// Epochs are this SPU's own affair: the client knows none of this partition's.
fn ours(error: WireError) -> WireError {
    match error.code {
        ErrorCode::FencedLeaderEpoch | ErrorCode::UnknownLeaderEpoch => {
            let text = "the leadership of the coordinator's partition is changing; try again";
            WireError::new(ErrorCode::NotYetAvailable, text)
        }
        _ => error,
    }
}

/// The records in pieces that make a batch each: nearly always one.
#[must_use]
pub fn batches_of(records: Vec<Record>) -> Vec<Vec<Record>> {
    let (mut batches, mut bytes) = (Vec::<Vec<Record>>::new(), 0);
    for record in records {
        bytes += record.bytes_max();
        match batches.last_mut() {
            Some(batch) if bytes <= BATCH_BYTES_MAX => batch.push(record),
            _ => {
                bytes = record.bytes_max();
                batches.push(vec![record]);
            }
        }
    }
    batches
}

fn encode(records: &[Record], now_ms: i64) -> Result<Bytes, BatchError> {
    let capacity_bytes = records.iter().map(Record::bytes_max).sum();
    let mut builder = BatchBuilder::new(BatchConfig { capacity_bytes, ..BatchConfig::default() });
    for record in records {
        builder.push(record.encode(now_ms.max(0)))?;
    }
    builder.finish(None)
}

fn fold_batches(mut rest: Bytes, fold: &mut Fold) -> Result<(), Unfolded> {
    let damaged = |at, error| Unfolded::Batch { at, error };
    loop {
        let at = fold.end();
        let split = batch::split_first(&rest).map_err(|error| damaged(at, error))?;
        let Some((_, whole, after)) = split else { return Ok(()) };
        batch::verify(&whole).map_err(|error| damaged(at, error))?;
        let records = batch::records(&whole, &DecodeLimits::default());
        for record in records.map_err(|error| damaged(at, error))? {
            let record = record.map_err(|error| damaged(at, error))?;
            // The first batch may begin below the log start.
            if record.offset < fold.end() {
                continue;
            }
            let change = Record::decode(record.key.as_ref(), record.value.as_ref());
            let change = change.map_err(|error| Unfolded::Record { at: record.offset, error })?;
            fold.apply(record.offset, change);
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;
    use weir_protocol::ids::{PartitionIndex, TopicGenerationId};

    use super::*;
    use crate::coordinator::record::Key;

    #[test]
    fn no_batch_is_larger_than_its_bound_and_no_record_is_lost() {
        let record = |partition| {
            let generation = TopicGenerationId(Uuid::from_u128(1));
            let partition = PartitionKey { generation, partition: PartitionIndex(partition) };
            Record { key: Key { consumer: "c".repeat(249).into(), partition }, value: None }
        };
        let all: Vec<_> = (0..100_000).map(record).collect();
        let batches = batches_of(all.clone());
        assert!(batches.len() > 1);
        for batch in &batches {
            assert!(encode(batch, 1).unwrap().len() <= BATCH_BYTES_MAX);
        }
        assert_eq!(batches.concat(), all);
        assert!(batches_of(Vec::new()).is_empty());
    }
}
