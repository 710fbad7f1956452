//! Clusters: what is wanted, what is so, and the counters that never go back.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use weir_protocol::ids::{ClusterId, OrgId, ProducerId, RestoreNumber, Revision};

use super::{
    DbError, DbResult, Row, Scoped, Tx,
    recovery::Frozen,
    types::{ClusterState, Desired},
};
use crate::params;

/// What is wanted of a cluster, as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClusterSpec {
    /// How many SPUs.
    pub spus: u32,
    /// First port of the SPUs' listeners; none: the provisioner chooses.
    #[serde(default)]
    pub port_base: Option<u16>,
    /// Folder that holds the SPUs' data folders; none: the provisioner chooses.
    #[serde(default)]
    pub data_dir: Option<String>,
}

/// A cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterRow {
    /// Whose it is.
    pub org: OrgId,
    /// Its id.
    pub id: ClusterId,
    /// Unique within the org.
    pub name: String,
    /// What is wanted.
    pub desired: Desired,
    /// What is so.
    pub state: ClusterState,
    /// Why the state is what it is, when that needs saying.
    pub reason: Option<String>,
    /// What is wanted in detail.
    pub spec: ClusterSpec,
    /// The last revision that was taken.
    pub revision: Revision,
    /// The first producer id that was not given out.
    pub next_producer_id: ProducerId,
    /// Why nothing is decided about it, if so: its database went back.
    pub frozen: Option<Frozen>,
    /// How often it was recovered; on top of the database's own restore number.
    pub restore_number: RestoreNumber,
    /// Milliseconds since 1970.
    pub created_at_unix_ms: i64,
}

fn cluster(row: &Row) -> DbResult<ClusterRow> {
    let spec: String = row.get("spec")?;
    let frozen: Option<String> = row.get("frozen_reason")?;
    let since: Option<i64> = row.get("frozen_at_unix_ms")?;
    Ok(ClusterRow {
        org: row.get("org_id")?,
        id: row.get("cluster_id")?,
        name: row.get("name")?,
        desired: row.get("desired")?,
        state: row.get("state")?,
        reason: row.get("reason")?,
        spec: serde_json::from_str(&spec)
            .map_err(|_| DbError::Decode { column: "spec".to_owned(), expected: "cluster spec" })?,
        revision: row.get("last_revision")?,
        next_producer_id: row.get("next_producer_id")?,
        frozen: frozen.map(|reason| Frozen { reason, since_unix_ms: since.unwrap_or_default() }),
        restore_number: row.get("restore_number")?,
        created_at_unix_ms: row.get("created_at_unix_ms")?,
    })
}

/// Adds a cluster that should run and does not yet; a unique violation if the name is taken.
///
/// # Errors
/// As the database.
pub async fn insert(
    scoped: &mut Scoped<'_>,
    id: ClusterId,
    name: &str,
    spec: &ClusterSpec,
    now_unix_ms: i64,
) -> DbResult<()> {
    scoped
        .execute(
            "INSERT INTO clusters (org_id, cluster_id, name, desired, state, spec, last_revision,
                last_spu_id, next_producer_id, created_at_unix_ms, updated_at_unix_ms)
             VALUES ($1, $2, $3, $4, $5, $6, 0, 0, 1, $7, $7)",
            params![
                id,
                name,
                Desired::Running,
                ClusterState::Provisioning,
                serde_json::json!(spec).to_string(),
                now_unix_ms
            ],
        )
        .await?;
    Ok(())
}

/// The cluster of this id.
///
/// # Errors
/// As the database.
pub async fn by_id(scoped: &mut Scoped<'_>, id: ClusterId) -> DbResult<Option<ClusterRow>> {
    let row = scoped
        .query_optional("SELECT * FROM clusters WHERE org_id = $1 AND cluster_id = $2", params![id])
        .await?;
    row.as_ref().map(cluster).transpose()
}

/// The cluster of this name.
///
/// # Errors
/// As the database.
pub async fn by_name(scoped: &mut Scoped<'_>, name: &str) -> DbResult<Option<ClusterRow>> {
    let row = scoped
        .query_optional("SELECT * FROM clusters WHERE org_id = $1 AND name = $2", params![name])
        .await?;
    row.as_ref().map(cluster).transpose()
}

