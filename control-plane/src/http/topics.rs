//! Topics: create, show, list, update, delete.

use std::sync::Arc;

use axum::{
    extract::{Path, Query, State},
    response::Response,
};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use weir_protocol::ids::{GenerationNumber, SpuId};

use super::{
    Problem,
    body::Posted,
    caller::Caller,
    etag,
    list::{self, List, ListQuery},
    problem::Problems,
    reply,
    topic_config::{self, TopicConfigChange},
};
use crate::app::{
    self, App, PageFilter, Place, Principal, TopicChange, TopicRequest, page::Page, view::TopicView,
};

/// What a new topic should be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TopicCreate {
    /// 1 to 249 of `A-Za-z0-9._-`, not beginning with `__`.
    #[schema(example = "orders")]
    name: String,
    /// 1 to 10,000.
    #[schema(minimum = 1, maximum = 10_000, example = 6)]
    partitions: u32,
    /// Replicas per partition, each on an SPU of its own.
    #[serde(default = "one")]
    #[schema(minimum = 1, maximum = 16, default = 1, required = false)]
    replication: u32,
    /// Fewer replicas in sync than this commit nothing, and writes wait or fail; at most
    /// `replication`. Left out: two, where there are two.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 16, required = false)]
    min_insync_replicas: Option<u32>,
    /// How its records are kept.
    #[serde(default)]
    #[schema(required = false)]
    config: Option<TopicConfigChange>,
    /// Place its replicas by load alone. Left out, those of a partition are on as many racks as
    /// there are.
    #[serde(default)]
    #[schema(required = false, default = false)]
    ignore_rack: bool,
    /// For each partition the SPUs that hold it, the first preferred as its leader; left out, they
    /// are chosen.
    #[serde(default)]
    #[schema(required = false, example = json!([[1, 2], [2, 3]]))]
    assignment: Option<Vec<Vec<u32>>>,
}

const fn one() -> u32 {
    1
}

/// Creates a topic. A name that was used before gets a new generation, which shares nothing
/// with the old one.
#[utoipa::path(post, path = "/v1/clusters/{cluster}/topics", tag = "topics",
    operation_id = "topic_create", security(("api_key" = [])),
    params(("cluster" = String, Path, description = "Name or id"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition safe")),
    request_body = TopicCreate,
    responses((status = 201, body = TopicView, description = "Created"), Problems))]
pub(super) async fn create(
    State(app): State<Arc<App>>,
    Caller(principal): Caller,
    Path(cluster): Path<String>,
    posted: Posted,
) -> Result<Response, Problem> {
    let request = posted.repeatable()?;
    let body: TopicCreate = posted.json()?;
    let wanted = TopicRequest {
        name: body.name,
        partitions: body.partitions,
        replication: body.replication,
        min_insync_replicas: body.min_insync_replicas,
        config: body.config.map(|said| said.change()).unwrap_or_default(),
        place: match (body.assignment, body.ignore_rack) {
            (Some(replicas), _) => {
                let spus = |ids: Vec<u32>| ids.into_iter().map(SpuId).collect();
                Place::Assigned(replicas.into_iter().map(spus).collect())
            }
            (None, true) => Place::IgnoreRacks,
            (None, false) => Place::Racks,
        },
    };
    let answer = app::topic_create(&app, &principal, &cluster, &wanted, request.as_ref()).await?;
    reply::answer(StatusCode::CREATED, answer)
}

/// The current generation of a name, or the generation of an id in any state.
#[utoipa::path(get, path = "/v1/clusters/{cluster}/topics/{topic}", tag = "topics",
    operation_id = "topic_show", security(("api_key" = [])),
    params(("cluster" = String, Path, description = "Name or id"),
        ("topic" = String, Path, description = "Name or generation id")),
    responses((status = 200, body = TopicView), Problems))]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Caller(principal): Caller,
    Path((cluster, topic)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let view = app::topic_get(&app, &principal, &cluster, &topic).await?;
    Ok(etag::tagged(&headers, StatusCode::OK, &view))
}

/// What should be otherwise.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TopicUpdate {
    /// How its records are kept.
    #[serde(default)]
    #[schema(required = false)]
    config: Option<TopicConfigChange>,
    /// Fewer replicas in sync than this commit nothing; at most as many as there are. `null`:
    /// two, where there are two.
    #[serde(default, deserialize_with = "topic_config::said")]
    #[schema(value_type = Option<u32>, required = false, minimum = 1, maximum = 16)]
    min_insync_replicas: Option<Option<u32>>,
    /// How many replicas there are of each partition, each on an SPU of its own. They come and
    /// go while the topic is in use; the answer shows how far that is.
    #[serde(default)]
    #[schema(required = false, minimum = 1, maximum = 16)]
    replication: Option<u32>,
}

