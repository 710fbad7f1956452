//! What SPUs carry, for whoever places something new.

use std::collections::BTreeMap;

use weir_protocol::ids::{ClusterId, SpuId};

use super::{DbResult, Scoped, types::TopicState};
use crate::params;

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
