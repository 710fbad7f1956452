//! What is kept for a while and then dropped.

use std::time::Duration;

use weir_runtime::task::CancellationToken;

use super::App;
use crate::store::{DbResult, idempotency};

const PERIOD: Duration = Duration::from_secs(60 * 60);
/// How long answers are kept for repetitions.
const ANSWERS_KEPT_MS: i64 = 24 * 60 * 60 * 1000;

/// Drops what is too old, every hour, until `shutdown`.
pub async fn housekeeping(app: &App, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            () = app.clock.sleep(PERIOD) => {}
        }
        match sweep(app).await {
            Ok(dropped) => tracing::debug!(dropped, "old answers dropped"),
            Err(error) => tracing::warn!(%error, "old answers could not be dropped"),
        }
    }
}

async fn sweep(app: &App) -> DbResult<u64> {
    let mut tx = app.store.write().await?;
    let dropped = idempotency::system_prune(&mut tx, app.now_unix_ms() - ANSWERS_KEPT_MS).await?;
    tx.commit().await?;
    Ok(dropped)
}
