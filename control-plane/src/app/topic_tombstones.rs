//! Deleted topics, listed.

use weir_protocol::ids::GenerationNumber;

use super::{App, AppError, Principal, lookup, page, view};
use crate::store::{partitions, spus, tombstones, topics::PageFilter, types::KeyScope};

/// Deleted generations by name and number, after this one; those that are being purged too.
/// Answers the name and number to go on after, if there are more.
///
/// # Errors
/// [`AppError::ClusterNotFound`], and as the store.
pub async fn topic_list_deleted(
    app: &App,
    principal: &Principal,
    cluster: &str,
    filter: PageFilter,
    after: (&str, GenerationNumber),
    limit: u32,
) -> Result<(Vec<view::TopicView>, Option<(String, GenerationNumber)>), AppError> {
    principal.require(KeyScope::Read)?;
    let mut tx = app.store.read().await?;
    let mut org = tx.scoped(principal.org);
    let cluster = lookup::cluster(&mut org, cluster).await?;
    let more = limit.saturating_add(1);
    let rows = tombstones::page(&mut org, cluster.id, filter.internal, after, more).await?;
    let (rows, next) = page::cut(rows, limit, |row| (row.name.clone(), row.number));
    let spus = spus::list(&mut org, cluster.id).await?;
    let seen = app.board.cluster(cluster.id);
    let mut shown = Vec::with_capacity(rows.len());
    for row in rows {
        let partitions = partitions::of_generation(&mut org, cluster.id, row.generation).await?;
        shown.push(view::topic(&row, &partitions, &spus, &seen));
    }
    Ok((shown, next))
}
