//! One HTTP call: how it is built, sent, repeated and read.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode, header};
use secrecy::ExposeSecret;
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;
use weir_runtime::http::HttpError;

use super::{Admin, AdminError, Problem};
use crate::retry::Backoff;

/// A request that is not bound to a server yet.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    method: Method,
    path: String,
    /// A part of the path that URLs take for another path.
    astray: Option<String>,
    body: Bytes,
    query_begun: bool,
    /// Refuse to replace what exists.
    if_none_match: bool,
    /// May it be sent again when nobody knows whether the first was carried out?
    repeatable: bool,
    idempotency_key: Option<String>,
}

impl Call {
    fn new<const N: usize>(method: Method, segments: [&str; N]) -> Self {
        let path = segments.iter().fold(String::new(), |path, part| path + "/" + &escape(part));
        let astray = segments.iter().find(|part| matches!(**part, "" | "." | ".."));
        Self {
            method,
            path,
            astray: astray.map(|part| (*part).to_owned()),
            body: Bytes::new(),
            query_begun: false,
            if_none_match: false,
            repeatable: false,
            idempotency_key: None,
        }
    }

    pub(crate) fn get<const N: usize>(segments: [&str; N]) -> Self {
        Self { repeatable: true, ..Self::new(Method::GET, segments) }
    }

    /// A PUT that only creates. Not repeated after an unknown outcome: the repetition
    /// would be refused because the first one worked.
    pub(crate) fn create<const N: usize>(segments: [&str; N]) -> Self {
        Self { if_none_match: true, ..Self::new(Method::PUT, segments) }
    }

    /// A POST. Its key makes a repetition return the first answer.
    pub(crate) fn post<const N: usize>(segments: [&str; N]) -> Result<Self, AdminError> {
        let random = weir_runtime::rng::bytes().map_err(|error| {
            AdminError::InvalidRequest(format!("no randomness for an idempotency key: {error}"))
        })?;
        let key = uuid::Builder::from_random_bytes(random).into_uuid().to_string();
        let base = Self::new(Method::POST, segments);
        Ok(Self { repeatable: true, idempotency_key: Some(key), ..base })
    }

    /// A POST whose answer is for this caller alone, and so is remembered nowhere: it is sent once.
    pub(crate) fn post_once<const N: usize>(segments: [&str; N]) -> Self {
        Self { repeatable: false, ..Self::new(Method::POST, segments) }
    }

    /// A PATCH. Its key makes a repetition return the first answer.
    pub(crate) fn patch<const N: usize>(segments: [&str; N]) -> Result<Self, AdminError> {
        Ok(Self { method: Method::PATCH, ..Self::post(segments)? })
    }

    /// A DELETE. By name it is not repeated after an unknown outcome: the name may belong to
    /// something newer by then.
    pub(crate) fn delete<const N: usize>(segments: [&str; N], by_id: bool) -> Self {
        Self { repeatable: by_id, ..Self::new(Method::DELETE, segments) }
    }

    /// Appends a `:verb` to the path.
    pub(crate) fn verb(mut self, verb: &str) -> Self {
        self.path.push(':');
        self.path.push_str(verb);
        self
    }

    pub(crate) fn query(mut self, name: &str, value: String) -> Self {
        self.path.push(if self.query_begun { '&' } else { '?' });
        self.query_begun = true;
        self.path.push_str(name);
        self.path.push('=');
        self.path.push_str(&escape(&value));
        self
    }

    pub(crate) fn json(mut self, body: &impl Serialize) -> Result<Self, AdminError> {
        let body = serde_json::to_vec(body)
            .map_err(|error| AdminError::InvalidRequest(error.to_string()))?;
        self.body = body.into();
        Ok(self)
    }
}

/// Percent-encodes everything but RFC 3986's unreserved characters.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

impl Admin {
    pub(super) async fn execute_json<T: DeserializeOwned>(
        &self,
        call: Call,
    ) -> Result<T, AdminError> {
        let (status, body) = self.execute(call).await?;
        serde_json::from_slice(&body).map_err(|error| AdminError::UnexpectedAnswer {
            status: status.as_u16(),
            reason: error.to_string(),
        })
    }

