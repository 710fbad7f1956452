//! Deleting a topic: its generation becomes a tombstone, its name is free at once.

use serde_json::json;

use super::{App, AppError, Principal, act, lookup, topic_create, view};
use crate::store::{
    changes::{self, Change},
    topics,
    types::{KeyScope, TopicState},
};

/// Deletes a topic. By the id of its generation this is safe to repeat; by name, the next
/// generation of that name would be meant, so a repetition finds nothing.
///
/// # Errors
/// [`AppError::TopicNotFound`], [`AppError::TopicInternal`], and as the store.
pub async fn topic_delete(
    app: &App,
    principal: &Principal,
    cluster: &str,
    topic: &str,
) -> Result<view::TopicView, AppError> {
    principal.require(KeyScope::Admin)?;
    let now = app.now_unix_ms();
    let mut tx = app.store.write().await?;
    let mut org = tx.scoped(principal.org);
    let cluster = lookup::decidable(lookup::cluster(&mut org, cluster).await?)?;
    let row = lookup::topic(&mut org, &cluster, topic).await?;
    if row.internal {
        return Err(AppError::TopicInternal(row.name));
    }
    if row.state != TopicState::Active {
        return topic_create::show(app, &mut org, &cluster, row.generation).await;
    }
    topics::tombstone(&mut org, cluster.id, row.generation, now).await?;
    let change = Change::Topic(row.generation);
    let revision = changes::record(&mut org, cluster.id, &change, now).await?;
    let detail = json!({ "generation": row.generation });
    act::audit(app, &mut org, principal, "topic.delete", cluster.id, &row.name, detail).await?;
    let view = topic_create::show(app, &mut org, &cluster, row.generation).await?;
    tx.commit().await?;
    tracing::info!(cluster = %cluster.id, topic = row.name, generation = %row.generation, "topic deleted");
    app.signals.metadata(cluster.id, revision);
    app.signals.reconcile();
    Ok(view)
}
