//! A cluster's SPUs.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    response::Response,
};
use http::StatusCode;

use super::{
    Problem,
    caller::Caller,
    list::{self, List, ListQuery},
    problem::Problems,
    reply,
};
use crate::app::{self, App, page::Page, view::SpuView};

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
