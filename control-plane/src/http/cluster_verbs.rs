//! `POST /v1/clusters/{cluster}:verb`. The router's paths cannot end a parameter before the
//! end of a segment, so one route takes the whole segment and the verb is told apart here.
//! Each verb has a path of its own in the OpenAPI document; a test keeps the two in step.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    response::Response,
};
use http::StatusCode;

use super::{Problem, body::Posted, caller::Caller, problem::Problems, reply, tokens};
use crate::app::{self, App, Principal, view::ClusterView};

/// What [`dispatch`] knows.
pub(super) const VERBS: [&str; 3] = ["shutdown", "resume", "token"];

/// Tells the verbs apart.
pub(super) async fn dispatch(
    State(app): State<Arc<App>>,
    Caller(principal): Caller,
    Path(segment): Path<String>,
    posted: Posted,
) -> Result<Response, Problem> {
    match segment.rsplit_once(':') {
        Some((cluster, "shutdown")) => shutdown(&app, &principal, cluster, &posted).await,
        Some((cluster, "resume")) => resume(&app, &principal, cluster, &posted).await,
        Some((cluster, "token")) => tokens::issue(&app, &principal, cluster, &posted).await,
        _ => Err(unknown(&VERBS)),
    }
}

/// A segment without a verb that is known.
pub(super) fn unknown(verbs: &[&str]) -> Problem {
    let known: Vec<_> = verbs.iter().map(|verb| format!(":{verb}")).collect();
    Problem::new(
        StatusCode::NOT_FOUND,
        "ROUTE_NOT_FOUND",
        "there is no such verb",
        format!("The path ends with one of {}.", known.join(", ")),
    )
}

/// Stops a cluster's SPUs; data and spec are kept. Safe to repeat.
#[utoipa::path(post, path = "/v1/clusters/{cluster}:shutdown", tag = "clusters",
    operation_id = "cluster_shutdown", security(("api_key" = [])),
    params(("cluster" = String, Path, description = "Name or id"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition safe")),
    responses((status = 202, body = ClusterView, description = "It will be so"), Problems))]
pub(super) async fn shutdown(
    app: &App,
    principal: &Principal,
    cluster: &str,
    posted: &Posted,
) -> Result<Response, Problem> {
    let request = posted.repeatable()?;
    let answer = app::cluster_shutdown(app, principal, cluster, request.as_ref()).await?;
    reply::answer(StatusCode::ACCEPTED, answer)
}

/// Starts a cluster's SPUs again, with the spec that it has. Safe to repeat.
#[utoipa::path(post, path = "/v1/clusters/{cluster}:resume", tag = "clusters",
    operation_id = "cluster_resume", security(("api_key" = [])),
    params(("cluster" = String, Path, description = "Name or id"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition safe")),
    responses((status = 202, body = ClusterView, description = "It will be so"), Problems))]
pub(super) async fn resume(
    app: &App,
    principal: &Principal,
    cluster: &str,
    posted: &Posted,
) -> Result<Response, Problem> {
    let request = posted.repeatable()?;
    let answer = app::cluster_resume(app, principal, cluster, request.as_ref()).await?;
    reply::answer(StatusCode::ACCEPTED, answer)
}
