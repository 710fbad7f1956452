//! Partitions whose replicas are to be others, while they are served: what was asked for, and
//! the steps of it as `plan::reassign` decided them, each under compare-and-set on the partition
//! epoch. Of deleted topics nothing moves: they go on when they are back.

use std::collections::BTreeMap;

use weir_protocol::ids::{ClusterId, PartitionKey, SpuId, TopicGenerationId};

use super::{
    DbError, DbResult, Row, Scoped,
    partition_state::{self, PartitionState},
    partitions::{self, Held, PartitionRow, select_partitions},
    removals,
    types::TopicState,
};
use crate::params;

/// Who is to hold a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reassignment {
    /// In the order of preference for leadership.
    pub target: Vec<SpuId>,
    /// Who held it when that was asked for.
    pub original: Vec<SpuId>,
    /// Whether the target is among the replicas by now.
    pub moving: bool,
}

/// What a row says of it.
pub(super) fn reassignment(row: &Row) -> DbResult<Option<Reassignment>> {
    let Some(target) = row.get::<Option<String>>("target")? else { return Ok(None) };
    let original: Option<String> = row.get("original")?;
    Ok(Some(Reassignment {
        target: decoded("target", &target)?,
        original: decoded("original", &original.unwrap_or_default())?,
        moving: row.get("moving")?,
    }))
}

fn decoded(column: &str, text: &str) -> DbResult<Vec<SpuId>> {
    serde_json::from_str(text)
        .map_err(|_| DbError::Decode { column: column.to_owned(), expected: "JSON" })
}

fn encoded(spus: &[SpuId]) -> String {
    serde_json::json!(spus).to_string()
}

/// Stores who is to hold a partition; `None`: who holds it. Watchers have nothing to hear of it
/// yet. `false`, and nothing changed, if the partition is not at its epoch any more.
///
/// # Errors
/// As the database.
pub async fn set(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    before: &PartitionRow,
    wanted: Option<&Reassignment>,
) -> DbResult<bool> {
    let rows = scoped
        .execute(
            "UPDATE partitions SET target = $5, original = $6, moving = $7
             WHERE org_id = $1 AND cluster_id = $2 AND generation_id = $3 AND idx = $4
                AND partition_epoch = $8",
            params![
                cluster,
                before.key.generation,
                before.key.partition,
                wanted.map(|wanted| encoded(&wanted.target)),
                wanted.map(|wanted| encoded(&wanted.original)),
                wanted.is_some_and(|wanted| wanted.moving),
                before.partition_epoch
            ],
        )
        .await?;
    Ok(rows == 1)
}

/// The replicas become these: those that are there and those that are not yet, who hold nothing
/// and are not in sync. `false`, and nothing changed, if the partition is not at its epoch.
///
/// # Errors
/// As the database.
pub async fn join(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    before: &PartitionRow,
    replicas: &[SpuId],
) -> DbResult<bool> {
    let Some(goal) = &before.reassignment else { return Ok(false) };
    let state = PartitionState::from(before);
    if !partition_state::set_state(scoped, cluster, before, &state).await? {
        return Ok(false);
    }
    let epoch = before.partition_epoch.next();
    let after = PartitionRow { partition_epoch: epoch, ..before.clone() };
    set(scoped, cluster, &after, Some(&Reassignment { moving: true, ..goal.clone() })).await?;
    for spu in replicas.iter().filter(|spu| !before.is_held_by(**spu)) {
        scoped
            .execute(
                "INSERT INTO replicas
                    (org_id, cluster_id, generation_id, idx, spu_id, position, in_isr)
                 VALUES ($1, $2, $3, $4, $5, 0, 0)",
                params![cluster, before.key.generation, before.key.partition, *spu],
            )
            .await?;
    }
    order(scoped, cluster, before.key, replicas).await?;
    Ok(true)
}

