//! A cluster whose database went back: that it is frozen, what its SPUs have said since, and which
//! partitions wait for a leader after it was taken up again ([`super::take_up`]).

use std::collections::BTreeSet;

use weir_protocol::ids::{
    ClusterId, DatabaseId, FolderId, LaunchId, PartitionIndex, PartitionKey, RestoreNumber, SpuId,
    TopicGenerationId,
};

use super::{
    DbError, DbResult, Row, Scoped, Tx,
    history::Heard,
    launches, partition_state,
    partitions::{self, PartitionRow, select_partitions},
    spus,
    types::TopicState,
};
use crate::params;

/// Why a cluster is frozen, and since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frozen {
    /// For people.
    pub reason: String,
    /// Milliseconds since 1970.
    pub since_unix_ms: i64,
}

/// What an SPU said of itself since its cluster was frozen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportRow {
    /// What it has seen.
    pub heard: Heard,
    /// The launch that said so.
    pub launch: LaunchId,
    /// Keyed hash of the secret that it showed.
    pub secret_hash: String,
    /// Its data folder.
    pub folder: FolderId,
    /// Milliseconds since 1970.
    pub heard_at_unix_ms: i64,
}

/// Freezes a cluster; what its SPUs said before is forgotten. `false`, and nothing changed, when
/// it is frozen.
///
/// # Errors
/// As the database.
pub async fn freeze(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    reason: &str,
    now_unix_ms: i64,
) -> DbResult<bool> {
    let rows = scoped
        .execute(
            "UPDATE clusters SET frozen_reason = $3, frozen_at_unix_ms = $4, updated_at_unix_ms = $4
             WHERE org_id = $1 AND cluster_id = $2 AND frozen_reason IS NULL",
            params![cluster, reason, now_unix_ms],
        )
        .await?;
    if rows == 1 {
        forget_reports(scoped, cluster).await?;
    }
    Ok(rows == 1)
}

pub(super) async fn forget_reports(scoped: &mut Scoped<'_>, cluster: ClusterId) -> DbResult<u64> {
    scoped
        .execute("DELETE FROM spu_reports WHERE org_id = $1 AND cluster_id = $2", params![cluster])
        .await
}

/// Keeps what an SPU says, in the place of what it said before.
///
/// # Errors
/// As the database.
pub async fn report(scoped: &mut Scoped<'_>, cluster: ClusterId, row: &ReportRow) -> DbResult<()> {
    let heard = &row.heard;
    scoped
        .execute(
            "DELETE FROM spu_reports WHERE org_id = $1 AND cluster_id = $2 AND spu_id = $3",
            params![cluster, heard.spu],
        )
        .await?;
    let (database, restored) = heard.database.unzip();
    let held: Vec<_> = heard.held.iter().map(|key| (key.generation, key.partition)).collect();
    scoped
        .execute(
            "INSERT INTO spu_reports (org_id, cluster_id, spu_id, launch_id, secret_hash, folder_id,
                database_id, restore_number, revision, producer_id, leader_epoch, partition_epoch,
                incarnation, held, heard_at_unix_ms)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
            params![
                cluster,
                heard.spu,
                row.launch,
                &row.secret_hash,
                row.folder,
                database,
                restored.unwrap_or_default(),
                heard.revision,
                heard.producer_id,
                heard.leader_epoch,
                heard.partition_epoch,
                heard.incarnation,
                serde_json::json!(held).to_string(),
                row.heard_at_unix_ms
            ],
        )
        .await?;
    Ok(())
}

/// What the SPUs said, by id.
///
/// # Errors
/// As the database.
pub async fn reports(scoped: &mut Scoped<'_>, cluster: ClusterId) -> DbResult<Vec<ReportRow>> {
    let rows = scoped
        .query(
            "SELECT * FROM spu_reports WHERE org_id = $1 AND cluster_id = $2 ORDER BY spu_id",
            params![cluster],
        )
        .await?;
    rows.iter().map(report_row).collect()
}

fn report_row(row: &Row) -> DbResult<ReportRow> {
    let held: String = row.get("held")?;
    let held: Vec<(TopicGenerationId, PartitionIndex)> = serde_json::from_str(&held)
        .map_err(|_| DbError::Decode { column: "held".to_owned(), expected: "JSON" })?;
    let database: Option<DatabaseId> = row.get("database_id")?;
    let restored: RestoreNumber = row.get("restore_number")?;
    let key = |(generation, partition)| PartitionKey { generation, partition };
    Ok(ReportRow {
        heard: Heard {
            spu: row.get("spu_id")?,
            database: database.map(|id| (id, restored)),
            revision: row.get("revision")?,
            producer_id: row.get("producer_id")?,
            leader_epoch: row.get("leader_epoch")?,
            partition_epoch: row.get("partition_epoch")?,
            incarnation: row.get("incarnation")?,
            held: held.into_iter().map(key).collect(),
        },
        launch: row.get("launch_id")?,
        secret_hash: row.get("secret_hash")?,
        folder: row.get("folder_id")?,
        heard_at_unix_ms: row.get("heard_at_unix_ms")?,
    })
}

