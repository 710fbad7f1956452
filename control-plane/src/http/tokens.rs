//! Data-plane tokens.

use axum::response::Response;
use http::StatusCode;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use weir_protocol::token::Scope;

use super::{Problem, body::Posted, problem::Problems, reply};
use crate::app::{self, App, Principal};

/// What a token may be asked for.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum TokenScope {
    /// Append records to the cluster's topics.
    Produce,
    /// Read records and metadata of the cluster.
    Consume,
}

/// What a token should permit.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenRequest {
    /// None: all that the key permits.
    #[serde(default)]
    #[schema(required = false)]
    scopes: Vec<TokenScope>,
}

/// A token, and where to use it.
#[derive(Serialize, ToSchema)]
pub(super) struct Token {
    /// Goes into the `authorization` of data-plane calls.
    token: String,
    /// When it ends, milliseconds since 1970.
    expires_at_unix_ms: i64,
    /// The cluster that it is good for.
    cluster_id: String,
    /// `host:port` of the cluster's SPUs, those online first.
    endpoints: Vec<String>,
}

/// Issues a short data-plane token for a cluster that should run. Nothing is stored, so it
/// is safe to repeat, and an `Idempotency-Key` makes no difference.
#[utoipa::path(post, path = "/v1/clusters/{cluster}:token", tag = "clusters",
    operation_id = "token_issue", security(("api_key" = [])),
    params(("cluster" = String, Path, description = "Name or id")),
    request_body(content = Option<TokenRequest>),
    responses((status = 200, body = Token), Problems))]
pub(super) async fn issue(
    app: &App,
    principal: &Principal,
    cluster: &str,
    posted: &Posted,
) -> Result<Response, Problem> {
    let request: TokenRequest = posted.json_or_default()?;
    let scopes: Vec<_> = request
        .scopes
        .iter()
        .map(|scope| match scope {
            TokenScope::Produce => Scope::Produce,
            TokenScope::Consume => Scope::Consume,
        })
        .collect();
    let issued = app::token_issue(app, principal, cluster, &scopes).await?;
    let token = Token {
        token: issued.token.expose_secret().to_owned(),
        expires_at_unix_ms: issued.expires_at_unix_ms,
        cluster_id: issued.cluster_id.to_string(),
        endpoints: issued.endpoints,
    };
    reply::view(StatusCode::OK, &token)
}
