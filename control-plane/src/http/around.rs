//! Around every request: an id, a deadline, a line in the trace; and no error leaves that is
//! not a problem.

use std::time::Duration;

use axum::{
    body::{self, Body},
    extract::Request,
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue};
use weir_runtime::{
    clock::Clock,
    trace::{self, Kind},
};

use super::Problem;
use crate::app::uuid_v4;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id that is taken from a client.
const REQUEST_ID_BYTES_MAX: usize = 128;
/// Longest text of a lower layer that becomes a problem's detail.
const DETAIL_BYTES_MAX: usize = 4096;

/// The outermost layer.
pub(super) async fn around(
    clock: Clock,
    limit: Duration,
    request: Request,
    next: Next,
) -> Response {
    let started = clock.now();
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let id = request_id(request.headers());
    // No name has a character 0, and databases take no text with one.
    let zero = request.uri().path_and_query().is_some_and(|path| path.as_str().contains("%00"));
    let mut response = if zero {
        Problem::invalid("the path holds the character 0", "Leave %00 out.").into_response()
    } else {
        clock
            .timeout(limit, next.run(request))
            .await
            .unwrap_or_else(|_| Problem::timed_out().into_response())
    };
    if response.status().is_client_error() || response.status().is_server_error() {
        response = written(response, &path, &id).await;
    }
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let status = response.status().as_u16();
    trace::line(Kind::Http, || format!("{method} {path} {status}"));
    tracing::debug!(
        %method,
        path,
        status,
        request_id = id,
        took_us = clock.now().since(started).as_micros(),
        "request"
    );
    response
}

/// The client's id if it is a plain one, else a fresh one.
fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get(&REQUEST_ID).and_then(|value| value.to_str().ok());
    let plain = |id: &&str| {
        (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic())
    };
    given.filter(plain).map_or_else(
        || uuid_v4().map_or_else(|_| "req_none".to_owned(), |id| format!("req_{}", id.simple())),
        str::to_owned,
    )
}

/// The same error with a body: its own problem, or one made of what a lower layer said.
async fn written(response: Response, path: &str, id: &str) -> Response {
    let (mut parts, body) = response.into_parts();
    let problem = match parts.extensions.remove::<Problem>() {
        Some(problem) => problem,
        None => {
            let text = body::to_bytes(body, DETAIL_BYTES_MAX).await.ok();
            let text = text.and_then(|text| String::from_utf8(text.to_vec()).ok());
            Problem::of_status(parts.status, path, text.filter(|text| !text.is_empty()))
        }
    };
    if problem.status.is_server_error() {
        tracing::error!(
            request_id = id,
            path,
            code = problem.code,
            detail = problem.detail,
            "request failed"
        );
    }
    parts
        .headers
        .insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    parts.headers.remove(http::header::CONTENT_LENGTH);
    // Its fields are strings and numbers: this cannot fail.
    let body = serde_json::to_vec(&problem.body(id)).unwrap_or_default();
    Response::from_parts(parts, Body::from(body))
}
