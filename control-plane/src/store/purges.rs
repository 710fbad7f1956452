//! Generations whose data is being removed. Each holder is ordered to remove its replicas
//! and confirms each; with a confirmation its row goes, and with the last row the
//! generation. So what is still to do is what is still there, across crashes of everybody.

use weir_protocol::ids::{
    ClusterId, PartitionEpoch, PartitionKey, Revision, SpuId, TopicGenerationId,
};

use super::{
    DbResult, Scoped,
    changes::{self, Change},
    partition_state, removals, topics,
    types::TopicState,
};
use crate::params;

/// Orders a tombstone's data to be removed: nothing brings it back. What consumers have
/// committed of it goes at once. `false`, and nothing changed, when it is no tombstone.
///
/// # Errors
/// As the database.
pub async fn begin(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    generation: TopicGenerationId,
) -> DbResult<bool> {
    let rows = scoped
        .execute(
            "UPDATE topic_generations SET state = $4
             WHERE org_id = $1 AND cluster_id = $2 AND generation_id = $3 AND state = $5",
            params![cluster, generation, TopicState::Purging, TopicState::Tombstone],
        )
        .await?;
    if rows == 1 {
        scoped
            .execute(
                "DELETE FROM consumer_offsets
                 WHERE org_id = $1 AND cluster_id = $2 AND generation_id = $3",
                params![cluster, generation],
            )
            .await?;
    }
    Ok(rows == 1)
}

/// Replicas that an SPU is still to remove, with the partition epoch of each, the first
/// `limit` of them.
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
             FROM topic_generations g
             JOIN replicas r ON r.org_id = g.org_id AND r.cluster_id = g.cluster_id
                AND r.generation_id = g.generation_id
             JOIN partitions p ON p.org_id = r.org_id AND p.cluster_id = r.cluster_id
                AND p.generation_id = r.generation_id AND p.idx = r.idx
             WHERE g.org_id = $1 AND g.cluster_id = $2 AND g.state = $3 AND r.spu_id = $4
             ORDER BY p.generation_id, p.idx LIMIT $5",
            params![cluster, TopicState::Purging, spu, limit],
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

/// An SPU carried out an order of this epoch, and has nothing of the replica any more. `false`, and
/// nothing changed, when it holds none that is to be removed, or came to hold it after that order.
///
/// # Errors
/// As the database.
pub async fn removed(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    key: PartitionKey,
    spu: SpuId,
    epoch: PartitionEpoch,
) -> DbResult<bool> {
    let rows = scoped
        .execute(
            "DELETE FROM replicas
             WHERE org_id = $1 AND cluster_id = $2 AND generation_id = $3 AND idx = $4
                AND spu_id = $5
                AND EXISTS (SELECT 1 FROM topic_generations g
                    WHERE g.org_id = $1 AND g.cluster_id = $2 AND g.generation_id = $3
                        AND g.state = $6)
                AND EXISTS (SELECT 1 FROM partitions p
                    WHERE p.org_id = $1 AND p.cluster_id = $2 AND p.generation_id = $3
                        AND p.idx = $4 AND p.partition_epoch <= $7)",
            params![cluster, key.generation, key.partition, spu, TopicState::Purging, epoch],
        )
        .await?;
    Ok(rows == 1)
}

/// Ends a purge that has nothing left to wait for: no SPU holds a replica or has one to remove
/// that a reassignment left behind, those that were removed from the cluster for good aside. Its rows go, offsets and all; the name keeps its
/// number. Answers the revision under which watchers hear of it.
///
/// # Errors
/// As the database.
pub async fn settle(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    generation: TopicGenerationId,
    now_unix_ms: i64,
) -> DbResult<Option<Revision>> {
    let found = topics::by_id(scoped, cluster, generation).await?;
    let Some(row) = found.filter(|row| row.state == TopicState::Purging) else { return Ok(None) };
    let held = scoped
        .query_optional(
            "SELECT r.spu_id FROM replicas r
             JOIN spus s ON s.org_id = r.org_id AND s.cluster_id = r.cluster_id
                AND s.spu_id = r.spu_id
             WHERE r.org_id = $1 AND r.cluster_id = $2 AND r.generation_id = $3 AND s.removed = 0
             LIMIT 1",
            params![cluster, generation],
        )
        .await?;
    if held.is_some() || removals::any_of(scoped, cluster, generation).await? {
        return Ok(None);
    }
    scoped
        .execute(
            "DELETE FROM topic_generations
             WHERE org_id = $1 AND cluster_id = $2 AND generation_id = $3 AND state = $4",
            params![cluster, generation, TopicState::Purging],
        )
        .await?;
    let change = Change::TopicPurged { generation, number: row.number, name: row.name };
    changes::record(scoped, cluster, &change, now_unix_ms).await.map(Some)
}

/// An SPU was removed for good, and with it what it still was to remove: takes it off the
/// generations that are being purged, and ends the purges that waited for nobody else.
///
/// # Errors
/// As the database.
pub async fn holder_gone(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    spu: SpuId,
    now_unix_ms: i64,
) -> DbResult<()> {
    let rows = scoped
        .query(
            "SELECT g.generation_id FROM topic_generations g
             WHERE g.org_id = $1 AND g.cluster_id = $2 AND g.state = $4
                AND (EXISTS (SELECT 1 FROM replicas r
                        WHERE r.org_id = g.org_id AND r.cluster_id = g.cluster_id
                            AND r.generation_id = g.generation_id AND r.spu_id = $3)
                    OR EXISTS (SELECT 1 FROM replica_removals d
                        WHERE d.org_id = g.org_id AND d.cluster_id = g.cluster_id
                            AND d.generation_id = g.generation_id AND d.spu_id = $3))
             ORDER BY g.generation_id",
            params![cluster, spu, TopicState::Purging],
        )
        .await?;
    removals::holder_gone(scoped, cluster, spu).await?;
    for row in &rows {
        let generation = row.get("generation_id")?;
        partition_state::drop_replicas(scoped, cluster, generation, spu).await?;
        if settle(scoped, cluster, generation, now_unix_ms).await?.is_none() {
            // The others' orders name its new epochs.
            changes::record(scoped, cluster, &Change::Topic(generation), now_unix_ms).await?;
        }
    }
    Ok(())
}
