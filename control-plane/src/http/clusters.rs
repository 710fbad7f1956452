//! Clusters: create, show, list, delete.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    response::Response,
};
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{
    Problem,
    body::Posted,
    caller::Caller,
    etag,
    list::{self, List, ListQuery},
    problem::Problems,
    reply,
};
use crate::app::{self, App, ClusterSpec, Created, page::Page, view::ClusterView};

/// What a new cluster should be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ClusterCreate {
    /// How many SPUs; none: they come by a scale.
    #[schema(minimum = 0, example = 3)]
    spus: u32,
    /// First port of the SPUs' listeners, one each from there; none: chosen here.
    #[serde(default)]
    #[schema(example = 9500)]
    port_base: Option<u16>,
    /// Folder that holds the SPUs' data, below the folder that the control plane permits;
    /// none: chosen here.
    #[serde(default)]
    data_dir: Option<String>,
}

/// Creates a cluster. With `If-None-Match: *` (what a *create* means) it fails with 412 if
/// there is one of this name in any state; without, a running one with the same spec is fine.
#[utoipa::path(put, path = "/v1/clusters/{cluster}", tag = "clusters", security(("api_key" = [])),
    params(("cluster" = String, Path, description = "The name: 1 to 63 of a-z, 0-9 and -"),
        ("If-None-Match" = Option<String>, Header, description = "*: only if there is none")),
    request_body = ClusterCreate,
    responses((status = 201, body = ClusterView, description = "Created"),
        (status = 200, body = ClusterView, description = "It was there, with this spec"), Problems))]
pub(super) async fn create(
    State(app): State<Arc<App>>,
    Caller(principal): Caller,
    Path(cluster): Path<String>,
    posted: Posted,
) -> Result<Response, Problem> {
    let only_new = match posted.header(&header::IF_NONE_MATCH) {
        None => false,
        Some("*") => true,
        Some(_) => {
            return Err(Problem::invalid(
                "If-None-Match: only * is possible here",
                "Send If-None-Match: * to create only if there is no such cluster.",
            ));
        }
    };
    let body: ClusterCreate = posted.json()?;
    let spec = ClusterSpec { spus: body.spus, port_base: body.port_base, data_dir: body.data_dir };
    match app::cluster_create(&app, &principal, &cluster, spec, only_new).await? {
        Created::New(view) => Ok(etag::tagged(&HeaderMap::new(), StatusCode::CREATED, &view)),
        Created::Same(view) => Ok(etag::tagged(&HeaderMap::new(), StatusCode::OK, &view)),
    }
}

/// One cluster.
#[utoipa::path(get, path = "/v1/clusters/{cluster}", tag = "clusters", security(("api_key" = [])),
    params(("cluster" = String, Path, description = "Name or id")),
    responses((status = 200, body = ClusterView), Problems))]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Caller(principal): Caller,
    Path(cluster): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let view = app::cluster_get(&app, &principal, &cluster).await?;
    Ok(etag::tagged(&headers, StatusCode::OK, &view))
}

/// Removes a cluster with all its data.
#[utoipa::path(delete, path = "/v1/clusters/{cluster}", tag = "clusters",
    security(("api_key" = [])),
    params(("cluster" = String, Path, description = "Name or id")),
    responses((status = 202, body = ClusterView, description = "It will be gone",
        headers(("Location" = String, description = "The operation"))), Problems))]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    Caller(principal): Caller,
    Path(cluster): Path<String>,
) -> Result<Response, Problem> {
    reply::ordered(app::cluster_delete(&app, &principal, &cluster).await?)
}

/// The org's clusters, by name.
#[utoipa::path(get, path = "/v1/clusters", tag = "clusters", security(("api_key" = [])),
    params(ListQuery),
    responses((status = 200, body = Page<ClusterView>), Problems))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Caller(principal): Caller,
    list: List,
) -> Result<Response, Problem> {
    const KIND: &str = "clusters";
    let after = list.after(KIND)?;
    let (items, next) = app::cluster_list(&app, &principal, &after, list.limit()).await?;
    let next_cursor = next.map(|key| list::cursor(KIND, &key));
    reply::view(StatusCode::OK, &Page { items, next_cursor })
}
