//! Why a use case did not do as asked: what was wrong, whether a retry is safe, what next.

use std::{collections::BTreeSet, io};

use weir_protocol::ids::{PartitionKey, SpuId, TopicGenerationId};

use crate::{
    auth::{ApiKeyError, SignError},
    plan::{
        drain::DrainError,
        names::NameError,
        operation,
        placement::PlacementError,
        reassign::ReassignError,
        scale::{self, Blocking},
        topic_config::ConfigError,
    },
    store::{
        DbError,
        types::{Desired, KeyScope},
    },
};

/// Why a use case failed. Unless it says *unknown*, nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppError {
    /// No key was given.
    #[error("this needs an API key")]
    KeyMissing,
    /// What was given is no key.
    #[error(transparent)]
    KeyMalformed(#[from] ApiKeyError),
    /// The key is well-formed and not known, revoked, or expired.
    #[error("the API key is not valid: {0}")]
    KeyInvalid(&'static str),
    /// The key does not permit this.
    #[error("the API key lacks the scope {}", .0.as_str())]
    Forbidden(KeyScope),
    /// A field of the request is wrong.
    #[error("{field}: {reason}")]
    Invalid {
        /// Which one.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
        /// What would be right.
        hint: String,
    },
    /// A cluster of this name exists, in whatever state.
    #[error("cluster {name} exists already and is {state}")]
    ClusterExists {
        /// Its name.
        name: String,
        /// What is wanted of it.
        desired: Desired,
        /// What is so.
        state: &'static str,
    },
    /// No such cluster in this org.
    #[error("there is no cluster {0:?}")]
    ClusterNotFound(String),
    /// The cluster is shut down.
    #[error("cluster {0} is shut down")]
    ClusterShutDown(String),
    /// The cluster is being deleted.
    #[error("cluster {0} is being deleted")]
    ClusterDeleting(String),
    /// The cluster's database went back, and nothing is decided about it.
    #[error("cluster {cluster} is frozen, because its database went back: {reason}")]
    ClusterFrozen {
        /// Its name.
        cluster: String,
        /// What was noticed.
        reason: String,
    },
    /// Not every SPU of a frozen cluster was heard.
    #[error(
        "cluster {cluster} cannot be recovered yet: since it was frozen nothing was heard of SPU {}",
        spus(unheard)
    )]
    SpusUnheard {
        /// The cluster's name.
        cluster: String,
        /// Who is missing.
        unheard: BTreeSet<SpuId>,
    },
    /// Too few SPUs can be emptied for the cluster to have fewer.
    #[error(
        "cluster {cluster} cannot be scaled to {wanted}: {lacking} more of its SPUs would have to \
         be empty, and what they hold cannot be moved; {}",
        scale::told(blocking)
    )]
    ScaleRefused {
        /// The cluster's name.
        cluster: String,
        /// How many SPUs it was to have.
        wanted: u32,
        /// How many more would have to be empty.
        lacking: u32,
        /// What each of those that are not holds that cannot be moved.
        blocking: Vec<Blocking>,
    },
    /// No such operation in this org.
    #[error("there is no operation {0:?}")]
    OperationNotFound(String),
    /// A topic of this name exists.
    #[error("topic {0} exists already")]
    TopicExists(String),
    /// No such topic in the cluster.
    #[error("there is no topic {0:?}")]
    TopicNotFound(String),
    /// The topic generation was deleted.
    #[error("this generation of topic {0} was deleted")]
    TopicDeleted(String),
    /// No generation of that name or id is a tombstone.
    #[error("there is no deleted topic {0:?}")]
    TombstoneNotFound(String),
    /// What is meant is not a tombstone.
    #[error("topic {0} is not deleted")]
    TopicNotDeleted(String),
    /// Another generation has the name by now.
    #[error("the name of topic {name} is taken by generation {current}")]
    TopicNameTaken {
        /// The name.
        name: String,
        /// Who has it.
        current: TopicGenerationId,
        /// The tombstone that was to have it.
        wanted: TopicGenerationId,
    },
    /// The data of the generation is being removed.
    #[error("topic {0} is being purged")]
    TopicPurging(String),
    /// The data of a partition went with its SPUs.
    #[error(
        "partition {} of topic {name} is lost: no SPU that held it is in the cluster any more",
        key.partition
    )]
    ReplicasLost {
        /// The topic's name.
        name: String,
        /// The first such partition.
        key: PartitionKey,
    },
    /// No such partition of the topic.
    #[error("topic {topic} has no partition {partition}")]
    PartitionNotFound {
        /// The topic's name.
        topic: String,
        /// Which was asked for.
        partition: u32,
    },
    /// A partition cannot be held by those that were named.
    #[error("partition {} of topic {topic} cannot be reassigned: {error}", key.partition)]
    Reassign {
        /// The topic's name.
        topic: String,
        /// Which partition.
        key: PartitionKey,
        /// Why.
        error: ReassignError,
    },
    /// What an SPU holds cannot all be held by others.
    #[error(
        "SPU {spu} cannot be drained: partition {} of topic {topic}: {error}", key.partition
    )]
    DrainRefused {
        /// Which.
        spu: SpuId,
        /// The name of the topic that stands in the way.
        topic: String,
        /// Its partition.
        key: PartitionKey,
        /// Why.
        error: DrainError,
    },
    /// No such SPU, or it is on its way out.
    #[error("cluster {cluster} has no SPU {spu}, or it is on its way out")]
    SpuNotFound {
        /// The cluster's name.
        cluster: String,
        /// Which was asked for.
        spu: SpuId,
    },
    /// Weir's own topic.
    #[error("topic {0} is Weir's own")]
    TopicInternal(String),
    /// No such consumer in the cluster, as far as is known here.
    #[error("there is no consumer {0:?}")]
    ConsumerNotFound(String),
    /// No SPU carried out an order about a consumer. One that did not answer in time may have:
    /// such orders are safe to repeat.
    #[error("no coordinator of consumer {consumer} confirmed it: {reason}")]
    CoordinatorUnavailable {
        /// Whose.
        consumer: String,
        /// What the last SPU that was asked said.
        reason: String,
    },
    /// The leader of a partition did not say where its records are.
    #[error("the leader of partition {partition} of topic {topic} did not answer: {reason}")]
    LeaderUnavailable {
        /// The topic's name.
        topic: String,
        /// Which partition.
        partition: u32,
        /// What it said, or why it did not.
        reason: String,
    },
    /// A place that a partition does not have.
    #[error(
        "partition {partition} of topic {topic} can be read from offset {log_start} to {end}, \
         which does not reach as far as was asked"
    )]
    OffsetOutOfRange {
        /// The topic's name.
        topic: String,
        /// Which partition.
        partition: u32,
        /// Oldest kept offset.
        log_start: u64,
        /// First offset that is not committed to the log yet.
        end: u64,
    },
    /// The replicas cannot be placed.
    #[error(transparent)]
    Placement(#[from] PlacementError),
    /// The idempotency key was used with another request.
    #[error("the Idempotency-Key was used before with another request")]
    IdempotencyKeyReused,
    /// A watcher names a revision that the database has not reached.
    #[error("revision {asked} is ahead of the database, which is at {at}")]
    RevisionAhead {
        /// What was asked for.
        asked: u64,
        /// Where the database is.
        at: u64,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] DbError),
    /// No token could be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The operating system has no randomness to give.
    #[error("no randomness: {0}")]
    Entropy(#[from] io::Error),
}

