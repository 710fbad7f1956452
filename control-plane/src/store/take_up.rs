//! The one transaction by which a frozen cluster is taken up again, as `plan::history` decided.

use std::collections::BTreeMap;

use weir_protocol::ids::{ClusterId, PartitionIndex, PartitionKey, TopicGenerationId};

use super::{
    DbError, DbResult, Scoped,
    history::{Counters, Recovery},
    partitions::{self, NewPartition, PartitionRow},
    recovery::{ReportRow, adopt, forget_reports},
    types::SpuState,
};
use crate::params;

/// The highest of the cluster's own counters. Its restore number is without the database's.
///
/// # Errors
/// As the database; [`DbError::Misuse`] when there is no such cluster.
pub async fn counters(scoped: &mut Scoped<'_>, cluster: ClusterId) -> DbResult<Counters> {
    let row = scoped
        .query_optional(
            "SELECT c.restore_number, c.last_revision, c.next_producer_id, c.last_spu_id,
                coalesce((SELECT max(p.leader_epoch) FROM partitions p
                    WHERE p.org_id = $1 AND p.cluster_id = $2), 0) AS leader_epoch,
                coalesce((SELECT max(p.partition_epoch) FROM partitions p
                    WHERE p.org_id = $1 AND p.cluster_id = $2), 0) AS partition_epoch,
                coalesce((SELECT max(s.incarnation) FROM spus s
                    WHERE s.org_id = $1 AND s.cluster_id = $2), 0) AS incarnation
             FROM clusters c WHERE c.org_id = $1 AND c.cluster_id = $2",
            params![cluster],
        )
        .await?
        .ok_or_else(|| DbError::Misuse { reason: format!("no cluster {cluster}") })?;
    Ok(Counters {
        restore_number: row.get("restore_number")?,
        revision: row.get("last_revision")?,
        next_producer_id: row.get("next_producer_id")?,
        last_spu_id: row.get("last_spu_id")?,
        leader_epoch: row.get("leader_epoch")?,
        partition_epoch: row.get("partition_epoch")?,
        incarnation: row.get("incarnation")?,
    })
}

/// Takes the cluster up again: its counters are above all that was seen, nobody leads anything,
/// and the freeze is over. What comes after it, the change that tells watchers included, belongs
/// into the same transaction.
///
/// # Errors
/// As the database.
pub async fn recover(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    recovery: &Recovery,
    reports: &[ReportRow],
    known: &[PartitionRow],
    now_unix_ms: i64,
) -> DbResult<()> {
    let to = &recovery.counters;
    for row in reports {
        let spu = row.heard.spu;
        if recovery.new_spus.contains(&spu) {
            add_spu(scoped, cluster, row, to, now_unix_ms).await?;
        }
        scoped
            .execute(
                "UPDATE spus SET folder_id = $4 WHERE org_id = $1 AND cluster_id = $2 AND spu_id = $3",
                params![cluster, spu, row.folder],
            )
            .await?;
    }
    regrow(scoped, cluster, recovery, known).await?;
    join(scoped, cluster, recovery, known).await?;
    raise(scoped, cluster, to, now_unix_ms).await?;
    await_logs(scoped, cluster, recovery).await?;
    for sql in [
        // What was to be removed may be a replica in use since: it has joined again above.
        "DELETE FROM replica_removals WHERE org_id = $1 AND cluster_id = $2",
        // Of another history: whoever watches takes a snapshot.
        "DELETE FROM changes WHERE org_id = $1 AND cluster_id = $2",
    ] {
        scoped.execute(sql, params![cluster]).await?;
    }
    for (database, restored) in &recovery.histories {
        scoped
            .execute(
                "DELETE FROM cluster_histories
                 WHERE org_id = $1 AND cluster_id = $2 AND database_id = $3",
                params![cluster, *database],
            )
            .await?;
        scoped
            .execute(
                "INSERT INTO cluster_histories (org_id, cluster_id, database_id, restore_number)
                 VALUES ($1, $2, $3, $4)",
                params![cluster, *database, *restored],
            )
            .await?;
    }
    forget_reports(scoped, cluster).await?;
    Ok(())
}