/// The cluster of this id or name. No name looks like an id: names have no `_`.
///
/// # Errors
/// As the database.
pub async fn find(scoped: &mut Scoped<'_>, name_or_id: &str) -> DbResult<Option<ClusterRow>> {
    match name_or_id.parse() {
        Ok(id) => by_id(scoped, id).await,
        Err(_) => by_name(scoped, name_or_id).await,
    }
}

/// Clusters by name, after the name `after`.
///
/// # Errors
/// As the database.
pub async fn page(scoped: &mut Scoped<'_>, after: &str, limit: u32) -> DbResult<Vec<ClusterRow>> {
    let rows = scoped
        .query(
            "SELECT * FROM clusters WHERE org_id = $1 AND name > $2 ORDER BY name LIMIT $3",
            params![after, limit],
        )
        .await?;
    rows.iter().map(cluster).collect()
}

/// All clusters of all tenants, by id.
///
/// # Errors
/// As the database.
pub async fn system_list(tx: &mut Tx) -> DbResult<Vec<ClusterRow>> {
    let rows = tx.query("SELECT * FROM clusters ORDER BY cluster_id", vec![]).await?;
    rows.iter().map(cluster).collect()
}

/// Changes what is wanted, and the state that follows from it at once.
///
/// # Errors
/// As the database.
pub async fn set_desired(
    scoped: &mut Scoped<'_>,
    id: ClusterId,
    desired: Desired,
    state: ClusterState,
    now_unix_ms: i64,
) -> DbResult<()> {
    scoped
        .execute(
            "UPDATE clusters
             SET desired = $3, state = $4, reason = NULL, updated_at_unix_ms = $5
             WHERE org_id = $1 AND cluster_id = $2",
            params![id, desired, state, now_unix_ms],
        )
        .await?;
    Ok(())
}

/// Changes what is so, if what is wanted and what was so are still what the reconciler
/// believed: `false`, and nothing changed, when an order came in meanwhile.
///
/// # Errors
/// As the database.
pub async fn set_state(
    scoped: &mut Scoped<'_>,
    id: ClusterId,
    believed: (Desired, ClusterState),
    state: ClusterState,
    reason: Option<&str>,
    now_unix_ms: i64,
) -> DbResult<bool> {
    let rows = scoped
        .execute(
            "UPDATE clusters SET state = $4, reason = $5, updated_at_unix_ms = $6
             WHERE org_id = $1 AND cluster_id = $2 AND desired = $3 AND state = $7",
            params![id, believed.0, state, reason, now_unix_ms, believed.1],
        )
        .await?;
    Ok(rows == 1)
}

/// Changes the spec.
///
/// # Errors
/// As the database.
pub async fn set_spec(
    scoped: &mut Scoped<'_>,
    id: ClusterId,
    spec: &ClusterSpec,
    now_unix_ms: i64,
) -> DbResult<()> {
    scoped
        .execute(
            "UPDATE clusters SET spec = $3, updated_at_unix_ms = $4
             WHERE org_id = $1 AND cluster_id = $2",
            params![id, serde_json::json!(spec).to_string(), now_unix_ms],
        )
        .await?;
    Ok(())
}

/// The next `count` producer ids, never given out again: the first of them. `None` when
/// there is no such cluster.
///
/// # Errors
/// As the database.
pub async fn take_producer_ids(
    scoped: &mut Scoped<'_>,
    id: ClusterId,
    count: u32,
) -> DbResult<Option<ProducerId>> {
    let row = scoped
        .query_optional(
            "UPDATE clusters SET next_producer_id = next_producer_id + $3
             WHERE org_id = $1 AND cluster_id = $2
             RETURNING next_producer_id - $3 AS first",
            params![id, count],
        )
        .await?;
    row.map(|row| row.get("first")).transpose()
}

/// Removes a cluster with all its rows; only the audit remains. Its name is free again.
///
/// # Errors
/// As the database.
pub async fn remove(scoped: &mut Scoped<'_>, id: ClusterId) -> DbResult<bool> {
    let rows = scoped
        .execute("DELETE FROM clusters WHERE org_id = $1 AND cluster_id = $2", params![id])
        .await?;
    Ok(rows == 1)
}
