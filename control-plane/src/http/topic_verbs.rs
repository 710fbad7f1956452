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
pub(super) const VERBS: [&str; 3] = ["add-partitions", "undelete", "purge"];

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
        Some((topic, "undelete")) => undelete(&app, &principal, &cluster, topic, &posted).await,
        Some((topic, "purge")) => purge(&app, &principal, &cluster, topic, &posted).await,
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

/// Brings a deleted topic back: the same generation, with its records and its offsets. Refused
/// while another generation has the name, and once it is being purged.
#[utoipa::path(post, path = "/v1/clusters/{cluster}/topics/{topic}:undelete",
    tag = "topics", operation_id = "topic_undelete", security(("api_key" = [])),
    params(("cluster" = String, Path, description = "Name or id"),
        ("topic" = String, Path,
            description = "Generation id, or a name: its newest tombstone is meant"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition safe")),
    responses((status = 200, body = TopicView), Problems))]
pub(super) async fn undelete(
    app: &App,
    principal: &Principal,
    cluster: &str,
    topic: &str,
    posted: &Posted,
) -> Result<Response, Problem> {
    let request = posted.repeatable()?;
    let answer = app::topic_undelete(app, principal, cluster, topic, request.as_ref()).await?;
    reply::answer(StatusCode::OK, answer)
}

/// Removes the data of a deleted topic for good. It is listed as `purging` until every SPU
/// that holds a part of it has removed that; then nothing is left of it.
#[utoipa::path(post, path = "/v1/clusters/{cluster}/topics/{topic}:purge",
    tag = "topics", operation_id = "topic_purge", security(("api_key" = [])),
    params(("cluster" = String, Path, description = "Name or id"),
        ("topic" = String, Path,
            description = "Generation id, or a name: its newest tombstone is meant"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition safe")),
    responses((status = 202, body = TopicView, description = "It will be so"), Problems))]
pub(super) async fn purge(
    app: &App,
    principal: &Principal,
    cluster: &str,
    topic: &str,
    posted: &Posted,
) -> Result<Response, Problem> {
    let request = posted.repeatable()?;
    let answer = app::topic_purge(app, principal, cluster, topic, request.as_ref()).await?;
    reply::answer(StatusCode::ACCEPTED, answer)
}
