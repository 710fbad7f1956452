//! What was ordered, and how far it has come.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    response::Response,
};
use http::{HeaderMap, StatusCode};
use weir_protocol::ids::OperationId;

use super::{
    Problem,
    caller::Caller,
    etag,
    list::{self, List, ListQuery},
    problem::Problems,
    reply,
};
use crate::app::{self, App, OperationView, Principal, page::Page};

/// One operation, also of a cluster that is gone.
#[utoipa::path(get, path = "/v1/operations/{operation}", tag = "operations",
    operation_id = "operation_show", security(("api_key" = [])),
    params(("operation" = String, Path, description = "Its id")),
    responses((status = 200, body = OperationView), Problems))]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Caller(principal): Caller,
    Path(operation): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let view = app::operation_get(&app, &principal, &operation).await?;
    Ok(etag::tagged(&headers, StatusCode::OK, &view))
}

/// The org's operations, the newest first. Those that ended are kept for 30 days.
#[utoipa::path(get, path = "/v1/operations", tag = "operations",
    operation_id = "operation_list", security(("api_key" = [])),
    params(ListQuery),
    responses((status = 200, body = Page<OperationView>), Problems))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Caller(principal): Caller,
    list: List,
) -> Result<Response, Problem> {
    page(&app, &principal, None, &list).await
}

/// A cluster's operations, the newest first. Those that ended are kept for 30 days.
#[utoipa::path(get, path = "/v1/clusters/{cluster}/operations", tag = "operations",
    operation_id = "cluster_operation_list", security(("api_key" = [])),
    params(("cluster" = String, Path, description = "Name or id"), ListQuery),
    responses((status = 200, body = Page<OperationView>), Problems))]
pub(super) async fn list_of_cluster(
    State(app): State<Arc<App>>,
    Caller(principal): Caller,
    Path(cluster): Path<String>,
    list: List,
) -> Result<Response, Problem> {
    page(&app, &principal, Some(&cluster), &list).await
}

async fn page(
    app: &App,
    principal: &Principal,
    cluster: Option<&str>,
    list: &List,
) -> Result<Response, Problem> {
    const KIND: &str = "operations";
    let before: Option<OperationId> = list.after(KIND)?.parse().ok();
    let (items, next) = app::operation_list(app, principal, cluster, before, list.limit()).await?;
    let next_cursor = next.map(|id| list::cursor(KIND, &id.to_string()));
    reply::view(StatusCode::OK, &Page { items, next_cursor })
}
