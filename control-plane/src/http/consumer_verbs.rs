//! `POST /v1/clusters/{cluster}/consumers/{consumer}:verb`, told apart as in
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
use crate::app::{
    self, App, Principal, ResetRequested, ResetTo as Place, consumer_view::ConsumerReset,
};

/// What [`dispatch`] knows.
pub(super) const VERBS: [&str; 1] = ["reset"];

/// Tells the verbs apart.
pub(super) async fn dispatch(
    State(app): State<Arc<App>>,
    Caller(principal): Caller,
    Path((cluster, segment)): Path<(String, String)>,
    posted: Posted,
) -> Result<Response, Problem> {
    match segment.rsplit_once(':') {
        Some((consumer, "reset")) => reset(&app, &principal, &cluster, consumer, &posted).await,
        _ => Err(cluster_verbs::unknown(&VERBS)),
    }
}

/// Where a consumer should go on.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Reset {
    /// Name of the topic, or id of its generation.
    #[schema(example = "orders")]
    topic: String,
    /// Which partitions; left out: all.
    #[serde(default)]
    #[schema(required = false)]
    partitions: Option<Vec<u32>>,
    to: ResetTo,
    /// Change nothing: only say what would be.
    #[serde(default)]
    #[schema(default = false, required = false)]
    dry_run: bool,
}

/// A place in each partition; exactly one.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ResetTo {
    /// The oldest kept record; always `true`.
    Beginning(bool),
    /// After the last committed record; always `true`.
    End(bool),
    /// This very offset.
    Offset(u64),
    /// So many offsets behind the oldest kept record.
    FromBeginning(u64),
    /// So many offsets before the end.
    FromEnd(u64),
    /// The first record whose timestamp, in milliseconds since 1970, is not below this; where
    /// there is none, the end.
    TimestampMs(i64),
}

impl ResetTo {
    fn place(self) -> Result<Place, Problem> {
        Ok(match self {
            Self::Beginning(true) => Place::Beginning,
            Self::End(true) => Place::End,
            Self::Offset(offset) => Place::Offset(offset),
            Self::FromBeginning(count) => Place::FromBeginning(count),
            Self::FromEnd(count) => Place::FromEnd(count),
            Self::TimestampMs(ms) => Place::Timestamp(ms),
            Self::Beginning(false) | Self::End(false) => {
                return Err(Problem::invalid(
                    "to: false names no place",
                    "Say {\"beginning\": true}, {\"end\": true}, or one of offset, \
                     from_beginning, from_end and timestamp_ms with a number.",
                ));
            }
        })
    }
}

/// Sets where a consumer goes on. One that runs is fenced, so that what it commits late
/// cannot undo this; one that has committed nothing yet is made.
#[utoipa::path(post, path = "/v1/clusters/{cluster}/consumers/{consumer}:reset",
    tag = "consumers", operation_id = "consumer_reset", security(("api_key" = [])),
    params(("cluster" = String, Path, description = "Name or id"),
        ("consumer" = String, Path, description = "Name"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition safe")),
    request_body = Reset,
    responses((status = 200, body = ConsumerReset, description = "It is set"), Problems))]
pub(super) async fn reset(
    app: &App,
    principal: &Principal,
    cluster: &str,
    consumer: &str,
    posted: &Posted,
) -> Result<Response, Problem> {
    let request = posted.repeatable()?;
    let body: Reset = posted.json()?;
    let wanted = ResetRequested {
        topic: body.topic,
        partitions: body.partitions,
        to: body.to.place()?,
        dry_run: body.dry_run,
    };
    let answer =
        app::consumer_reset(app, principal, cluster, consumer, &wanted, request.as_ref()).await?;
    reply::answer(StatusCode::OK, answer)
}
