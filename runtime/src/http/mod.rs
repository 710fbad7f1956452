//! HTTP/1: a server for axum routers, and [`HttpTransport`] for clients of it.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;

use crate::{net::Listener, task::CancellationToken};

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
    /// Sends `request` (with an absolute `http://` or, in production, `https://` URL) and
    /// waits at most `limit`. A body larger than `body_bytes_max` of [`transport`] is
    /// [`HttpError::Broken`].
    async fn send(
        &self,
        request: http::Request<Bytes>,
        limit: Duration,
    ) -> Result<http::Response<Bytes>, HttpError>;
}

/// The transport of this world: reqwest in production, hyper over the simulated network in
/// simulation.
#[must_use]
pub fn transport(_body_bytes_max: usize) -> Arc<dyn HttpTransport> {
    todo!()
}

/// Bounds of a [`serve`] loop.
#[derive(Clone, Copy, Debug)]
pub struct ServerConfig {
    /// Connections beyond this wait in the kernel's backlog.
    pub connections_max: usize,
    /// How long a client may take to send its request head.
    pub header_timeout: Duration,
    /// How long open requests may go on after shutdown began.
    pub drain_timeout: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            connections_max: 1024,
            header_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(5),
        }
    }
}

/// Serves a router over HTTP/1 until `shutdown`, then drains.
pub async fn serve(
    _listener: Listener,
    _router: axum::Router,
    _config: ServerConfig,
    _shutdown: CancellationToken,
) {
    todo!()
}
