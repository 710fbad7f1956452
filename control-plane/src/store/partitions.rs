//! Partitions: who leads, at which epochs, and who holds replicas. What changes of it later is
//! written by [`super::partition_state`].

use std::collections::{BTreeMap, BTreeSet};

use weir_protocol::ids::{
    ClusterId, Incarnation, LeaderEpoch, PartitionEpoch, PartitionIndex, PartitionKey, SpuId,
    TopicGenerationId,
};

use super::{
    DbResult, Row, Scoped,
    reassignments::{self, Reassignment},
    topics,
    types::TopicState,
};
use crate::params;

pub use super::load::{SpuLoad, load};

/// The text of a query for whole partitions: `FROM` what names them as `p`, and the rest.
macro_rules! select_partitions {
    ($from:literal, $rest:literal) => {
        concat!(
            "SELECT p.generation_id, p.idx, p.label, p.leader_spu_id, p.leader_incarnation,
                p.leader_epoch, p.partition_epoch, p.unclean_leader_epoch, p.recovering, p.target,
                p.original, p.moving, r.spu_id, r.in_isr, r.eligible, g.replication, g.min_insync_replicas,
                CASE WHEN g.state = 'active' THEN g.unclean_election ELSE 0 END AS unclean,
                g.flush_interval_ms
             FROM ",
            $from,
            " JOIN topic_generations g ON g.org_id = p.org_id AND g.cluster_id = p.cluster_id
                AND g.generation_id = p.generation_id
             LEFT JOIN replicas r ON r.org_id = p.org_id AND r.cluster_id = p.cluster_id
                AND r.generation_id = p.generation_id AND r.idx = p.idx
             WHERE ",
            $rest
        )
    };
}
pub(super) use select_partitions;

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
    /// The newest leader epoch of one that may have lacked what was committed; 0: none ever did.
    pub unclean_leader_epoch: LeaderEpoch,
    /// Whether its leader is yet to be found out, after a recovery: then who is in sync says whose
    /// logs are waited for, and nothing else may change its state.
    pub recovering: bool,
    /// Fewer replicas in sync than this commit nothing; never 0.
    pub min_insync: u32,
    /// Whether such a replica may lead where no other is left; never of a deleted topic.
    pub unclean_election: bool,
    /// Whether what is acknowledged is fsynced later: a loss of power may take it.
    pub flush_interval: bool,
    /// In the order of preference for leadership.
    pub replicas: Vec<ReplicaRow>,
    /// Who is to hold it instead, while that is being done.
    pub reassignment: Option<Reassignment>,
}

impl PartitionRow {
    /// Who holds it, in the order of preference for leadership.
    #[must_use]
    pub fn holders(&self) -> Vec<SpuId> {
        self.replicas.iter().map(|replica| replica.spu).collect()
    }

    /// Who is to hold it in the end.
    #[must_use]
    pub fn destined(&self) -> Vec<SpuId> {
        self.reassignment.as_ref().map_or_else(|| self.holders(), |goal| goal.target.clone())
    }

    /// Who is in sync.
    #[must_use]
    pub fn isr(&self) -> BTreeSet<SpuId> {
        self.replicas.iter().filter(|replica| replica.in_isr).map(|replica| replica.spu).collect()
    }

    /// Who may lead without being in sync.
    #[must_use]
    pub fn eligible(&self) -> BTreeSet<SpuId> {
        self.replicas.iter().filter(|replica| replica.eligible).map(|replica| replica.spu).collect()
    }

    /// Whether this SPU holds a replica.
    #[must_use]
    pub fn is_held_by(&self, spu: SpuId) -> bool {
        self.replicas.iter().any(|replica| replica.spu == spu)
    }
}

/// A replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaRow {
    /// Who holds it.
    pub spu: SpuId,
    /// Whether it is in sync.
    pub in_isr: bool,
    /// Whether it may lead without being in sync: it holds all that is committed.
    pub eligible: bool,
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

impl Held {
    /// Of which partition it is a replica.
    #[must_use]
    pub const fn key(&self) -> PartitionKey {
        PartitionKey { generation: self.generation, partition: self.partition }
    }
}

/// Folds rows of the join, ordered by partition and position, into partitions.
pub(super) fn partitions(rows: &[Row]) -> DbResult<Vec<PartitionRow>> {
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
                unclean_leader_epoch: row.get("unclean_leader_epoch")?,
                recovering: row.get("recovering")?,
                unclean_election: row.get("unclean")?,
                flush_interval: row.get::<Option<u32>>("flush_interval_ms")?.is_some(),
                min_insync: topics::min_insync(
                    row.get("replication")?,
                    row.get("min_insync_replicas")?,
                ),
                replicas: Vec::new(),
                reassignment: reassignments::reassignment(row)?,
            });
        }
        if let (Some(partition), Some(spu)) = (found.last_mut(), row.get("spu_id")?) {
            let (in_isr, eligible) = (row.get("in_isr")?, row.get("eligible")?);
            partition.replicas.push(ReplicaRow { spu, in_isr, eligible });
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
            select_partitions!(
                "partitions p",
                "p.org_id = $1 AND p.cluster_id = $2 AND p.generation_id = $3
             ORDER BY p.idx, r.position"
            ),
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
            select_partitions!(
                "partitions p",
                "p.org_id = $1 AND p.cluster_id = $2
             ORDER BY p.generation_id, p.idx, r.position"
            ),
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
            select_partitions!(
                "replicas own
                 JOIN partitions p ON p.org_id = own.org_id AND p.cluster_id = own.cluster_id
                    AND p.generation_id = own.generation_id AND p.idx = own.idx",
                "own.org_id = $1 AND own.cluster_id = $2 AND own.spu_id = $3
                 ORDER BY p.generation_id, p.idx, r.position"
            ),
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
            select_partitions!(
                "partitions p",
                "p.org_id = $1 AND p.cluster_id = $2 AND p.generation_id = $3 AND p.idx = $4
             ORDER BY r.position"
            ),
            params![cluster, key.generation, key.partition],
        )
        .await?;
    Ok(partitions(&rows)?.into_iter().next())
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
