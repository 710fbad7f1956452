//! The router and, from the same lines, the OpenAPI document.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    middleware::{self, Next},
    routing::post,
};
use http::StatusCode;
use utoipa::{
    OpenApi,
    openapi::{
        RefOr,
        security::{Http, HttpAuthScheme, SecurityScheme},
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Problem, around, body::BODY_BYTES_MAX, caller, cluster_verbs, clusters, consumer_verbs,
    consumers, docs, operations, partition_verbs, problem::ProblemBody, reassignments, spus,
    system, tokens, topic_verbs, topics,
};
use crate::app::App;

/// The verbs, which the router does not know by their paths.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Weir control plane",
        description = "Clusters, topics, consumers and tokens. Errors are problems (RFC 9457) with a \
            `code` for programs and a `hint` for people."
    ),
    paths(
        cluster_verbs::shutdown,
        cluster_verbs::resume,
        cluster_verbs::scale,
        cluster_verbs::restart,
        cluster_verbs::recover,
        reassignments::drain,
        partition_verbs::reassign,
        tokens::issue,
        topic_verbs::add_partitions,
        topic_verbs::undelete,
        topic_verbs::purge,
        consumer_verbs::reset
    ),
    components(schemas(ProblemBody))
)]
struct Verbs;

fn open() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::default()
        .routes(routes!(system::live))
        .routes(routes!(system::ready))
        .routes(routes!(system::openapi))
        .routes(routes!(docs::docs))
}

fn keyed() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::with_openapi(Verbs::openapi())
        .routes(routes!(system::whoami))
        .routes(routes!(system::version))
        .routes(routes!(clusters::list))
        .routes(routes!(clusters::show, clusters::create, clusters::delete))
        .route("/v1/clusters/{cluster}", post(cluster_verbs::dispatch))
        .routes(routes!(spus::list, spus::register))
        .routes(routes!(spus::unregister))
        .routes(routes!(spus::refusals))
        .routes(routes!(operations::list_of_cluster))
        .routes(routes!(operations::list))
        .routes(routes!(operations::show))
        .routes(routes!(topics::list, topics::create))
        .routes(routes!(topics::show, topics::update, topics::delete))
        .route("/v1/clusters/{cluster}/topics/{topic}", post(topic_verbs::dispatch))
        .route(
            "/v1/clusters/{cluster}/topics/{topic}/partitions/{partition}",
            post(partition_verbs::dispatch),
        )
        .routes(routes!(reassignments::list))
        .routes(routes!(consumers::list))
        .routes(routes!(consumers::show, consumers::delete))
        .route("/v1/clusters/{cluster}/consumers/{consumer}", post(consumer_verbs::dispatch))
}

/// The OpenAPI document.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    let mut document = keyed().merge(open()).into_openapi();
    document
        .components
        .get_or_insert_default()
        .add_security_scheme("api_key", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    describe_responses(&mut document);
    document
}

/// OpenAPI wants words for each answer: where a route has none of its own, the status's.
fn describe_responses(document: &mut utoipa::openapi::OpenApi) {
    for item in document.paths.paths.values_mut() {
        let operations =
            [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch];
        for operation in operations.into_iter().flatten() {
            for (status, response) in &mut operation.responses.responses {
                if let RefOr::T(response) = response
                    && response.description.is_empty()
                {
                    let known =
                        status.parse().ok().and_then(|code| StatusCode::from_u16(code).ok());
                    let words = known.and_then(|status| status.canonical_reason());
                    response.description = words.unwrap_or("An answer").to_owned();
                }
            }
        }
    }
}

/// The verbs that the router takes after a colon: of clusters, of topics, of partitions, of
/// consumers. For
/// the test that keeps the document in step.
#[must_use]
pub fn verbs() -> [&'static [&'static str]; 4] {
    [&cluster_verbs::VERBS, &topic_verbs::VERBS, &partition_verbs::VERBS, &consumer_verbs::VERBS]
}

/// The whole API. `request_timeout` bounds each request.
pub fn router(app: Arc<App>, request_timeout: Duration) -> Router {
    let (open, _) = open().split_for_parts();
    let (keyed, _) = keyed().split_for_parts();
    let keyed =
        keyed.route_layer(middleware::from_fn_with_state(Arc::clone(&app), caller::require));
    let around_app = Arc::clone(&app);
    open.merge(keyed)
        .fallback(|request: Request| async move { Problem::no_route(request.uri().path()) })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn(move |request: Request, next: Next| {
            around::around(Arc::clone(&around_app), request_timeout, request, next)
        }))
        .with_state(app)
}
