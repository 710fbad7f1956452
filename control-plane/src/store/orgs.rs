//! Tenants.

use weir_protocol::ids::OrgId;

use super::{DbResult, Tx};
use crate::params;

/// Adds an org; a unique violation if the name is taken.
///
/// # Errors
/// As the database.
pub async fn system_insert(tx: &mut Tx, id: OrgId, name: &str, now_unix_ms: i64) -> DbResult<()> {
    tx.execute(
        "INSERT INTO orgs (org_id, name, created_at_unix_ms) VALUES ($1, $2, $3)",
        params![id, name, now_unix_ms],
    )
    .await?;
    Ok(())
}

/// The org of this name.
///
/// # Errors
/// As the database.
pub async fn system_by_name(tx: &mut Tx, name: &str) -> DbResult<Option<OrgId>> {
    let rows = tx.query("SELECT org_id FROM orgs WHERE name = $1", params![name]).await?;
    rows.first().map(|row| row.get("org_id")).transpose()
}
