//! Topic names and their generations. A name is a label; its numbers count up for ever.

use weir_protocol::{
    ids::{ClusterId, GenerationNumber, TopicGenerationId},
    topic_config::{Flush, TopicConfig},
};

use super::{DbError, DbResult, Row, Scoped, types::TopicState};
use crate::params;

/// A topic generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicRow {
    /// Its id.
    pub generation: TopicGenerationId,
    /// Its name.
    pub name: String,
    /// How many generations the name has had, counting this one.
    pub number: GenerationNumber,
    /// What is so.
    pub state: TopicState,
    /// Weir's own, not for clients.
    pub internal: bool,
    /// Replicas per partition.
    pub replication: u32,
    /// What was chosen of [`TopicRow::min_insync_replicas`].
    pub min_insync: Option<u32>,
    /// How its records are kept.
    pub config: TopicConfig,
    /// Milliseconds since 1970.
    pub created_at_unix_ms: i64,
    /// Milliseconds since 1970.
    pub deleted_at_unix_ms: Option<i64>,
}

impl TopicRow {
    /// Fewer replicas in sync than this commit nothing; never 0.
    #[must_use]
    pub fn min_insync_replicas(&self) -> u32 {
        min_insync(self.replication, self.min_insync)
    }
}

/// The least number of replicas in sync that commit: as chosen, else two where there are two.
/// Never 0, and never more than there are replicas.
#[must_use]
pub fn min_insync(replication: u32, chosen: Option<u32>) -> u32 {
    chosen.unwrap_or(2).min(replication).max(1)
}

/// A generation to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    /// Its id, a UUIDv7.
    pub generation: TopicGenerationId,
    /// Its name, checked.
    pub name: String,
    /// Weir's own, not for clients.
    pub internal: bool,
    /// Replicas per partition.
    pub replication: u32,
    /// Fewer replicas in sync than this commit nothing; none: see [`min_insync`].
    pub min_insync: Option<u32>,
    /// How its records are kept, checked.
    pub config: TopicConfig,
}

/// Which of a cluster's generations to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageFilter {
    /// Internal ones too.
    pub internal: bool,
}

pub(super) fn topic(row: &Row) -> DbResult<TopicRow> {
    Ok(TopicRow {
        generation: row.get("generation_id")?,
        name: row.get("name")?,
        number: row.get("number")?,
        state: row.get("state")?,
        internal: row.get("internal")?,
        replication: row.get("replication")?,
        min_insync: row.get("min_insync_replicas")?,
        config: config(row)?,
        created_at_unix_ms: row.get("created_at_unix_ms")?,
        deleted_at_unix_ms: row.get("deleted_at_unix_ms")?,
    })
}

fn config(row: &Row) -> DbResult<TopicConfig> {
    let interval: Option<u32> = row.get("flush_interval_ms")?;
    Ok(TopicConfig {
        flush: interval.map_or(Flush::BeforeAck, |ms| Flush::Interval { ms }),
        retention_ms: row.get("retention_ms")?,
        retention_bytes: row.get("retention_bytes")?,
        segment_bytes: row.get("segment_bytes")?,
        segment_ms: row.get("segment_ms")?,
        unclean_election: row.get("unclean_election")?,
    })
}

/// As it is stored: no interval is a flush before the acknowledgement.
const fn interval(flush: Flush) -> Option<u32> {
    match flush {
        Flush::BeforeAck => None,
        Flush::Interval { ms } => Some(ms),
    }
}

/// Adds a generation as the current one of its name, under the name's next number. The
/// caller has looked, in the same transaction, that the name is free ([`by_name`]).
///
/// # Errors
/// As the database.
pub async fn insert(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    new: &NewTopic,
    now_unix_ms: i64,
) -> DbResult<GenerationNumber> {
    let number: GenerationNumber = scoped
        .query_optional(
            "INSERT INTO topic_names (org_id, cluster_id, name, last_number, current_generation_id)
             VALUES ($1, $2, $3, 1, $4)
             ON CONFLICT (org_id, cluster_id, name) DO UPDATE
             SET last_number = topic_names.last_number + 1,
                 current_generation_id = excluded.current_generation_id
             RETURNING last_number",
            params![cluster, &new.name, new.generation],
        )
        .await?
        .ok_or_else(|| DbError::Misuse { reason: "an upsert returned no row".to_owned() })?
        .get("last_number")?;
    scoped
        .execute(
            "INSERT INTO topic_generations (org_id, cluster_id, generation_id, name, number, state,
                internal, replication, created_at_unix_ms, flush_interval_ms, retention_ms,
                retention_bytes, segment_bytes, segment_ms, min_insync_replicas, unclean_election)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
            params![
                cluster,
                new.generation,
                &new.name,
                number,
                TopicState::Active,
                new.internal,
                new.replication,
                now_unix_ms,
                interval(new.config.flush),
                new.config.retention_ms,
                new.config.retention_bytes,
                new.config.segment_bytes,
                new.config.segment_ms,
                new.min_insync,
                new.config.unclean_election
            ],
        )
        .await?;
    Ok(number)
}