/// The reassignment is done: the replicas are its target, and each other one is to be removed
/// by its holder. `false`, and nothing changed, if the partition is not at its epoch.
///
/// # Errors
/// As the database.
pub async fn finish(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    before: &PartitionRow,
    target: &[SpuId],
    state: &PartitionState,
    now_unix_ms: i64,
) -> DbResult<bool> {
    if !partition_state::set_state(scoped, cluster, before, state).await? {
        return Ok(false);
    }
    let epoch = before.partition_epoch.next();
    let after = PartitionRow { partition_epoch: epoch, ..before.clone() };
    set(scoped, cluster, &after, None).await?;
    for spu in before.holders().into_iter().filter(|spu| !target.contains(spu)) {
        partition_state::drop_replica(scoped, cluster, before.key, spu).await?;
        removals::insert(scoped, cluster, before.key, spu, epoch, now_unix_ms).await?;
    }
    order(scoped, cluster, before.key, target).await?;
    Ok(true)
}

/// Writes the order of preference.
async fn order(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    key: PartitionKey,
    replicas: &[SpuId],
) -> DbResult<()> {
    for (position, spu) in (0_u32..).zip(replicas) {
        scoped
            .execute(
                "UPDATE replicas SET position = $6
                 WHERE org_id = $1 AND cluster_id = $2 AND generation_id = $3 AND idx = $4
                    AND spu_id = $5",
                params![cluster, key.generation, key.partition, *spu, position],
            )
            .await?;
    }
    Ok(())
}

/// Partitions of active topics that are being reassigned, and are moving or are waiting for
/// their turn: the first `limit` of them by generation and index.
///
/// # Errors
/// As the database.
pub async fn running(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    moving: bool,
    limit: u32,
) -> DbResult<Vec<PartitionRow>> {
    let rows = scoped
        .query(
            select_partitions!(
                "(SELECT q.* FROM partitions q
                    JOIN topic_generations t ON t.org_id = q.org_id
                        AND t.cluster_id = q.cluster_id AND t.generation_id = q.generation_id
                    WHERE q.org_id = $1 AND q.cluster_id = $2 AND q.target IS NOT NULL
                        AND q.moving = $3 AND t.state = $4
                    ORDER BY q.generation_id, q.idx LIMIT $5) p",
                "p.org_id = $1 AND p.cluster_id = $2
                 ORDER BY p.generation_id, p.idx, r.position"
            ),
            params![cluster, moving, TopicState::Active, limit],
        )
        .await?;
    partitions::partitions(&rows)
}

/// All that are being reassigned, those of deleted topics too, after this one.
///
/// # Errors
/// As the database.
pub async fn page(
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
                    WHERE q.org_id = $1 AND q.cluster_id = $2 AND q.target IS NOT NULL
                        AND (q.generation_id > $3 OR (q.generation_id = $3 AND q.idx > $4))
                    ORDER BY q.generation_id, q.idx LIMIT $5) p",
                "p.org_id = $1 AND p.cluster_id = $2
                 ORDER BY p.generation_id, p.idx, r.position"
            ),
            params![cluster, generation, index, limit],
        )
        .await?;
    partitions::partitions(&rows)
}

/// What each SPU is to hold of partitions that wait for their turn to be moved.
///
/// # Errors
/// As the database.
pub async fn destined(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
) -> DbResult<BTreeMap<SpuId, Vec<Held>>> {
    let rows = scoped
        .query(
            "SELECT p.target, p.idx, g.generation_id, g.name, g.state
             FROM partitions p
             JOIN topic_generations g ON g.org_id = p.org_id AND g.cluster_id = p.cluster_id
                AND g.generation_id = p.generation_id
             WHERE p.org_id = $1 AND p.cluster_id = $2 AND p.target IS NOT NULL AND p.moving = 0
                AND g.state <> $3
             ORDER BY g.name, g.number, p.idx",
            params![cluster, TopicState::Purging],
        )
        .await?;
    let mut destined: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for row in &rows {
        for spu in decoded("target", &row.get::<String>("target")?)? {
            destined.entry(spu).or_default().push(Held {
                generation: row.get("generation_id")?,
                topic: row.get("name")?,
                deleted: row.get::<TopicState>("state")? != TopicState::Active,
                partition: row.get("idx")?,
            });
        }
    }
    Ok(destined)
}

/// Whether any partition of a generation is being reassigned.
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
            "SELECT idx FROM partitions
             WHERE org_id = $1 AND cluster_id = $2 AND generation_id = $3 AND target IS NOT NULL
             LIMIT 1",
            params![cluster, generation],
        )
        .await?;
    Ok(row.is_some())
}
