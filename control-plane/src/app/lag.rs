//! How far consumers are behind, for Prometheus: looked up on a period, because a scrape
//! cannot wait for SQL.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use weir_protocol::ids::{ClusterId, Offset};
use weir_runtime::task::CancellationToken;

use super::{
    App, consumer_view,
    ends::Ends,
    view::{self, Seen},
};
use crate::store::{
    DbResult,
    consumer_offsets::{self, ReadRow},
};

const PERIOD: Duration = Duration::from_secs(10);
/// Partitions that are looked at, once for each consumer, of all tenants together.
const ROWS_MAX: u32 = 50_000;
/// Consumers of a topic that are shown.
const SERIES_MAX: usize = 2_000;

/// A consumer of a topic: what one series is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Reader {
    /// Whose.
    pub cluster: ClusterId,
    /// The consumer.
    pub consumer: String,
    /// The topic.
    pub topic: String,
}

/// Keeps the gauges of lag current until `shutdown`.
pub async fn watch_lag(app: &App, shutdown: CancellationToken) {
    let mut shown = BTreeSet::new();
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            () = app.clock.sleep(PERIOD) => {}
        }
        match look(app).await {
            Ok(found) => {
                let left_out = found.left_out + found.lags.len().saturating_sub(SERIES_MAX);
                let lags: BTreeMap<_, _> = found.lags.into_iter().take(SERIES_MAX).collect();
                app.metrics.lag(&lags, left_out);
                // Last, so that no scrape finds a hole where one was shown and still is.
                shown.retain(|reader| !lags.contains_key(reader));
                app.metrics.lag_gone(&shown);
                shown = lags.into_keys().collect();
            }
            Err(error) => tracing::warn!(%error, "the lag of consumers could not be looked up"),
        }
    }
}

/// How far readers are behind.
#[derive(Debug, Default)]
struct Found {
    lags: BTreeMap<Reader, u64>,
    /// Readers of which not all was looked at.
    left_out: usize,
}

async fn look(app: &App) -> DbResult<Found> {
    let mut tx = app.store.read().await?;
    let mut rows = consumer_offsets::system_read(&mut tx, ROWS_MAX + 1).await?;
    let left_out = match cut(&mut rows, ROWS_MAX) {
        Some(whole) => {
            let all = consumer_offsets::system_readers(&mut tx).await?;
            usize::try_from(all).unwrap_or(usize::MAX).saturating_sub(whole)
        }
        None => 0,
    };
    drop(tx);
    let mut boards: BTreeMap<ClusterId, Seen> = BTreeMap::new();
    for row in &rows {
        boards.entry(row.cluster).or_insert_with(|| app.board.cluster(row.cluster));
    }
    let lags = sum(rows, |row| {
        let status = view::reported(row.leader, row.partition, boards.get(&row.cluster)?)?;
        let (log_start, end) = (Offset(status.log_start), Offset(status.high_watermark));
        Some(Ends { log_start, end, current: false })
    });
    Ok(Found { lags, left_out })
}

/// Cuts rows, in the order of readers and read with a limit of one more than `max`, to readers
/// that are there as a whole, and says how many those are; `None`: nothing was cut.
fn cut(rows: &mut Vec<ReadRow>, max: u32) -> Option<usize> {
    if rows.len() <= usize::try_from(max).unwrap_or(usize::MAX) {
        return None;
    }
    let of = |row: &ReadRow| Reader {
        cluster: row.cluster,
        consumer: row.consumer.clone(),
        topic: row.topic.clone(),
    };
    // The row too many may be the first of its reader; then the reader before it is whole.
    let last = of(&rows.pop()?);
    while rows.last().is_some_and(|row| of(row) == last) {
        rows.pop();
    }
    Some(rows.iter().map(of).collect::<BTreeSet<_>>().len())
}

/// Per reader, over its partitions. A reader of which one's leader has not told where it ends
/// is left out: an unknown lag is not 0.
fn sum(rows: Vec<ReadRow>, ends: impl Fn(&ReadRow) -> Option<Ends>) -> BTreeMap<Reader, u64> {
    let mut lags: BTreeMap<Reader, Option<u64>> = BTreeMap::new();
    for row in rows {
        let behind = ends(&row).map(|ends| consumer_view::behind(row.next_offset, ends));
        let ReadRow { cluster, consumer, topic, .. } = row;
        let lag = lags.entry(Reader { cluster, consumer, topic }).or_insert(Some(0));
        *lag = lag.zip(behind).map(|(lag, behind)| lag.saturating_add(behind));
    }
    lags.into_iter().filter_map(|(reader, lag)| Some((reader, lag?))).collect()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;
    use weir_protocol::ids::{PartitionIndex, PartitionKey, SpuId, TopicGenerationId};

    use super::*;

    fn row(consumer: &str, partition: u32, next: u64) -> ReadRow {
        let generation = TopicGenerationId(Uuid::from_u128(1));
        ReadRow {
            cluster: ClusterId(Uuid::from_u128(2)),
            consumer: consumer.to_owned(),
            topic: "orders".to_owned(),
            partition: PartitionKey { generation, partition: PartitionIndex(partition) },
            leader: Some(SpuId(1)),
            next_offset: Some(Offset(next)),
        }
    }

    fn ends(end: u64) -> Option<Ends> {
        Some(Ends { log_start: Offset(2), end: Offset(end), current: false })
    }

    #[test]
    fn partitions_add_up_and_what_is_unknown_is_left_out() {
        let rows = vec![
            row("a", 0, 4),
            row("a", 1, 10),
            // A partition that came later: all that it has.
            ReadRow { next_offset: None, ..row("a", 0, 0) },
            row("b", 0, 4),
            row("b", 1, 10),
            row("b", 2, 9),
            row("c", 2, 0),
        ];
        // Partition 1 ended before what is committed when its leader told; 2 has no leader.
        let lags = sum(rows, |row| match row.partition.partition.get() {
            0 => ends(7),
            1 => ends(8),
            _ => None,
        });
        let told: Vec<_> = lags.iter().map(|(reader, lag)| (&*reader.consumer, *lag)).collect();
        assert_eq!(told, [("a", 3 + 5)]);
    }

    #[test]
    fn a_cut_leaves_whole_readers() {
        let rows = || vec![row("a", 0, 1), row("a", 1, 1), row("b", 0, 1), row("b", 1, 1)];
        for (max, whole, left) in [(4, None, 4), (3, Some(1), 2), (2, Some(1), 2), (1, Some(0), 0)]
        {
            let mut rows: Vec<_> = rows().into_iter().take(max as usize + 1).collect();
            assert_eq!((cut(&mut rows, max), rows.len()), (whole, left), "{max}");
        }
    }
}
