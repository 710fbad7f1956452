//! Errors as they travel: RFC 9457 problems with a code for programs and a hint for people.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::{IntoResponses, ToSchema};

use crate::{app::AppError, plan::scale::Blocking};

/// What an error's `type` begins with; the rest is its code.
const TYPE_PREFIX: &str = "urn:weir:problem:";

/// An error on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The HTTP status.
    pub status: StatusCode,
    /// What programs look at; stable.
    pub code: &'static str,
    /// What was wrong this time.
    pub detail: String,
    /// Whether the same request may succeed later and is safe to repeat.
    pub retryable: bool,
    /// What a person can do about it.
    pub hint: String,
    /// Which SPUs hold what, where that is the problem.
    pub blocking: Vec<Blocking>,
}

/// An error answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// Which kind of problem, as a URI.
    #[serde(rename = "type")]
    #[schema(example = "urn:weir:problem:topic-exists")]
    pub kind: String,
    /// The kind in words.
    #[schema(example = "Topic exists")]
    pub title: String,
    /// The HTTP status.
    #[schema(example = 409)]
    pub status: u16,
    /// What was wrong this time.
    pub detail: String,
    /// What programs look at; stable.
    #[schema(example = "TOPIC_EXISTS")]
    pub code: String,
    /// Whether the same request may succeed later and is safe to repeat.
    pub retryable: bool,
    /// What a person can do about it.
    pub hint: String,
    /// Names this request in the control plane's log.
    pub request_id: String,
    /// Which SPUs hold what: there where a scale was refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocking: Vec<Blocking>,
}

/// In the OpenAPI document: every operation may answer with a problem.
#[derive(IntoResponses)]
#[response(
    status = "default",
    description = "Any error",
    content_type = "application/problem+json"
)]
#[expect(dead_code, reason = "names the schema in the document, never made")]
pub(super) struct Problems(ProblemBody);

impl Problem {
    /// A problem that repeating does not mend.
    pub fn new(
        status: StatusCode,
        code: &'static str,
        detail: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        let (detail, hint) = (detail.into(), hint.into());
        Self { status, code, detail, retryable: false, hint, blocking: Vec::new() }
    }

    /// As it is sent, for the request of this id.
    #[must_use]
    pub fn body(&self, request_id: &str) -> ProblemBody {
        let words = self.code.to_ascii_lowercase();
        let mut title = words.replace('_', " ");
        if let Some(first) = title.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        ProblemBody {
            kind: format!("{TYPE_PREFIX}{}", words.replace('_', "-")),
            title,
            status: self.status.as_u16(),
            detail: self.detail.clone(),
            code: self.code.to_owned(),
            retryable: self.retryable,
            hint: self.hint.clone(),
            request_id: request_id.to_owned(),
            blocking: self.blocking.clone(),
        }
    }

    /// The request breaks the rules of the API.
    pub fn invalid(detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "INVALID_REQUEST", detail, hint)
    }

    /// There is no such path.
    #[must_use]
    pub fn no_route(path: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "ROUTE_NOT_FOUND",
            format!("there is nothing at {path}"),
            "Look at what there is: GET /v1/openapi.json",
        )
    }

    /// The deadline of the request passed.
    #[must_use]
    pub fn timed_out() -> Self {
        let problem = Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            "TIMED_OUT",
            "the request took too long; whether it was carried out is unknown",
            "Look whether it happened, or repeat it with the same Idempotency-Key.",
        );
        Self { retryable: true, ..problem }
    }

    /// For an answer that something below us made without words of its own.
    #[must_use]
    pub fn of_status(status: StatusCode, path: &str, detail: Option<String>) -> Self {
        match status {
            StatusCode::NOT_FOUND => Self::no_route(path),
            StatusCode::METHOD_NOT_ALLOWED => Self::new(
                status,
                "METHOD_NOT_ALLOWED",
                format!("{path} does not take this method"),
                "The Allow header says which it takes.",
            ),
            StatusCode::PAYLOAD_TOO_LARGE => Self::new(
                status,
                "PAYLOAD_TOO_LARGE",
                "the request's body is too large",
                "Bodies may have 1 MiB at most.",
            ),
            status if status.is_client_error() => Self {
                status,
                ..Self::invalid(
                    detail.unwrap_or_else(|| "the request could not be read".to_owned()),
                    "Look at what the path takes: GET /v1/openapi.json",
                )
            },
            status => Self::new(
                status,
                "INTERNAL",
                "something went wrong here",
                "Look at the control plane's log under the request id.",
            ),
        }
    }
}

impl From<AppError> for Problem {
    fn from(error: AppError) -> Self {
        let status = match error.code() {
            "UNAUTHENTICATED" => StatusCode::UNAUTHORIZED,
            "FORBIDDEN" => StatusCode::FORBIDDEN,
            "INVALID_REQUEST" => StatusCode::BAD_REQUEST,
            "CLUSTER_EXISTS" => StatusCode::PRECONDITION_FAILED,
            "CLUSTER_NOT_FOUND"
            | "TOPIC_NOT_FOUND"
            | "CONSUMER_NOT_FOUND"
            | "OPERATION_NOT_FOUND"
            | "PARTITION_NOT_FOUND"
            | "SPU_NOT_FOUND" => StatusCode::NOT_FOUND,
            "TOPIC_DELETED" | "TOPIC_PURGED" => StatusCode::GONE,
            "SCALE_REFUSED"
            | "CLUSTER_SHUT_DOWN"
            | "CLUSTER_FROZEN"
            | "SPUS_UNHEARD"
            | "CLUSTER_DELETING"
            | "TOPIC_EXISTS"
            | "TOPIC_NOT_DELETED"
            | "REPLICAS_LOST"
            | "NOT_ENOUGH_SPUS"
            | "REPLICAS_EXHAUSTED"
            | "DATABASE_WENT_BACK"
            | "REASSIGNMENT_RUNNING"
            | "REPLICA_BEING_REMOVED" => StatusCode::CONFLICT,
            "IDEMPOTENCY_KEY_REUSED" | "OFFSET_OUT_OF_RANGE" => StatusCode::UNPROCESSABLE_ENTITY,
            "OVERLOADED"
            | "DATABASE_UNAVAILABLE"
            | "OUTCOME_UNKNOWN"
            | "COORDINATOR_UNAVAILABLE"
            | "LEADER_UNAVAILABLE" => StatusCode::SERVICE_UNAVAILABLE,
            "STORAGE_FULL" => StatusCode::INSUFFICIENT_STORAGE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let problem = Self {
            retryable: error.retryable(),
            ..Self::new(status, error.code(), error.to_string(), error.hint())
        };
        match error {
            AppError::ScaleRefused { blocking, .. } => Self { blocking, ..problem },
            _ => problem,
        }
    }
}

/// The body is written by `super::around`, which knows the request's id.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"weir\""),
            );
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response.extensions_mut().insert(self);
        response
    }
}
