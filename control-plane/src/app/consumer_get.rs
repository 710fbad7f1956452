//! One named consumer, and lists of them.

use super::{
    App, AppError, Principal,
    consumer_view::{self, ConsumerPartition, ConsumerSummary, ConsumerView},
    lookup, page,
    view::Seen,
};
use crate::{
    plan::names,
    store::{Scoped, clusters::ClusterRow, consumer_offsets, types::KeyScope},
};

/// What a consumer has committed, as its coordinator reported it last.
///
/// # Errors
/// [`AppError::ClusterNotFound`], [`AppError::ConsumerNotFound`], and as the store.
pub async fn consumer_get(
    app: &App,
    principal: &Principal,
    cluster: &str,
    consumer: &str,
) -> Result<ConsumerView, AppError> {
    principal.require(KeyScope::Read)?;
    check_name(consumer)?;
    let mut tx = app.store.read().await?;
    let mut org = tx.scoped(principal.org);
    let cluster = lookup::cluster(&mut org, cluster).await?;
    let seen = app.board.cluster(cluster.id);
    let partitions = partitions(&mut org, &cluster, consumer, &seen).await?;
    if partitions.is_empty() {
        return Err(AppError::ConsumerNotFound(consumer.to_owned()));
    }
    Ok(consumer_view::consumer(consumer.to_owned(), partitions))
}

/// Consumers by name, after the name `after` (empty: from the first). Answers the name to go
/// on after, if there are more.
///
/// # Errors
/// [`AppError::ClusterNotFound`], and as the store.
pub async fn consumer_list(
    app: &App,
    principal: &Principal,
    cluster: &str,
    after: &str,
    limit: u32,
) -> Result<(Vec<ConsumerSummary>, Option<String>), AppError> {
    principal.require(KeyScope::Read)?;
    let mut tx = app.store.read().await?;
    let mut org = tx.scoped(principal.org);
    let cluster = lookup::cluster(&mut org, cluster).await?;
    let more = limit.saturating_add(1);
    let names = consumer_offsets::names(&mut org, cluster.id, after, more).await?;
    let (names, next) = page::cut(names, limit, String::clone);
    let seen = app.board.cluster(cluster.id);
    let mut shown = Vec::with_capacity(names.len());
    // One after the other: each may have many partitions.
    for name in names {
        let partitions = partitions(&mut org, &cluster, &name, &seen).await?;
        shown.push(consumer_view::summary(name, &partitions));
    }
    Ok((shown, next))
}

async fn partitions(
    org: &mut Scoped<'_>,
    cluster: &ClusterRow,
    consumer: &str,
    seen: &Seen,
) -> Result<Vec<ConsumerPartition>, AppError> {
    let rows = consumer_offsets::of_consumer(org, cluster.id, consumer).await?;
    Ok(rows.into_iter().map(|row| consumer_view::partition(row, seen)).collect())
}

/// Whether a consumer can have this name.
pub(super) fn check_name(consumer: &str) -> Result<(), AppError> {
    names::consumer_name(consumer).map_err(|error| AppError::name("consumer", &error))
}