    /// Sends the call until it succeeds, fails for good, or its time is over.
    pub(super) async fn execute(&self, call: Call) -> Result<(StatusCode, Bytes), AdminError> {
        let began = self.clock.now();
        let mut backoff = Backoff::new(self.config.backoff);
        // The first attempt whose fate is unknown: a later one that did not even reach the
        // server does not make it known.
        let mut unknown = None;
        loop {
            let sent = self.clock.now();
            let left = self.config.deadline.saturating_sub(sent.since(began));
            let limit = self.config.attempt_timeout.min(left);
            let request = self.request(&call)?;
            let error = match self.transport.send(request, limit).await {
                Ok(response) => match read(response) {
                    Ok(answer) => return Ok(answer),
                    Err(error) => error,
                },
                Err(error) => AdminError::from(error),
            };
            let again = error.retryable() && (call.repeatable || !error.outcome_unknown());
            let (wait, now) = (backoff.next_wait(), self.clock.now());
            let left = self.config.deadline.saturating_sub(now.since(began));
            // Where an answer came, the next one will take as long: cut short, it would tell
            // less than this one.
            let took = error.status().map_or(Duration::ZERO, |_| now.since(sent));
            if !again || wait.saturating_add(took) >= left {
                let settled = error.outcome_unknown() || !error.retryable();
                return Err(if settled { error } else { unknown.unwrap_or(error) });
            }
            tracing::debug!(path = call.path, code = error.code(), ?wait, "trying again");
            if let Some(notice) = &self.config.notice {
                (notice.0)(&error);
            }
            if unknown.is_none() && error.outcome_unknown() && call.method != Method::GET {
                unknown = Some(error);
            }
            self.clock.sleep(wait).await;
        }
    }

    fn request(&self, call: &Call) -> Result<http::Request<Bytes>, AdminError> {
        if let Some(part) = &call.astray {
            return Err(AdminError::InvalidRequest(format!("{part:?} is nobody's name")));
        }
        let url = format!("{}{}", self.config.url.trim_end_matches('/'), call.path);
        let key = format!("Bearer {}", self.config.api_key.expose_secret());
        let mut key = http::HeaderValue::try_from(key)
            .map_err(|_| AdminError::InvalidRequest("the API key is not plain text".into()))?;
        key.set_sensitive(true);
        let mut builder = http::Request::builder()
            .method(call.method.clone())
            .uri(url)
            .header(header::AUTHORIZATION, key)
            .header(header::ACCEPT, "application/json, application/problem+json");
        if !call.body.is_empty() {
            builder = builder.header(header::CONTENT_TYPE, "application/json");
        }
        if call.if_none_match {
            builder = builder.header(header::IF_NONE_MATCH, "*");
        }
        if let Some(key) = &call.idempotency_key {
            builder = builder.header("idempotency-key", key);
        }
        builder
            .body(call.body.clone())
            .map_err(|error| AdminError::Transport(HttpError::Invalid(error.to_string())))
    }
}

fn read(response: http::Response<Bytes>) -> Result<(StatusCode, Bytes), AdminError> {
    let (parts, body) = response.into_parts();
    if parts.status.is_success() {
        return Ok((parts.status, body));
    }
    let status = parts.status.as_u16();
    match serde_json::from_slice::<Problem>(&body) {
        Ok(problem) if !problem.code.is_empty() => {
            Err(AdminError::Problem(Box::new(Problem { status, ..problem })))
        }
        Ok(_) => Err(AdminError::UnexpectedAnswer { status, reason: "no problem code".into() }),
        Err(error) => Err(AdminError::UnexpectedAnswer { status, reason: error.to_string() }),
    }
}

