//! From the bearer key to who asks.

use std::sync::Arc;

use axum::{
    extract::{FromRequestParts, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, header, request::Parts};
use secrecy::SecretString;

use super::Problem;
use crate::app::{App, AppError, Principal, authenticate};

/// Lets a request with a valid key through, and notes whose it is.
pub(super) async fn require(
    State(app): State<Arc<App>>,
    mut request: Request,
    next: Next,
) -> Response {
    match identify(&app, request.headers()).await {
        Ok(principal) => {
            request.extensions_mut().insert(principal);
            next.run(request).await
        }
        Err(error) => Problem::from(error).into_response(),
    }
}

async fn identify(app: &App, headers: &HeaderMap) -> Result<Principal, AppError> {
    let given = headers.get(header::AUTHORIZATION).ok_or(AppError::KeyMissing)?;
    let key = given
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, key)| SecretString::from(key.trim().to_owned()))
        .ok_or(AppError::KeyMissing)?;
    authenticate(app, &key).await
}

/// Who asks, on routes behind [`require`].
pub(super) struct Caller(pub(super) Principal);

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let principal = parts.extensions.get::<Principal>().cloned();
        principal.map(Self).ok_or_else(|| AppError::KeyMissing.into())
    }
}
