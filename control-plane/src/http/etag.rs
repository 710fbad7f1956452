//! Entity tags: a hash of the very bytes that are sent.

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::reply;
use crate::auth::hex;

/// The answer with its tag; 304 without a body when the client has it already.
pub(super) fn tagged<T: Serialize>(headers: &HeaderMap, status: StatusCode, view: &T) -> Response {
    let body = match reply::encoded(view) {
        Ok(body) => body,
        Err(problem) => return problem.into_response(),
    };
    let tag = format!("\"{}\"", &hex(&Sha256::digest(body.as_bytes()))[..32]);
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let mut response = if known.is_some_and(|known| names(known, &tag)) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        reply::json(status, body)
    };
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// Whether an `If-None-Match` names the tag.
fn names(list: &str, tag: &str) -> bool {
    list.split(',').map(str::trim).any(|one| one == "*" || one.trim_start_matches("W/") == tag)
}
