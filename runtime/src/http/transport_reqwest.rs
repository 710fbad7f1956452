//! Production: reqwest.

use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};

use super::{HttpError, HttpTransport, authority_of};
use crate::traceparent;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) struct Transport {
    client: Result<reqwest::Client, String>,
    body_bytes_max: usize,
}

impl Transport {
    pub(super) fn new(body_bytes_max: usize) -> Self {
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            // Requests carry keys over plain HTTP: they go to the host in the URL and to
            // nobody else, neither to a proxy that the environment names nor to where an
            // answer points. An answer that redirects is handed on as it is.
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|e| e.to_string());
        Self { client, body_bytes_max }
    }
}

#[async_trait]
impl HttpTransport for Transport {
    async fn send(
        &self,
        mut request: http::Request<Bytes>,
        limit: Duration,
    ) -> Result<http::Response<Bytes>, HttpError> {
        traceparent::inject(request.headers_mut());
        let authority = authority_of(&request)?;
        let client = self.client.as_ref().map_err(|e| HttpError::Invalid(e.clone()))?;
        let mut request =
            reqwest::Request::try_from(request).map_err(|e| HttpError::Invalid(chain(e)))?;
        *request.timeout_mut() = Some(limit);
        let failed = |e: reqwest::Error| -> HttpError {
            let authority = authority.clone();
            if e.is_connect() {
                HttpError::Unreachable { authority, reason: chain(e) }
            } else if e.is_timeout() {
                HttpError::TimedOut { authority, limit }
            } else {
                HttpError::Broken { authority, reason: chain(e) }
            }
        };
        let mut response = client.execute(request).await.map_err(failed)?;
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > self.body_bytes_max {
                let reason = format!("answer larger than {} bytes", self.body_bytes_max);
                return Err(HttpError::Broken { authority: authority.clone(), reason });
            }
            body.extend_from_slice(&chunk);
        }
        let mut answer = http::Response::new(body.freeze());
        *answer.status_mut() = response.status();
        *answer.headers_mut() = std::mem::take(response.headers_mut());
        Ok(answer)
    }
}

/// The innermost cause says what the system said. Where there is none, reqwest's own text would
/// show the URL, and with it what of it is secret.
fn chain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut last: &dyn std::error::Error = &error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}
