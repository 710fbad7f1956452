//! Counting, for Prometheus: a set of metrics, its text, and the route that serves it.
//!
//! No clock and no thread of its own, so libraries count in both worlds alike. Handles are
//! resolved once, at the start; what costs to find out (the state of many partitions) is
//! found out at a scrape, by a [`Collector`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::{Router, response::IntoResponse, routing::get};
pub use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::{ConstGauge, Gauge},
        histogram::Histogram,
    },
};
use prometheus_client::{encoding::text, registry};

/// What the text is, for whoever scrapes.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Bounds of latency buckets, in seconds: from an fsync of a fast disk to a deadline.
const LATENCY_BUCKETS: [f64; 16] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];

/// Metrics that are served together. Clones are the same set.
#[derive(Clone, Debug)]
pub struct MetricSet {
    prefix: &'static str,
    registry: Arc<Mutex<registry::Registry>>,
}

impl MetricSet {
    /// An empty set. Names of what is added begin with `prefix_`.
    #[must_use]
    pub fn new(prefix: &'static str) -> Self {
        Self { prefix, registry: Arc::default() }
    }

    fn registry(&self) -> MutexGuard<'_, registry::Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a metric and hands it back. `help` gets a full stop.
    pub fn add<M: registry::Metric + Clone>(&self, name: &str, help: &str, metric: M) -> M {
        self.registry().register(format!("{}_{name}", self.prefix), help, metric.clone());
        metric
    }

    /// Adds what is found out at each scrape. Its names are whole: they get no prefix.
    pub fn collect(&self, collector: impl Collector) {
        self.registry().register_collector(Box::new(collector));
    }

    /// All of it, as OpenMetrics text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a string fails only where a collector says so: then it is cut short.
        if text::encode(&mut out, &self.registry()).is_err() {
            tracing::warn!("the metrics could not be written out whole");
        }
        out
    }
}

/// A histogram of latencies, in seconds.
#[must_use]
pub fn latency() -> Histogram {
    Histogram::new(LATENCY_BUCKETS)
}

/// Writes one gauge with a value per set of labels, from within a [`Collector`].
///
/// # Errors
/// When the text cannot be written.
pub fn gauge<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = (L, i64)>,
) -> std::fmt::Result {
    let kind = prometheus_client::metrics::MetricType::Gauge;
    let mut described = encoder.encode_descriptor(name, help, None, kind)?;
    for (labels, value) in values {
        ConstGauge::new(value).encode(described.encode_family(&labels)?)?;
    }
    Ok(())
}

/// `GET /metrics`.
pub fn router(set: MetricSet) -> Router {
    let answer = move || {
        let text = set.text();
        async move { ([(http::header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response() }
    };
    Router::new().route("/metrics", get(answer))
}

#[cfg(test)]
mod tests {
    use tower::ServiceExt as _;

    use super::*;

    #[derive(Debug)]
    struct Two;

    impl Collector for Two {
        fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
            gauge(&mut encoder, "t_two", "Two", [([("n", "1")], 10), ([("n", "2")], -20)])
        }
    }

    #[tokio::test]
    async fn what_is_counted_is_served() {
        let set = MetricSet::new("t");
        let counter: Counter = set.add("things", "Things", Counter::default());
        let histogram = set.add("wait_seconds", "Waits", latency());
        set.collect(Two);
        counter.inc_by(3);
        histogram.observe(0.0002);
        let request = http::Request::get("/metrics").body(axum::body::Body::empty()).unwrap();
        let response = router(set).oneshot(request).await.unwrap();
        assert_eq!(response.headers()[http::header::CONTENT_TYPE], CONTENT_TYPE);
        let text = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        let text = String::from_utf8(text.to_vec()).unwrap();
        for line in [
            "t_things_total 3",
            "t_wait_seconds_bucket{le=\"0.0001\"} 0",
            "t_wait_seconds_bucket{le=\"0.00025\"} 1",
            "t_wait_seconds_count 1",
            "t_two{n=\"1\"} 10",
            "t_two{n=\"2\"} -20",
        ] {
            assert!(text.lines().any(|found| found == line), "no {line:?} in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
}