/// The current generation of a name, if it has one.
///
/// # Errors
/// As the database.
pub async fn by_name(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    name: &str,
) -> DbResult<Option<TopicRow>> {
    let row = scoped
        .query_optional(
            "SELECT g.* FROM topic_names n
             JOIN topic_generations g ON g.org_id = n.org_id AND g.cluster_id = n.cluster_id
                AND g.generation_id = n.current_generation_id
             WHERE n.org_id = $1 AND n.cluster_id = $2 AND n.name = $3",
            params![cluster, name],
        )
        .await?;
    row.as_ref().map(topic).transpose()
}

/// The generation of this id, in any state.
///
/// # Errors
/// As the database.
pub async fn by_id(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    generation: TopicGenerationId,
) -> DbResult<Option<TopicRow>> {
    let row = scoped
        .query_optional(
            "SELECT * FROM topic_generations
             WHERE org_id = $1 AND cluster_id = $2 AND generation_id = $3",
            params![cluster, generation],
        )
        .await?;
    row.as_ref().map(topic).transpose()
}

/// The current generation of a name, or the generation of an id (in any state). A name that
/// happens to look like an id wins.
///
/// # Errors
/// As the database.
pub async fn find(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    name_or_id: &str,
) -> DbResult<Option<TopicRow>> {
    if let Some(named) = by_name(scoped, cluster, name_or_id).await? {
        return Ok(Some(named));
    }
    match name_or_id.parse() {
        Ok(generation) => by_id(scoped, cluster, generation).await,
        Err(_) => Ok(None),
    }
}

/// Current generations by name, after the name `after`.
///
/// # Errors
/// As the database.
pub async fn page(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    filter: PageFilter,
    after: &str,
    limit: u32,
) -> DbResult<Vec<TopicRow>> {
    let rows = scoped
        .query(
            "SELECT * FROM topic_generations
             WHERE org_id = $1 AND cluster_id = $2 AND state = $3 AND internal <= $4 AND name > $5
             ORDER BY name LIMIT $6",
            params![cluster, TopicState::Active, filter.internal, after, limit],
        )
        .await?;
    rows.iter().map(topic).collect()
}

/// Every generation that still has rows, by name and number: what a snapshot names.
///
/// # Errors
/// As the database.
pub async fn list(scoped: &mut Scoped<'_>, cluster: ClusterId) -> DbResult<Vec<TopicRow>> {
    let rows = scoped
        .query(
            "SELECT * FROM topic_generations WHERE org_id = $1 AND cluster_id = $2
             ORDER BY name, number",
            params![cluster],
        )
        .await?;
    rows.iter().map(topic).collect()
}

/// Stores how the records of an active generation are kept. `false`, and nothing changed,
/// when it is not active.
///
/// # Errors
/// As the database.
pub async fn set_config(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    generation: TopicGenerationId,
    config: &TopicConfig,
) -> DbResult<bool> {
    let rows = scoped
        .execute(
            "UPDATE topic_generations SET flush_interval_ms = $5, retention_ms = $6,
                retention_bytes = $7, segment_bytes = $8, segment_ms = $9, unclean_election = $10
             WHERE org_id = $1 AND cluster_id = $2 AND generation_id = $3 AND state = $4",
            params![
                cluster,
                generation,
                TopicState::Active,
                interval(config.flush),
                config.retention_ms,
                config.retention_bytes,
                config.segment_bytes,
                config.segment_ms,
                config.unclean_election
            ],
        )
        .await?;
    Ok(rows == 1)
}

/// Stores how many replicas a generation has of each partition, and how many of them in sync
/// commit.
///
/// # Errors
/// As the database.
pub async fn set_replication(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    generation: TopicGenerationId,
    replication: u32,
    min_insync: Option<u32>,
) -> DbResult<()> {
    scoped
        .execute(
            "UPDATE topic_generations SET replication = $4, min_insync_replicas = $5
             WHERE org_id = $1 AND cluster_id = $2 AND generation_id = $3",
            params![cluster, generation, replication, min_insync],
        )
        .await?;
    Ok(())
}

/// Turns an active generation into a tombstone and frees its name. `false`, and nothing
/// changed, when it is not active.
///
/// # Errors
/// As the database.
pub async fn tombstone(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    generation: TopicGenerationId,
    now_unix_ms: i64,
) -> DbResult<bool> {
    let rows = scoped
        .execute(
            "UPDATE topic_generations SET state = $4, deleted_at_unix_ms = $5
             WHERE org_id = $1 AND cluster_id = $2 AND generation_id = $3 AND state = $6",
            params![cluster, generation, TopicState::Tombstone, now_unix_ms, TopicState::Active],
        )
        .await?;
    scoped
        .execute(
            "UPDATE topic_names SET current_generation_id = NULL
             WHERE org_id = $1 AND cluster_id = $2 AND current_generation_id = $3",
            params![cluster, generation],
        )
        .await?;
    Ok(rows == 1)
}
