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
        (Some("http"), Some(authority)) => Ok(authority.to_string()),
        (Some(scheme), Some(_)) => {
            Err(HttpError::Invalid(format!("{uri}: scheme {scheme} is not supported, use http")))
        }
        _ => Err(HttpError::Invalid(format!("{uri} is no absolute URL such as http://host:port/"))),
    }
}
