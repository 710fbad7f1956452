//! One cluster, and lists of them.

use super::{App, AppError, Principal, lookup, page, view};
use crate::store::{clusters, types::KeyScope};

/// The cluster of this name or id.
///
/// # Errors
/// [`AppError::ClusterNotFound`], and as the store.
pub async fn cluster_get(
    app: &App,
    principal: &Principal,
    cluster: &str,
) -> Result<view::ClusterView, AppError> {
    principal.require(KeyScope::Read)?;
    let mut tx = app.store.read().await?;
    let mut org = tx.scoped(principal.org);
    let row = lookup::cluster(&mut org, cluster).await?;
    Ok(view::cluster(app, &mut org, &row).await?)
}

/// Clusters by name, after the name `after` (empty: from the first). Answers the name to go
/// on after, if there are more.
///
/// # Errors
/// As the store.
pub async fn cluster_list(
    app: &App,
    principal: &Principal,
    after: &str,
    limit: u32,
) -> Result<(Vec<view::ClusterView>, Option<String>), AppError> {
    principal.require(KeyScope::Read)?;
    let mut tx = app.store.read().await?;
    let mut org = tx.scoped(principal.org);
    let rows = clusters::page(&mut org, after, limit.saturating_add(1)).await?;
    let (rows, next) = page::cut(rows, limit, |row| row.name.clone());
    let mut shown = Vec::with_capacity(rows.len());
    for row in rows {
        shown.push(view::cluster(app, &mut org, &row).await?);
    }
    Ok((shown, next))
}
