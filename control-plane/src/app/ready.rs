//! Whether the control plane can serve.

use super::{App, AppError};
use crate::store::{DbError, meta};

/// Reads from the database what every database holds.
///
/// # Errors
/// As the store.
pub async fn ready(app: &App) -> Result<(), AppError> {
    let mut tx = app.store.read().await?;
    let found = meta::system_get(&mut tx).await?;
    let same = found.is_some_and(|meta| meta.database_id == app.database_id);
    // Replaced under a running process: every answer from here on would be of another history.
    if same {
        Ok(())
    } else {
        Err(DbError::Corrupt { reason: "it was replaced".to_owned() }.into())
    }
}
