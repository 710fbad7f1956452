//! The server side: an accept loop whose every wait has a bound.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio_util::io::InspectReader;
use tonic::body::Body;
use tower::ServiceExt as _;
use tracing::Instrument as _;

use super::{
    CONNECTION_WINDOW_BYTES, Executor, FRAME_BYTES_MAX, SEND_BUFFER_BYTES_MAX, STREAM_WINDOW_BYTES,
    Timer,
    deadline::{self, Side},
    lingering::Lingering,
};
use crate::{
    clock::Clock,
    net::{
        Listener, Stream,
        accept::{self, Seat},
    },
    task::{CancellationToken, spawn},
    traceparent,
};

/// Length of the HTTP/2 client preface (RFC 9113 §3.4).
const PREFACE_BYTES: usize = 24;

/// Bounds of a [`serve`] loop.
#[derive(Clone, Copy, Debug)]
pub struct ServerConfig {
    /// Connections beyond this wait in the kernel's backlog.
    pub connections_max: usize,
    /// Concurrent calls of one connection.
    pub streams_max: u32,
    /// How long the HTTP/2 preface may take.
    pub handshake_timeout: Duration,
    /// As [`super::ChannelConfig::keep_alive_interval`].
    pub keep_alive_interval: Duration,
    /// As [`super::ChannelConfig::keep_alive_timeout`].
    pub keep_alive_timeout: Duration,
    /// Upper bound of a call's deadline, and the time until the response headers of a
    /// call that has none.
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
    listener: Listener,
    routes: tonic::service::Routes,
    config: ServerConfig,
    shutdown: CancellationToken,
) {
    let routes = routes.prepare();
    accept::each(listener, config.connections_max, config.drain_timeout, &shutdown, |io, seat| {
        spawn(connection(io, routes.clone(), config, shutdown.clone(), seat));
    })
    .await;
}

async fn connection(
    stream: Stream,
    routes: tonic::service::Routes,
    config: ServerConfig,
    shutdown: CancellationToken,
    seat: Seat,
) {
    let received = Arc::new(AtomicUsize::new(0));
    // To tell a peer that sends nothing from one that speaks.
    let io = InspectReader::new(Lingering::new(stream), {
        let received = received.clone();
        move |bytes: &[u8]| {
            received.fetch_add(bytes.len(), Ordering::Relaxed);
        }
    });
    let service = service_fn(move |request: http::Request<Incoming>| {
        let call = call(routes.clone(), request, config.call_timeout_max);
        async move { Ok::<_, std::convert::Infallible>(call.await) }
    });
    let connection = http2::Builder::new(Executor)
        .timer(Timer)
        .keep_alive_interval(config.keep_alive_interval)
        .keep_alive_timeout(config.keep_alive_timeout)
        .max_concurrent_streams(config.streams_max)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_send_buf_size(SEND_BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(io), service);
    let mut connection = pin!(connection);
    let mut preface = pin!(Clock.sleep(config.handshake_timeout));
    let mut preface_due = true;
    let mut draining = false;
    loop {
        tokio::select! {
            biased;
            result = connection.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(%error, "connection ended");
                }
                return;
            }
            () = seat.force.cancelled() => return,
            () = shutdown.cancelled(), if !draining => {
                draining = true;
                connection.as_mut().graceful_shutdown();
            }
            () = preface.as_mut(), if preface_due => {
                if received.load(Ordering::Relaxed) < PREFACE_BYTES {
                    tracing::debug!("connection sent no HTTP/2 preface in time");
                    return;
                }
                preface_due = false;
            }
        }
    }
}

async fn call(
    routes: tonic::service::Routes,
    request: http::Request<Incoming>,
    limit_max: Duration,
) -> http::Response<Body> {
    let span = tracing::info_span!(
        "rpc",
        otel.name = request.uri().path().trim_start_matches('/'),
        otel.kind = "server",
        trace_id = tracing::field::Empty
    );
    traceparent::begin(&span, request.headers());
    let asked = deadline::grpc_timeout(request.headers());
    let limit = asked.map_or(limit_max, |asked| asked.min(limit_max));
    let mut timer: deadline::Timer = Box::pin(Clock.sleep(limit));
    let response = tokio::select! {
        biased;
        response = routes.oneshot(request.map(deadline::boxed)).instrument(span) => response,
        () = &mut timer => return deadline::exceeded().into_http(),
    };
    match response {
        Ok(response) if asked.is_some() => deadline::bound(response, timer, Side::Server),
        Ok(response) => response,
        Err(never) => match never {},
    }
}
