//! How far consumers are behind, for Prometheus: looked up on a period, because a scrape
//! cannot wait for SQL.

use std::{collections::BTreeMap, time::Duration};

use weir_protocol::ids::{ClusterId, Offset};
use weir_runtime::task::CancellationToken;

use super::{
    App,
    view::{self, Seen},
};
use crate::store::{
    DbResult,
    consumer_offsets::{self, CommittedRow},
};

const PERIOD: Duration = Duration::from_secs(10);
/// Committed partitions that are looked at, of all tenants together.
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
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            () = app.clock.sleep(PERIOD) => {}
        }
        match look(app).await {
            Ok(lag) => {
                let left_out = lag.len().saturating_sub(SERIES_MAX);
                app.metrics.lag(lag.into_iter().take(SERIES_MAX), left_out);
            }
            Err(error) => tracing::warn!(%error, "the lag of consumers could not be looked up"),
        }
    }
}

async fn look(app: &App) -> DbResult<BTreeMap<Reader, u64>> {
    let mut tx = app.store.read().await?;
    let rows = consumer_offsets::system_committed(&mut tx, ROWS_MAX).await?;
    drop(tx);
    let mut boards: BTreeMap<ClusterId, Seen> = BTreeMap::new();
    for row in &rows {
        boards.entry(row.cluster).or_insert_with(|| app.board.cluster(row.cluster));
    }
    Ok(sum(rows, |row| {
        let status = view::reported(row.leader, row.partition, boards.get(&row.cluster)?)?;
        Some(Offset(status.high_watermark))
    }))
}

/// Per reader, over the partitions whose leader told where they end. A reader of which none
/// did is left out: an unknown lag is not 0.
fn sum(
    rows: Vec<CommittedRow>,
    end: impl Fn(&CommittedRow) -> Option<Offset>,
) -> BTreeMap<Reader, u64> {
    let mut lags = BTreeMap::new();
    for row in rows {
        let Some(end) = end(&row) else { continue };
        let CommittedRow { cluster, consumer, topic, next_offset, .. } = row;
        let lag: &mut u64 = lags.entry(Reader { cluster, consumer, topic }).or_default();
        *lag = lag.saturating_add(end.get().saturating_sub(next_offset.get()));
    }
    lags
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;
    use weir_protocol::ids::{PartitionIndex, PartitionKey, SpuId, TopicGenerationId};

    use super::*;

    fn row(consumer: &str, partition: u32, next: u64) -> CommittedRow {
        let generation = TopicGenerationId(Uuid::from_u128(1));
        CommittedRow {
            cluster: ClusterId(Uuid::from_u128(2)),
            consumer: consumer.to_owned(),
            topic: "orders".to_owned(),
            partition: PartitionKey { generation, partition: PartitionIndex(partition) },
            leader: Some(SpuId(1)),
            next_offset: Offset(next),
        }
    }

    #[test]
    fn partitions_add_up_and_what_is_unknown_is_left_out() {
        let rows = vec![row("a", 0, 4), row("a", 1, 10), row("a", 2, 9), row("b", 2, 0)];
        // Partition 1 ended before what is committed when its leader told; 2 has no leader.
        let lags = sum(rows, |row| match row.partition.partition.get() {
            0 => Some(Offset(7)),
            1 => Some(Offset(8)),
            _ => None,
        });
        let told: Vec<_> = lags.iter().map(|(reader, lag)| (&*reader.consumer, *lag)).collect();
        assert_eq!(told, [("a", 3)]);
    }
}
