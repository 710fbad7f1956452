//! Request bodies: read whole, bounded, as JSON; and the `Idempotency-Key`.

use axum::extract::{FromRequest, Request, rejection::BytesRejection};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use super::Problem;
use crate::{app::Repeatable, auth::hex};

/// Largest body, in bytes.
pub(super) const BODY_BYTES_MAX: usize = 1024 * 1024;
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

/// A request with its body.
pub(super) struct Posted {
    headers: HeaderMap,
    route: String,
    bytes: Bytes,
}

impl<S: Send + Sync> FromRequest<S> for Posted {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let headers = request.headers().clone();
        let route = format!("{} {}", request.method(), request.uri().path());
        let bytes = Bytes::from_request(request, state).await.map_err(|error| unread(&error))?;
        Ok(Self { headers, route, bytes })
    }
}

fn unread(error: &BytesRejection) -> Problem {
    Problem::of_status(error.status(), "", Some(error.body_text()))
}

impl Posted {
    /// One header as text.
    pub(super) fn header(&self, name: &http::HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The body as JSON.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let json = self.header(&header::CONTENT_TYPE).is_none_or(|kind| {
            let kind = kind.split(';').next().unwrap_or_default().trim();
            kind.eq_ignore_ascii_case("application/json") || kind.ends_with("+json")
        });
        if !json {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "UNSUPPORTED_MEDIA_TYPE",
                "the body is not said to be JSON",
                "Send the header: Content-Type: application/json",
            ));
        }
        serde_json::from_slice(&self.bytes).map_err(|error| {
            Problem::invalid(
                format!("the body is not what this path takes: {error}"),
                "Look at what the path takes: GET /v1/openapi.json",
            )
        })
    }

    /// The body as JSON; the default when there is none.
    pub(super) fn json_or_default<T: DeserializeOwned + Default>(&self) -> Result<T, Problem> {
        if self.bytes.is_empty() { Ok(T::default()) } else { self.json() }
    }

    /// What makes a repetition recognisable, if the client wants that.
    pub(super) fn repeatable(&self) -> Result<Option<Repeatable>, Problem> {
        let Some(key) = self.headers.get("idempotency-key") else { return Ok(None) };
        let plain = |key: &&str| {
            (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len())
                && key.bytes().all(|byte| byte.is_ascii_graphic())
        };
        let key = key.to_str().ok().filter(plain).ok_or_else(|| {
            Problem::invalid(
                "the Idempotency-Key is not plain text",
                "Send 1 to 255 visible ASCII characters, for instance a UUID.",
            )
        })?;
        Ok(Some(Repeatable {
            key: key.to_owned(),
            route: self.route.clone(),
            request_hash: hex(&Sha256::digest(&self.bytes)),
        }))
    }
}
