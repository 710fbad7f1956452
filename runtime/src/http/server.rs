//! The server side, for any axum router. (`axum::serve` spawns on the real tokio, which
//! does not exist in simulation.)

use std::{pin::pin, time::Duration};

use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};

use crate::{
    net::{
        Listener, Stream,
        accept::{self, Seat},
    },
    rpc::Timer,
    task::{CancellationToken, spawn},
};

/// Bounds of a [`serve`] loop.
#[derive(Clone, Copy, Debug)]
pub struct ServerConfig {
    /// Connections beyond this wait in the kernel's backlog.
    pub connections_max: usize,
    /// How long a client may take to send its request head, the wait for a further
    /// request on a kept-alive connection included.
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
    listener: Listener,
    router: axum::Router,
    config: ServerConfig,
    shutdown: CancellationToken,
) {
    accept::each(listener, config.connections_max, config.drain_timeout, &shutdown, |io, seat| {
        spawn(connection(io, router.clone(), config, shutdown.clone(), seat));
    })
    .await;
}

async fn connection(
    stream: Stream,
    router: axum::Router,
    config: ServerConfig,
    shutdown: CancellationToken,
    seat: Seat,
) {
    let connection = http1::Builder::new()
        .timer(Timer)
        .header_read_timeout(config.header_timeout)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    let result = tokio::select! {
        biased;
        result = connection.as_mut() => result,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                biased;
                result = connection => result,
                () = seat.force.cancelled() => return,
            }
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "connection ended");
    }
}
