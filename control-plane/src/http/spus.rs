//! A cluster's SPUs: those that there are, those that others run, those that were refused.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    response::Response,
};
use http::StatusCode;
use weir_protocol::ids::SpuId;

use super::{
    Problem,
    body::Posted,
    caller::Caller,
    list::{self, List, ListQuery},
    problem::Problems,
    reply,
};
use crate::app::{
    self, App, RefusalView, SpuRegistered,
    page::Page,
    view::{ClusterView, SpuView},
};

/// A cluster's SPUs, by id, without the removed ones.
#[utoipa::path(get, path = "/v1/clusters/{cluster}/spus", tag = "clusters",
    operation_id = "spu_list", security(("api_key" = [])),
    params(("cluster" = String, Path, description = "Name or id"), ListQuery),
    responses((status = 200, body = Page<SpuView>), Problems))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Caller(principal): Caller,
    Path(cluster): Path<String>,
    list: List,
) -> Result<Response, Problem> {
    const KIND: &str = "spus";
    let after = list.after(KIND)?;
    let after: u32 = after.parse().unwrap_or(0);
    let (items, next) = app::spu_list(&app, &principal, &cluster, after, list.limit()).await?;
    let next_cursor = next.map(|id| list::cursor(KIND, &id.to_string()));
    reply::view(StatusCode::OK, &Page { items, next_cursor })
}

/// Adds an SPU on a machine of yours, which you start with the credentials that are answered. They
/// are told once. Every call adds one.
#[utoipa::path(post, path = "/v1/clusters/{cluster}/spus", tag = "clusters",
    operation_id = "spu_register", security(("api_key" = [])),
    params(("cluster" = String, Path, description = "Name or id")),
    responses((status = 201, body = SpuRegistered, description = "It is counted from now on"),
        Problems))]
pub(super) async fn register(
    State(app): State<Arc<App>>,
    Caller(principal): Caller,
    Path(cluster): Path<String>,
) -> Result<Response, Problem> {
    let registered = app::spu_register(&app, &principal, &cluster).await?;
    reply::view(StatusCode::CREATED, &registered)
}

/// Takes away an SPU that you run, once all that it holds is held by others. Safe to repeat.
#[utoipa::path(delete, path = "/v1/clusters/{cluster}/spus/{spu}", tag = "clusters",
    operation_id = "spu_unregister", security(("api_key" = [])),
    params(("cluster" = String, Path, description = "Name or id"),
        ("spu" = u32, Path, description = "Its id"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition safe")),
    responses((status = 202, body = ClusterView, description = "It will be gone",
        headers(("Location" = String, description = "The operation"))), Problems))]
pub(super) async fn unregister(
    State(app): State<Arc<App>>,
    Caller(principal): Caller,
    Path((cluster, spu)): Path<(String, String)>,
    posted: Posted,
) -> Result<Response, Problem> {
    let spu: u32 = spu.parse().map_err(|_| {
        Problem::invalid(
            format!("{spu:?} is no id of an SPU"),
            "It is a number, as GET /v1/clusters/{cluster}/spus tells it.",
        )
    })?;
    let request = posted.repeatable()?;
    let answer =
        app::spu_unregister(&app, &principal, &cluster, SpuId(spu), request.as_ref()).await?;
    reply::ordered(answer)
}

/// Who asked to be an SPU of the cluster and was refused since the control plane began, the newest
/// first. Few are kept; there is one page.
#[utoipa::path(get, path = "/v1/clusters/{cluster}/refusals", tag = "clusters",
    operation_id = "spu_refusals", security(("api_key" = [])),
    params(("cluster" = String, Path, description = "Name or id")),
    responses((status = 200, body = Page<RefusalView>), Problems))]
pub(super) async fn refusals(
    State(app): State<Arc<App>>,
    Caller(principal): Caller,
    Path(cluster): Path<String>,
) -> Result<Response, Problem> {
    let items = app::spu_refusals(&app, &principal, &cluster).await?;
    reply::view(StatusCode::OK, &Page { items, next_cursor: None })
}
