//! Whether it lives, whether it serves, who asks, what there is.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::{Problem, caller::Caller, problem::Problems, reply, routes};
use crate::{
    app::{self, App, KeyScope},
    store::migrate::database_version,
};

/// How it is.
#[derive(Serialize, ToSchema)]
struct Health {
    /// `live` or `ready`.
    status: &'static str,
}

/// Who asks.
#[derive(Serialize, ToSchema)]
struct Whoami {
    /// The org that the key belongs to.
    org_id: String,
    /// The key's public part.
    key_id: String,
    /// What it permits.
    scopes: Vec<KeyScope>,
}

/// What runs here.
#[derive(Serialize, ToSchema)]
struct Version {
    /// The build of the control plane: a version of SemVer 2.0.0.
    #[schema(example = "0.1.0")]
    version: String,
    /// The version of its database. An older build may not know it.
    database_version: i64,
}

/// Whether the process answers at all.
#[utoipa::path(get, path = "/live", tag = "system", responses((status = 200, body = Health)))]
pub(super) async fn live() -> Result<Response, Problem> {
    reply::view(StatusCode::OK, &Health { status: "live" })
}

/// Whether it serves: its database can be read.
#[utoipa::path(get, path = "/ready", tag = "system", responses((status = 200, body = Health), Problems))]
pub(super) async fn ready(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    app::ready(&app).await?;
    reply::view(StatusCode::OK, &Health { status: "ready" })
}

/// This document.
#[utoipa::path(get, path = "/v1/openapi.json", tag = "system",
    responses((status = 200, description = "The OpenAPI document", body = serde_json::Value)))]
pub(super) async fn openapi() -> Result<Response, Problem> {
    reply::view(StatusCode::OK, &routes::document())
}

/// Who asks.
#[utoipa::path(get, path = "/v1/whoami", tag = "system", security(("api_key" = [])),
    responses((status = 200, body = Whoami), Problems))]
pub(super) async fn whoami(Caller(principal): Caller) -> Result<Response, Problem> {
    let whoami = Whoami {
        org_id: principal.org.to_string(),
        key_id: principal.key_id.to_string(),
        scopes: principal.scopes,
    };
    reply::view(StatusCode::OK, &whoami)
}

/// What runs here.
#[utoipa::path(get, path = "/v1/version", tag = "system", security(("api_key" = [])),
    responses((status = 200, body = Version), Problems))]
pub(super) async fn version(
    State(app): State<Arc<App>>,
    Caller(_principal): Caller,
) -> Result<Response, Problem> {
    let version = Version { version: app.build.clone(), database_version: database_version() };
    reply::view(StatusCode::OK, &version)
}
