//! Why offsets were not committed.

use std::{sync::Arc, time::Duration};

use weir_protocol::{
    ErrorCode, Outcome,
    ids::{Offset, PartitionIndex, TopicGenerationId},
};

/// Why offsets were not committed, or are not known to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// The consumer has no name to commit under.
    #[error("the consumer has no name, so that nothing is committed for it")]
    NotNamed,
    /// The consumer does not read this partition, or has not claimed it yet.
    #[error("partition {partition} is not claimed by this consumer")]
    NotClaimed {
        /// Which.
        partition: PartitionIndex,
    },
    /// No partition can have this offset.
    #[error("partition {partition}: offset {offset} is beyond the largest that there is")]
    OffsetTooLarge {
        /// Which.
        partition: PartitionIndex,
        /// What was to be committed.
        offset: Offset,
    },
    /// It was not done in time, or no answer said so.
    #[error("not known to be committed within {waited:?}: {code}: {reason}")]
    NotInTime {
        /// How long it was tried.
        waited: Duration,
        /// Whether it may have been committed all the same.
        outcome: Outcome,
        /// What went wrong last.
        code: ErrorCode,
        /// The same for people.
        reason: String,
    },
    /// The partitions belong to another session now. The consumer is over.
    #[error("consumer {consumer:?} has lost its partitions: {message}")]
    Fenced {
        /// The name.
        consumer: Arc<str>,
        /// What the coordinator said.
        message: String,
    },
    /// The topic was deleted and created again: what was read belongs to the old one.
    #[error("the topic was deleted and created again; nothing of {generation} is committed")]
    TopicRecreated {
        /// The generation that was read.
        generation: TopicGenerationId,
        /// The one that carries the name now, where known.
        successor: Option<TopicGenerationId>,
    },
    /// The topic was deleted.
    #[error("the topic was deleted; nothing of {generation} is committed")]
    TopicDeleted {
        /// The generation that was read.
        generation: TopicGenerationId,
    },
    /// The coordinator refused, and trying again does not help.
    #[error("{code}: {message}")]
    Refused {
        /// Why.
        code: ErrorCode,
        /// The same for people.
        message: String,
    },
    /// The consumer is over.
    #[error("the consumer is over")]
    Over,
}

impl CommitError {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotNamed => "NOT_NAMED",
            Self::NotClaimed { .. } => "NOT_CLAIMED",
            Self::OffsetTooLarge { .. } => ErrorCode::InvalidRequest.as_str(),
            Self::NotInTime { code, .. } | Self::Refused { code, .. } => code.as_str(),
            Self::Fenced { .. } => ErrorCode::ConsumerFenced.as_str(),
            Self::TopicRecreated { .. } => ErrorCode::TopicRecreated.as_str(),
            Self::TopicDeleted { .. } => ErrorCode::TopicDeleted.as_str(),
            Self::Over => "CONSUMER_OVER",
        }
    }

    /// Whether it may have been committed all the same.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::NotInTime { outcome, .. } => *outcome,
            Self::Refused { code, .. } => code.outcome(),
            Self::Over => Outcome::Unknown,
            _ => Outcome::NotDone,
        }
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub const fn retryable(&self) -> bool {
        matches!(self, Self::NotInTime { .. } | Self::NotClaimed { .. })
    }

    /// What to do next, for people.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::NotNamed => "give it a name: ConsumerConfig::named",
            Self::NotClaimed { .. } => {
                "commit partitions that the consumer reads, once it has begun to read them"
            }
            Self::OffsetTooLarge { .. } => "commit the offset behind the last processed record",
            Self::NotInTime { .. } => {
                "commit again: what was not committed is part of the next commit"
            }
            Self::Fenced { .. } => FENCED_HINT,
            Self::TopicRecreated { .. } | Self::TopicDeleted { .. } => {
                "read the topic's new generation with a new consumer, or let it follow the name"
            }
            Self::Refused { .. } => {
                "see what the coordinator says, and whether the key may consume"
            }
            Self::Over => "make a new consumer: it goes on at what is committed",
        }
    }
}

pub(super) const FENCED_HINT: &str = "run one consumer of a name at a time, or give each \
    partitions of its own; one that was reset goes on at its new offset when it is started again";
