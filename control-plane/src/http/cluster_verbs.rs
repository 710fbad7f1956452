//! `POST /v1/clusters/{cluster}:verb`. The router's paths cannot end a parameter before the
//! end of a segment, so one route takes the whole segment and the verb is told apart here.
//! Each verb has a path of its own in the OpenAPI document; a test keeps the two in step.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    response::Response,
};
use http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;
use weir_protocol::ids::SpuId;

use super::{
    Problem, body::Posted, caller::Caller, problem::Problems, reassignments, reply, tokens,
};
use crate::app::{self, App, Principal, RecoveryView, ScalePreview, Scaled, view::ClusterView};

/// What [`dispatch`] knows.
pub(super) const VERBS: [&str; 7] =
    ["shutdown", "resume", "scale", "restart", "drain", "token", "recover"];

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
        Some((cluster, "scale")) => scale(&app, &principal, cluster, &posted).await,
        Some((cluster, "restart")) => restart(&app, &principal, cluster, &posted).await,
        Some((cluster, "drain")) => reassignments::drain(&app, &principal, cluster, &posted).await,
        Some((cluster, "recover")) => Box::pin(recover(&app, &principal, cluster, &posted)).await,
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
    responses((status = 202, body = ClusterView, description = "It will be so",
        headers(("Location" = String, description = "The operation"))), Problems))]
pub(super) async fn shutdown(
    app: &App,
    principal: &Principal,
    cluster: &str,
    posted: &Posted,
) -> Result<Response, Problem> {
    let request = posted.repeatable()?;
    let answer = app::cluster_shutdown(app, principal, cluster, request.as_ref()).await?;
    reply::ordered(answer)
}

/// Starts a cluster's SPUs again, with the spec that it has. Safe to repeat.
#[utoipa::path(post, path = "/v1/clusters/{cluster}:resume", tag = "clusters",
    operation_id = "cluster_resume", security(("api_key" = [])),
    params(("cluster" = String, Path, description = "Name or id"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition safe")),
    responses((status = 202, body = ClusterView, description = "It will be so",
        headers(("Location" = String, description = "The operation"))), Problems))]
pub(super) async fn resume(
    app: &App,
    principal: &Principal,
    cluster: &str,
    posted: &Posted,
) -> Result<Response, Problem> {
    let request = posted.repeatable()?;
    let answer = app::cluster_resume(app, principal, cluster, request.as_ref()).await?;
    reply::ordered(answer)
}

/// How many SPUs a cluster should have.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ClusterScale {
    /// So many.
    #[schema(minimum = 1, example = 3)]
    spus: u32,
    /// Only say what would be done.
    #[serde(default)]
    dry_run: bool,
}

/// Gives a running cluster another number of SPUs. Those that are new take over their share of
/// what the others hold; what those hold that go is moved first. Where it cannot be, it is refused
/// (409, `SCALE_REFUSED`), and `blocking` says what stands in the way. Safe to repeat.
#[utoipa::path(post, path = "/v1/clusters/{cluster}:scale", tag = "clusters",
    operation_id = "cluster_scale", security(("api_key" = [])),
    params(("cluster" = String, Path, description = "Name or id"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition safe")),
    request_body = ClusterScale,
    responses((status = 202, body = ClusterView, description = "It will be so",
            headers(("Location" = String, description = "The operation"))),
        (status = 200, body = ScalePreview, description = "What would be done"), Problems))]
pub(super) async fn scale(
    app: &App,
    principal: &Principal,
    cluster: &str,
    posted: &Posted,
) -> Result<Response, Problem> {
    let ClusterScale { spus, dry_run } = posted.json()?;
    let request = posted.repeatable()?;
    let request = request.as_ref();
    match app::cluster_scale(app, principal, cluster, spus, dry_run, request).await? {
        Scaled::Ordered(answer) => reply::ordered(answer),
        Scaled::Preview(preview) => reply::view(StatusCode::OK, &preview),
    }
}

/// Which SPUs of a cluster are to be started anew.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ClusterRestart {
    /// These; all of them where it is not said.
    #[serde(default)]
    #[schema(example = json!([1, 2]))]
    spu_ids: Option<Vec<u32>>,
}

/// Starts a running cluster's SPUs anew, one after the other, each once the one before is ready and
/// every partition can spare it. Safe to repeat.
#[utoipa::path(post, path = "/v1/clusters/{cluster}:restart", tag = "clusters",
    operation_id = "cluster_restart", security(("api_key" = [])),
    params(("cluster" = String, Path, description = "Name or id"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition safe")),
    request_body = ClusterRestart,
    responses((status = 202, body = ClusterView, description = "It will be so",
        headers(("Location" = String, description = "The operation"))), Problems))]
pub(super) async fn restart(
    app: &App,
    principal: &Principal,
    cluster: &str,
    posted: &Posted,
) -> Result<Response, Problem> {
    let ClusterRestart { spu_ids } = posted.json()?;
    let spus = spu_ids.map(|ids| ids.into_iter().map(SpuId).collect::<Vec<_>>());
    let request = posted.repeatable()?;
    let restarted =
        app::cluster_restart(app, principal, cluster, spus.as_deref(), request.as_ref());
    reply::ordered(restarted.await?)
}

/// How a frozen cluster is to be taken up again.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ClusterRecover {
    /// Only say what would be done.
    #[serde(default)]
    dry_run: bool,
    /// Do without SPUs that were not heard. What was acknowledged and only they hold is lost.
    #[serde(default)]
    without_unheard: bool,
}

/// Takes a cluster up again that is frozen because its database went back: its counters are raised
/// above all that its SPUs have seen, and each partition is led by whoever has the newest log.
/// Refused (409, `SPUS_UNHEARD`) before every SPU was heard. Where the cluster is not frozen it
/// says which partitions still wait for logs. Safe to repeat.
#[utoipa::path(post, path = "/v1/clusters/{cluster}:recover", tag = "clusters",
    operation_id = "cluster_recover", security(("api_key" = [])),
    params(("cluster" = String, Path, description = "Name or id"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition safe")),
    request_body = ClusterRecover,
    responses((status = 200, body = RecoveryView, description = "What was, or would be, done"),
        Problems))]
pub(super) async fn recover(
    app: &App,
    principal: &Principal,
    cluster: &str,
    posted: &Posted,
) -> Result<Response, Problem> {
    let ClusterRecover { dry_run, without_unheard } = posted.json()?;
    let (request, how) = (posted.repeatable()?, (dry_run, without_unheard));
    let answer = app::cluster_recover(app, principal, cluster, how, request.as_ref()).await?;
    reply::answer(StatusCode::OK, answer)
}
