//! The two things that a provisioner decides and that must outlive the control plane: how
//! to find a launch again, and which ports a cluster got.

use weir_protocol::ids::{ClusterId, LaunchId, ProducerId, SpuId};

use super::{DbError, DbResult, Scoped, Tx, types::LaunchState};
use crate::params;

/// A launch that has not ended, as the provisioner needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveLaunch {
    /// Its id.
    pub id: LaunchId,
    /// Which SPU.
    pub spu: SpuId,
    /// The provisioner's handle; `None` until the start was recorded.
    pub handle: Option<serde_json::Value>,
}

/// A cluster's ports, as far as they are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterPorts {
    /// Whose they are.
    pub cluster: ClusterId,
    /// How many ports it may use: as many as the spec asks for SPUs, and no fewer than it
    /// ever had of them.
    pub spus: u32,
    /// First port, when the spec names it.
    pub port_base: Option<u16>,
    /// First port, when it was chosen here.
    pub ports_from: Option<u16>,
}

/// The provisioner started a launch.
///
/// # Errors
/// As the database.
pub async fn started(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    id: LaunchId,
    handle: &serde_json::Value,
) -> DbResult<()> {
    scoped
        .execute(
            "UPDATE launches SET state = $4, handle = $5
             WHERE org_id = $1 AND cluster_id = $2 AND launch_id = $3 AND state <> $6",
            params![cluster, id, LaunchState::Started, handle.to_string(), LaunchState::Ended],
        )
        .await?;
    Ok(())
}

/// Launches that have not ended, the oldest first, without those of SPUs that run elsewhere: they
/// have no end that a provisioner could see.
///
/// # Errors
/// As the database.
pub async fn live(scoped: &mut Scoped<'_>, cluster: ClusterId) -> DbResult<Vec<LiveLaunch>> {
    let rows = scoped
        .query(
            "SELECT launch_id, spu_id, handle FROM launches
             WHERE org_id = $1 AND cluster_id = $2 AND state <> $3
                AND spu_id NOT IN
                    (SELECT spu_id FROM spus
                     WHERE org_id = $1 AND cluster_id = $2 AND external = 1)
             ORDER BY created_at_unix_ms, launch_id",
            params![cluster, LaunchState::Ended],
        )
        .await?;
    rows.iter()
        .map(|row| {
            let handle: Option<String> = row.get("handle")?;
            let handle = handle.map(|text| serde_json::from_str(&text)).transpose();
            Ok(LiveLaunch {
                id: row.get("launch_id")?,
                spu: row.get("spu_id")?,
                handle: handle.map_err(|_| decode("handle", "JSON"))?,
            })
        })
        .collect()
}

/// The ports of every cluster of every tenant, by cluster id.
///
/// # Errors
/// As the database.
pub async fn system_ports(tx: &mut Tx) -> DbResult<Vec<ClusterPorts>> {
    let rows = tx
        .query(
            "SELECT cluster_id, spec, last_spu_id, ports_from FROM clusters ORDER BY cluster_id",
            vec![],
        )
        .await?;
    rows.iter()
        .map(|row| {
            let spec: String = row.get("spec")?;
            let spec: super::clusters::ClusterSpec =
                serde_json::from_str(&spec).map_err(|_| decode("spec", "cluster spec"))?;
            Ok(ClusterPorts {
                cluster: row.get("cluster_id")?,
                spus: spec.spus.max(row.get("last_spu_id")?),
                port_base: spec.port_base,
                ports_from: row.get("ports_from")?,
            })
        })
        .collect()
}

/// The choice of a cluster's ports, once it was made.
///
/// # Errors
/// As the database.
pub async fn ports_from(scoped: &mut Scoped<'_>, cluster: ClusterId) -> DbResult<Option<u16>> {
    let row = scoped
        .query_optional(
            "SELECT ports_from FROM clusters WHERE org_id = $1 AND cluster_id = $2",
            params![cluster],
        )
        .await?;
    row.map_or(Ok(None), |row| row.get("ports_from"))
}

/// Keeps the choice of a cluster's ports. Ports that single SPUs were given are forgotten.
///
/// # Errors
/// As the database.
pub async fn set_ports_from(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    ports_from: u16,
) -> DbResult<()> {
    scoped
        .execute(
            "UPDATE clusters SET ports_from = $3 WHERE org_id = $1 AND cluster_id = $2",
            params![cluster, u32::from(ports_from)],
        )
        .await?;
    scoped
        .execute(
            "UPDATE spus SET port = NULL WHERE org_id = $1 AND cluster_id = $2",
            params![cluster],
        )
        .await?;
    Ok(())
}

/// The first producer id of a cluster that was never given out.
///
/// # Errors
/// As the database.
pub async fn next_producer_id(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
) -> DbResult<Option<ProducerId>> {
    let row = scoped
        .query_optional(
            "SELECT next_producer_id FROM clusters WHERE org_id = $1 AND cluster_id = $2",
            params![cluster],
        )
        .await?;
    row.map(|row| row.get("next_producer_id")).transpose()
}

fn decode(column: &str, expected: &'static str) -> DbError {
    DbError::Decode { column: column.to_owned(), expected }
}
