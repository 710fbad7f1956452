//! One request to the router, and what came of it.

use axum::{Router, body::Body};
use http::{HeaderMap, Request, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use tower::ServiceExt as _;

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

pub struct Call {
    request: http::request::Builder,
    body: Body,
}

pub fn call(method: &str, path: &str) -> Call {
    Call { request: Request::builder().method(method).uri(path), body: Body::empty() }
}

impl Call {
    pub fn key(self, key: &SecretString) -> Self {
        self.header("authorization", &format!("Bearer {}", key.expose_secret()))
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    pub fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json").raw(body.to_string())
    }

    pub fn raw(mut self, body: impl Into<Body>) -> Self {
        self.body = body.into();
        self
    }

    pub async fn send(self, router: &Router) -> Answer {
        let request = self.request.body(self.body).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 16 * 1024 * 1024).await.unwrap();
        Answer {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The body of a success.
    pub fn ok(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        assert_eq!(self.header("content-type"), "application/json");
        assert!(!self.header("x-request-id").is_empty());
        serde_json::from_str(&self.text).unwrap()
    }

    /// The body of an error, checked for everything that a problem must have.
    pub fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem: Value = serde_json::from_str(&self.text).unwrap();
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["status"], status, "{problem}");
        assert!(problem["type"].as_str().unwrap().starts_with("urn:weir:problem:"));
        for text in ["title", "detail", "hint"] {
            assert!(!problem[text].as_str().unwrap().is_empty(), "{text}: {problem}");
        }
        assert!(problem["retryable"].is_boolean());
        assert_eq!(problem["request_id"], self.header("x-request-id"), "{problem}");
        assert!(!self.header("x-request-id").is_empty());
        problem
    }
}
