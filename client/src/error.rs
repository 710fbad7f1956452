//! Why a client could not be made, or a topic not be found; and how gRPC errors are read.

use std::time::Duration;

use prost::Message;
use weir_protocol::{ErrorCode, Outcome, WireError, ids::PartitionIndex, pb::data};

use crate::admin::AdminError;

/// Why [`crate::Client`] could not do what it was asked. Nothing was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The configuration cannot work.
    #[error("invalid configuration: {0}")]
    Configuration(String),
    /// The control plane gave no token.
    #[error("no token from the control plane: {0}")]
    ControlPlane(#[from] AdminError),
    /// No SPU of the cluster answered in time.
    #[error("no SPU of the cluster answered within {limit:?}: {reason}")]
    Unreachable {
        /// How long it was tried.
        limit: Duration,
        /// The last thing that went wrong, with the endpoint.
        reason: String,
    },
    /// An SPU refused, and trying again does not help.
    #[error("{0}")]
    Refused(WireError),
    /// The cluster has no topic of this name, and none appeared in time.
    #[error("the cluster has no topic {topic:?} (waited {waited:?})")]
    UnknownTopic {
        /// What was asked for.
        topic: String,
        /// A topic whose name is near.
        suggestion: Option<String>,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The topic has no such partition.
    #[error("topic {topic:?} has no partition {partition}: it has 0 to {}", partitions.saturating_sub(1))]
    UnknownPartition {
        /// The topic.
        topic: String,
        /// What was asked for.
        partition: PartitionIndex,
        /// How many it has.
        partitions: u32,
    },
}

impl ClientError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Configuration(_) => "INVALID_CONFIGURATION",
            Self::ControlPlane(error) => error.code(),
            Self::Unreachable { .. } => ErrorCode::Unreachable.as_str(),
            Self::Refused(error) => error.code.as_str(),
            Self::UnknownTopic { .. } => "UNKNOWN_TOPIC",
            Self::UnknownPartition { .. } => ErrorCode::UnknownPartition.as_str(),
        }
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::Configuration(_) | Self::UnknownPartition { .. } => false,
            Self::ControlPlane(error) => error.retryable(),
            Self::Refused(error) => error.code.retriable(),
            Self::Unreachable { .. } | Self::UnknownTopic { .. } => true,
        }
    }

    /// What to do next, for people.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::ControlPlane(error) => error.hint().map(str::to_owned),
            Self::Unreachable { .. } => Some("is the cluster running?".to_owned()),
            Self::UnknownTopic { suggestion: Some(name), .. } => {
                Some(format!("did you mean {name:?}?"))
            }
            Self::UnknownTopic { .. } => Some("create the topic first".to_owned()),
            Self::UnknownPartition { .. } => {
                Some("choose one that exists, or add partitions to the topic".to_owned())
            }
            Self::Configuration(_) | Self::Refused(_) => None,
        }
    }
}

/// Reads a gRPC status as an error of ours. An SPU puts its own error, encoded, into the
/// status's details; a status without is one of the transport.
pub(crate) fn from_status(status: &tonic::Status) -> WireError {
    if !status.details().is_empty()
        && let Ok(error) = data::Error::decode(status.details())
        && error.code != 0
    {
        return error.into();
    }
    let code = match status.code() {
        tonic::Code::Unauthenticated => ErrorCode::Unauthenticated,
        tonic::Code::PermissionDenied => ErrorCode::Forbidden,
        tonic::Code::InvalidArgument | tonic::Code::OutOfRange => ErrorCode::InvalidRequest,
        tonic::Code::Unimplemented => ErrorCode::UnsupportedVersion,
        tonic::Code::ResourceExhausted => ErrorCode::Overloaded,
        tonic::Code::DeadlineExceeded => ErrorCode::TimedOut,
        tonic::Code::NotFound => ErrorCode::UnknownCluster,
        _ => ErrorCode::Disconnected,
    };
    WireError::new(code, status.message())
}

/// The outcome of one attempt, given whether anything can have reached the SPU.
pub(crate) fn outcome(code: ErrorCode, may_have_arrived: bool) -> Outcome {
    if may_have_arrived { code.outcome() } else { Outcome::NotDone }
}

/// Whether an SPU's answer may mean that the client's map is behind.
pub(crate) fn contradicts_map(code: ErrorCode) -> bool {
    use ErrorCode as E;
    matches!(
        code,
        E::NotLeader
            | E::FencedLeaderEpoch
            | E::UnknownLeaderEpoch
            | E::UnknownGeneration
            | E::UnknownPartition
            | E::TopicRecreated
            | E::TopicDeleted
    )
}
