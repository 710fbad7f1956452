//! What changes of a partition: who leads, who is in sync, who may lead without being so. Every
//! change is made under compare-and-set on the partition epoch, which it raises by one. While the
//! leader is yet to be found out after a recovery, [`super::recovery`] alone changes it.

use std::collections::BTreeSet;

use weir_protocol::ids::{
    ClusterId, Incarnation, LeaderEpoch, PartitionKey, SpuId, TopicGenerationId,
};

use super::{
    DbResult, Scoped,
    partitions::{self, PartitionRow, select_partitions},
    types::TopicState,
};
use crate::params;

/// All that changes of a partition, together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionState {
    /// Who leads, if anybody.
    pub leader: Option<SpuId>,
    /// The incarnation that the leader epoch is given to.
    pub leader_incarnation: Incarnation,
    /// Version of the leadership.
    pub leader_epoch: LeaderEpoch,
    /// Who is in sync.
    pub isr: BTreeSet<SpuId>,
    /// Who may lead without being in sync.
    pub eligible: BTreeSet<SpuId>,
}

impl From<&PartitionRow> for PartitionState {
    fn from(row: &PartitionRow) -> Self {
        Self {
            leader: row.leader,
            leader_incarnation: row.leader_incarnation,
            leader_epoch: row.leader_epoch,
            isr: row.isr(),
            eligible: row.eligible(),
        }
    }
}

/// Writes the state that was decided on `before`, if the partition is still at its epoch.
/// `false`, and nothing changed, if not.
///
/// # Errors
/// As the database.
pub async fn set_state(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    before: &PartitionRow,
    after: &PartitionState,
) -> DbResult<bool> {
    let rows = scoped
        .execute(
            "UPDATE partitions SET leader_spu_id = $5, leader_incarnation = $6, leader_epoch = $7,
                partition_epoch = partition_epoch + 1
             WHERE org_id = $1 AND cluster_id = $2 AND generation_id = $3 AND idx = $4
                AND partition_epoch = $8 AND recovering = 0",
            params![
                cluster,
                before.key.generation,
                before.key.partition,
                after.leader,
                after.leader_incarnation,
                after.leader_epoch,
                before.partition_epoch
            ],
        )
        .await?;
    if rows == 0 {
        return Ok(false);
    }
    set_replicas(scoped, cluster, before, &after.isr, &after.eligible).await?;
    Ok(true)
}

/// The same for in-sync and eligible replicas alone; the leadership stays.
///
/// # Errors
/// As the database.
pub async fn set_isr(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    before: &PartitionRow,
    isr: &BTreeSet<SpuId>,
    eligible: &BTreeSet<SpuId>,
) -> DbResult<bool> {
    let (isr, eligible) = (isr.clone(), eligible.clone());
    let after = PartitionState { isr, eligible, ..PartitionState::from(before) };
    set_state(scoped, cluster, before, &after).await
}

/// The rows of replicas change with the partition epoch only, so those that are as they were
/// at `before` need no statement.
async fn set_replicas(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    before: &PartitionRow,
    isr: &BTreeSet<SpuId>,
    eligible: &BTreeSet<SpuId>,
) -> DbResult<()> {
    for replica in &before.replicas {
        let (in_isr, may_lead) = (isr.contains(&replica.spu), eligible.contains(&replica.spu));
        if (in_isr, may_lead) == (replica.in_isr, replica.eligible) {
            continue;
        }
        scoped
            .execute(
                "UPDATE replicas SET in_isr = $6, eligible = $7
                 WHERE org_id = $1 AND cluster_id = $2 AND generation_id = $3 AND idx = $4
                    AND spu_id = $5",
                params![
                    cluster,
                    before.key.generation,
                    before.key.partition,
                    replica.spu,
                    in_isr,
                    may_lead
                ],
            )
            .await?;
    }
    Ok(())
}

/// Partitions in which the SPU is in sync, or eligible, and not the only holder, by generation and index:
/// what its loss may change. Those of deleted topics too, for they can come back; not what is
/// being purged.
///
/// # Errors
/// As the database.
pub async fn shared_by(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    spu: SpuId,
) -> DbResult<Vec<PartitionRow>> {
    let rows = scoped
        .query(
            select_partitions!(
                "replicas own
                 JOIN partitions p ON p.org_id = own.org_id AND p.cluster_id = own.cluster_id
                    AND p.generation_id = own.generation_id AND p.idx = own.idx",
                "own.org_id = $1 AND own.cluster_id = $2 AND own.spu_id = $3
                    AND (own.in_isr = 1 OR own.eligible = 1) AND g.state <> $4
                    AND EXISTS (SELECT 1 FROM replicas o
                        WHERE o.org_id = own.org_id AND o.cluster_id = own.cluster_id
                            AND o.generation_id = own.generation_id AND o.idx = own.idx
                            AND o.spu_id <> own.spu_id)
                 ORDER BY p.generation_id, p.idx, r.position"
            ),
            params![cluster, spu, TopicState::Purging],
        )
        .await?;
    partitions::partitions(&rows)
}

/// Partitions of active topics that another one leads than who is preferred, although that one
/// is in sync; the first `limit` of them.
///
/// # Errors
/// As the database.
pub async fn led_by_another(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    limit: u32,
) -> DbResult<Vec<PartitionKey>> {
    let rows = scoped
        .query(
            "SELECT p.generation_id, p.idx
             FROM replicas r
             JOIN partitions p ON p.org_id = r.org_id AND p.cluster_id = r.cluster_id
                AND p.generation_id = r.generation_id AND p.idx = r.idx
             JOIN topic_generations g ON g.org_id = p.org_id AND g.cluster_id = p.cluster_id
                AND g.generation_id = p.generation_id
             WHERE r.org_id = $1 AND r.cluster_id = $2 AND r.position = 0 AND r.in_isr = 1
                AND p.leader_spu_id <> r.spu_id AND g.state = $3
             ORDER BY p.generation_id, p.idx LIMIT $4",
            params![cluster, TopicState::Active, limit],
        )
        .await?;
    rows.iter()
        .map(|row| {
            Ok(PartitionKey { generation: row.get("generation_id")?, partition: row.get("idx")? })
        })
        .collect()
}

/// Takes an SPU off one partition: for a replica whose data goes with its SPU. Who leads is the
/// caller's to decide ([`set_state`]), in this transaction and before.
///
/// # Errors
/// As the database.
pub async fn drop_replica(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    key: PartitionKey,
    spu: SpuId,
) -> DbResult<()> {
    scoped
        .execute(
            "DELETE FROM replicas
             WHERE org_id = $1 AND cluster_id = $2 AND generation_id = $3 AND idx = $4
                AND spu_id = $5",
            params![cluster, key.generation, key.partition, spu],
        )
        .await?;
    Ok(())
}

/// Takes an SPU off the partitions of one generation: for replicas whose data goes with their
/// SPU. Those that it led have no leader any more.
///
/// # Errors
/// As the database.
pub async fn drop_replicas(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    generation: TopicGenerationId,
    spu: SpuId,
) -> DbResult<()> {
    scoped
        .execute(
            "UPDATE partitions SET leader_spu_id = NULL, partition_epoch = partition_epoch + 1
             WHERE org_id = $1 AND cluster_id = $2 AND generation_id = $3 AND leader_spu_id = $4",
            params![cluster, generation, spu],
        )
        .await?;
    scoped
        .execute(
            "DELETE FROM replicas
             WHERE org_id = $1 AND cluster_id = $2 AND generation_id = $3 AND spu_id = $4",
            params![cluster, generation, spu],
        )
        .await?;
    Ok(())
}
