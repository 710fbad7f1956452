//! SPUs of a cluster. Ids are given out once; removed ones keep their row.

use weir_protocol::ids::{BootId, ClusterId, FolderId, Incarnation, LaunchId, ProcessId, SpuId};

use super::{DbError, DbResult, Row, Scoped, types::SpuState};
use crate::params;

/// An SPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpuRow {
    /// Its id within the cluster, from 1.
    pub id: SpuId,
    /// What is so.
    pub state: SpuState,
    /// Why, when that needs saying.
    pub reason: Option<String>,
    /// To be removed once no replica is left on it. Nothing new is placed on it.
    pub leaving: bool,
    /// Gone for good.
    pub removed: bool,
    /// Removed, and its data folder is gone too.
    pub destroyed: bool,
    /// Not started by the provisioner: somebody runs it elsewhere.
    pub external: bool,
    /// Its port, where that is not the one that follows from its id.
    pub port: Option<u16>,
    /// `host:port` of its data plane, once it registered.
    pub endpoint: Option<String>,
    /// What fails together with it, as it said when it registered.
    pub rack: Option<String>,
    /// Its data folder, once it registered.
    pub folder_id: Option<FolderId>,
    /// Of its last registration; 0 before the first.
    pub incarnation: Incarnation,
    /// The process of its last registration.
    pub process_id: Option<ProcessId>,
    /// Which boot of its machine that was, if it said so.
    pub boot_id: Option<BootId>,
    /// The launch that is allowed to register.
    pub launch_id: Option<LaunchId>,
    /// Launches after the first that nobody ordered.
    pub restarts: u32,
    /// When the row last changed, milliseconds since 1970.
    pub updated_at_unix_ms: i64,
}

/// What an SPU said of itself, and the incarnation that it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Higher than any before.
    pub incarnation: Incarnation,
    /// Its data folder.
    pub folder_id: FolderId,
    /// Its process.
    pub process_id: ProcessId,
    /// Where clients reach it.
    pub endpoint: String,
    /// What fails together with it, if it says.
    pub rack: Option<String>,
    /// Which boot of its machine this is, if it says.
    pub boot_id: Option<BootId>,
}

impl SpuRow {
    /// Whether something may be moved onto it: it stays, and is there, or will be started here. One
    /// that runs elsewhere and was never there may never come.
    #[must_use]
    pub const fn takes(&self) -> bool {
        self.stays() && (!self.external || self.incarnation.get() > 0)
    }

    /// Whether it stays: neither gone nor on its way out. The spec counts these and no others.
    #[must_use]
    pub const fn stays(&self) -> bool {
        !self.removed && !self.leaving
    }
}

fn spu(row: &Row) -> DbResult<SpuRow> {
    Ok(SpuRow {
        id: row.get("spu_id")?,
        state: row.get("state")?,
        reason: row.get("reason")?,
        leaving: row.get("leaving")?,
        removed: row.get("removed")?,
        destroyed: row.get("destroyed")?,
        external: row.get("external")?,
        port: row.get("port")?,
        endpoint: row.get("endpoint")?,
        rack: row.get("rack")?,
        folder_id: row.get("folder_id")?,
        incarnation: row.get("incarnation")?,
        process_id: row.get("process_id")?,
        boot_id: row.get("boot_id")?,
        launch_id: row.get("launch_id")?,
        restarts: row.get("restarts")?,
        updated_at_unix_ms: row.get("updated_at_unix_ms")?,
    })
}

/// Adds an SPU under the cluster's next id.
///
/// # Errors
/// As the database; [`DbError::Misuse`] when there is no such cluster.
pub async fn add(scoped: &mut Scoped<'_>, cluster: ClusterId, now_unix_ms: i64) -> DbResult<SpuId> {
    let id: SpuId = scoped
        .query_optional(
            "UPDATE clusters SET last_spu_id = last_spu_id + 1
             WHERE org_id = $1 AND cluster_id = $2
             RETURNING last_spu_id",
            params![cluster],
        )
        .await?
        .ok_or_else(|| DbError::Misuse { reason: format!("no cluster {cluster}") })?
        .get("last_spu_id")?;
    scoped
        .execute(
            "INSERT INTO spus (org_id, cluster_id, spu_id, state, removed, incarnation, restarts,
                created_at_unix_ms, updated_at_unix_ms)
             VALUES ($1, $2, $3, $4, 0, 0, 0, $5, $5)",
            params![cluster, id, SpuState::Starting, now_unix_ms],
        )
        .await?;
    Ok(id)
}

/// An SPU runs elsewhere, and nothing here starts or stops it: it is away until it registers. Its
/// launch stays the same for good.
///
/// # Errors
/// As the database.
pub async fn set_external(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    id: SpuId,
    launch: LaunchId,
    now_unix_ms: i64,
) -> DbResult<()> {
    scoped
        .execute(
            "UPDATE spus SET external = 1, launch_id = $4, state = $6, updated_at_unix_ms = $5
             WHERE org_id = $1 AND cluster_id = $2 AND spu_id = $3 AND removed = 0",
            params![cluster, id, launch, now_unix_ms, SpuState::Offline],
        )
        .await?;
    Ok(())
}

