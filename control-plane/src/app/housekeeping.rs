//! What is kept for a while and then dropped.

use std::time::Duration;

use weir_runtime::task::CancellationToken;

use super::App;
use crate::store::{DbResult, consumer_offsets, idempotency, launches, operations};

const PERIOD: Duration = Duration::from_secs(60 * 60);
/// How long answers are kept for repetitions.
const ANSWERS_KEPT_MS: i64 = 24 * 60 * 60 * 1000;
/// How long a forgotten offset keeps its place in the order of changes.
const FORGOTTEN_KEPT_MS: i64 = 7 * 24 * 60 * 60 * 1000;
/// How many ended launches of each SPU are kept, for people who look for a reason.
const ENDED_LAUNCHES_KEPT: u32 = 20;
/// How long operations are kept once they ended.
const OPERATIONS_KEPT_MS: i64 = 30 * 24 * 60 * 60 * 1000;
/// How many ended operations of each org are kept.
const OPERATIONS_KEPT: u32 = 1_000;

/// Drops what is too old, every hour, until `shutdown`.
pub async fn housekeeping(app: &App, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            () = app.clock.sleep(PERIOD) => {}
        }
        match sweep(app).await {
            Ok([answers, launches, offsets, operations]) => {
                tracing::debug!(answers, launches, offsets, operations, "old rows dropped");
            }
            Err(error) => tracing::warn!(%error, "old rows could not be dropped"),
        }
    }
}

/// How many answers, launches, offsets and operations were dropped.
async fn sweep(app: &App) -> DbResult<[u64; 4]> {
    let now = app.now_unix_ms();
    let mut tx = app.store.write().await?;
    let answers = idempotency::system_prune(&mut tx, now - ANSWERS_KEPT_MS).await?;
    let launches = launches::system_prune(&mut tx, ENDED_LAUNCHES_KEPT).await?;
    let offsets = consumer_offsets::system_prune(&mut tx, now - FORGOTTEN_KEPT_MS).await?;
    let old = now - OPERATIONS_KEPT_MS;
    let operations = operations::system_prune(&mut tx, old, OPERATIONS_KEPT).await?;
    tx.commit().await?;
    Ok([answers, launches, offsets, operations])
}
