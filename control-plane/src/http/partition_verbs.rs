//! `POST /v1/clusters/{cluster}/topics/{topic}/partitions/{partition}:verb`, told apart as in
//! [`super::cluster_verbs`].

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    response::Response,
};
use serde::Deserialize;
use utoipa::ToSchema;
use weir_protocol::ids::{PartitionIndex, SpuId};

use super::{
    Problem, body::Posted, caller::Caller, cluster_verbs, problem::Problems, reassignments,
};
use crate::app::{self, App, Principal, ReassignmentPlan, Wanted};

/// What [`dispatch`] knows.
pub(super) const VERBS: [&str; 1] = ["reassign"];

/// Tells the verbs apart.
pub(super) async fn dispatch(
    State(app): State<Arc<App>>,
    Caller(principal): Caller,
    Path((cluster, topic, segment)): Path<(String, String, String)>,
    posted: Posted,
) -> Result<Response, Problem> {
    match segment.rsplit_once(':') {
        Some((partition, "reassign")) => {
            let partition = (topic.as_str(), index(partition)?);
            reassign(&app, &principal, &cluster, partition, &posted).await
        }
        _ => Err(cluster_verbs::unknown(&VERBS)),
    }
}

fn index(text: &str) -> Result<PartitionIndex, Problem> {
    text.parse().map(PartitionIndex).map_err(|_| {
        Problem::invalid(
            format!("partition: {text:?} is not a number"),
            "Partitions are numbered from 0.",
        )
    })
}

/// Who is to hold a partition.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PartitionReassign {
    /// As many SPUs as the topic has replicas of each partition; the first is preferred as the
    /// leader. Left out only with `cancel`.
    #[serde(default)]
    #[schema(required = false, example = json!([2, 3, 1]))]
    replicas: Option<Vec<u32>>,
    /// Go back to who held it before the reassignment that runs.
    #[serde(default)]
    #[schema(required = false, default = false)]
    cancel: bool,
    /// Only say what would be done.
    #[serde(default)]
    #[schema(required = false, default = false)]
    dry_run: bool,
}

/// Lets other SPUs hold a partition while it is served: new replicas join, and once all are in
/// sync the others are removed. Safe to repeat; another one that runs is not overridden (409,
/// `REASSIGNMENT_RUNNING`).
#[utoipa::path(post, path = "/v1/clusters/{cluster}/topics/{topic}/partitions/{partition}:reassign",
    tag = "reassignments", operation_id = "partition_reassign", security(("api_key" = [])),
    params(("cluster" = String, Path, description = "Name or id"),
        ("topic" = String, Path, description = "Name or generation id"),
        ("partition" = u32, Path, description = "Its index, from 0"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition safe")),
    request_body = PartitionReassign,
    responses((status = 202, body = ReassignmentPlan, description = "It will be so"),
        (status = 200, body = ReassignmentPlan, description = "What would be done"), Problems))]
pub(super) async fn reassign(
    app: &App,
    principal: &Principal,
    cluster: &str,
    partition: (&str, PartitionIndex),
    posted: &Posted,
) -> Result<Response, Problem> {
    let PartitionReassign { replicas, cancel, dry_run } = posted.json()?;
    let wanted = match (replicas, cancel) {
        (Some(replicas), false) => Wanted::Replicas(replicas.into_iter().map(SpuId).collect()),
        (None, true) => Wanted::Cancel,
        (Some(_), true) | (None, false) => {
            return Err(Problem::invalid(
                "it takes either replicas or cancel",
                "Say {\"replicas\": [2, 3, 1]}, or {\"cancel\": true}.",
            ));
        }
    };
    let request = posted.repeatable()?;
    let wanted = (&wanted, dry_run);
    let answer =
        app::partition_reassign(app, principal, cluster, partition, wanted, request.as_ref());
    reassignments::planned(dry_run, answer.await?)
}
