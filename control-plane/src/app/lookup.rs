//! Finding what a request names, in the org of whoever asks. What belongs to another org is
//! not found, like what is not there.

use super::AppError;
use crate::store::{
    Scoped,
    clusters::{self, ClusterRow},
    recovery::Frozen,
    tombstones,
    topics::{self, TopicRow},
    types::Desired,
};

/// No name and no id holds the character 0, and no database takes it in a text.
fn possible(name_or_id: &str) -> bool {
    !name_or_id.contains('\0')
}

/// The cluster of this name or id.
pub(super) async fn cluster(
    scoped: &mut Scoped<'_>,
    name_or_id: &str,
) -> Result<ClusterRow, AppError> {
    let missing = || AppError::ClusterNotFound(name_or_id.to_owned());
    if !possible(name_or_id) {
        return Err(missing());
    }
    clusters::find(scoped, name_or_id).await?.ok_or_else(missing)
}

/// The cluster of this name or id, if it should run.
pub(super) async fn running_cluster(
    scoped: &mut Scoped<'_>,
    name_or_id: &str,
) -> Result<ClusterRow, AppError> {
    let found = cluster(scoped, name_or_id).await?;
    match found.desired {
        Desired::Running => Ok(found),
        Desired::Shutdown => Err(AppError::ClusterShutDown(found.name)),
        Desired::Deleted => Err(AppError::ClusterDeleting(found.name)),
    }
}

/// The same cluster, if something may be decided about it: its database did not go back.
pub(super) fn decidable(cluster: ClusterRow) -> Result<ClusterRow, AppError> {
    match cluster.frozen {
        None => Ok(cluster),
        Some(Frozen { reason, .. }) => {
            Err(AppError::ClusterFrozen { cluster: cluster.name, reason })
        }
    }
}

/// The newest tombstone of this name, or the generation of this id in any state.
pub(super) async fn tombstone(
    scoped: &mut Scoped<'_>,
    cluster: &ClusterRow,
    name_or_id: &str,
) -> Result<TopicRow, AppError> {
    if !possible(name_or_id) {
        return Err(AppError::TombstoneNotFound(name_or_id.to_owned()));
    }
    if let Some(found) = tombstones::find(scoped, cluster.id, name_or_id).await? {
        return Ok(found);
    }
    match topics::by_name(scoped, cluster.id, name_or_id).await? {
        Some(active) => Err(AppError::TopicNotDeleted(active.name)),
        None => Err(AppError::TombstoneNotFound(name_or_id.to_owned())),
    }
}

/// The current generation of this name, or the generation of this id in any state.
pub(super) async fn topic(
    scoped: &mut Scoped<'_>,
    cluster: &ClusterRow,
    name_or_id: &str,
) -> Result<TopicRow, AppError> {
    let missing = || AppError::TopicNotFound(name_or_id.to_owned());
    if !possible(name_or_id) {
        return Err(missing());
    }
    topics::find(scoped, cluster.id, name_or_id).await?.ok_or_else(missing)
}
