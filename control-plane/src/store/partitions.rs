//! Partitions: who leads, at which epochs, and who holds replicas.

use std::collections::BTreeMap;

use weir_protocol::ids::{
    ClusterId, Incarnation, LeaderEpoch, PartitionEpoch, PartitionIndex, PartitionKey, SpuId,
    TopicGenerationId,
};

use super::{DbResult, Row, Scoped, types::TopicState};
use crate::params;

/// A partition with its replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionRow {
    /// Which one.
    pub key: PartitionKey,
    /// Its own name; empty: none.
    pub label: String,
    /// Who leads, if anybody.
    pub leader: Option<SpuId>,
    /// The incarnation that the leader epoch was given to.
    pub leader_incarnation: Incarnation,
    /// Version of the leadership; 0 before the first leader.
    pub leader_epoch: LeaderEpoch,
    /// Version of the whole.
    pub partition_epoch: PartitionEpoch,
    /// In the order of preference for leadership.
    pub replicas: Vec<ReplicaRow>,
}

/// A replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaRow {
    /// Who holds it.
    pub spu: SpuId,
    /// Whether it is in sync.
    pub in_isr: bool,
}

/// A partition to be. All its replicas are in sync: they are empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPartition {
    /// Which one.
    pub index: PartitionIndex,
    /// Its own name; empty: none.
    pub label: String,
    /// In the order of preference for leadership.
    pub replicas: Vec<SpuId>,
    /// Who leads from the start, in which incarnation; nobody if the first replica has not
    /// registered yet.
    pub leader: Option<(SpuId, Incarnation)>,
}

/// What an SPU already carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpuLoad {
    /// Replicas of active generations.
    pub replicas: u32,
    /// All replicas, those of tombstones and internal topics included.
    pub held: u32,
    /// Those of them that come first in their partition's order of preference.
    pub preferred: u32,
}

/// A replica that an SPU holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// What the data belongs to.
    pub generation: TopicGenerationId,
    /// The topic's name.
    pub topic: String,
    /// Whether the topic was deleted, and its data is still kept.
    pub deleted: bool,
    /// Which of its partitions.
    pub partition: PartitionIndex,
}

/// Folds rows of the join, ordered by partition and position, into partitions.
fn partitions(rows: &[Row]) -> DbResult<Vec<PartitionRow>> {
    let mut found: Vec<PartitionRow> = Vec::new();
    for row in rows {
        let key =
            PartitionKey { generation: row.get("generation_id")?, partition: row.get("idx")? };
        if found.last().is_none_or(|last| last.key != key) {
            found.push(PartitionRow {
                key,
                label: row.get("label")?,
                leader: row.get("leader_spu_id")?,
                leader_incarnation: row.get("leader_incarnation")?,
                leader_epoch: row.get("leader_epoch")?,
                partition_epoch: row.get("partition_epoch")?,
                replicas: Vec::new(),
            });
        }
        if let (Some(partition), Some(spu)) = (found.last_mut(), row.get("spu_id")?) {
            partition.replicas.push(ReplicaRow { spu, in_isr: row.get("in_isr")? });
        }
    }
    Ok(found)
}

/// Adds a partition with its replicas, at partition epoch 1 (and leader epoch 1 if it has a
/// leader).
///
/// # Errors
/// As the database.
pub async fn insert(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    generation: TopicGenerationId,
    new: &NewPartition,
) -> DbResult<()> {
    let (leader, incarnation) = new.leader.unzip();
    scoped
        .execute(
            "INSERT INTO partitions (org_id, cluster_id, generation_id, idx, label, leader_spu_id,
                leader_incarnation, leader_epoch, partition_epoch)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 1)",
            params![
                cluster,
                generation,
                new.index,
                &new.label,
                leader,
                incarnation.unwrap_or_default(),
                LeaderEpoch(u32::from(leader.is_some()))
            ],
        )
        .await?;
    for (position, spu) in (0_u32..).zip(&new.replicas) {
        scoped
            .execute(
                "INSERT INTO replicas
                    (org_id, cluster_id, generation_id, idx, spu_id, position, in_isr)
                 VALUES ($1, $2, $3, $4, $5, $6, 1)",
                params![cluster, generation, new.index, *spu, position],
            )
            .await?;
    }
    Ok(())
}

