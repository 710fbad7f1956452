//! Who did what: written in the transaction of the act, so that neither is without the other.

use uuid::Uuid;
use weir_protocol::ids::ClusterId;

use super::{DbResult, Scoped};
use crate::params;

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'e> {
    /// A UUIDv7, so that entries sort by time.
    pub id: Uuid,
    /// Who: an API key's id, or a part of the control plane.
    pub actor: &'e str,
    /// What, `noun.verb`.
    pub action: &'e str,
    /// In which cluster.
    pub cluster: Option<ClusterId>,
    /// On what: a name or an id.
    pub subject: &'e str,
    /// More, without secrets.
    pub detail: serde_json::Value,
}

/// Writes an entry.
///
/// # Errors
/// As the database.
pub async fn record(scoped: &mut Scoped<'_>, entry: &Entry<'_>, now_unix_ms: i64) -> DbResult<()> {
    scoped
        .execute(
            "INSERT INTO audit
                (org_id, audit_id, at_unix_ms, actor, action, cluster_id, subject, detail)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            params![
                entry.id.hyphenated().to_string(),
                now_unix_ms,
                entry.actor,
                entry.action,
                entry.cluster,
                entry.subject,
                entry.detail.to_string()
            ],
        )
        .await?;
    Ok(())
}

/// The actions of an org, the newest first: `(action, subject)`.
///
/// # Errors
/// As the database.
pub async fn recent(scoped: &mut Scoped<'_>, limit: u32) -> DbResult<Vec<(String, String)>> {
    let rows = scoped
        .query(
            "SELECT action, subject FROM audit WHERE org_id = $1
             ORDER BY audit_id DESC LIMIT $2",
            params![limit],
        )
        .await?;
    rows.iter().map(|row| Ok((row.get("action")?, row.get("subject")?))).collect()
}