/// The counters, and that nobody is there: whoever comes back does so in a new life. What replicas
/// knew to be committed holds no more: whoever is not heard may have had it alone.
async fn raise(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    to: &Counters,
    now_unix_ms: i64,
) -> DbResult<()> {
    scoped
        .execute(
            "UPDATE clusters SET frozen_reason = NULL, frozen_at_unix_ms = NULL,
                restore_number = $3, last_revision = $4, next_producer_id = $5, last_spu_id = $6,
                updated_at_unix_ms = $7
             WHERE org_id = $1 AND cluster_id = $2",
            params![
                cluster,
                to.restore_number,
                to.revision,
                to.next_producer_id,
                to.last_spu_id,
                now_unix_ms
            ],
        )
        .await?;
    scoped
        .execute(
            "UPDATE spus SET incarnation = $3, process_id = NULL, state = $4, reason = NULL,
                updated_at_unix_ms = $5
             WHERE org_id = $1 AND cluster_id = $2 AND removed = 0",
            params![cluster, to.incarnation, SpuState::Offline, now_unix_ms],
        )
        .await?;
    scoped
        .execute(
            "UPDATE partitions SET leader_spu_id = NULL, leader_incarnation = 0, leader_epoch = $3,
                unclean_leader_epoch = $3, partition_epoch = $4, recovering = 1
             WHERE org_id = $1 AND cluster_id = $2
                AND EXISTS (SELECT 1 FROM replicas r WHERE r.org_id = $1 AND r.cluster_id = $2
                    AND r.generation_id = partitions.generation_id AND r.idx = partitions.idx)",
            params![cluster, to.leader_epoch, to.partition_epoch],
        )
        .await?;
    Ok(())
}

/// An SPU that came after the backup, with the launch that it runs as.
async fn add_spu(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    row: &ReportRow,
    to: &Counters,
    now_unix_ms: i64,
) -> DbResult<()> {
    scoped
        .execute(
            "INSERT INTO spus (org_id, cluster_id, spu_id, state, removed, incarnation, restarts,
                created_at_unix_ms, updated_at_unix_ms)
             VALUES ($1, $2, $3, $4, 0, $5, 0, $6, $6)",
            params![cluster, row.heard.spu, SpuState::Offline, to.incarnation, now_unix_ms],
        )
        .await?;
    adopt(scoped, cluster, row, now_unix_ms).await
}

/// A topic has the partitions again that it was given after the backup; any between them that
/// nobody holds, too, for there are no gaps.
async fn regrow(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    recovery: &Recovery,
    known: &[PartitionRow],
) -> DbResult<()> {
    let mut last: BTreeMap<TopicGenerationId, PartitionIndex> = BTreeMap::new();
    for key in recovery.regrown.keys() {
        last.insert(key.generation, key.partition);
    }
    for (generation, PartitionIndex(last)) in last {
        let have = known.iter().filter(|row| row.key.generation == generation).count();
        for index in u32::try_from(have).unwrap_or(u32::MAX)..=last {
            let partition = PartitionIndex(index);
            let holders = recovery.regrown.get(&PartitionKey { generation, partition });
            let replicas = holders.into_iter().flatten().copied().collect();
            let new =
                NewPartition { index: partition, label: String::new(), replicas, leader: None };
            partitions::insert(scoped, cluster, generation, &new).await?;
        }
    }
    Ok(())
}

/// What an SPU holds of a partition that the database thinks to be elsewhere is one of its replicas
/// again.
async fn join(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    recovery: &Recovery,
    known: &[PartitionRow],
) -> DbResult<()> {
    for (key, spu) in &recovery.joins {
        let holders = known.iter().find(|row| row.key == *key).map_or(0, |row| row.replicas.len());
        // After those that are there, whoever else joins.
        let position = u32::try_from(holders).unwrap_or(u32::MAX).saturating_add(spu.0);
        scoped
            .execute(
                "INSERT INTO replicas
                    (org_id, cluster_id, generation_id, idx, spu_id, position, in_isr)
                 VALUES ($1, $2, $3, $4, $5, $6, 0)",
                params![cluster, key.generation, key.partition, *spu, position],
            )
            .await?;
    }
    Ok(())
}

/// Of each partition: whose log must be looked at before anybody leads.
async fn await_logs(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    recovery: &Recovery,
) -> DbResult<()> {
    scoped
        .execute(
            "UPDATE replicas SET in_isr = 0, eligible = 0 WHERE org_id = $1 AND cluster_id = $2",
            params![cluster],
        )
        .await?;
    for spu in &recovery.awaited {
        scoped
            .execute(
                "UPDATE replicas SET in_isr = 1
                 WHERE org_id = $1 AND cluster_id = $2 AND spu_id = $3",
                params![cluster, *spu],
            )
            .await?;
    }
    Ok(())
}