/// A generation's partitions, by index.
///
/// # Errors
/// As the database.
pub async fn of_generation(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    generation: TopicGenerationId,
) -> DbResult<Vec<PartitionRow>> {
    let rows = scoped
        .query(
            "SELECT p.generation_id, p.idx, p.label, p.leader_spu_id, p.leader_incarnation,
                p.leader_epoch, p.partition_epoch, r.spu_id, r.in_isr
             FROM partitions p
             LEFT JOIN replicas r ON r.org_id = p.org_id AND r.cluster_id = p.cluster_id
                AND r.generation_id = p.generation_id AND r.idx = p.idx
             WHERE p.org_id = $1 AND p.cluster_id = $2 AND p.generation_id = $3
             ORDER BY p.idx, r.position",
            params![cluster, generation],
        )
        .await?;
    partitions(&rows)
}

/// How many partitions a generation has.
///
/// # Errors
/// As the database.
pub async fn count(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    generation: TopicGenerationId,
) -> DbResult<u32> {
    let row = scoped
        .query_optional(
            "SELECT count(*) AS partitions FROM partitions
             WHERE org_id = $1 AND cluster_id = $2 AND generation_id = $3",
            params![cluster, generation],
        )
        .await?;
    row.map_or(Ok(0), |row| row.get("partitions"))
}

/// All partitions of a cluster, by generation and index.
///
/// # Errors
/// As the database.
pub async fn of_cluster(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
) -> DbResult<BTreeMap<TopicGenerationId, Vec<PartitionRow>>> {
    let rows = scoped
        .query(
            "SELECT p.generation_id, p.idx, p.label, p.leader_spu_id, p.leader_incarnation,
                p.leader_epoch, p.partition_epoch, r.spu_id, r.in_isr
             FROM partitions p
             LEFT JOIN replicas r ON r.org_id = p.org_id AND r.cluster_id = p.cluster_id
                AND r.generation_id = p.generation_id AND r.idx = p.idx
             WHERE p.org_id = $1 AND p.cluster_id = $2
             ORDER BY p.generation_id, p.idx, r.position",
            params![cluster],
        )
        .await?;
    let mut by_generation: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for partition in partitions(&rows)? {
        by_generation.entry(partition.key.generation).or_default().push(partition);
    }
    Ok(by_generation)
}

/// The partitions that an SPU holds a replica of, with all their replicas, by generation and
/// index. Tombstones too.
///
/// # Errors
/// As the database.
pub async fn of_spu(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    spu: SpuId,
) -> DbResult<Vec<PartitionRow>> {
    let rows = scoped
        .query(
            "SELECT p.generation_id, p.idx, p.label, p.leader_spu_id, p.leader_incarnation,
                p.leader_epoch, p.partition_epoch, r.spu_id, r.in_isr
             FROM replicas own
             JOIN partitions p ON p.org_id = own.org_id AND p.cluster_id = own.cluster_id
                AND p.generation_id = own.generation_id AND p.idx = own.idx
             JOIN replicas r ON r.org_id = p.org_id AND r.cluster_id = p.cluster_id
                AND r.generation_id = p.generation_id AND r.idx = p.idx
             WHERE own.org_id = $1 AND own.cluster_id = $2 AND own.spu_id = $3
             ORDER BY p.generation_id, p.idx, r.position",
            params![cluster, spu],
        )
        .await?;
    partitions(&rows)
}

