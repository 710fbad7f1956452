//! What comes before all else when a control plane begins: `plan::history`.

use super::{App, AppError};
use crate::store::{clusters, recovery, spus};

/// Notes whom it must hear before it gives an epoch: every SPU that has had a life, of every
/// cluster.
///
/// # Errors
/// As the store.
pub async fn call_all(app: &App) -> Result<(), AppError> {
    let mut tx = app.store.read().await?;
    for row in clusters::system_list(&mut tx).await? {
        let rows = spus::list(&mut tx.scoped(row.org), row.id).await?;
        let used = rows.iter().filter(|spu| !spu.removed && spu.incarnation.0 > 0);
        app.board.call(row.id, used.map(|spu| spu.id).collect(), app.defaults.lease);
    }
    Ok(())
}

/// Freezes every cluster: whoever began it knows that the database is a backup.
///
/// # Errors
/// As the store.
pub async fn freeze_all(app: &App) -> Result<(), AppError> {
    let reason = "the control plane was told that its database is a backup";
    let mut tx = app.store.write().await?;
    let clusters = recovery::system_freeze_all(&mut tx, reason, app.now_unix_ms()).await?;
    tx.commit().await?;
    tracing::warn!(clusters, "frozen, as asked: the database is a backup");
    Ok(())
}
