//! How a topic's records are kept, chosen anew. SPUs hear of it by the map and follow it
//! while the topic is in use.

use serde_json::json;

use super::{
    App, AppError, Principal, act,
    idempotency::{self, Answer, Repeatable},
    lookup, topic_create,
    view::{self, TopicConfigView},
};
use crate::{
    plan::topic_config::ConfigChange,
    store::{
        changes::{self, Change},
        topics,
        types::{Desired, KeyScope, TopicState},
    },
};

/// Changes how a topic's records are kept; what is not said stays. Where that is so already,
/// nothing is changed and nobody is told.
///
/// # Errors
/// [`AppError::Invalid`], [`AppError::TopicNotFound`], [`AppError::TopicInternal`],
/// [`AppError::TopicDeleted`], [`AppError::TopicPurging`], and as the store.
pub async fn topic_update(
    app: &App,
    principal: &Principal,
    cluster: &str,
    topic: &str,
    change: &ConfigChange,
    request: Option<&Repeatable>,
) -> Result<Answer<view::TopicView>, AppError> {
    principal.require(KeyScope::Admin)?;
    let now = app.now_unix_ms();
    let mut tx = app.store.write().await?;
    let mut org = tx.scoped(principal.org);
    if let Some(answer) = idempotency::before(&mut org, principal, request).await? {
        return Ok(answer);
    }
    let cluster = lookup::cluster(&mut org, cluster).await?;
    if cluster.desired == Desired::Deleted {
        return Err(AppError::ClusterDeleting(cluster.name));
    }
    let row = lookup::topic(&mut org, &cluster, topic).await?;
    if row.internal {
        return Err(AppError::TopicInternal(row.name));
    }
    match row.state {
        TopicState::Active => {}
        TopicState::Tombstone => return Err(AppError::TopicDeleted(row.name)),
        TopicState::Purging => return Err(AppError::TopicPurging(row.name)),
    }
    let wanted = change.apply(&row.config)?;
    let mut revision = None;
    if wanted != row.config {
        topics::set_config(&mut org, cluster.id, row.generation, &wanted).await?;
        let change = Change::Topic(row.generation);
        revision = Some(changes::record(&mut org, cluster.id, &change, now).await?);
        let [from, to] = [&row.config, &wanted].map(TopicConfigView::from);
        let detail = json!({ "generation": row.generation, "from": from, "to": to });
        act::audit(app, &mut org, principal, "topic.update", cluster.id, &row.name, detail).await?;
    }
    let view = topic_create::show(app, &mut org, &cluster, row.generation).await?;
    // Remembered where nothing was to do as well: repeated late, it must not undo what came after.
    idempotency::remember(&mut org, principal, request, 200, &view, now).await?;
    tx.commit().await?;
    if let Some(revision) = revision {
        tracing::info!(cluster = %cluster.id, topic = row.name, generation = %row.generation, config = ?wanted, "topic updated");
        app.signals.metadata(cluster.id, revision);
    }
    Ok(Answer::Fresh(view))
}
