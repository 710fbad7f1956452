//! A deleted topic brought back: the same generation, with its records and its offsets.
//!
//! Epochs need no care here. Registrations raise the epochs of what an SPU holds of
//! tombstones too, so a tombstone is always led by the present life of its leader.

use serde_json::json;

use super::{
    App, AppError, Principal, act,
    idempotency::{self, Answer, Repeatable},
    lookup, topic_create, view,
};
use crate::store::{
    Scoped,
    changes::{self, Change},
    clusters::ClusterRow,
    partitions, spus, tombstones,
    topics::{self, TopicRow},
    types::{Desired, KeyScope, TopicState},
};

/// Brings a deleted topic back: the generation of an id, or the newest tombstone of a name.
/// By id this is safe to repeat.
///
/// # Errors
/// [`AppError::TopicNameTaken`], [`AppError::TopicPurging`], [`AppError::TopicNotDeleted`],
/// [`AppError::TombstoneNotFound`], [`AppError::ReplicasLost`], and as the store.
pub async fn topic_undelete(
    app: &App,
    principal: &Principal,
    cluster: &str,
    topic: &str,
    request: Option<&Repeatable>,
) -> Result<Answer<view::TopicView>, AppError> {
    principal.require(KeyScope::Admin)?;
    let now = app.now_unix_ms();
    let mut tx = app.store.write().await?;
    let mut org = tx.scoped(principal.org);
    if let Some(answer) = idempotency::before(&mut org, principal, request).await? {
        return Ok(answer);
    }
    let cluster = lookup::decidable(lookup::cluster(&mut org, cluster).await?)?;
    if cluster.desired == Desired::Deleted {
        return Err(AppError::ClusterDeleting(cluster.name));
    }
    let row = lookup::tombstone(&mut org, &cluster, topic).await?;
    if row.state == TopicState::Active {
        let view = topic_create::show(app, &mut org, &cluster, row.generation).await?;
        return Ok(Answer::Fresh(view));
    }
    check(&mut org, &cluster, &row).await?;
    tombstones::undelete(&mut org, cluster.id, &row.name, row.generation).await?;
    let change = Change::Topic(row.generation);
    let revision = changes::record(&mut org, cluster.id, &change, now).await?;
    let detail = json!({ "generation": row.generation });
    act::audit(app, &mut org, principal, "topic.undelete", cluster.id, &row.name, detail).await?;
    let view = topic_create::show(app, &mut org, &cluster, row.generation).await?;
    idempotency::remember(&mut org, principal, request, 200, &view, now).await?;
    tx.commit().await?;
    tracing::info!(cluster = %cluster.id, topic = row.name, generation = %row.generation, "topic brought back");
    app.signals.metadata(cluster.id, revision);
    app.signals.reconcile();
    Ok(Answer::Fresh(view))
}

/// Whether the tombstone can come back.
async fn check(org: &mut Scoped<'_>, cluster: &ClusterRow, row: &TopicRow) -> Result<(), AppError> {
    if row.internal {
        return Err(AppError::TopicInternal(row.name.clone()));
    }
    if row.state == TopicState::Purging {
        return Err(AppError::TopicPurging(row.name.clone()));
    }
    if let Some(current) = topics::by_name(org, cluster.id, &row.name).await? {
        return Err(AppError::TopicNameTaken {
            name: row.name.clone(),
            current: current.generation,
            wanted: row.generation,
        });
    }
    let spus = spus::list(org, cluster.id).await?;
    let there = |id| spus.iter().any(|spu| spu.id == id && !spu.removed);
    let partitions = partitions::of_generation(org, cluster.id, row.generation).await?;
    match partitions.iter().find(|p| !p.replicas.iter().any(|replica| there(replica.spu))) {
        Some(lost) => Err(AppError::ReplicasLost { name: row.name.clone(), key: lost.key }),
        None => Ok(()),
    }
}
