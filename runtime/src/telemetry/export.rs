//! Traces by OTLP (HTTP and protobuf). Spans wait in a bounded queue and are sent by a thread
//! of the exporter; one that finds no room is dropped. So a collector that is away or slow
//! costs spans, and never time.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tokio::runtime::Handle;
use tracing::{Metadata, level_filters::LevelFilter};
use tracing_subscriber::filter::{FilterFn, filter_fn};

use crate::http::{HttpTransport, shown, transport};

/// Where to send everything, or traces alone; either switches the export on.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];
/// Switches the export off again, where it says `true`.
const DISABLED: &str = "OTEL_SDK_DISABLED";
/// How long one export may take.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest answer taken from a collector, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// What exports, where the environment asks for it. The variables of OpenTelemetry's own
/// hold: headers, sampler, queue, resource attributes.
///
/// # Errors
/// A sentence: what of the environment cannot be used.
pub(super) fn provider(service: &'static str) -> Result<Option<SdkTracerProvider>, String> {
    let given = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let disabled = std::env::var(DISABLED).is_ok_and(|text| text.eq_ignore_ascii_case("true"));
    if disabled || !ENDPOINTS.iter().any(given) {
        return Ok(None);
    }
    for name in ENDPOINTS.iter().filter(|name| given(name)) {
        check(name, &std::env::var(name).unwrap_or_default())?;
    }
    let client = Client {
        runtime: Handle::current(),
        transport: transport(ANSWER_BYTES_MAX),
        failing: AtomicBool::new(false),
    };
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_http_client(client)
        .build()
        .map_err(|error| error.to_string())?;
    let resource = Resource::builder().with_service_name(service).build();
    let provider =
        SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
    Ok(Some(provider))
}

/// Whether a variable holds a URL. Said here without it: it may have a password in it.
fn check(name: &str, value: &str) -> Result<(), String> {
    value
        .parse::<http::Uri>()
        .map(drop)
        .map_err(|error| format!("{name} is no URL such as http://host:4318 ({error})"))
}

/// Which spans and events are exported: our own, but for those that only a debugger wants.
pub(super) fn filter() -> FilterFn<fn(&Metadata<'_>) -> bool> {
    let ours: fn(&Metadata<'_>) -> bool =
        |of| of.target().starts_with("weir") && *of.level() <= tracing::Level::INFO;
    filter_fn(ours).with_max_level_hint(LevelFilter::INFO)
}

/// Sends for the exporter's thread, on the process's runtime.
struct Client {
    runtime: Handle,
    transport: std::sync::Arc<dyn HttpTransport>,
    failing: AtomicBool,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(
        &self,
        request: http::Request<Bytes>,
    ) -> Result<http::Response<Bytes>, HttpError> {
        let endpoint = shown(request.uri());
        let transport = self.transport.clone();
        let sending =
            self.runtime.spawn(async move { transport.send(request, EXPORT_TIMEOUT).await });
        let outcome: Result<_, HttpError> = match sending.await {
            Ok(Ok(response)) if response.status().is_success() => Ok(response),
            Ok(Ok(response)) => Err(format!("{endpoint} answered {}", response.status()).into()),
            Ok(Err(error)) => Err(error.into()),
            Err(ended) => Err(ended.into()),
        };
        // Told once, until it works again.
        match &outcome {
            Ok(_) => self.failing.store(false, Ordering::Relaxed),
            Err(error) if !self.failing.swap(true, Ordering::Relaxed) => {
                tracing::warn!(%error, endpoint, "traces cannot be exported; they are dropped");
            }
            Err(_) => {}
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_an_endpoint_is_said_without_it() {
        assert_eq!(check("X", "http://me:s3cret@host:4318"), Ok(()));
        for wrong in ["http://me:s3cret@host:port:1/", "http://me:s3cret@a b/", ""] {
            let error = check("X", wrong).unwrap_err();
            assert!(error.starts_with("X is no URL") && !error.contains("s3cret"), "{error}");
        }
    }
}
