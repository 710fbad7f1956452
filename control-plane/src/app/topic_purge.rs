//! Purging: the data of a deleted topic is removed, by an order to each SPU that holds some
//! of it. Nothing brings it back.

use serde_json::json;
use weir_protocol::ids::Revision;

use super::{
    App, AppError, Principal, act,
    idempotency::{self, Answer, Repeatable},
    lookup, topic_create, view,
};
use crate::store::{
    Scoped,
    changes::{self, Change},
    clusters::ClusterRow,
    purges,
    topics::{self, TopicRow},
    types::{KeyScope, TopicState},
};

/// Purges a deleted topic: the generation of an id, or the newest tombstone of a name. By id
/// this is safe to repeat. The answer shows it as it is then; it is gone once every SPU that
/// holds a part has removed that.
///
/// # Errors
/// [`AppError::TopicNotDeleted`], [`AppError::TombstoneNotFound`],
/// [`AppError::TopicInternal`], and as the store.
pub async fn topic_purge(
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
    let row = lookup::tombstone(&mut org, &cluster, topic).await?;
    if row.state == TopicState::Active {
        return Err(AppError::TopicNotDeleted(row.name));
    }
    let (view, revision) = begin(app, principal, &mut org, &cluster, &row).await?;
    idempotency::remember(&mut org, principal, request, 202, &view, now).await?;
    tx.commit().await?;
    app.signals.metadata(cluster.id, revision);
    Ok(Answer::Fresh(view))
}

/// Deletes a topic (the current generation of a name, or the generation of an id in any
/// state) and purges it at once.
///
/// # Errors
/// [`AppError::TopicNotFound`], [`AppError::TopicInternal`], and as the store.
pub async fn topic_delete_and_purge(
    app: &App,
    principal: &Principal,
    cluster: &str,
    topic: &str,
) -> Result<view::TopicView, AppError> {
    principal.require(KeyScope::Admin)?;
    let mut tx = app.store.write().await?;
    let mut org = tx.scoped(principal.org);
    let cluster = lookup::decidable(lookup::cluster(&mut org, cluster).await?)?;
    let row = lookup::topic(&mut org, &cluster, topic).await?;
    if row.internal {
        return Err(AppError::TopicInternal(row.name));
    }
    if topics::tombstone(&mut org, cluster.id, row.generation, app.now_unix_ms()).await? {
        let detail = json!({ "generation": row.generation });
        act::audit(app, &mut org, principal, "topic.delete", cluster.id, &row.name, detail).await?;
    }
    let (view, revision) = begin(app, principal, &mut org, &cluster, &row).await?;
    tx.commit().await?;
    app.signals.metadata(cluster.id, revision);
    app.signals.reconcile();
    Ok(view)
}

/// Orders the removal of what is a tombstone by now; nothing for what is being purged
/// already. The view, and the cluster's revision.
async fn begin(
    app: &App,
    principal: &Principal,
    org: &mut Scoped<'_>,
    cluster: &ClusterRow,
    row: &TopicRow,
) -> Result<(view::TopicView, Revision), AppError> {
    if row.internal {
        return Err(AppError::TopicInternal(row.name.clone()));
    }
    let begun = purges::begin(org, cluster.id, row.generation).await?;
    let view = topic_create::show(app, org, cluster, row.generation).await?;
    if !begun {
        return Ok((view, cluster.revision));
    }
    let now = app.now_unix_ms();
    let detail = json!({ "generation": row.generation });
    act::audit(app, org, principal, "topic.purge", cluster.id, &row.name, detail).await?;
    let change = Change::Topic(row.generation);
    let revision = changes::record(org, cluster.id, &change, now).await?;
    // Where no holder is left, there is nothing to wait for.
    let gone = purges::settle(org, cluster.id, row.generation, now).await?;
    tracing::info!(cluster = %cluster.id, topic = row.name, generation = %row.generation, "topic to be purged");
    Ok((view, gone.unwrap_or(revision)))
}
