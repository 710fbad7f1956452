//! The client side: one lazily dialled connection to one endpoint.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::sync::Mutex;
use tonic::{Status, body::Body};

use super::{
    CONNECTION_WINDOW_BYTES, Executor, FRAME_BYTES_MAX, SEND_BUFFER_BYTES_MAX, STREAM_WINDOW_BYTES,
    Timer,
    deadline::{self, Side},
    trailers,
};
use crate::{clock::Clock, net, traceparent};

/// How a [`Channel`] dials and watches its connection.
#[derive(Clone, Copy, Debug)]
pub struct ChannelConfig {
    /// How long a connect and the HTTP/2 handshake may take together.
    pub connect_timeout: Duration,
    /// How often an idle or silent connection is pinged.
    pub keep_alive_interval: Duration,
    /// How long a ping may stay unanswered before the connection counts as dead.
    pub keep_alive_timeout: Duration,
    /// How long a call that brings no `grpc-timeout` may wait for its response headers.
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
///
/// Calls fail with `Unavailable` when it cannot be dialled or breaks, with
/// `DeadlineExceeded` when the call's time is over; the next call dials again.
#[derive(Clone)]
pub struct Channel {
    endpoint: Arc<str>,
    config: ChannelConfig,
    /// Held while dialling, so that callers who come together share one connection
    /// instead of opening one each; every dial has a deadline.
    connection: Arc<Mutex<Option<SendRequest<Body>>>>,
}

impl Channel {
    /// A channel to `host:port`. Nothing is dialled before the first call.
    #[must_use]
    pub fn new(endpoint: &str, config: ChannelConfig) -> Self {
        Self { endpoint: endpoint.into(), config, connection: Arc::default() }
    }

    /// The endpoint it dials.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    async fn sender(&self) -> Result<SendRequest<Body>, Status> {
        let mut connection = self.connection.lock().await;
        if let Some(sender) = connection.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok(sender.clone());
        }
        let limit = self.config.connect_timeout;
        let sender = Clock.timeout(limit, self.dial()).await.map_err(|_| {
            Status::unavailable(format!("cannot connect to {} within {limit:?}", self.endpoint))
        })??;
        *connection = Some(sender.clone());
        Ok(sender)
    }

    async fn dial(&self) -> Result<SendRequest<Body>, Status> {
        let stream = net::connect(&self.endpoint)
            .await
            .map_err(|e| Status::unavailable(format!("cannot connect to {e}")))?;
        let (sender, connection) = Builder::new(Executor)
            .timer(Timer)
            .keep_alive_interval(self.config.keep_alive_interval)
            .keep_alive_timeout(self.config.keep_alive_timeout)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(FRAME_BYTES_MAX)
            .max_send_buf_size(SEND_BUFFER_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|e| Status::unavailable(format!("{} speaks no HTTP/2: {e}", self.endpoint)))?;
        let endpoint = self.endpoint.clone();
        crate::task::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%endpoint, %error, "connection ended");
            }
        });
        Ok(sender)
    }

    async fn send(&self, mut request: http::Request<Body>) -> Result<http::Response<Body>, Status> {
        let mut sender = self.sender().await?;
        let lost = |e: hyper::Error| {
            Status::unavailable(format!("connection to {} lost: {e}", self.endpoint))
        };
        sender.ready().await.map_err(lost)?;
        let path = request.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        *request.uri_mut() = http::Uri::builder()
            .scheme("http")
            .authority(&*self.endpoint)
            .path_and_query(path)
            .build()
            .map_err(|e| Status::invalid_argument(format!("endpoint {}: {e}", self.endpoint)))?;
        let mut response = sender.send_request(request).await.map_err(lost)?;
        trailers::sanitize(response.headers_mut());
        Ok(response.map(deadline::boxed))
    }
}

impl tower::Service<http::Request<Body>> for Channel {
    type Response = http::Response<Body>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        // Here and not in the future: the span of whoever calls is the current one.
        traceparent::inject(request.headers_mut());
        let channel = self.clone();
        Box::pin(async move {
            let Some(limit) = deadline::grpc_timeout(request.headers()) else {
                let limit = channel.config.call_timeout;
                // Boxed: the timeout would move it, and it is large.
                return Clock
                    .timeout(limit, Box::pin(channel.send(request)))
                    .await
                    .map_err(|_| deadline::exceeded())?;
            };
            let mut timer: deadline::Timer = Box::pin(Clock.sleep(limit));
            let response = tokio::select! {
                biased;
                response = channel.send(request) => response?,
                () = &mut timer => return Err(deadline::exceeded()),
            };
            Ok(deadline::bound(response, timer, Side::Client))
        })
    }
}
