//! More partitions. They only grow: records are where they are.

use serde_json::json;

use super::{
    App, AppError, Principal, act,
    idempotency::{self, Answer, Repeatable},
    lookup,
    topic_create::{self, PARTITIONS_MAX, Place},
    view,
};
use crate::{
    plan::placement::REPLICATION_MAX,
    store::{
        changes::{self, Change},
        partitions,
        types::{KeyScope, TopicState},
    },
};

/// Adds `add` partitions to a topic.
///
/// # Errors
/// [`AppError::TopicNotFound`], [`AppError::TopicDeleted`], [`AppError::Invalid`], and as
/// the store.
pub async fn topic_add_partitions(
    app: &App,
    principal: &Principal,
    cluster: &str,
    topic: &str,
    add: u32,
    request: Option<&Repeatable>,
) -> Result<Answer<view::TopicView>, AppError> {
    principal.require(KeyScope::Admin)?;
    topic_create::check_partitions("add", add)?;
    let now = app.now_unix_ms();
    let mut tx = app.store.write().await?;
    let mut org = tx.scoped(principal.org);
    if let Some(answer) = idempotency::before(&mut org, principal, request).await? {
        return Ok(answer);
    }
    let cluster = lookup::decidable(lookup::running_cluster(&mut org, cluster).await?)?;
    let row = lookup::topic(&mut org, &cluster, topic).await?;
    if row.internal {
        return Err(AppError::TopicInternal(row.name));
    }
    if row.state != TopicState::Active {
        return Err(AppError::TopicDeleted(row.name));
    }
    let rows = partitions::of_generation(&mut org, cluster.id, row.generation).await?;
    let have = u32::try_from(rows.len()).unwrap_or(u32::MAX);
    // As many as the others will have, where they are being given more.
    let others = rows.iter().map(|row| u32::try_from(row.destined().len()).unwrap_or(u32::MAX));
    let replication = others.fold(row.replication, u32::max).min(REPLICATION_MAX);
    if have.saturating_add(add) > PARTITIONS_MAX {
        return Err(AppError::invalid(
            "add",
            format!("the topic has {have} partitions, so {add} more are not possible"),
            format!("A topic has at most {PARTITIONS_MAX} partitions."),
        ));
    }
    let (which, how) = ((have, add), Place::default());
    for partition in topic_create::place(&mut org, &cluster, which, replication, &how).await? {
        partitions::insert(&mut org, cluster.id, row.generation, &partition).await?;
    }
    let change = Change::Topic(row.generation);
    let revision = changes::record(&mut org, cluster.id, &change, now).await?;
    let detail = json!({ "generation": row.generation, "from": have, "to": have + add });
    act::audit(app, &mut org, principal, "topic.add_partitions", cluster.id, &row.name, detail)
        .await?;
    let view = topic_create::show(app, &mut org, &cluster, row.generation).await?;
    idempotency::remember(&mut org, principal, request, 200, &view, now).await?;
    tx.commit().await?;
    tracing::info!(cluster = %cluster.id, topic = row.name, from = have, to = have + add, "partitions added");
    app.signals.metadata(cluster.id, revision);
    app.signals.reconcile();
    Ok(Answer::Fresh(view))
}
