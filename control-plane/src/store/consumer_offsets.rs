//! What named consumers have committed, as their coordinators reported it last.
//!
//! A row changes only for a higher position in the offsets topic, so that batches may come
//! late, twice and in any order. What was deleted keeps its row, and with it its place in
//! that order, until [`system_prune`].

use weir_protocol::ids::{
    ClusterId, GenerationNumber, LeaderEpoch, Offset, PartitionIndex, PartitionKey, SpuId,
    TopicGenerationId,
};

use super::{DbResult, Row, Scoped, Tx, types::TopicState};
use crate::params;

/// What changed for one partition of one consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Whose.
    pub consumer: String,
    /// Of which partition.
    pub partition: PartitionKey,
    /// Offset in the offsets topic of the record that says so.
    pub position: Offset,
    /// What is committed now; none: it was deleted.
    pub committed: Option<Committed>,
}

/// What a consumer has committed for a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// The next offset to read; none: claimed, and nothing committed yet.
    pub next_offset: Option<Offset>,
    /// Leader epoch of the last record read, where one was.
    pub leader_epoch: Option<LeaderEpoch>,
    /// The application's own.
    pub metadata: String,
    /// Milliseconds since 1970, by the coordinator's clock.
    pub committed_at_unix_ms: i64,
}

/// One partition of a consumer, with what the database knows of the partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetRow {
    /// Which partition.
    pub partition: PartitionKey,
    /// Name of its topic.
    pub topic: String,
    /// Which generation of the name.
    pub generation_number: GenerationNumber,
    /// What is so of the generation.
    pub generation_state: TopicState,
    /// Who leads the partition, if anybody.
    pub leader: Option<SpuId>,
    /// What is committed.
    pub committed: Committed,
}

/// Takes a change, unless a later one of the same key was taken before: `false` then. The
/// generation has a row, says the caller, in this transaction.
///
/// # Errors
/// As the database.
pub async fn store(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    change: &Change,
    now_unix_ms: i64,
) -> DbResult<bool> {
    let committed = change.committed.clone().unwrap_or_default();
    let rows = scoped
        .execute(
            "INSERT INTO consumer_offsets (org_id, cluster_id, consumer, generation_id, idx,
                position, deleted, next_offset, leader_epoch, metadata, committed_at_unix_ms,
                stored_at_unix_ms)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
             ON CONFLICT (org_id, cluster_id, consumer, generation_id, idx) DO UPDATE
             SET position = excluded.position, deleted = excluded.deleted,
                 next_offset = excluded.next_offset, leader_epoch = excluded.leader_epoch,
                 metadata = excluded.metadata,
                 committed_at_unix_ms = excluded.committed_at_unix_ms,
                 stored_at_unix_ms = excluded.stored_at_unix_ms
             WHERE excluded.position > consumer_offsets.position",
            params![
                cluster,
                &change.consumer,
                change.partition.generation,
                change.partition.partition,
                change.position.get(),
                change.committed.is_none(),
                committed.next_offset.map(Offset::get),
                committed.leader_epoch,
                committed.metadata,
                committed.committed_at_unix_ms,
                now_unix_ms
            ],
        )
        .await?;
    Ok(rows == 1)
}

/// Names of consumers that have something, in order, after the name `after`.
///
/// # Errors
/// As the database.
pub async fn names(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    after: &str,
    limit: u32,
) -> DbResult<Vec<String>> {
    let rows = scoped
        .query(
            "SELECT DISTINCT consumer FROM consumer_offsets
             WHERE org_id = $1 AND cluster_id = $2 AND deleted = 0 AND consumer > $3
             ORDER BY consumer LIMIT $4",
            params![cluster, after, limit],
        )
        .await?;
    rows.iter().map(|row| row.get("consumer")).collect()
}

fn offset(row: &Row) -> DbResult<OffsetRow> {
    let generation: TopicGenerationId = row.get("generation_id")?;
    let partition: PartitionIndex = row.get("idx")?;
    Ok(OffsetRow {
        partition: PartitionKey { generation, partition },
        topic: row.get("topic")?,
        generation_number: row.get("number")?,
        generation_state: row.get("state")?,
        leader: row.get("leader_spu_id")?,
        committed: Committed {
            next_offset: row.get::<Option<u64>>("next_offset")?.map(Offset),
            leader_epoch: row.get("leader_epoch")?,
            metadata: row.get("metadata")?,
            committed_at_unix_ms: row.get("committed_at_unix_ms")?,
        },
    })
}

