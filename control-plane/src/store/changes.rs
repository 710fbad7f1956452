//! What watchers must hear. Revisions come from a counter in the cluster's row, which stays
//! locked until the transaction ends: so they are committed in order and without gaps, as
//! sequences would not be.

use serde::{Deserialize, Serialize};
use weir_protocol::ids::{ClusterId, GenerationNumber, Revision, SpuId, TopicGenerationId};

use super::{DbError, DbResult, Row, Scoped, types::ChangeKind};
use crate::params;

/// How many changes of a cluster are kept at least. A watcher further back takes a snapshot.
pub const KEPT: u64 = 10_000;
/// Old ones are dropped whenever the revision is a multiple of this.
const PRUNE_EVERY: u64 = 256;

/// What changed. Watchers get the subject's state as it is when they are told, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The cluster's desired or observed state.
    Cluster,
    /// An SPU.
    Spu(SpuId),
    /// A topic generation or any of its partitions.
    Topic(TopicGenerationId),
    /// A topic generation whose rows are gone, with what watchers need to forget it.
    TopicPurged {
        /// Its id.
        generation: TopicGenerationId,
        /// Its number.
        number: GenerationNumber,
        /// Its name.
        name: String,
    },
}

#[derive(Serialize, Deserialize)]
struct Purged {
    number: GenerationNumber,
    name: String,
}

/// Takes the cluster's next revision and records the change under it.
///
/// # Errors
/// As the database; [`DbError::Misuse`] when there is no such cluster.
pub async fn record(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    change: &Change,
    now_unix_ms: i64,
) -> DbResult<Revision> {
    let revision: Revision = scoped
        .query_optional(
            "UPDATE clusters SET last_revision = last_revision + 1
             WHERE org_id = $1 AND cluster_id = $2
             RETURNING last_revision",
            params![cluster],
        )
        .await?
        .ok_or_else(|| DbError::Misuse { reason: format!("no cluster {cluster}") })?
        .get("last_revision")?;
    let (kind, subject, payload) = match change {
        Change::Cluster => (ChangeKind::Cluster, cluster.to_string(), "{}".to_owned()),
        Change::Spu(id) => (ChangeKind::Spu, id.to_string(), "{}".to_owned()),
        Change::Topic(id) => (ChangeKind::Topic, id.to_string(), "{}".to_owned()),
        Change::TopicPurged { generation, number, name } => (
            ChangeKind::Topic,
            generation.to_string(),
            serde_json::json!(Purged { number: *number, name: name.clone() }).to_string(),
        ),
    };
    scoped
        .execute(
            "INSERT INTO changes
                (org_id, cluster_id, revision, kind, subject, payload, created_at_unix_ms)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
            params![cluster, revision, kind, subject, payload, now_unix_ms],
        )
        .await?;
    if revision.0.is_multiple_of(PRUNE_EVERY) && revision.0 > KEPT {
        scoped
            .execute(
                "DELETE FROM changes WHERE org_id = $1 AND cluster_id = $2 AND revision <= $3",
                params![cluster, revision.0 - KEPT],
            )
            .await?;
    }
    Ok(revision)
}

/// When a revision was made, in milliseconds since 1970; `None` when it is not kept, or never was.
///
/// # Errors
/// As the database.
pub async fn made_at(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    revision: Revision,
) -> DbResult<Option<i64>> {
    let row = scoped
        .query_optional(
            "SELECT created_at_unix_ms FROM changes
             WHERE org_id = $1 AND cluster_id = $2 AND revision = $3",
            params![cluster, revision],
        )
        .await?;
    row.map(|row| row.get("created_at_unix_ms")).transpose()
}

/// The changes after `from`, in order. `None` when some of them are not kept any more, or
/// there would be more than [`KEPT`].
///
/// # Errors
/// As the database.
pub async fn since(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    from: Revision,
) -> DbResult<Option<Vec<(Revision, Change)>>> {
    let rows = scoped
        .query(
            "SELECT revision, kind, subject, payload FROM changes
             WHERE org_id = $1 AND cluster_id = $2 AND revision > $3
             ORDER BY revision LIMIT $4",
            params![cluster, from, KEPT + 1],
        )
        .await?;
    let found = rows
        .iter()
        .map(|row| Ok((row.get("revision")?, change(row)?)))
        .collect::<DbResult<Vec<(Revision, Change)>>>()?;
    let gap = found.first().is_some_and(|(first, _)| *first != from.next());
    let too_many = found.len() as u64 > KEPT;
    Ok((!gap && !too_many).then_some(found))
}

fn change(row: &Row) -> DbResult<Change> {
    let subject: String = row.get("subject")?;
    let payload: String = row.get("payload")?;
    let wrong = || DbError::Decode { column: "subject".to_owned(), expected: "subject" };
    Ok(match row.get("kind")? {
        ChangeKind::Cluster => Change::Cluster,
        ChangeKind::Spu => Change::Spu(SpuId(subject.parse().map_err(|_| wrong())?)),
        ChangeKind::Topic => {
            let generation = subject.parse().map_err(|_| wrong())?;
            match serde_json::from_str::<Purged>(&payload) {
                Ok(Purged { number, name }) => Change::TopicPurged { generation, number, name },
                Err(_) => Change::Topic(generation),
            }
        }
    })
}