/// Changes how a topic's records are kept, how many replicas there are and how many commit, while
/// it is in use too.
/// What is left out stays as it is; `null` takes a bound away.
#[utoipa::path(patch, path = "/v1/clusters/{cluster}/topics/{topic}", tag = "topics",
    operation_id = "topic_update", security(("api_key" = [])),
    params(("cluster" = String, Path, description = "Name or id"),
        ("topic" = String, Path, description = "Name or generation id"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition safe")),
    request_body = TopicUpdate,
    responses((status = 200, body = TopicView, description = "As it is from now on"), Problems))]
pub(super) async fn update(
    State(app): State<Arc<App>>,
    Caller(principal): Caller,
    Path((cluster, topic)): Path<(String, String)>,
    posted: Posted,
) -> Result<Response, Problem> {
    let request = posted.repeatable()?;
    let TopicUpdate { config, min_insync_replicas, replication } = posted.json()?;
    let config = config.map(|said| said.change()).unwrap_or_default();
    let change = TopicChange { config, min_insync_replicas, replication };
    let answer =
        app::topic_update(&app, &principal, &cluster, &topic, &change, request.as_ref()).await?;
    reply::answer(StatusCode::OK, answer)
}

/// How a topic is deleted.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct DeleteQuery {
    /// Remove its data as well, at once and for good.
    #[serde(default)]
    #[param(required = false)]
    purge: bool,
}

/// Deletes a topic: its generation becomes a tombstone, its name is free at once. It can be
/// undeleted until it is purged.
#[utoipa::path(delete, path = "/v1/clusters/{cluster}/topics/{topic}", tag = "topics",
    operation_id = "topic_delete", security(("api_key" = [])),
    params(("cluster" = String, Path, description = "Name or id"),
        ("topic" = String, Path, description = "Name or generation id"), DeleteQuery),
    responses((status = 200, body = TopicView, description = "The tombstone"),
        (status = 202, body = TopicView, description = "It will be purged"), Problems))]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    Caller(principal): Caller,
    Path((cluster, topic)): Path<(String, String)>,
    Query(query): Query<DeleteQuery>,
) -> Result<Response, Problem> {
    if query.purge {
        let view = app::topic_delete_and_purge(&app, &principal, &cluster, &topic).await?;
        return reply::view(StatusCode::ACCEPTED, &view);
    }
    let view = app::topic_delete(&app, &principal, &cluster, &topic).await?;
    reply::view(StatusCode::OK, &view)
}

/// A cluster's topics, by name; or, with `deleted`, its deleted generations that are not
/// purged yet, by name and number.
#[utoipa::path(get, path = "/v1/clusters/{cluster}/topics", tag = "topics",
    operation_id = "topic_list", security(("api_key" = [])),
    params(("cluster" = String, Path, description = "Name or id"), ListQuery),
    responses((status = 200, body = Page<TopicView>), Problems))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Caller(principal): Caller,
    Path(cluster): Path<String>,
    list: List,
) -> Result<Response, Problem> {
    const KIND: &str = "topics";
    let filter = PageFilter { internal: list.internal() };
    if list.deleted() {
        return list_deleted(&app, &principal, &cluster, filter, &list).await;
    }
    let after = list.after(KIND)?;
    let (items, next) =
        app::topic_list(&app, &principal, &cluster, filter, &after, list.limit()).await?;
    let next_cursor = next.map(|key| list::cursor(KIND, &key));
    reply::view(StatusCode::OK, &Page { items, next_cursor })
}

async fn list_deleted(
    app: &App,
    principal: &Principal,
    cluster: &str,
    filter: PageFilter,
    list: &List,
) -> Result<Response, Problem> {
    const KIND: &str = "deleted-topics";
    // A name has no slash in it.
    let after = list.after(KIND)?;
    let (name, number) = after.rsplit_once('/').unwrap_or((&after, "0"));
    let after = (name, GenerationNumber(number.parse().unwrap_or_default()));
    let (items, next) =
        app::topic_list_deleted(app, principal, cluster, filter, after, list.limit()).await?;
    let next_cursor = next.map(|(name, number)| list::cursor(KIND, &format!("{name}/{number}")));
    reply::view(StatusCode::OK, &Page { items, next_cursor })
}