/// Histories of other databases that a recovery took in, each up to which restore.
///
/// # Errors
/// As the database.
pub async fn histories(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
) -> DbResult<Vec<(DatabaseId, RestoreNumber)>> {
    let rows = scoped
        .query(
            "SELECT database_id, restore_number FROM cluster_histories
             WHERE org_id = $1 AND cluster_id = $2 ORDER BY database_id",
            params![cluster],
        )
        .await?;
    rows.iter().map(|row| Ok((row.get("database_id")?, row.get("restore_number")?))).collect()
}

/// Makes the launch that spoke the SPU's current one. It runs: how to find it is found out.
///
/// # Errors
/// As the database.
pub async fn adopt(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    row: &ReportRow,
    now_unix_ms: i64,
) -> DbResult<()> {
    let (spu, launch) = (row.heard.spu, row.launch);
    launches::insert(scoped, cluster, launch, spu, &row.secret_hash, now_unix_ms).await?;
    let restarts = spus::get(scoped, cluster, spu).await?.map_or(0, |row| row.restarts);
    spus::set_launch(scoped, cluster, spu, launch, restarts, now_unix_ms).await
}

/// Partitions of active topics whose leader is yet to be found out, the first `limit` of them after
/// this one.
///
/// # Errors
/// As the database.
pub async fn recovering(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    after: Option<PartitionKey>,
    limit: u32,
) -> DbResult<Vec<PartitionRow>> {
    let (generation, index) =
        after.map_or_else(|| (String::new(), 0), |k| (k.generation.to_string(), k.partition.0));
    let rows = scoped
        .query(
            select_partitions!(
                "(SELECT q.* FROM partitions q
                    JOIN topic_generations t ON t.org_id = q.org_id
                        AND t.cluster_id = q.cluster_id AND t.generation_id = q.generation_id
                    WHERE q.org_id = $1 AND q.cluster_id = $2 AND q.recovering = 1 AND t.state = $3
                        AND (q.generation_id > $4 OR (q.generation_id = $4 AND q.idx > $5))
                    ORDER BY q.generation_id, q.idx LIMIT $6) p",
                "p.org_id = $1 AND p.cluster_id = $2
                 ORDER BY p.generation_id, p.idx, r.position"
            ),
            params![cluster, TopicState::Active, generation, index, limit],
        )
        .await?;
    partitions::partitions(&rows)
}

/// The partition is led again. `false`, and nothing changed, if it is not at its epoch.
///
/// # Errors
/// As the database.
pub async fn led(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    before: &PartitionRow,
    after: &partition_state::PartitionState,
) -> DbResult<bool> {
    let rows = scoped
        .execute(
            "UPDATE partitions SET recovering = 0
             WHERE org_id = $1 AND cluster_id = $2 AND generation_id = $3 AND idx = $4
                AND partition_epoch = $5",
            params![cluster, before.key.generation, before.key.partition, before.partition_epoch],
        )
        .await?;
    Ok(rows == 1 && partition_state::set_state(scoped, cluster, before, after).await?)
}

/// These logs are waited for, and no others. What only others had is lost.
///
/// # Errors
/// As the database.
pub async fn await_only(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    row: &PartitionRow,
    awaited: &BTreeSet<SpuId>,
) -> DbResult<()> {
    let key = row.key;
    for spu in row.holders() {
        scoped
            .execute(
                "UPDATE replicas SET in_isr = $6
                 WHERE org_id = $1 AND cluster_id = $2 AND generation_id = $3 AND idx = $4
                    AND spu_id = $5",
                params![cluster, key.generation, key.partition, spu, awaited.contains(&spu)],
            )
            .await?;
    }
    Ok(())
}

/// Freezes every cluster of every tenant that is not; how many.
///
/// # Errors
/// As the database.
pub async fn system_freeze_all(tx: &mut Tx, reason: &str, now_unix_ms: i64) -> DbResult<u64> {
    tx.execute(
        "UPDATE clusters SET frozen_reason = $1, frozen_at_unix_ms = $2, updated_at_unix_ms = $2
         WHERE frozen_reason IS NULL",
        params![reason, now_unix_ms],
    )
    .await
}