/// Whether a path argument is an id and not a name.
pub(super) fn is_id(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix).is_some_and(|rest| Uuid::try_parse(rest).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_path_segment() {
        let call =
            Call::get(["v1", "clusters", "a/../b?c=d", "topics"]).query("cursor", "x&y".into());
        assert_eq!(call.path, "/v1/clusters/a%2F..%2Fb%3Fc%3Dd/topics?cursor=x%26y");
    }

    #[tokio::test]
    async fn what_urls_take_for_another_path_is_not_sent() {
        let transport = std::sync::Arc::new(Always("OVERLOADED", 0.into()));
        let config = crate::AdminConfig::new("http://cp:1", "k".to_owned().into());
        let admin = Admin::new(config, transport.clone(), weir_runtime::clock::Clock);
        for name in ["", ".", ".."] {
            let error = admin.topic_delete("c", name).await.unwrap_err();
            assert_eq!(error.code(), "INVALID_REQUEST", "{name}");
        }
        assert_eq!(transport.1.load(std::sync::atomic::Ordering::Relaxed), 0);
    }

    #[test]
    fn a_problem_keeps_its_fields_and_a_foreign_body_is_named() {
        let answer = |status: u16, body: &'static str| {
            read(http::Response::builder().status(status).body(Bytes::from(body)).unwrap())
        };
        let problem = r#"{"type":"x","title":"Exists","status":412,"detail":"it is shutdown",
            "code":"CLUSTER_EXISTS","retryable":false,"hint":"weir cluster resume","request_id":"r1"}"#;
        let error = answer(412, problem).unwrap_err();
        assert_eq!(error.code(), "CLUSTER_EXISTS");
        assert_eq!(error.hint(), Some("weir cluster resume"));
        assert_eq!(error.request_id(), Some("r1"));
        assert!(!error.retryable() && !error.outcome_unknown());
        let error = answer(502, "<html>").unwrap_err();
        assert!(error.retryable() && error.outcome_unknown());
    }

    /// Answers everything with the same problem and counts.
    struct Always(&'static str, std::sync::atomic::AtomicUsize);

    #[async_trait::async_trait]
    impl weir_runtime::http::HttpTransport for Always {
        async fn send(
            &self,
            _: http::Request<Bytes>,
            _: std::time::Duration,
        ) -> Result<http::Response<Bytes>, HttpError> {
            self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let body = format!(r#"{{"code":"{}","retryable":true}}"#, self.0);
            Ok(http::Response::builder().status(503).body(body.into()).unwrap())
        }
    }

    #[tokio::test]
    async fn what_the_server_does_not_know_is_repeated_only_where_that_is_safe() {
        for (code, create, delete) in
            [("OUTCOME_UNKNOWN", 1, 1), ("TIMED_OUT", 1, 1), ("OVERLOADED", 2, 2)]
        {
            let transport = std::sync::Arc::new(Always(code, 0.into()));
            let mut config = crate::AdminConfig::new("http://cp:1", "k".to_owned().into());
            config.backoff = crate::retry::BackoffConfig {
                first: std::time::Duration::from_millis(1),
                max: std::time::Duration::from_millis(1),
            };
            config.deadline = std::time::Duration::from_millis(50);
            let admin = Admin::new(config, transport.clone(), weir_runtime::clock::Clock);
            let sent = || transport.1.swap(0, std::sync::atomic::Ordering::Relaxed);

            let spec = crate::admin::ClusterSpec::default();
            let error = admin.cluster_create("c", &spec).await.unwrap_err();
            assert_eq!(error.outcome_unknown(), create == 1, "{code}");
            assert_eq!(sent().min(2), create, "{code}");
            admin.topic_delete("c", "t").await.unwrap_err();
            assert_eq!(sent().min(2), delete, "{code}");
            // Its key makes a repetition safe.
            admin.cluster_shutdown("c").await.unwrap_err();
            assert_eq!(sent().min(2), 2, "{code}");
        }
    }

    #[test]
    fn only_ids_count_as_ids() {
        assert!(is_id("tg_00000000000000000000000000000007", "tg_"));
        assert!(!is_id("tg_orders", "tg_"));
        assert!(!is_id("orders", "tg_"));
    }
}
