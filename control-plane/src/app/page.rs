//! Lists come in pages.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Most items of one page.
pub const LIMIT_MAX: u32 = 500;
/// Items of a page when nobody says how many.
pub const LIMIT_DEFAULT: u32 = 100;

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// In the list's order.
    pub items: Vec<T>,
    /// Give it back as `cursor` to go on; none: that was all.
    pub next_cursor: Option<String>,
}

/// Cuts `rows`, read with a limit of one more than `limit`, to a page; `key` is what the
/// next page begins after.
pub(super) fn cut<T, K>(
    mut rows: Vec<T>,
    limit: u32,
    key: impl Fn(&T) -> K,
) -> (Vec<T>, Option<K>) {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = more.then(|| rows.last().map(key)).flatten();
    (rows, next)
}
