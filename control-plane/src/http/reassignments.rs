//! Partitions that come to be held by other SPUs: those of an SPU that is drained, and how far
//! all of a cluster are.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    response::Response,
};
use http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;
use weir_protocol::ids::{PartitionKey, SpuId};

use super::{
    Problem,
    body::Posted,
    caller::Caller,
    list::{self, List, ListQuery},
    problem::Problems,
    reply,
};
use crate::app::{
    self, Answer, App, Drain, Principal, ReassignmentPlan, RunningReassignment, page::Page,
};

/// Which SPU is to hold nothing.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ClusterDrain {
    /// This one.
    #[schema(example = 3)]
    spu_id: u32,
    /// Which SPUs may take what it holds; left out: all others that are there.
    #[serde(default)]
    #[schema(required = false)]
    to: Option<Vec<u32>>,
    /// Keep what it still holds after all.
    #[serde(default)]
    #[schema(required = false, default = false)]
    cancel: bool,
    /// Only say what would be done.
    #[serde(default)]
    #[schema(required = false, default = false)]
    dry_run: bool,
}

/// Lets other SPUs hold all that one holds, while it is served; deleted topics aside, which
/// `stays` names. What a dry run says is what is done when asked for on the same state. Safe to
/// repeat.
#[utoipa::path(post, path = "/v1/clusters/{cluster}:drain", tag = "reassignments",
    operation_id = "cluster_drain", security(("api_key" = [])),
    params(("cluster" = String, Path, description = "Name or id"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition safe")),
    request_body = ClusterDrain,
    responses((status = 202, body = ReassignmentPlan, description = "It will be so"),
        (status = 200, body = ReassignmentPlan, description = "What would be done"), Problems))]
pub(super) async fn drain(
    app: &App,
    principal: &Principal,
    cluster: &str,
    posted: &Posted,
) -> Result<Response, Problem> {
    let ClusterDrain { spu_id, to, cancel, dry_run } = posted.json()?;
    if cancel && to.is_some() {
        return Err(Problem::invalid(
            "a cancellation does not take to",
            "Leave it out: everything goes back to where it came from.",
        ));
    }
    let to = to.map(|to| to.into_iter().map(SpuId).collect());
    let wanted = if cancel { Drain::Cancel } else { Drain::Begin(to) };
    let request = posted.repeatable()?;
    let (spu, wanted) = (SpuId(spu_id), (&wanted, dry_run));
    let answer = app::cluster_drain(app, principal, cluster, spu, wanted, request.as_ref());
    planned(dry_run, answer.await?)
}

/// What is to be done, or would be.
pub(super) fn planned(
    dry_run: bool,
    answer: Answer<ReassignmentPlan>,
) -> Result<Response, Problem> {
    reply::answer(if dry_run { StatusCode::OK } else { StatusCode::ACCEPTED }, answer)
}

/// A cluster's partitions that are being reassigned, by generation and index.
#[utoipa::path(get, path = "/v1/clusters/{cluster}/reassignments", tag = "reassignments",
    operation_id = "reassignment_list", security(("api_key" = [])),
    params(("cluster" = String, Path, description = "Name or id"), ListQuery),
    responses((status = 200, body = Page<RunningReassignment>), Problems))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Caller(principal): Caller,
    Path(cluster): Path<String>,
    list: List,
) -> Result<Response, Problem> {
    const KIND: &str = "reassignments";
    let after = list.after(KIND)?;
    let after = after.rsplit_once('/').and_then(|(generation, index)| {
        let partition = weir_protocol::ids::PartitionIndex(index.parse().ok()?);
        Some(PartitionKey { generation: generation.parse().ok()?, partition })
    });
    let limit = list.limit();
    let (items, next) = app::reassignment_list(&app, &principal, &cluster, after, limit).await?;
    let key = |key: PartitionKey| format!("{}/{}", key.generation, key.partition);
    let next_cursor = next.map(|next| list::cursor(KIND, &key(next)));
    reply::view(StatusCode::OK, &Page { items, next_cursor })
}
