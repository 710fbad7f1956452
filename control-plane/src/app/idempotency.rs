//! A repeated request gets the answer of the first. The answer is stored in the first's
//! transaction, so there is never one without the other. Errors are not stored: a request
//! that failed did nothing and is simply tried again.

use serde::Serialize;

use super::{AppError, Principal};
use crate::store::{DbError, Scoped, idempotency};

/// A request that may be repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repeatable {
    /// The client's `Idempotency-Key`.
    pub key: String,
    /// Method and path.
    pub route: String,
    /// SHA-256 of the body, hexadecimal.
    pub request_hash: String,
}

/// What a use case answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer<T> {
    /// It was done now.
    Fresh(T),
    /// It was done before; this was the answer.
    Repeated {
        /// The HTTP status of then.
        status: u16,
        /// The body of then.
        body: String,
    },
}

/// The answer of before, if there is one.
pub(super) async fn before<T>(
    scoped: &mut Scoped<'_>,
    principal: &Principal,
    request: Option<&Repeatable>,
) -> Result<Option<Answer<T>>, AppError> {
    let Some(request) = request else { return Ok(None) };
    let found = idempotency::find(scoped, principal.key_id, &request.key).await?;
    let Some(found) = found else { return Ok(None) };
    if found.route != request.route || found.request_hash != request.request_hash {
        return Err(AppError::IdempotencyKeyReused);
    }
    Ok(Some(Answer::Repeated { status: found.status, body: found.body }))
}

/// Remembers the answer that is about to be given.
pub(super) async fn remember<T: Serialize + Sync>(
    scoped: &mut Scoped<'_>,
    principal: &Principal,
    request: Option<&Repeatable>,
    status: u16,
    view: &T,
    now_unix_ms: i64,
) -> Result<(), AppError> {
    let Some(request) = request else { return Ok(()) };
    let body = serde_json::to_string(view)
        .map_err(|error| DbError::Misuse { reason: error.to_string() })?;
    let answered = idempotency::Answered {
        route: request.route.clone(),
        request_hash: request.request_hash.clone(),
        status,
        body,
    };
    idempotency::insert(scoped, principal.key_id, &request.key, &answered, now_unix_ms).await?;
    Ok(())
}
