//! Deleted generations: found, listed, brought back. Their rows stay until their data is gone.

use weir_protocol::ids::{ClusterId, GenerationNumber, TopicGenerationId};

use super::{
    DbResult, Scoped,
    topics::{self, TopicRow},
    types::TopicState,
};
use crate::params;

/// The newest deleted generation of a name (one that is being purged only where there is no
/// other), or the generation of an id in any state. A name that happens to look like an id
/// wins.
///
/// # Errors
/// As the database.
pub async fn find(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    name_or_id: &str,
) -> DbResult<Option<TopicRow>> {
    let newest = scoped
        .query_optional(
            "SELECT * FROM topic_generations
             WHERE org_id = $1 AND cluster_id = $2 AND name = $3 AND state <> $4
             ORDER BY CASE WHEN state = $5 THEN 0 ELSE 1 END, number DESC LIMIT 1",
            params![cluster, name_or_id, TopicState::Active, TopicState::Tombstone],
        )
        .await?;
    if let Some(row) = &newest {
        return topics::topic(row).map(Some);
    }
    match name_or_id.parse() {
        Ok(generation) => topics::by_id(scoped, cluster, generation).await,
        Err(_) => Ok(None),
    }
}

/// Deleted generations by name and number, after this one; those that are being purged too.
///
/// # Errors
/// As the database.
pub async fn page(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    internal: bool,
    after: (&str, GenerationNumber),
    limit: u32,
) -> DbResult<Vec<TopicRow>> {
    let rows = scoped
        .query(
            "SELECT * FROM topic_generations
             WHERE org_id = $1 AND cluster_id = $2 AND state <> $3 AND internal <= $4
                AND (name > $5 OR (name = $5 AND number > $6))
             ORDER BY name, number LIMIT $7",
            params![cluster, TopicState::Active, internal, after.0, after.1, limit],
        )
        .await?;
    rows.iter().map(topics::topic).collect()
}

/// Makes a tombstone the current generation of its name again. The caller has looked, in the
/// same transaction, that the name is free. `false`, and nothing changed, when it is no
/// tombstone.
///
/// # Errors
/// As the database.
pub async fn undelete(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    name: &str,
    generation: TopicGenerationId,
) -> DbResult<bool> {
    let rows = scoped
        .execute(
            "UPDATE topic_generations SET state = $4, deleted_at_unix_ms = NULL
             WHERE org_id = $1 AND cluster_id = $2 AND generation_id = $3 AND state = $5",
            params![cluster, generation, TopicState::Active, TopicState::Tombstone],
        )
        .await?;
    if rows == 1 {
        scoped
            .execute(
                "UPDATE topic_names SET current_generation_id = $4
                 WHERE org_id = $1 AND cluster_id = $2 AND name = $3
                    AND current_generation_id IS NULL",
                params![cluster, name, generation],
            )
            .await?;
    }
    Ok(rows == 1)
}
