//! A cluster's SPUs.

use super::{App, AppError, Principal, lookup, page, view};
use crate::store::{spus, types::KeyScope};

/// SPUs by id, after the id `after`, without the removed ones. Answers the id to go on
/// after, if there are more.
///
/// # Errors
/// [`AppError::ClusterNotFound`], and as the store.
pub async fn spu_list(
    app: &App,
    principal: &Principal,
    cluster: &str,
    after: u32,
    limit: u32,
) -> Result<(Vec<view::SpuView>, Option<u32>), AppError> {
    principal.require(KeyScope::Read)?;
    let mut tx = app.store.read().await?;
    let mut org = tx.scoped(principal.org);
    let cluster = lookup::cluster(&mut org, cluster).await?;
    // Few enough to read them all: clusters are bounded.
    let rows = spus::list(&mut org, cluster.id).await?;
    let rows: Vec<_> = rows.into_iter().filter(|row| !row.removed && row.id.0 > after).collect();
    let (rows, next) = page::cut(rows, limit, |row| row.id.0);
    let seen = app.board.cluster(cluster.id);
    Ok((rows.iter().map(|row| view::spu(row, seen.get(&row.id))).collect(), next))
}
