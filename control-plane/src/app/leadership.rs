//! Who leads what, written: what `plan::election` decided, in the caller's transaction.

use std::collections::BTreeMap;

use weir_protocol::ids::{ClusterId, Incarnation, Revision, SpuId, TopicGenerationId};

use crate::store::{
    DbResult, Scoped,
    changes::{self, Change},
    partition_state::{self, PartitionState},
    partitions::PartitionRow,
    spus::SpuRow,
    types::SpuState,
};

/// Stores what was decided on rows that this transaction read, sorted by generation: one change
/// per generation. Answers the revision, if anything changed.
///
/// # Errors
/// As the store.
pub(crate) async fn store(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    decided: &[(&PartitionRow, PartitionState)],
    now_unix_ms: i64,
) -> DbResult<Option<Revision>> {
    let mut changed: Option<TopicGenerationId> = None;
    let mut revision = None;
    for (before, after) in decided {
        if !partition_state::set_state(scoped, cluster, before, after).await? {
            continue;
        }
        if changed != Some(before.key.generation) {
            changed = Some(before.key.generation);
            let change = Change::Topic(before.key.generation);
            revision = Some(changes::record(scoped, cluster, &change, now_unix_ms).await?);
        }
    }
    Ok(revision)
}

/// Who may lead or become in sync: online in the database, with a standing session of the same
/// life that has not said that it stops (`lives`).
#[must_use]
pub(crate) fn online(
    spus: &[SpuRow],
    lives: &BTreeMap<SpuId, Incarnation>,
) -> BTreeMap<SpuId, Incarnation> {
    spus.iter()
        .filter(|row| row.state == SpuState::Online && !row.removed)
        .filter(|row| lives.get(&row.id) == Some(&row.incarnation))
        .map(|row| (row.id, row.incarnation))
        .collect()
}
