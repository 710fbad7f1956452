//! What the control plane counts, for Prometheus. Names begin with `weir_control_plane_`.
//!
//! Labels are routes, methods, states and outcomes: a fixed number of each, whatever clients
//! send. What belongs to a tenant and is found out at a scrape is added as a collector, with
//! [`Metrics::set`].

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use http::{Method, StatusCode};
use weir_runtime::metrics::{
    Collector, Counter, DescriptorEncoder, Family, Gauge, Histogram, MetricSet, gauge, latency,
};

use crate::{
    app::{StatusBoard, lag::Reader},
    store::{SqlTimes, clusters::ClusterRow, types::ClusterState},
};

type Labels<V, const N: usize> = [(&'static str, V); N];

/// What the control plane counts. Clones are the same.
#[derive(Clone, Debug)]
pub struct Metrics {
    set: MetricSet,
    http_requests: Family<Labels<String, 3>, Counter>,
    http_duration: Family<Labels<String, 2>, Histogram, fn() -> Histogram>,
    sql_times: SqlTimes,
    clusters: [(ClusterState, Gauge); ClusterState::ALL.len()],
    lag: Family<Labels<String, 3>, Gauge>,
    lag_left_out: Gauge,
    passes: Counter,
    passes_failed: Counter,
    pass_duration: Histogram,
    unclean_elections: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        let set = MetricSet::new("weir_control_plane");
        let passes = Family::<Labels<&'static str, 1>, Counter>::default();
        let passes =
            set.add("reconcile_passes", "Passes over a cluster, by how they ended", passes);
        let ended = |outcome| passes.get_or_create_owned(&[("outcome", outcome)]);
        let sql: Family<Labels<&'static str, 1>, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(latency);
        let help = "SQL transactions, from their begin to their end, by mode";
        let sql = set.add("sql_transaction_duration_seconds", help, sql);
        let mode = |mode| sql.get_or_create_owned(&[("mode", mode)]);
        let states = set.add(
            "clusters",
            "Clusters, by observed state",
            Family::<Labels<&'static str, 1>, Gauge>::default(),
        );
        let requests = "HTTP requests answered, by method, route and status";
        let duration = "HTTP requests from head to answer, by method and route";
        Self {
            http_requests: set.add("http_requests", requests, Family::default()),
            http_duration: set.add(
                "http_request_duration_seconds",
                duration,
                Family::new_with_constructor(latency as fn() -> Histogram),
            ),
            sql_times: SqlTimes { read: mode("read"), write: mode("write") },
            clusters: std::array::from_fn(|at| {
                let state = ClusterState::ALL[at];
                (state, states.get_or_create_owned(&[("state", state.as_str())]))
            }),
            lag: set.add(
                "consumer_lag_records",
                "Records that a consumer has not committed yet, by topic, some seconds old",
                Family::default(),
            ),
            lag_left_out: set.add(
                "consumers_left_out",
                "Consumers of a topic whose lag is not shown, because there are too many",
                Gauge::default(),
            ),
            passes: ended("ok"),
            passes_failed: ended("failed"),
            pass_duration: set.add(
                "reconcile_pass_duration_seconds",
                "One pass over a cluster",
                latency(),
            ),
            unclean_elections: set.add(
                "unclean_elections",
                "Leaders elected that may lack what was committed",
                Counter::default(),
            ),
            set,
        }
    }
}

impl Metrics {
    /// All of it, to be served and added to.
    #[must_use]
    pub const fn set(&self) -> &MetricSet {
        &self.set
    }

    /// For the store.
    #[must_use]
    pub fn sql_times(&self) -> SqlTimes {
        self.sql_times.clone()
    }

    /// Shows the sessions of SPUs from now on.
    pub(crate) fn watch(&self, board: StatusBoard) {
        self.set.collect(Sessions(board));
    }

    /// `route` is a pattern; none for a request that no route takes.
    pub(crate) fn answered(
        &self,
        method: &Method,
        route: Option<&str>,
        status: StatusCode,
        took: Duration,
    ) {
        let method = ("method", named(method).to_owned());
        let route = ("route", route.unwrap_or("none").to_owned());
        let duration = self.http_duration.get_or_create_owned(&[method.clone(), route.clone()]);
        duration.observe(took.as_secs_f64());
        let labels = [method, route, ("status", status.as_str().to_owned())];
        self.http_requests.get_or_create(&labels).inc();
    }

    /// What clusters there are.
    pub(crate) fn clusters(&self, rows: &[ClusterRow]) {
        for (state, gauge) in &self.clusters {
            let count = rows.iter().filter(|row| row.state == *state).count();
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// How far consumers are behind.
    pub(crate) fn lag(&self, lags: &BTreeMap<Reader, u64>, left_out: usize) {
        for (reader, lag) in lags {
            let gauge = self.lag.get_or_create_owned(&labels(reader));
            gauge.set(i64::try_from(*lag).unwrap_or(i64::MAX));
        }
        self.lag_left_out.set(i64::try_from(left_out).unwrap_or(i64::MAX));
    }

    /// Of whom nothing is known any more: shown no longer.
    pub(crate) fn lag_gone(&self, gone: &BTreeSet<Reader>) {
        for reader in gone {
            self.lag.remove(&labels(reader));
        }
    }

    /// A leader was elected that may lack what was committed.
    pub(crate) fn unclean_election(&self) {
        self.unclean_elections.inc();
    }

    pub(crate) fn pass(&self, ok: bool, took: Duration) {
        if ok { &self.passes } else { &self.passes_failed }.inc();
        self.pass_duration.observe(took.as_secs_f64());
    }
}

fn labels(reader: &Reader) -> Labels<String, 3> {
    [
        ("cluster", reader.cluster.to_string()),
        ("consumer", reader.consumer.clone()),
        ("topic", reader.topic.clone()),
    ]
}

/// A client may send any word as a method.
fn named(method: &Method) -> &str {
    let known = [Method::GET, Method::HEAD, Method::PUT, Method::POST, Method::PATCH];
    if known.contains(method) || *method == Method::DELETE || *method == Method::OPTIONS {
        method.as_str()
    } else {
        "other"
    }
}

/// The sessions that stand at a scrape.
struct Sessions(StatusBoard);

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}

impl Collector for Sessions {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let none: [(&str, &str); 0] = [];
        let up = i64::try_from(self.0.standing()).unwrap_or(i64::MAX);
        let help = "Sessions of SPUs that stand";
        gauge(&mut encoder, "weir_control_plane_spu_sessions", help, [(none, up)])
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;
    use weir_protocol::ids::ClusterId;

    use super::*;

    #[test]
    fn whoever_is_gone_is_shown_no_longer_and_the_others_are() {
        let metrics = Metrics::default();
        let cluster = ClusterId(Uuid::from_u128(1));
        let reader = |consumer: &str| Reader {
            cluster,
            consumer: consumer.to_owned(),
            topic: "orders".to_owned(),
        };
        metrics.lag(&BTreeMap::from([(reader("a"), 1), (reader("b"), 2)]), 3);
        metrics.lag_gone(&BTreeSet::from([reader("a")]));
        let text = metrics.set().text();
        let lags = text.lines().filter(|line| line.starts_with("weir_control_plane_consumer_lag"));
        let shown = format!(
            "weir_control_plane_consumer_lag_records{{cluster=\"{cluster}\",consumer=\"b\",topic=\"orders\"}} 2"
        );
        assert_eq!(lags.collect::<Vec<_>>(), [shown]);
        assert!(text.contains("weir_control_plane_consumers_left_out 3"), "{text}");
    }
}