impl From<ConfigError> for AppError {
    fn from(error: ConfigError) -> Self {
        Self::invalid("config", error.to_string(), error.hint())
    }
}

impl AppError {
    /// A field is wrong.
    pub fn invalid(
        field: &'static str,
        reason: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self::Invalid { field, reason: reason.into(), hint: hint.into() }
    }

    /// A name is wrong.
    #[must_use]
    pub fn name(field: &'static str, error: &NameError) -> Self {
        let hint = match field {
            "cluster" => "Cluster names are 1 to 63 of a-z, 0-9 and -, and do not begin with -.",
            "consumer" => "Consumer names are 1 to 249 of A-Z, a-z, 0-9, ., _ and -.",
            _ => {
                "Topic names are 1 to 249 of A-Z, a-z, 0-9, ., _ and -, and do not begin with - \
                 or __."
            }
        };
        Self::invalid(field, error.to_string(), hint)
    }

    /// The stable code that programs look at.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::KeyMissing | Self::KeyMalformed(_) | Self::KeyInvalid(_) => "UNAUTHENTICATED",
            Self::Forbidden(_) | Self::TopicInternal(_) => "FORBIDDEN",
            Self::Invalid { .. } => "INVALID_REQUEST",
            Self::ClusterExists { .. } => "CLUSTER_EXISTS",
            Self::ClusterNotFound(_) => "CLUSTER_NOT_FOUND",
            Self::ClusterShutDown(_) => "CLUSTER_SHUT_DOWN",
            Self::ClusterDeleting(_) => "CLUSTER_DELETING",
            Self::ClusterFrozen { .. } => "CLUSTER_FROZEN",
            Self::SpusUnheard { .. } => "SPUS_UNHEARD",
            Self::ScaleRefused { .. } => operation::SCALE_REFUSED,
            Self::OperationNotFound(_) => "OPERATION_NOT_FOUND",
            Self::TopicExists(_) | Self::TopicNameTaken { .. } => "TOPIC_EXISTS",
            Self::TopicNotFound(_) | Self::TombstoneNotFound(_) => "TOPIC_NOT_FOUND",
            Self::TopicNotDeleted(_) => "TOPIC_NOT_DELETED",
            Self::TopicPurging(_) => "TOPIC_PURGED",
            Self::ReplicasLost { .. } => "REPLICAS_LOST",
            Self::PartitionNotFound { .. } => "PARTITION_NOT_FOUND",
            Self::SpuNotFound { .. } => "SPU_NOT_FOUND",
            Self::Reassign { error, .. }
            | Self::DrainRefused { error: DrainError::Reassign(error), .. } => match error {
                ReassignError::Running(_) => "REASSIGNMENT_RUNNING",
                ReassignError::BeingRemoved(_) => "REPLICA_BEING_REMOVED",
                ReassignError::Count { .. } | ReassignError::Twice(_) => "INVALID_REQUEST",
                ReassignError::Unknown(_) => "SPU_NOT_FOUND",
            },
            Self::DrainRefused { error: DrainError::Nowhere, .. } => "NOT_ENOUGH_SPUS",
            Self::TopicDeleted(_) => "TOPIC_DELETED",
            Self::ConsumerNotFound(_) => "CONSUMER_NOT_FOUND",
            Self::CoordinatorUnavailable { .. } => "COORDINATOR_UNAVAILABLE",
            Self::LeaderUnavailable { .. } => "LEADER_UNAVAILABLE",
            Self::OffsetOutOfRange { .. } => "OFFSET_OUT_OF_RANGE",
            Self::Placement(PlacementError::NotEnough { .. }) => "NOT_ENOUGH_SPUS",
            Self::Placement(PlacementError::Full { .. }) => "REPLICAS_EXHAUSTED",
            Self::IdempotencyKeyReused => "IDEMPOTENCY_KEY_REUSED",
            Self::RevisionAhead { .. } => "DATABASE_WENT_BACK",
            Self::Store(DbError::Busy) => "OVERLOADED",
            Self::Store(DbError::Unavailable { .. }) => "DATABASE_UNAVAILABLE",
            Self::Store(DbError::CommitUnknown { .. }) => "OUTCOME_UNKNOWN",
            Self::Store(DbError::StorageFull) => "STORAGE_FULL",
            Self::Store(_) | Self::Sign(_) | Self::Entropy(_) => "INTERNAL",
        }
    }

    /// Whether the same request may succeed later and is safe to repeat.
    #[must_use]
    pub const fn retryable(&self) -> bool {
        matches!(
            self,
            Self::Store(
                DbError::Busy
                    | DbError::Unavailable { .. }
                    | DbError::CommitUnknown { .. }
                    | DbError::StorageFull
            ) | Self::CoordinatorUnavailable { .. }
                | Self::LeaderUnavailable { .. }
                | Self::Reassign { error: ReassignError::BeingRemoved(_), .. }
                | Self::ClusterExists { desired: Desired::Deleted, .. }
        )
    }
}

fn spus(which: &BTreeSet<SpuId>) -> String {
    which.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