/// All SPUs that the cluster ever had, by id.
///
/// # Errors
/// As the database.
pub async fn list(scoped: &mut Scoped<'_>, cluster: ClusterId) -> DbResult<Vec<SpuRow>> {
    let rows = scoped
        .query(
            "SELECT * FROM spus WHERE org_id = $1 AND cluster_id = $2 ORDER BY spu_id",
            params![cluster],
        )
        .await?;
    rows.iter().map(spu).collect()
}

/// One SPU.
///
/// # Errors
/// As the database.
pub async fn get(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    id: SpuId,
) -> DbResult<Option<SpuRow>> {
    let row = scoped
        .query_optional(
            "SELECT * FROM spus WHERE org_id = $1 AND cluster_id = $2 AND spu_id = $3",
            params![cluster, id],
        )
        .await?;
    row.as_ref().map(spu).transpose()
}

/// Makes `launch` the one that may register; the SPU is starting from now on.
///
/// # Errors
/// As the database.
pub async fn set_launch(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    id: SpuId,
    launch: LaunchId,
    restarts: u32,
    now_unix_ms: i64,
) -> DbResult<()> {
    scoped
        .execute(
            "UPDATE spus SET launch_id = $4, restarts = $5, state = $6, reason = NULL,
                updated_at_unix_ms = $7
             WHERE org_id = $1 AND cluster_id = $2 AND spu_id = $3 AND removed = 0",
            params![cluster, id, launch, restarts, SpuState::Starting, now_unix_ms],
        )
        .await?;
    Ok(())
}

/// Writes a registration; the SPU is online. `false`, and nothing changed, unless the
/// incarnation is higher than the last one.
///
/// # Errors
/// As the database.
pub async fn register(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    id: SpuId,
    registration: &Registration,
    now_unix_ms: i64,
) -> DbResult<bool> {
    let rows = scoped
        .execute(
            "UPDATE spus SET incarnation = $4, folder_id = $5, process_id = $6, endpoint = $7,
                state = $8, reason = NULL, updated_at_unix_ms = $9, rack = $10, boot_id = $11
             WHERE org_id = $1 AND cluster_id = $2 AND spu_id = $3
                AND removed = 0 AND incarnation < $4",
            params![
                cluster,
                id,
                registration.incarnation,
                registration.folder_id,
                registration.process_id,
                &registration.endpoint,
                SpuState::Online,
                now_unix_ms,
                registration.rack.as_deref(),
                registration.boot_id
            ],
        )
        .await?;
    Ok(rows == 1)
}

/// Changes what is so. Says whether anything changed.
///
/// # Errors
/// As the database.
pub async fn set_state(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    id: SpuId,
    state: SpuState,
    reason: Option<&str>,
    now_unix_ms: i64,
) -> DbResult<bool> {
    let rows = scoped
        .execute(
            "UPDATE spus SET state = $4, reason = $5, updated_at_unix_ms = $6
             WHERE org_id = $1 AND cluster_id = $2 AND spu_id = $3 AND removed = 0
                AND (state <> $4 OR coalesce(reason, '') <> coalesce($5, ''))",
            params![cluster, id, state, reason, now_unix_ms],
        )
        .await?;
    Ok(rows == 1)
}

/// Removes an SPU for good. The row stays, so that the id is known as used.
///
/// # Errors
/// As the database.
pub async fn remove(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    id: SpuId,
    now_unix_ms: i64,
) -> DbResult<()> {
    scoped
        .execute(
            "UPDATE spus SET removed = 1, leaving = 0, state = $4, reason = NULL,
                updated_at_unix_ms = $5
             WHERE org_id = $1 AND cluster_id = $2 AND spu_id = $3",
            params![cluster, id, SpuState::Removed, now_unix_ms],
        )
        .await?;
    Ok(())
}

/// Says that an SPU is to be removed, or that it stays after all.
///
/// # Errors
/// As the database.
pub async fn set_leaving(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    id: SpuId,
    leaving: bool,
    now_unix_ms: i64,
) -> DbResult<()> {
    scoped
        .execute(
            "UPDATE spus SET leaving = $4, updated_at_unix_ms = $5
             WHERE org_id = $1 AND cluster_id = $2 AND spu_id = $3 AND removed = 0",
            params![cluster, id, leaving, now_unix_ms],
        )
        .await?;
    Ok(())
}

/// A removed SPU's data folder is gone.
///
/// # Errors
/// As the database.
pub async fn set_destroyed(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    id: SpuId,
    now_unix_ms: i64,
) -> DbResult<()> {
    scoped
        .execute(
            "UPDATE spus SET destroyed = 1, port = NULL, updated_at_unix_ms = $4
             WHERE org_id = $1 AND cluster_id = $2 AND spu_id = $3 AND removed = 1",
            params![cluster, id, now_unix_ms],
        )
        .await?;
    Ok(())
}

/// Gives an SPU a port of its own.
///
/// # Errors
/// As the database.
pub async fn set_port(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    id: SpuId,
    port: u16,
) -> DbResult<()> {
    scoped
        .execute(
            "UPDATE spus SET port = $4 WHERE org_id = $1 AND cluster_id = $2 AND spu_id = $3",
            params![cluster, id, u32::from(port)],
        )
        .await?;
    Ok(())
}
