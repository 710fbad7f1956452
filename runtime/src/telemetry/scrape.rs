//! `GET /metrics` on an address of its own: whoever may reach it sees the names of everything,
//! so it is apart from the API, and off unless it is asked for.

use std::time::Duration;

use super::usage::Usage;
use crate::{
    http::{ServerConfig, serve},
    metrics::{self, MetricSet},
    net::Listener,
    task::{self, CancellationToken},
};

/// Scrapers are few.
const CONNECTIONS_MAX: usize = 16;

/// Serves a process's metrics until `shutdown`, with its memory and open files. An address
/// that cannot be had is told in the log: it is no reason not to serve.
pub async fn serve_metrics(address: &str, set: &MetricSet, shutdown: CancellationToken) {
    let listener = match Listener::bind(address).await {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(address, %error, "cannot serve metrics there; going on without");
            return;
        }
    };
    let bound = listener.local_addr().map_or_else(|_| address.to_owned(), |at| at.to_string());
    tracing::info!(address = bound, "metrics at /metrics");
    set.collect(Usage);
    let config = ServerConfig {
        connections_max: CONNECTIONS_MAX,
        drain_timeout: Duration::from_secs(1),
        ..ServerConfig::default()
    };
    task::spawn(serve(listener, metrics::router(set.clone()), config, shutdown));
}