/// One partition.
///
/// # Errors
/// As the database.
pub async fn get(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    key: PartitionKey,
) -> DbResult<Option<PartitionRow>> {
    let rows = scoped
        .query(
            "SELECT p.generation_id, p.idx, p.label, p.leader_spu_id, p.leader_incarnation,
                p.leader_epoch, p.partition_epoch, r.spu_id, r.in_isr
             FROM partitions p
             LEFT JOIN replicas r ON r.org_id = p.org_id AND r.cluster_id = p.cluster_id
                AND r.generation_id = p.generation_id AND r.idx = p.idx
             WHERE p.org_id = $1 AND p.cluster_id = $2 AND p.generation_id = $3 AND p.idx = $4
             ORDER BY r.position",
            params![cluster, key.generation, key.partition],
        )
        .await?;
    Ok(partitions(&rows)?.into_iter().next())
}

/// Gives the partition to a leader (or to nobody) under new epochs, if it is still at the
/// partition epoch that the decision was made on. `false`, and nothing changed, if not.
///
/// # Errors
/// As the database.
pub async fn set_leader(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    key: PartitionKey,
    decided_on: PartitionEpoch,
    leader: Option<(SpuId, Incarnation)>,
    leader_epoch: LeaderEpoch,
) -> DbResult<bool> {
    let (leader, incarnation) = leader.unzip();
    let rows = scoped
        .execute(
            "UPDATE partitions SET leader_spu_id = $5, leader_incarnation = $6, leader_epoch = $7,
                partition_epoch = partition_epoch + 1
             WHERE org_id = $1 AND cluster_id = $2 AND generation_id = $3 AND idx = $4
                AND partition_epoch = $8",
            params![
                cluster,
                key.generation,
                key.partition,
                leader,
                incarnation.unwrap_or_default(),
                leader_epoch,
                decided_on
            ],
        )
        .await?;
    Ok(rows == 1)
}

/// What each SPU carries; those that carry nothing are not named.
///
/// # Errors
/// As the database.
pub async fn load(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
) -> DbResult<BTreeMap<SpuId, SpuLoad>> {
    let rows = scoped
        .query(
            "SELECT r.spu_id, count(*) AS held,
                count(CASE WHEN g.state = $3 AND g.internal = 0 THEN 1 END) AS replicas,
                count(CASE WHEN g.state = $3 AND g.internal = 0 AND r.position = 0
                    THEN 1 END) AS preferred
             FROM replicas r
             JOIN topic_generations g ON g.org_id = r.org_id AND g.cluster_id = r.cluster_id
                AND g.generation_id = r.generation_id
             WHERE r.org_id = $1 AND r.cluster_id = $2
             GROUP BY r.spu_id",
            params![cluster, TopicState::Active],
        )
        .await?;
    rows.iter()
        .map(|row| {
            let load = SpuLoad {
                replicas: row.get("replicas")?,
                held: row.get("held")?,
                preferred: row.get("preferred")?,
            };
            Ok((row.get("spu_id")?, load))
        })
        .collect()
}

/// What each SPU holds, by topic and partition, without the topic `except`; SPUs that hold
/// nothing are not named. Tombstones count, and so do Weir's own topics; what is being purged
/// does not, for nobody will miss it.
///
/// # Errors
/// As the database.
pub async fn held(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    except: &str,
) -> DbResult<BTreeMap<SpuId, Vec<Held>>> {
    let rows = scoped
        .query(
            "SELECT r.spu_id, r.idx, g.generation_id, g.name, g.state
             FROM replicas r
             JOIN topic_generations g ON g.org_id = r.org_id AND g.cluster_id = r.cluster_id
                AND g.generation_id = r.generation_id
             WHERE r.org_id = $1 AND r.cluster_id = $2 AND g.name <> $3 AND g.state <> $4
             ORDER BY r.spu_id, g.name, g.number, r.idx",
            params![cluster, except, TopicState::Purging],
        )
        .await?;
    let mut held: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for row in &rows {
        held.entry(row.get("spu_id")?).or_default().push(Held {
            generation: row.get("generation_id")?,
            topic: row.get("name")?,
            deleted: row.get::<TopicState>("state")? != TopicState::Active,
            partition: row.get("idx")?,
        });
    }
    Ok(held)
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
