//! Replicas that their partition does without, and whose data their SPU is still to remove. A
//! row stays until the SPU confirmed it, or is gone for good itself.

use std::collections::{BTreeMap, BTreeSet};

use weir_protocol::ids::{ClusterId, PartitionEpoch, PartitionKey, SpuId, TopicGenerationId};

use super::{DbResult, Scoped};
use crate::params;

/// Orders a removal. `since`: the first partition epoch that does not name the replica.
///
/// # Errors
/// As the database.
pub async fn insert(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    key: PartitionKey,
    spu: SpuId,
    since: PartitionEpoch,
    now_unix_ms: i64,
) -> DbResult<()> {
    scoped
        .execute(
            "INSERT INTO replica_removals (org_id, cluster_id, generation_id, idx, spu_id,
                partition_epoch, created_at_unix_ms)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
            params![cluster, key.generation, key.partition, spu, since, now_unix_ms],
        )
        .await?;
    Ok(())
}

/// What an SPU is to remove, with the partition's epoch as it is now, for the SPU has seen that
/// and refuses what is older; the first `limit` of them.
///
/// # Errors
/// As the database.
pub async fn of_spu(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    spu: SpuId,
    limit: u32,
) -> DbResult<Vec<(PartitionKey, PartitionEpoch)>> {
    let rows = scoped
        .query(
            "SELECT p.generation_id, p.idx, p.partition_epoch
             FROM replica_removals d
             JOIN partitions p ON p.org_id = d.org_id AND p.cluster_id = d.cluster_id
                AND p.generation_id = d.generation_id AND p.idx = d.idx
             WHERE d.org_id = $1 AND d.cluster_id = $2 AND d.spu_id = $3
             ORDER BY p.generation_id, p.idx LIMIT $4",
            params![cluster, spu, limit],
        )
        .await?;
    rows.iter()
        .map(|row| {
            let key =
                PartitionKey { generation: row.get("generation_id")?, partition: row.get("idx")? };
            Ok((key, row.get("partition_epoch")?))
        })
        .collect()
}

/// An SPU carried out an order of this epoch. A confirmation that comes late, of an order from
/// before the SPU held the replica again, removes nothing: its epoch is too low. `false`, and
/// nothing changed, then and where there is nothing to remove.
///
/// # Errors
/// As the database.
pub async fn confirmed(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    key: PartitionKey,
    spu: SpuId,
    epoch: PartitionEpoch,
) -> DbResult<bool> {
    let rows = scoped
        .execute(
            "DELETE FROM replica_removals
             WHERE org_id = $1 AND cluster_id = $2 AND generation_id = $3 AND idx = $4
                AND spu_id = $5 AND partition_epoch <= $6",
            params![cluster, key.generation, key.partition, spu, epoch],
        )
        .await?;
    Ok(rows == 1)
}

/// Which SPUs are still to remove something of which partition.
///
/// # Errors
/// As the database.
pub async fn of_cluster(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
) -> DbResult<BTreeMap<PartitionKey, BTreeSet<SpuId>>> {
    let rows = scoped
        .query(
            "SELECT generation_id, idx, spu_id FROM replica_removals
             WHERE org_id = $1 AND cluster_id = $2
             ORDER BY generation_id, idx, spu_id",
            params![cluster],
        )
        .await?;
    let mut found: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for row in &rows {
        let key =
            PartitionKey { generation: row.get("generation_id")?, partition: row.get("idx")? };
        found.entry(key).or_default().insert(row.get("spu_id")?);
    }
    Ok(found)
}

/// Whether any SPU is still to remove something of a generation.
///
/// # Errors
/// As the database.
pub async fn any_of(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    generation: TopicGenerationId,
) -> DbResult<bool> {
    let row = scoped
        .query_optional(
            "SELECT spu_id FROM replica_removals
             WHERE org_id = $1 AND cluster_id = $2 AND generation_id = $3 LIMIT 1",
            params![cluster, generation],
        )
        .await?;
    Ok(row.is_some())
}

/// An SPU was removed for good, and with it what it still was to remove.
///
/// # Errors
/// As the database.
pub async fn holder_gone(scoped: &mut Scoped<'_>, cluster: ClusterId, spu: SpuId) -> DbResult<()> {
    scoped
        .execute(
            "DELETE FROM replica_removals
             WHERE org_id = $1 AND cluster_id = $2 AND spu_id = $3",
            params![cluster, spu],
        )
        .await?;
    Ok(())
}
