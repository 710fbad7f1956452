//! What the provisioner started, or was about to start: written before it acts, so that
//! nothing runs that no row knows.

use weir_protocol::ids::{ClusterId, LaunchId, SpuId};

use super::{DbResult, Row, Scoped, Tx, types::LaunchState};
use crate::params;

/// One start of an SPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaunchRow {
    /// Its id.
    pub id: LaunchId,
    /// Which SPU.
    pub spu: SpuId,
    /// Keyed hash of the secret that the process presents, hexadecimal.
    pub secret_hash: String,
    /// What is so.
    pub state: LaunchState,
    /// Why it ended.
    pub reason: Option<String>,
    /// Milliseconds since 1970.
    pub created_at_unix_ms: i64,
    /// Milliseconds since 1970.
    pub ended_at_unix_ms: Option<i64>,
}

fn launch(row: &Row) -> DbResult<LaunchRow> {
    Ok(LaunchRow {
        id: row.get("launch_id")?,
        spu: row.get("spu_id")?,
        secret_hash: row.get("secret_hash")?,
        state: row.get("state")?,
        reason: row.get("reason")?,
        created_at_unix_ms: row.get("created_at_unix_ms")?,
        ended_at_unix_ms: row.get("ended_at_unix_ms")?,
    })
}

/// Writes a planned launch. Make it the SPU's with [`super::spus::set_launch`] in the same
/// transaction.
///
/// # Errors
/// As the database.
pub async fn insert(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    id: LaunchId,
    spu: SpuId,
    secret_hash: &str,
    now_unix_ms: i64,
) -> DbResult<()> {
    scoped
        .execute(
            "INSERT INTO launches
                (org_id, cluster_id, launch_id, spu_id, secret_hash, state, created_at_unix_ms)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
            params![cluster, id, spu, secret_hash, LaunchState::Planned, now_unix_ms],
        )
        .await?;
    Ok(())
}

/// One launch.
///
/// # Errors
/// As the database.
pub async fn get(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    id: LaunchId,
) -> DbResult<Option<LaunchRow>> {
    let row = scoped
        .query_optional(
            "SELECT * FROM launches WHERE org_id = $1 AND cluster_id = $2 AND launch_id = $3",
            params![cluster, id],
        )
        .await?;
    row.as_ref().map(launch).transpose()
}

/// The last launches of an SPU, the newest first.
///
/// # Errors
/// As the database.
pub async fn recent(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    spu: SpuId,
    limit: u32,
) -> DbResult<Vec<LaunchRow>> {
    let rows = scoped
        .query(
            "SELECT * FROM launches WHERE org_id = $1 AND cluster_id = $2 AND spu_id = $3
             ORDER BY created_at_unix_ms DESC, launch_id DESC LIMIT $4",
            params![cluster, spu, limit],
        )
        .await?;
    rows.iter().map(launch).collect()
}

/// It ended. `false` when that was known.
///
/// # Errors
/// As the database.
pub async fn ended(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    id: LaunchId,
    reason: &str,
    now_unix_ms: i64,
) -> DbResult<bool> {
    let rows = scoped
        .execute(
            "UPDATE launches SET state = $4, reason = $5, ended_at_unix_ms = $6
             WHERE org_id = $1 AND cluster_id = $2 AND launch_id = $3 AND state <> $4",
            params![cluster, id, LaunchState::Ended, reason, now_unix_ms],
        )
        .await?;
    Ok(rows == 1)
}

/// Forgets the ended launches of every SPU of every tenant but the last `keep`, and never
/// one that is its SPU's current one; says how many.
///
/// # Errors
/// As the database.
pub async fn system_prune(tx: &mut Tx, keep: u32) -> DbResult<u64> {
    tx.execute(
        "DELETE FROM launches
         WHERE (org_id, cluster_id, launch_id) IN
            (SELECT org_id, cluster_id, launch_id FROM
                (SELECT org_id, cluster_id, launch_id, row_number() OVER
                    (PARTITION BY org_id, cluster_id, spu_id
                     ORDER BY created_at_unix_ms DESC, launch_id DESC) AS place
                 FROM launches WHERE state = $1) AS ranked
             WHERE place > $2)
         AND NOT EXISTS
            (SELECT 1 FROM spus s
             WHERE s.org_id = launches.org_id AND s.cluster_id = launches.cluster_id
                AND s.launch_id = launches.launch_id)",
        params![LaunchState::Ended, keep],
    )
    .await
}
