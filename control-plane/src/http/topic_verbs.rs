//! `POST /v1/clusters/{cluster}/topics/{topic}:verb`, told apart as in
//! [`super::cluster_verbs`].

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    response::Response,
};
use http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{Problem, body::Posted, caller::Caller, cluster_verbs, problem::Problems, reply};
use crate::app::{self, App, Principal, view::TopicView};

/// What [`dispatch`] knows.
pub(super) const VERBS: [&str; 1] = ["add-partitions"];

/// Tells the verbs apart.
pub(super) async fn dispatch(
    State(app): State<Arc<App>>,
    Caller(principal): Caller,
    Path((cluster, segment)): Path<(String, String)>,
    posted: Posted,
) -> Result<Response, Problem> {
    match segment.rsplit_once(':') {
        Some((topic, "add-partitions")) => {
            add_partitions(&app, &principal, &cluster, topic, &posted).await
        }
        _ => Err(cluster_verbs::unknown(&VERBS)),
    }
}

/// How much a topic should grow.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AddPartitions {
    /// How many partitions to add.
    #[schema(minimum = 1, example = 2)]
    add: u32,
}

/// Adds partitions. They only grow: records are where they are.
#[utoipa::path(post, path = "/v1/clusters/{cluster}/topics/{topic}:add-partitions",
    tag = "topics", operation_id = "topic_add_partitions", security(("api_key" = [])),
    params(("cluster" = String, Path, description = "Name or id"),
        ("topic" = String, Path, description = "Name or generation id"),
        ("Idempotency-Key" = Option<String>, Header,
            description = "Makes a repetition safe: without it, each adds again")),
    request_body = AddPartitions,
    responses((status = 200, body = TopicView), Problems))]
pub(super) async fn add_partitions(
    app: &App,
    principal: &Principal,
    cluster: &str,
    topic: &str,
    posted: &Posted,
) -> Result<Response, Problem> {
    let request = posted.repeatable()?;
    let body: AddPartitions = posted.json()?;
    let answer =
        app::topic_add_partitions(app, principal, cluster, topic, body.add, request.as_ref())
            .await?;
    reply::answer(StatusCode::OK, answer)
}
