//! HTTP/1: a server for axum routers, and [`HttpTransport`] for clients of it.

mod server;
#[cfg(madsim)]
#[path = "transport_sim.rs"]
mod transport_impl;
#[cfg(not(madsim))]
#[path = "transport_reqwest.rs"]
mod transport_impl;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;

pub use server::{ServerConfig, serve};

/// Why no response came.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// The server could not be reached; the request was not sent.
    #[error("cannot reach {authority}: {reason}")]
    Unreachable {
        /// `host:port` of the request.
        authority: String,
        /// What the system said.
        reason: String,
    },
    /// The connection broke, or the answer was no HTTP; the request may have been carried out.
    #[error("no usable answer from {authority}: {reason}")]
    Broken {
        /// `host:port` of the request.
        authority: String,
        /// What went wrong.
        reason: String,
    },
    /// The deadline passed; the request may have been carried out.
    #[error("no answer from {authority} within {limit:?}")]
    TimedOut {
        /// `host:port` of the request.
        authority: String,
        /// The deadline.
        limit: Duration,
    },
    /// The request is no valid one (for instance a URL without a host).
    #[error("not a valid request: {0}")]
    Invalid(String),
}

/// Sends one request, takes one response, both whole.
#[async_trait]
pub trait HttpTransport: Send + Sync + 'static {
    /// Sends `request` (with an absolute `http://` URL) and waits at most `limit`. An
    /// answer larger than the `body_bytes_max` of [`transport`] is [`HttpError::Broken`].
    async fn send(
        &self,
        request: http::Request<Bytes>,
        limit: Duration,
    ) -> Result<http::Response<Bytes>, HttpError>;
}

/// The transport of this world: reqwest in production, hyper over the simulated network in
/// simulation.
#[must_use]
pub fn transport(body_bytes_max: usize) -> Arc<dyn HttpTransport> {
    Arc::new(transport_impl::Transport::new(body_bytes_max))
}

fn authority_of(request: &http::Request<Bytes>) -> Result<String, HttpError> {
    let uri = request.uri();
    match (uri.scheme_str(), uri.authority()) {
        (Some("http"), Some(authority)) => Ok(host_and_port(authority).to_owned()),
        (Some(scheme), Some(_)) => {
            let shown = shown(uri);
            Err(HttpError::Invalid(format!("{shown}: scheme {scheme} is not supported, use http")))
        }
        _ => {
            let shown = shown(uri);
            Err(HttpError::Invalid(format!("{shown} is no absolute URL such as http://host:port/")))
        }
    }
}

/// A URL as it may be shown: scheme, host, port and path. Users, passwords and what is asked
/// of the path may be secret.
pub(crate) fn shown(uri: &http::Uri) -> String {
    let scheme = uri.scheme_str().map(|scheme| format!("{scheme}://")).unwrap_or_default();
    let server = uri.authority().map(host_and_port).unwrap_or_default();
    format!("{scheme}{server}{}", uri.path())
}

/// Without user and password.
fn host_and_port(authority: &http::uri::Authority) -> &str {
    let text = authority.as_str();
    text.rsplit_once('@').map_or(text, |(_, server)| server)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_show_no_secret_of_a_url() {
        let request = |url: &str| http::Request::get(url).body(Bytes::new()).unwrap();
        let secret = request("http://me:s3cret@host:4318/v1/traces?token=s3cret");
        assert_eq!(shown(secret.uri()), "http://host:4318/v1/traces");
        assert_eq!(authority_of(&secret).unwrap(), "host:4318");
        for url in ["https://me:s3cret@host/v1/traces", "/v1/traces?token=s3cret", "me:s3cret@host"]
        {
            let error = authority_of(&request(url)).unwrap_err().to_string();
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
}
