//! What a process shows of itself, for its main to start: the log, the traces, the metrics.
//! Libraries only record (`tracing`, [`crate::metrics`]); threads, signals and exporters are
//! the main's, since none of them exists in simulation.
//!
//! | Module | Shows |
//! |---|---|
//! | `log` | log lines on standard error, as text or JSON |
//! | `export` | traces, by OTLP, where `OTEL_EXPORTER_OTLP_ENDPOINT` says so |
//! | `spans` | which span has which ids, for [`crate::traceparent`] |
//! | `scrape` | `GET /metrics` on an address of its own |
//! | `usage` | memory and open files of the process |

mod export;
mod log;
mod scrape;
mod spans;
mod usage;

use std::{future::Future, process::ExitCode, time::Duration};

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::{Layer as _, layer::SubscriberExt as _};

pub use log::{LogFormat, UnknownFormat};
pub use scrape::serve_metrics;

/// How long the last spans of a server may take to be sent.
const SERVER_END: Duration = Duration::from_secs(2);

/// The whole life of a server's process: a tokio runtime, log and traces, `serve`, and an
/// error that ends it told on standard error.
pub fn server<F>(service: &'static str, log: LogFormat, serve: F) -> ExitCode
where
    F: Future<Output = Result<(), String>>,
{
    let failed = |message: String| {
        eprintln!("error: {message}");
        ExitCode::FAILURE
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(format!("cannot start the runtime: {error}")),
    };
    let telemetry = {
        let _inside = runtime.enter();
        start(service, Some(log))
    };
    let ended = runtime.block_on(Box::pin(serve));
    telemetry.end(SERVER_END);
    ended.map_or_else(failed, |()| ExitCode::SUCCESS)
}

/// The telemetry of a process. Give it up with [`Telemetry::end`].
#[derive(Debug)]
#[must_use = "spans that were not exported are lost without `end`"]
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
    /// Why traces are not exported although that was asked for.
    trouble: Option<String>,
}

/// Starts log and traces: once per process, from within its tokio runtime. `log` is none for
/// a process that writes none. Where somebody has set a subscriber already, his is the one.
pub fn start(service: &'static str, log: Option<LogFormat>) -> Telemetry {
    let exporting = export::provider(service);
    let (provider, trouble) = match exporting {
        Ok(provider) => (provider, None),
        Err(trouble) => (None, Some(trouble)),
    };
    let traces = provider.as_ref().map(|provider| {
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("weir"))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(export::filter())
    });
    let subscriber = tracing_subscriber::registry().with(traces).with(log.map(log::layer));
    let set = tracing::subscriber::set_global_default(subscriber).is_ok();
    if set && provider.is_some() {
        crate::traceparent::export_by(spans::OpenTelemetrySpans);
    }
    if let Some(trouble) = &trouble {
        tracing::warn!(trouble, "traces are not exported");
    }
    Telemetry { provider, trouble }
}

impl Telemetry {
    /// Whether traces are exported.
    #[must_use]
    pub const fn exports(&self) -> bool {
        self.provider.is_some()
    }

    /// Why traces are not exported although that was asked for: for a process without a log.
    #[must_use]
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Sends what was not sent yet, for so long at most. Blocks: call it outside the runtime,
    /// which must still be there.
    pub fn end(self, limit: Duration) {
        if let Some(provider) = self.provider {
            // Whoever collects traces may be away; that is no reason to fail.
            let _ = provider.shutdown_with_timeout(limit);
        }
    }
}
