//! Whether it lives, whether it serves, who asks, what there is.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::{Problem, caller::Caller, problem::Problems, reply, routes};
use crate::app::{self, App, KeyScope};

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
