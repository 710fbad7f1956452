//! Partitions come to be held by other SPUs: `plan::reassign`, step by step, on the period and
//! when in-sync replicas have changed.

use std::collections::BTreeSet;

use weir_protocol::ids::{ClusterId, Revision, TopicGenerationId};

use super::{Context, snapshot::Snapshot};
use crate::{
    app::{App, leadership, replication},
    plan::reassign::{self, Step},
    store::{
        DbResult, Scoped,
        changes::{self, Change},
        partition_state,
        partitions::PartitionRow,
        reassignments, spus,
        types::Desired,
    },
};

/// Most partitions that move at a time: each fetches its whole log.
const MOVING_MAX: usize = 100;
/// Most that are looked at, those that wait for one that is away among them. Bounds a transaction.
const BEGUN_MAX: u32 = 1000;

/// Takes the next step of each that can. `true` where anything was stored: then there may be
/// more to do at once.
pub(super) async fn pass(context: &Context, snapshot: &Snapshot) -> DbResult<bool> {
    let (app, cluster) = (&context.app, &snapshot.cluster);
    if cluster.desired != Desired::Running {
        return Ok(false);
    }
    let idle = {
        let mut tx = app.store.read().await?;
        due(app, &mut tx.scoped(cluster.org), cluster.id).await?.is_empty()
    };
    if idle {
        return Ok(false);
    }
    let mut tx = app.store.write().await?;
    let mut scoped = tx.scoped(cluster.org);
    if !super::decides(app, &mut scoped, cluster.id).await? {
        return Ok(false);
    }
    // Decided again: who is in sync, or there, may be others by now.
    let due = due(app, &mut scoped, cluster.id).await?;
    let Some(revision) = store(app, &mut scoped, cluster.id, &due).await? else {
        return Ok(false);
    };
    tx.commit().await?;
    app.signals.metadata(cluster.id, revision);
    Ok(true)
}

/// What can be done now, sorted by generation and partition.
async fn due(
    app: &App,
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
) -> DbResult<Vec<(PartitionRow, Step)>> {
    let online = leadership::online(&spus::list(scoped, cluster).await?, &app.board.lives(cluster));
    let mut rows = reassignments::running(scoped, cluster, true, BEGUN_MAX).await?;
    let moving = rows.iter().filter(|row| reassign::takes_a_place(row, &online)).count();
    let room = u32::try_from(MOVING_MAX.saturating_sub(moving)).unwrap_or(u32::MAX);
    let begun = u32::try_from(rows.len()).unwrap_or(u32::MAX);
    let room = room.min(BEGUN_MAX.saturating_sub(begun));
    rows.extend(reassignments::running(scoped, cluster, false, room).await?);
    rows.sort_by_key(|row| row.key);
    let steps = rows.into_iter().filter_map(|row| {
        let step = reassign::step(&row, &online)?;
        (!matches!(step, Step::Wait(_))).then_some((row, step))
    });
    Ok(steps.collect())
}

/// Stores the steps, in the caller's transaction. Answers the revision, if anything changed.
async fn store(
    app: &App,
    scoped: &mut Scoped<'_>,
    id: ClusterId,
    due: &[(PartitionRow, Step)],
) -> DbResult<Option<Revision>> {
    let now = app.now_unix_ms();
    let mut changed: BTreeSet<TopicGenerationId> = BTreeSet::new();
    for (row, step) in due {
        let stored = match step {
            Step::Join(replicas) => reassignments::join(scoped, id, row, replicas).await?,
            Step::Lead(state) => partition_state::set_state(scoped, id, row, state).await?,
            Step::Finish(state) => {
                let target = row.destined();
                reassignments::finish(scoped, id, row, &target, state, now).await?
            }
            Step::Wait(_) => false,
        };
        if stored {
            tracing::info!(cluster = %id, partition = %row.key, ?step, "reassigned by one step");
            changed.insert(row.key.generation);
        }
    }
    let mut revision = None;
    for generation in changed {
        replication::settle(scoped, id, generation).await?;
        revision = Some(changes::record(scoped, id, &Change::Topic(generation), now).await?);
    }
    Ok(revision)
}
