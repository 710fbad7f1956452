//! What is kept for a while and then dropped.

use std::time::Duration;

use weir_runtime::task::CancellationToken;

use super::App;
use crate::store::{DbResult, consumer_offsets, idempotency, launches};

const PERIOD: Duration = Duration::from_secs(60 * 60);
/// How long answers are kept for repetitions.
const ANSWERS_KEPT_MS: i64 = 24 * 60 * 60 * 1000;
/// How long a forgotten offset keeps its place in the order of changes.
const FORGOTTEN_KEPT_MS: i64 = 7 * 24 * 60 * 60 * 1000;
/// How many ended launches of each SPU are kept, for people who look for a reason.
const ENDED_LAUNCHES_KEPT: u32 = 20;

/// Drops what is too old, every hour, until `shutdown`.
pub async fn housekeeping(app: &App, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            () = app.clock.sleep(PERIOD) => {}
        }
        match sweep(app).await {
            Ok((answers, launches, offsets)) => {
                tracing::debug!(answers, launches, offsets, "old rows dropped");
            }
            Err(error) => tracing::warn!(%error, "old rows could not be dropped"),
        }
    }
}

/// How many answers, launches and offsets were dropped.
async fn sweep(app: &App) -> DbResult<(u64, u64, u64)> {
    let mut tx = app.store.write().await?;
    let answers = idempotency::system_prune(&mut tx, app.now_unix_ms() - ANSWERS_KEPT_MS).await?;
    let launches = launches::system_prune(&mut tx, ENDED_LAUNCHES_KEPT).await?;
    let before = app.now_unix_ms() - FORGOTTEN_KEPT_MS;
    let offsets = consumer_offsets::system_prune(&mut tx, before).await?;
    tx.commit().await?;
    Ok((answers, launches, offsets))
}
