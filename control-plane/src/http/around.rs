//! Around every request: an id, a deadline, a span of the caller's trace, a line in ours; and
//! no error leaves that is not a problem.

use std::{sync::Arc, time::Duration};

use axum::{
    body::{self, Body},
    extract::{MatchedPath, Request},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use tracing::{Instrument as _, field::Empty};
use weir_runtime::{
    trace::{self, Kind},
    traceparent,
};

use super::Problem;
use crate::app::{App, uuid_v4};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id that is taken from a client.
const REQUEST_ID_BYTES_MAX: usize = 128;
/// Longest text of a lower layer that becomes a problem's detail.
const DETAIL_BYTES_MAX: usize = 4096;

/// The outermost layer.
pub(super) async fn around(
    app: Arc<App>,
    limit: Duration,
    request: Request,
    next: Next,
) -> Response {
    let clock = app.clock;
    let started = clock.now();
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let id = request_id(request.headers());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map(MatchedPath::as_str);
    let span = tracing::info_span!(
        "http",
        otel.name = %format_args!("{method} {}", route.unwrap_or("none")),
        otel.kind = "server",
        otel.status_code = Empty,
        status = Empty,
        request_id = id,
        trace_id = Empty
    );
    let own = traceparent::begin(&span, request.headers());
    // No name has a character 0, and databases take no text with one.
    let zero = request.uri().path_and_query().is_some_and(|path| path.as_str().contains("%00"));
    // Nothing is done on a condition that is not looked at (RFC 9110, 13.1.1).
    let conditional = !method.is_safe() && request.headers().contains_key(header::IF_MATCH);
    let answer = async {
        let response = if zero {
            Problem::invalid("the path holds the character 0", "Leave %00 out.").into_response()
        } else if conditional {
            let hint = "Leave it out; what is named by its id is what was looked at.";
            Problem::invalid("If-Match is not supported", hint).into_response()
        } else {
            match clock.timeout(limit, next.run(request)).await {
                Ok(response) => response,
                Err(_) => Problem::timed_out().into_response(),
            }
        };
        match response.status() {
            wrong if wrong.is_client_error() || wrong.is_server_error() => {
                written(response, &path, &id).await
            }
            _ => response,
        }
    };
    let mut response = answer.instrument(span.clone()).await;
    if let Some(own) = own {
        traceparent::write(response.headers_mut(), own);
    }
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let took = clock.now().since(started);
    app.metrics.answered(&method, route, response.status(), took);
    let status = response.status().as_u16();
    span.record("status", status);
    if response.status().is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
    trace::line(Kind::Http, || format!("{method} {path} {status}"));
    tracing::debug!(
        parent: &span,
        %method,
        path,
        status,
        took_us = took.as_micros(),
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
