//! gRPC over hyper's HTTP/2, the same code in both worlds: a lazily dialling [`Channel`]
//! that tonic's generated clients take, and [`serve`] for tonic's routes.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tonic::{Status, body::Body};

use crate::{net::Listener, task::CancellationToken};

/// How a [`Channel`] dials and watches its connection.
#[derive(Clone, Copy, Debug)]
pub struct ChannelConfig {
    /// How long a connect and the HTTP/2 handshake may take together.
    pub connect_timeout: Duration,
    /// How often an idle or silent connection is pinged.
    pub keep_alive_interval: Duration,
    /// How long a ping may stay unanswered before the connection counts as dead.
    pub keep_alive_timeout: Duration,
    /// Deadline of a unary call that brings none of its own (`grpc-timeout`). Bounds the
    /// whole call for unary requests, the response headers for streaming ones.
    pub call_timeout: Duration,
}

impl Default for ChannelConfig {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            keep_alive_interval: Duration::from_secs(2),
            keep_alive_timeout: Duration::from_secs(3),
            call_timeout: Duration::from_secs(10),
        }
    }
}

/// One lazily (re)connecting HTTP/2 connection to one endpoint. Clones share it.
#[derive(Clone)]
pub struct Channel {}

impl Channel {
    /// A channel to `host:port`. Nothing is dialled before the first call.
    #[must_use]
    pub fn new(_endpoint: &str, _config: ChannelConfig) -> Self {
        todo!()
    }

    /// The endpoint it dials.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        todo!()
    }
}

impl tower::Service<http::Request<Body>> for Channel {
    type Response = http::Response<Body>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: http::Request<Body>) -> Self::Future {
        todo!()
    }
}

/// Bounds of a [`serve`] loop.
#[derive(Clone, Copy, Debug)]
pub struct ServerConfig {
    /// Connections beyond this wait in the kernel's backlog.
    pub connections_max: usize,
    /// Concurrent calls of one connection.
    pub streams_max: u32,
    /// How long the HTTP/2 preface may take.
    pub handshake_timeout: Duration,
    /// As [`ChannelConfig::keep_alive_interval`].
    pub keep_alive_interval: Duration,
    /// As [`ChannelConfig::keep_alive_timeout`].
    pub keep_alive_timeout: Duration,
    /// Upper bound of any unary call, also of one whose client asks for longer or gives none.
    pub call_timeout_max: Duration,
    /// How long open calls may go on after shutdown began.
    pub drain_timeout: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            connections_max: 4096,
            streams_max: 256,
            handshake_timeout: Duration::from_secs(5),
            keep_alive_interval: Duration::from_secs(5),
            keep_alive_timeout: Duration::from_secs(5),
            call_timeout_max: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(5),
        }
    }
}

/// Serves tonic routes over HTTP/2 until `shutdown`, then drains.
pub async fn serve(
    _listener: Listener,
    _routes: tonic::service::Routes,
    _config: ServerConfig,
    _shutdown: CancellationToken,
) {
    todo!()
}
