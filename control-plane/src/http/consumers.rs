//! Named consumers: show, list, delete. They come to be by reading.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    response::Response,
};
use http::{HeaderMap, StatusCode};

use super::{
    Problem,
    caller::Caller,
    etag,
    list::{self, List, ListQuery},
    problem::Problems,
    reply,
};
use crate::app::{
    self, App,
    consumer_view::{ConsumerDeleted, ConsumerSummary, ConsumerView},
    page::Page,
};

/// What a consumer has committed, partition by partition: as its coordinator says now, and how
/// far that is from the end as the leaders of the partitions say now. What they do not say in
/// time is shown as they reported it last, and is not `current` then.
#[utoipa::path(get, path = "/v1/clusters/{cluster}/consumers/{consumer}", tag = "consumers",
    operation_id = "consumer_show", security(("api_key" = [])),
    params(("cluster" = String, Path, description = "Name or id"),
        ("consumer" = String, Path, description = "Name")),
    responses((status = 200, body = ConsumerView, description = "The consumer"), Problems))]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Caller(principal): Caller,
    Path((cluster, consumer)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let view = app::consumer_get(&app, &principal, &cluster, &consumer).await?;
    Ok(etag::tagged(&headers, StatusCode::OK, &view))
}

/// Forgets a consumer: all that it has committed. One that still runs under the name is
/// fenced.
#[utoipa::path(delete, path = "/v1/clusters/{cluster}/consumers/{consumer}", tag = "consumers",
    operation_id = "consumer_delete", security(("api_key" = [])),
    params(("cluster" = String, Path, description = "Name or id"),
        ("consumer" = String, Path, description = "Name")),
    responses((status = 200, body = ConsumerDeleted, description = "It is forgotten"), Problems))]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    Caller(principal): Caller,
    Path((cluster, consumer)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let view = app::consumer_delete(&app, &principal, &cluster, &consumer).await?;
    reply::view(StatusCode::OK, &view)
}

/// A cluster's named consumers, by name, as last reported: what changes after a quiet time shows
/// at once, and within a second or two where much is committed.
#[utoipa::path(get, path = "/v1/clusters/{cluster}/consumers", tag = "consumers",
    operation_id = "consumer_list", security(("api_key" = [])),
    params(("cluster" = String, Path, description = "Name or id"), ListQuery),
    responses((status = 200, body = Page<ConsumerSummary>, description = "A page"), Problems))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Caller(principal): Caller,
    Path(cluster): Path<String>,
    list: List,
) -> Result<Response, Problem> {
    const KIND: &str = "consumers";
    let after = list.after(KIND)?;
    let (items, next) =
        app::consumer_list(&app, &principal, &cluster, &after, list.limit()).await?;
    let next_cursor = next.map(|key| list::cursor(KIND, &key));
    reply::view(StatusCode::OK, &Page { items, next_cursor })
}
