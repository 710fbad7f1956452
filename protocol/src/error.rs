//! The error codes of the wire. Each says whether a retry may help and whether the
//! request is known not to have happened.
//!
//! The numbers are stable: a code is never renumbered or given another meaning.

use std::fmt;

use crate::pb::data;

/// What is known of a request that was answered with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It did not happen and never will.
    NotDone,
    /// It may have happened, or may yet.
    Unknown,
}

macro_rules! codes {
    ($( $(#[$doc:meta])* $name:ident = $number:literal, $text:literal, retriable: $retriable:literal, $outcome:ident; )*) => {
        /// Why a request was refused, or what is unknown about it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum ErrorCode {
            $( $(#[$doc])* $name, )*
        }

        impl ErrorCode {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The stable number of the wire.
            #[must_use]
            pub const fn number(self) -> u32 {
                match self { $(Self::$name => $number,)* }
            }

            /// From the wire. A number that this build does not know is [`ErrorCode::Internal`]:
            /// not retriable, outcome unknown, the most careful reading.
            #[must_use]
            pub const fn from_number(number: u32) -> Self {
                match number { $($number => Self::$name,)* _ => Self::Internal }
            }

            /// The name that people and logs see, `UPPER_SNAKE_CASE`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// Whether the same request may succeed later, or elsewhere.
            #[must_use]
            pub const fn retriable(self) -> bool {
                match self { $(Self::$name => $retriable,)* }
            }

            /// Whether the request is known not to have happened.
            #[must_use]
            pub const fn outcome(self) -> Outcome {
                match self { $(Self::$name => Outcome::$outcome,)* }
            }
        }
    };
}

codes! {
    /// A bug, or an answer of a newer version.
    Internal = 1, "INTERNAL", retriable: false, Unknown;
    /// The request breaks the protocol.
    InvalidRequest = 2, "INVALID_REQUEST", retriable: false, NotDone;
    /// The peer speaks a protocol version that this one does not.
    UnsupportedVersion = 3, "UNSUPPORTED_VERSION", retriable: false, NotDone;
    /// Too much is under way; nothing was done.
    Overloaded = 4, "OVERLOADED", retriable: true, NotDone;
    /// The process is going down; nothing was done.
    ShuttingDown = 5, "SHUTTING_DOWN", retriable: true, NotDone;
    /// The deadline passed first.
    TimedOut = 6, "TIMED_OUT", retriable: true, Unknown;
    /// The connection broke before an answer came.
    Disconnected = 7, "DISCONNECTED", retriable: true, Unknown;
    /// Could not be reached at all.
    Unreachable = 8, "UNREACHABLE", retriable: true, NotDone;

    /// No token or key, or a wrong one.
    Unauthenticated = 20, "UNAUTHENTICATED", retriable: false, NotDone;
    /// The token's time is over; a fresh one helps.
    TokenExpired = 21, "TOKEN_EXPIRED", retriable: true, NotDone;
    /// Known, and not allowed.
    Forbidden = 22, "FORBIDDEN", retriable: false, NotDone;

    /// The SPU does not know this generation (yet): resolve the name again.
    UnknownGeneration = 40, "UNKNOWN_GENERATION", retriable: true, NotDone;
    /// The topic was deleted and created again; this generation's data is not served any more.
    TopicRecreated = 41, "TOPIC_RECREATED", retriable: false, NotDone;
    /// The topic was deleted.
    TopicDeleted = 42, "TOPIC_DELETED", retriable: false, NotDone;
    /// The generation has no partition of this index.
    UnknownPartition = 43, "UNKNOWN_PARTITION", retriable: true, NotDone;
    /// This SPU does not lead the partition (any more).
    NotLeader = 44, "NOT_LEADER", retriable: true, NotDone;
    /// The client's leader epoch is older than the SPU's.
    FencedLeaderEpoch = 45, "FENCED_LEADER_EPOCH", retriable: true, NotDone;
    /// The client's leader epoch is newer than the SPU's.
    UnknownLeaderEpoch = 46, "UNKNOWN_LEADER_EPOCH", retriable: true, NotDone;
    /// The new leader does not know yet what is committed.
    NotYetAvailable = 47, "NOT_YET_AVAILABLE", retriable: true, NotDone;
    /// Outside log start ..= high watermark.
    OffsetOutOfRange = 48, "OFFSET_OUT_OF_RANGE", retriable: false, NotDone;
    /// The replica is offline, for instance because its log is damaged.
    ReplicaOffline = 49, "REPLICA_OFFLINE", retriable: true, NotDone;
    /// Leadership ended after the append and before the commit.
    LeaderLost = 50, "LEADER_LOST", retriable: true, Unknown;
    /// Fewer replicas are in sync than the topic asks for; nothing was appended.
    NotEnoughReplicas = 51, "NOT_ENOUGH_REPLICAS", retriable: true, NotDone;
    /// The partition's leader, replicas, or in-sync replicas have changed since.
    FencedPartitionEpoch = 52, "FENCED_PARTITION_EPOCH", retriable: true, NotDone;
    /// A replica that is not online, or not in the life that was named, cannot become in sync.
    IneligibleReplica = 53, "INELIGIBLE_REPLICA", retriable: true, NotDone;
    /// What lies on the disk is not what was written. The replica is refilled from another one,
    /// where there is one.
    ReplicaDamaged = 54, "REPLICA_DAMAGED", retriable: true, NotDone;

    /// The batch's checksum does not match its bytes.
    CorruptBatch = 60, "CORRUPT_BATCH", retriable: true, NotDone;
    /// The batch breaks the format, or has bits that clients may not set.
    InvalidBatch = 61, "INVALID_BATCH", retriable: false, NotDone;
    /// The batch is larger than the cluster takes.
    BatchTooLarge = 62, "BATCH_TOO_LARGE", retriable: false, NotDone;
    /// The sequence number does not follow on the producer's last one here.
    OutOfOrderSequence = 63, "OUT_OF_ORDER_SEQUENCE", retriable: false, NotDone;
    /// An older epoch of the producer id.
    ProducerFenced = 64, "PRODUCER_FENCED", retriable: false, NotDone;

    /// Another session of the consumer has claimed the partition, or the consumer was deleted.
    ConsumerFenced = 70, "CONSUMER_FENCED", retriable: false, NotDone;

    /// The disk is full; writes go on once there is room.
    StorageFull = 80, "STORAGE_FULL", retriable: true, NotDone;
    /// A write or an fsync failed.
    StorageFailed = 81, "STORAGE_FAILED", retriable: true, Unknown;

    /// Another launch of this SPU is the current one.
    StaleLaunch = 100, "STALE_LAUNCH", retriable: false, NotDone;
    /// The SPU was removed from its cluster.
    SpuRemoved = 101, "SPU_REMOVED", retriable: false, NotDone;
    /// The SPU id is known with another data folder.
    FolderMismatch = 102, "FOLDER_MISMATCH", retriable: false, NotDone;
    /// The cluster of the registration is not this one, or not known.
    UnknownCluster = 103, "UNKNOWN_CLUSTER", retriable: false, NotDone;
    /// The control plane's database is older than what the SPU has seen.
    DatabaseWentBack = 104, "DATABASE_WENT_BACK", retriable: true, NotDone;
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error as it travels: a code, a sentence for people, and what the code needs beside.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{code}: {}", .wire.message)]
pub struct WireError {
    /// What it is.
    pub code: ErrorCode,
    /// The message as it travels, with its details.
    pub wire: data::Error,
}

impl WireError {
    /// An error without details.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            wire: data::Error {
                code: code.number(),
                message: message.into(),
                ..Default::default()
            },
        }
    }

    /// The sentence for people.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.wire.message
    }
}

impl From<data::Error> for WireError {
    fn from(wire: data::Error) -> Self {
        Self { code: ErrorCode::from_number(wire.code), wire }
    }
}

impl From<WireError> for data::Error {
    fn from(error: WireError) -> Self {
        error.wire
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn numbers_and_names_are_unique_and_round_trip() {
        let numbers: BTreeSet<_> = ErrorCode::ALL.iter().map(|c| c.number()).collect();
        let names: BTreeSet<_> = ErrorCode::ALL.iter().map(|c| c.as_str()).collect();
        assert_eq!(numbers.len(), ErrorCode::ALL.len());
        assert_eq!(names.len(), ErrorCode::ALL.len());
        for &code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_number(code.number()), code);
        }
    }

    #[test]
    fn an_unknown_number_is_read_carefully() {
        let code = ErrorCode::from_number(9_999);
        assert!(!code.retriable());
        assert_eq!(code.outcome(), Outcome::Unknown);
    }
}