/// A consumer's partitions, by topic, generation and index. Tombstones too: they keep their
/// offsets until they are purged.
///
/// # Errors
/// As the database.
pub async fn of_consumer(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    consumer: &str,
) -> DbResult<Vec<OffsetRow>> {
    let rows = scoped
        .query(
            "SELECT o.generation_id, o.idx, o.next_offset, o.leader_epoch, o.metadata,
                o.committed_at_unix_ms, g.name AS topic, g.number, g.state, p.leader_spu_id
             FROM consumer_offsets o
             JOIN topic_generations g ON g.org_id = o.org_id AND g.cluster_id = o.cluster_id
                AND g.generation_id = o.generation_id
             LEFT JOIN partitions p ON p.org_id = o.org_id AND p.cluster_id = o.cluster_id
                AND p.generation_id = o.generation_id AND p.idx = o.idx
             WHERE o.org_id = $1 AND o.cluster_id = $2 AND o.consumer = $3 AND o.deleted = 0
                AND g.state IN ($4, $5)
             ORDER BY g.name, g.number, o.idx",
            params![cluster, consumer, TopicState::Active, TopicState::Tombstone],
        )
        .await?;
    rows.iter().map(offset).collect()
}

/// A partition that a consumer reads, of a topic that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadRow {
    /// Whose cluster.
    pub cluster: ClusterId,
    /// Whose offset.
    pub consumer: String,
    /// Name of the topic.
    pub topic: String,
    /// Which partition.
    pub partition: PartitionKey,
    /// Who leads it, if anybody.
    pub leader: Option<SpuId>,
    /// The next offset to read; none: nothing is committed.
    pub next_offset: Option<Offset>,
}

/// What consumers of all tenants read: every partition of a topic that is there and of which
/// something is known for them. The first `limit`, by cluster, consumer and topic.
///
/// # Errors
/// As the database.
pub async fn system_read(tx: &mut Tx, limit: u32) -> DbResult<Vec<ReadRow>> {
    let rows = tx
        .query(
            "SELECT r.cluster_id, r.consumer, r.generation_id, p.idx, o.next_offset,
                g.name AS topic, p.leader_spu_id
             FROM (SELECT DISTINCT org_id, cluster_id, consumer, generation_id
                FROM consumer_offsets WHERE deleted = 0) r
             JOIN topic_generations g ON g.org_id = r.org_id AND g.cluster_id = r.cluster_id
                AND g.generation_id = r.generation_id
             JOIN partitions p ON p.org_id = r.org_id AND p.cluster_id = r.cluster_id
                AND p.generation_id = r.generation_id
             LEFT JOIN consumer_offsets o ON o.org_id = r.org_id AND o.cluster_id = r.cluster_id
                AND o.consumer = r.consumer AND o.generation_id = r.generation_id
                AND o.idx = p.idx AND o.deleted = 0
             WHERE g.state = $1
             ORDER BY r.cluster_id, r.consumer, g.name, p.idx LIMIT $2",
            params![TopicState::Active, limit],
        )
        .await?;
    rows.iter()
        .map(|row| {
            let (generation, partition) = (row.get("generation_id")?, row.get("idx")?);
            Ok(ReadRow {
                cluster: row.get("cluster_id")?,
                consumer: row.get("consumer")?,
                topic: row.get("topic")?,
                partition: PartitionKey { generation, partition },
                leader: row.get("leader_spu_id")?,
                next_offset: row.get::<Option<u64>>("next_offset")?.map(Offset),
            })
        })
        .collect()
}

/// How many readers (a consumer of a topic that is there) all tenants have, of which
/// [`system_read`] has rows.
///
/// # Errors
/// As the database.
pub async fn system_readers(tx: &mut Tx) -> DbResult<u64> {
    let rows = tx
        .query(
            "SELECT count(*) AS readers FROM (
                SELECT DISTINCT o.cluster_id, o.consumer, g.name
                FROM consumer_offsets o
                JOIN topic_generations g ON g.org_id = o.org_id AND g.cluster_id = o.cluster_id
                    AND g.generation_id = o.generation_id
                WHERE o.deleted = 0 AND g.state = $1
             ) AS found",
            params![TopicState::Active],
        )
        .await?;
    rows.first().map_or(Ok(0), |row| row.get("readers"))
}

/// Marks what was known of a consumer before `before_unix_ms` as deleted; says how many
/// partitions had something. Positions stay, so that what its coordinator reports later still goes before.
///
/// # Errors
/// As the database.
pub async fn forget(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    consumer: &str,
    before_unix_ms: i64,
    now_unix_ms: i64,
) -> DbResult<u64> {
    scoped
        .execute(
            "UPDATE consumer_offsets SET deleted = 1, next_offset = NULL, leader_epoch = NULL,
                metadata = '', stored_at_unix_ms = $4
             WHERE org_id = $1 AND cluster_id = $2 AND consumer = $3 AND deleted = 0
                AND stored_at_unix_ms < $5",
            params![cluster, consumer, now_unix_ms, before_unix_ms],
        )
        .await
}

/// Drops rows of every tenant that were marked as deleted before `before_unix_ms`; says how
/// many.
///
/// # Errors
/// As the database.
pub async fn system_prune(tx: &mut Tx, before_unix_ms: i64) -> DbResult<u64> {
    tx.execute(
        "DELETE FROM consumer_offsets WHERE deleted = 1 AND stored_at_unix_ms < $1",
        params![before_unix_ms],
    )
    .await
}
