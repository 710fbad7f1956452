//! What people can do about an error.

use weir_protocol::ids::PartitionKey;

use super::AppError;
use crate::{
    auth::ApiKeyError,
    plan::{
        drain::DrainError, guards, operation, placement::PlacementError, reassign::ReassignError,
    },
    store::DbError,
};

impl AppError {
    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::KeyMissing => "Send the header: Authorization: Bearer weir_…".to_owned(),
            Self::KeyMalformed(ApiKeyError::Format) => {
                "Look whether the whole key was copied, and nothing else.".to_owned()
            }
            Self::KeyMalformed(ApiKeyError::Check) => {
                "Copy the key again: at least one character is wrong.".to_owned()
            }
            Self::KeyInvalid(_) => {
                "Look whether the key belongs to this control plane, or ask for a new one."
                    .to_owned()
            }
            Self::Forbidden(scope) => {
                format!("Use a key with the scope {scope}, or ask an admin for one.")
            }
            Self::Invalid { hint, .. } => hint.clone(),
            Self::ClusterExists { name, desired, .. } => guards::instead_of_create(name, *desired),
            Self::ClusterNotFound(_) => "List what is there: weir cluster list".to_owned(),
            Self::ClusterShutDown(name) => format!("Start it again: weir cluster resume {name}"),
            Self::ClusterDeleting(_) => {
                "Nothing brings it back. Its name is free once the deletion is done.".to_owned()
            }
            Self::ClusterFrozen { cluster, .. } => format!(
                "Put the newest database back, or go on with this one: weir control-plane recover \
                 {cluster}"
            ),
            Self::SpusUnheard { cluster, .. } => format!(
                "Nothing was changed. See that they run and reach the control plane, then do it \
                 again. If they never come back: weir control-plane recover {cluster} \
                 --without-unheard, and what only they hold is lost."
            ),
            Self::ScaleRefused { blocking, .. } => operation::scale_hint(blocking),
            Self::OperationNotFound(_) => {
                "List what there is: weir cluster operation list. Operations that ended are kept \
                 for 30 days."
                    .to_owned()
            }
            Self::TopicExists(name) => {
                format!("Use it as it is, take another name, or: weir topic delete {name}")
            }
            Self::TopicNotFound(_) => "List what is there: weir topic list; and what was deleted: \
                                       weir topic list --deleted"
                .to_owned(),
            Self::TombstoneNotFound(_) => {
                "List what was deleted and not purged yet: weir topic list --deleted".to_owned()
            }
            Self::TopicNotDeleted(name) => format!(
                "Delete it first: weir topic delete {name}; or delete and purge it at once: \
                 weir topic delete {name} --purge"
            ),
            Self::TopicNameTaken { name, current, wanted } => format!(
                "Delete the other one first (weir topic delete {current}), then: weir topic \
                 undelete {wanted}. What {name} is now keeps its own records either way."
            ),
            Self::TopicPurging(name) => {
                format!("Nothing brings it back. Create a new one: weir topic create {name}")
            }
            Self::ReplicasLost { key, .. } => {
                format!(
                    "What is left of it can only be purged: weir topic purge {}",
                    key.generation
                )
            }
            Self::TopicDeleted(name) => format!(
                "Name the topic instead of its generation's id, bring it back (weir topic undelete \
                 {name}), or create it again: weir topic create {name}"
            ),
            Self::PartitionNotFound { topic, .. } => {
                format!("Look which it has: weir partition list {topic}")
            }
            Self::SpuNotFound { .. } => "List what is there: weir cluster spu list".to_owned(),
            Self::Reassign { topic, key, error }
            | Self::DrainRefused { topic, key, error: DrainError::Reassign(error), .. } => {
                reassign_hint(topic, *key, error)
            }
            Self::DrainRefused { error: DrainError::Nowhere, .. } => "Nothing was changed. Add an \
                SPU first (weir cluster scale), name others with --to, or let the topic have fewer \
                replicas: weir topic update --replication."
                .to_owned(),
            Self::TopicInternal(_) => "Choose another topic.".to_owned(),
            Self::ConsumerNotFound(_) => "List what is there: weir consumer list. While its \
                coordinator is away, what was committed just before does not show."
                .to_owned(),
            Self::CoordinatorUnavailable { .. } => "Look whether the SPUs run: weir cluster \
                status. Then do it again, which is safe."
                .to_owned(),
            Self::LeaderUnavailable { .. } => "Nothing was changed. Look whether the SPUs run: \
                weir cluster status. Then do it again."
                .to_owned(),
            Self::OffsetOutOfRange { log_start, end, .. } => format!(
                "Nothing was changed. Take an offset from {log_start} to {end}, the beginning, \
                 or the end."
            ),
            Self::Placement(PlacementError::NotEnough { candidates: 0, .. }) => {
                "The cluster has no SPUs so far. Give it some: weir cluster scale --spus 3."
                    .to_owned()
            }
            Self::Placement(PlacementError::NotEnough { .. }) => {
                "Ask for fewer replicas.".to_owned()
            }
            Self::Placement(PlacementError::Full { .. }) => {
                "Ask for fewer partitions, or put the topic into another cluster. Partitions of \
                 deleted topics count until they are purged: weir topic list --deleted, then weir \
                 topic purge."
                    .to_owned()
            }
            Self::IdempotencyKeyReused => "Draw a fresh key for each new request.".to_owned(),
            Self::RevisionAhead { .. } => {
                "The database is older than what was seen, perhaps an older copy: stop the control \
                 plane, put its newest database back, and start it again."
                    .to_owned()
            }
            Self::Store(DbError::Busy) => "Try again in a moment.".to_owned(),
            Self::Store(DbError::Unavailable { .. }) => {
                "Look whether the control plane's database server runs, then try again.".to_owned()
            }
            Self::Store(DbError::CommitUnknown { .. }) => {
                "Look whether it happened, or repeat it with the same Idempotency-Key.".to_owned()
            }
            Self::Store(DbError::StorageFull) => {
                "Make room on the disk that holds the control plane's database.".to_owned()
            }
            Self::Store(DbError::Corrupt { .. } | DbError::Decode { .. }) => {
                "The database is damaged: restore a backup.".to_owned()
            }
            Self::Store(_) | Self::Sign(_) | Self::Entropy(_) => {
                "Look at the control plane's log under the request id.".to_owned()
            }
        }
    }
}

fn reassign_hint(topic: &str, key: PartitionKey, error: &ReassignError) -> String {
    let partition = key.partition;
    match error {
        ReassignError::Running(_) => format!(
            "Look how far it is (weir partition describe {topic} {partition}), and do it again \
             when it is done, or end it: weir partition reassign {topic} {partition} --cancel"
        ),
        ReassignError::BeingRemoved(spu) => format!(
            "Do it again in a moment. While SPU {spu} is down it cannot remove anything: weir \
             cluster spu list"
        ),
        ReassignError::Count { replication, .. } => format!(
            "Name {replication} SPUs. Another number is for all partitions of a topic: weir topic \
             update {topic} --replication N"
        ),
        ReassignError::Twice(_) => "Name each SPU once.".to_owned(),
        ReassignError::Unknown(_) => "List what is there: weir cluster spu list".to_owned(),
    }
}
