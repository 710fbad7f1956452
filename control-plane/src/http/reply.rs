//! Writing answers.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use super::Problem;
use crate::app::{Answer, view::ClusterView};

/// A view as JSON text.
pub(super) fn encoded<T: Serialize>(view: &T) -> Result<String, Problem> {
    serde_json::to_string(view).map_err(|error| {
        Problem::of_status(StatusCode::INTERNAL_SERVER_ERROR, "", Some(error.to_string()))
    })
}

/// JSON text as an answer.
pub(super) fn json(status: StatusCode, body: String) -> Response {
    let mut response = (status, Body::from(body)).into_response();
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// A view as an answer.
pub(super) fn view<T: Serialize>(status: StatusCode, view: &T) -> Result<Response, Problem> {
    Ok(json(status, encoded(view)?))
}

/// What a use case answered, now or before.
pub(super) fn answer<T: Serialize>(
    status: StatusCode,
    answer: Answer<T>,
) -> Result<Response, Problem> {
    match answer {
        Answer::Fresh(fresh) => view(status, &fresh),
        Answer::Repeated { status: before, body } => {
            let mut response = json(StatusCode::from_u16(before).unwrap_or(status), body);
            let replayed = HeaderValue::from_static("true");
            response.headers_mut().insert("idempotency-replayed", replayed);
            Ok(response)
        }
    }
}

/// What an order was answered, now or before; `Location` is the operation to follow.
pub(super) fn ordered(answer: Answer<ClusterView>) -> Result<Response, Problem> {
    let operation = match &answer {
        Answer::Fresh(view) => view.operation_id,
        Answer::Repeated { body, .. } => {
            serde_json::from_str::<ClusterView>(body).ok().and_then(|view| view.operation_id)
        }
    };
    let mut response = self::answer(StatusCode::ACCEPTED, answer)?;
    if let Some(id) = operation
        && let Ok(place) = HeaderValue::from_str(&format!("/v1/operations/{id}"))
    {
        response.headers_mut().insert(header::LOCATION, place);
    }
    Ok(response)
}
