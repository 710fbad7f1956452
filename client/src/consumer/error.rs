//! What can come out of a consumer instead of a record.

use std::{sync::Arc, time::Duration};

use weir_protocol::{
    ErrorCode,
    ids::{Offset, PartitionIndex, TopicGenerationId},
};

use super::commit_error::FENCED_HINT;

/// What came instead of a record.
///
/// | Error | What becomes of the consumer |
/// |---|---|
/// | [`Unavailable`](Self::Unavailable), [`NotCommitted`](Self::NotCommitted) | goes on trying |
/// | [`Gap`](Self::Gap), [`OutOfRange`](Self::OutOfRange), [`Malformed`](Self::Malformed) | this partition stops until [`crate::Consumer::skip_to`]; others go on |
/// | the others | the stream is over |
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConsumeError {
    /// Offsets do not follow on: records are missing or repeated, and nothing says why.
    #[error("partition {partition}: expected offset {expected}, the next batch begins at {found}")]
    Gap {
        /// Where.
        partition: PartitionIndex,
        /// The offset that should have come.
        expected: Offset,
        /// The offset that came.
        found: Offset,
    },
    /// The offset asked for lies outside what the partition holds, for instance because
    /// retention removed it.
    #[error("partition {partition}: offset {requested} is outside {log_start} to {high_watermark}")]
    OutOfRange {
        /// Where.
        partition: PartitionIndex,
        /// What was asked for.
        requested: Offset,
        /// The oldest kept offset.
        log_start: Offset,
        /// The first offset not committed.
        high_watermark: Offset,
    },
    /// A batch whose bytes cannot be read.
    #[error("partition {partition}: the batch at offset {offset} cannot be read: {reason}")]
    Malformed {
        /// Where.
        partition: PartitionIndex,
        /// The first offset that could not be read.
        offset: Offset,
        /// Where reading may go on; none: the batch's own header is not to be believed.
        next: Option<Offset>,
        /// What was wrong with it.
        reason: String,
    },
    /// A partition could not be read for a while.
    #[error("partition {partition}: unreadable for {lasted:?}: {code}: {reason}")]
    Unavailable {
        /// Where.
        partition: PartitionIndex,
        /// What went wrong last.
        code: ErrorCode,
        /// The same for people.
        reason: String,
        /// For how long.
        lasted: Duration,
    },
    /// Nothing could be committed in the background for a while. Reading goes on.
    #[error("nothing could be committed for {lasted:?}: {code}: {reason}")]
    NotCommitted {
        /// What went wrong last.
        code: ErrorCode,
        /// The same for people.
        reason: String,
        /// For how long.
        lasted: Duration,
    },
    /// The partitions of the named consumer belong to another session now.
    #[error(
        "consumer {consumer:?} has lost its partitions: another consumer of this name has \
        taken them, or it was reset or deleted ({message})"
    )]
    Fenced {
        /// The name.
        consumer: Arc<str>,
        /// What the coordinator said.
        message: String,
    },
    /// The named consumer's coordinator refused, and trying again does not help.
    #[error("consumer {consumer:?}: {code}: {message}")]
    SessionRefused {
        /// The name.
        consumer: Arc<str>,
        /// Why.
        code: ErrorCode,
        /// The same for people.
        message: String,
    },
    /// The topic was deleted and created again. All that was received of the old generation
    /// came before this.
    #[error("topic {topic:?} was deleted and created again")]
    TopicRecreated {
        /// The name.
        topic: Arc<str>,
        /// The generation that was read.
        generation: TopicGenerationId,
        /// The generation that now carries the name, where known.
        successor: Option<TopicGenerationId>,
    },
    /// The topic was deleted. All that was received came before this.
    #[error("topic {topic:?} was deleted")]
    TopicDeleted {
        /// The name.
        topic: Arc<str>,
        /// The generation that was read.
        generation: TopicGenerationId,
    },
    /// An SPU refused, and trying again does not help.
    #[error("partition {partition}: {code}: {message}")]
    Refused {
        /// Where.
        partition: PartitionIndex,
        /// Why.
        code: ErrorCode,
        /// The same for people.
        message: String,
    },
    /// The consumer's task is gone, for instance because the runtime is shutting down: there
    /// may be more to read. A new consumer can go on from the last offset.
    #[error("the consumer stopped before its end: its task is gone")]
    Stopped,
}

impl ConsumeError {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Gap { .. } => "GAP",
            Self::OutOfRange { .. } => ErrorCode::OffsetOutOfRange.as_str(),
            Self::Malformed { .. } => "MALFORMED_BATCH",
            Self::Unavailable { code, .. }
            | Self::NotCommitted { code, .. }
            | Self::Refused { code, .. }
            | Self::SessionRefused { code, .. } => code.as_str(),
            Self::Fenced { .. } => ErrorCode::ConsumerFenced.as_str(),
            Self::TopicRecreated { .. } => ErrorCode::TopicRecreated.as_str(),
            Self::TopicDeleted { .. } => ErrorCode::TopicDeleted.as_str(),
            Self::Stopped => ErrorCode::Internal.as_str(),
        }
    }

    /// Whether the stream is over after this.
    #[must_use]
    pub const fn is_terminal(&self) -> bool {
        matches!(
            self,
            Self::TopicRecreated { .. }
                | Self::TopicDeleted { .. }
                | Self::Refused { .. }
                | Self::SessionRefused { .. }
                | Self::Fenced { .. }
                | Self::Stopped
        )
    }

    /// What to do next, for people, where that is not plain.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Fenced { .. } => Some(FENCED_HINT),
            _ => None,
        }
    }

    /// The partition that stopped with this error, until it is told where to go on.
    #[must_use]
    pub const fn halted(&self) -> Option<PartitionIndex> {
        match self {
            Self::Gap { partition, .. }
            | Self::OutOfRange { partition, .. }
            | Self::Malformed { partition, .. } => Some(*partition),
            _ => None,
        }
    }
}
