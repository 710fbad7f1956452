//! Why a record was not taken, and why one that was taken was not acknowledged.

use std::{sync::Arc, time::Duration};

use weir_protocol::{
    ErrorCode, Outcome,
    ids::{PartitionIndex, PartitionKey, TopicGenerationId},
};

/// Why a record was not taken. It was not written and never will be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// One record larger than the cluster's largest batch.
    #[error("the record needs a batch of {bytes} bytes, the limit is {limit_bytes} bytes")]
    RecordTooLarge {
        /// What it needs, batch header included.
        bytes: usize,
        /// What there is.
        limit_bytes: usize,
    },
    /// The record breaks the format.
    #[error("invalid record: {0}")]
    InvalidRecord(String),
    /// The record names a partition that the topic does not have.
    #[error("topic {topic:?} has no partition {partition}: it has 0 to {}", partitions.saturating_sub(1))]
    UnknownPartition {
        /// The topic.
        topic: Arc<str>,
        /// What was asked for.
        partition: PartitionIndex,
        /// How many it has.
        partitions: u32,
    },
    /// Too many bytes are unacknowledged: at once with `try_send`, with `send` a little
    /// after the delivery timeout.
    #[error("{queue_bytes_max} bytes are unacknowledged (waited {waited:?} for room)")]
    QueueFull {
        /// The bound.
        queue_bytes_max: usize,
        /// How long room was waited for.
        waited: Duration,
    },
    /// The topic was deleted and created again.
    #[error("topic {topic:?} was deleted and created again")]
    TopicRecreated {
        /// The name.
        topic: Arc<str>,
        /// The generation that now carries it.
        successor: TopicGenerationId,
    },
    /// The topic was deleted.
    #[error("topic {topic:?} was deleted")]
    TopicDeleted {
        /// The name.
        topic: Arc<str>,
    },
    /// The producer was closed.
    #[error("the producer is closed")]
    Closed,
}

impl SendError {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::RecordTooLarge { .. } => "RECORD_TOO_LARGE",
            Self::InvalidRecord(_) => "INVALID_RECORD",
            Self::UnknownPartition { .. } => ErrorCode::UnknownPartition.as_str(),
            Self::QueueFull { .. } => "QUEUE_FULL",
            Self::TopicRecreated { .. } => ErrorCode::TopicRecreated.as_str(),
            Self::TopicDeleted { .. } => ErrorCode::TopicDeleted.as_str(),
            Self::Closed => "CLOSED",
        }
    }

    /// Whether the same record may be taken later by this producer.
    #[must_use]
    pub const fn retryable(&self) -> bool {
        matches!(self, Self::QueueFull { .. })
    }
}

/// Why a record that was taken was not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code} at partition {} of topic {topic:?} ({}): {message}", key.partition, outcome_text(*.outcome))]
pub struct ProduceError {
    /// What went wrong last.
    pub code: ErrorCode,
    /// Whether the record is known not to be in the log, counting every attempt.
    pub outcome: Outcome,
    /// A sentence for people, with the last cause.
    pub message: Arc<str>,
    /// The topic.
    pub topic: Arc<str>,
    /// The generation and partition that the record was for.
    pub key: PartitionKey,
}

fn outcome_text(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::NotDone => "not written",
        Outcome::Unknown => "outcome unknown",
    }
}
