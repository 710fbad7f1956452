//! What an SPU counts, for Prometheus. Names begin with `weir_spu_`.
//!
//! | Module | Counts |
//! |---|---|
//! | here | what happens: requests, bytes, durations, errors, open streams |
//! | `state` | what is so at a scrape: partitions, the session |
//!
//! On the way of a batch stand atomic adds and histograms whose handles are fields: nothing
//! is looked up by a label but for an error.

mod state;

use std::time::Duration;

use tokio::sync::watch;
use weir_protocol::ErrorCode;
use weir_runtime::metrics::{Counter, Family, Gauge, Histogram, MetricSet, latency};

use crate::{partition::Registry, session::SessionView};

type Labels<const N: usize> = [(&'static str, &'static str); N];

/// What an SPU counts. Clones are the same.
#[derive(Clone, Debug)]
pub struct Metrics {
    set: MetricSet,
    produce_requests: Counter,
    produce_records: Counter,
    produce_bytes: Counter,
    produce_duration: Histogram,
    fetch_responses: Counter,
    fetch_records: Counter,
    fetch_bytes: Counter,
    fetch_duration: Histogram,
    log_times: LogTimes,
    errors: Family<Labels<2>, Counter>,
    streams: Family<Labels<1>, Gauge>,
}

/// How long logs take. Apart from the rest, which in the end knows the replicas: they may
/// not hold what holds them. Clones are the same.
#[derive(Clone, Debug)]
pub struct LogTimes {
    append: Histogram,
    fsync: Histogram,
}

impl Default for LogTimes {
    /// Shown nowhere.
    fn default() -> Self {
        Self { append: latency(), fsync: latency() }
    }
}

impl LogTimes {
    pub(crate) fn appended(&self, took: Duration) {
        self.append.observe(took.as_secs_f64());
    }

    pub(crate) fn synced(&self, took: Duration) {
        self.fsync.observe(took.as_secs_f64());
    }
}

/// Which kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `DataPlane.Produce`.
    Produce,
    /// `DataPlane.Fetch`.
    Fetch,
    /// `Metadata.WatchMetadata`.
    WatchMetadata,
}

impl Call {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Produce => "produce",
            Self::Fetch => "fetch",
            Self::WatchMetadata => "watch_metadata",
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let set = MetricSet::new("weir_spu");
        let counter = |name, help| set.add(name, help, Counter::default());
        let histogram = |name, help| set.add(name, help, latency());
        Self {
            produce_requests: counter("produce_requests", "Produce requests answered"),
            produce_records: counter("produce_records", "Records acknowledged"),
            produce_bytes: counter("produce_bytes", "Bytes of batches acknowledged"),
            produce_duration: histogram(
                "produce_duration_seconds",
                "From a produce request's arrival to its acknowledgement",
            ),
            fetch_responses: counter("fetch_responses", "Fetch responses that carry records"),
            fetch_records: counter("fetch_records", "Records sent to readers"),
            fetch_bytes: counter("fetch_bytes", "Bytes of batches sent to readers"),
            fetch_duration: histogram(
                "fetch_duration_seconds",
                "Reading one fetch response from the log",
            ),
            log_times: LogTimes {
                append: histogram("append_duration_seconds", "Writing one group of batches"),
                fsync: histogram("fsync_duration_seconds", "One fsync of a log"),
            },
            errors: set.add(
                "errors",
                "Requests refused, by call and error code",
                Family::default(),
            ),
            streams: set.add("streams", "Open streams, by call", Family::default()),
            set,
        }
    }
}

impl Metrics {
    /// All of it, to be served.
    #[must_use]
    pub const fn set(&self) -> &MetricSet {
        &self.set
    }

    /// Shows partitions and session from now on.
    pub(crate) fn watch(&self, registry: Registry, session: watch::Receiver<SessionView>) {
        self.set.collect(state::State { registry, session });
    }

    pub(crate) fn produced(&self, records: u64, bytes: usize, took: Duration) {
        self.produce_requests.inc();
        self.produce_records.inc_by(records);
        self.produce_bytes.inc_by(bytes as u64);
        self.produce_duration.observe(took.as_secs_f64());
    }

    pub(crate) fn fetched(&self, records: u64, bytes: usize, took: Duration) {
        self.fetch_responses.inc();
        self.fetch_records.inc_by(records);
        self.fetch_bytes.inc_by(bytes as u64);
        self.fetch_duration.observe(took.as_secs_f64());
    }

    /// For who writes the logs.
    pub(crate) fn log_times(&self) -> LogTimes {
        self.log_times.clone()
    }

    pub(crate) fn refused(&self, call: Call, code: ErrorCode) {
        if call == Call::Produce {
            self.produce_requests.inc();
        }
        let labels = [("call", call.as_str()), ("code", code.as_str())];
        self.errors.get_or_create(&labels).inc();
    }

    /// Counts a stream until the result is dropped.
    pub(crate) fn stream(&self, call: Call) -> OpenStream {
        let gauge = self.streams.get_or_create_owned(&[("call", call.as_str())]);
        gauge.inc();
        OpenStream(gauge)
    }
}

/// A stream that is counted as open.
#[derive(Debug)]
pub(crate) struct OpenStream(Gauge);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.dec();
    }
}
