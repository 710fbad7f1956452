//! Partitions of a cluster that was taken up again: once the logs that must be seen stand still and
//! are known, the newest leads (`plan::history`).

use std::collections::{BTreeMap, BTreeSet};

use weir_protocol::ids::{ClusterId, PartitionKey, SpuId, TopicGenerationId};

use super::{Context, snapshot::Snapshot};
use crate::{
    app::{App, leadership},
    plan::history::{self, Verdict},
    store::{
        DbResult, Scoped,
        changes::{self, Change},
        partition_state::PartitionState,
        partitions::PartitionRow,
        recovery, spus,
        types::Desired,
    },
};

/// Most partitions of one transaction, and of one look.
const AT_ONCE_MAX: u32 = 500;

/// Looks, and lets those lead that can.
pub(super) async fn pass(context: &Context, snapshot: &Snapshot) -> DbResult<()> {
    let (app, cluster) = (&context.app, &snapshot.cluster);
    if cluster.desired != Desired::Running {
        return Ok(());
    }
    let idle = {
        let mut tx = app.store.read().await?;
        decide(app, &mut tx.scoped(cluster.org), cluster.id).await?.is_empty()
    };
    if idle {
        return Ok(());
    }
    let (id, now) = (cluster.id, app.now_unix_ms());
    let mut tx = app.store.write().await?;
    let mut scoped = tx.scoped(cluster.org);
    if !super::decides(app, &mut scoped, id).await? {
        return Ok(());
    }
    let mut changed: BTreeSet<TopicGenerationId> = BTreeSet::new();
    for (row, state) in decide(app, &mut scoped, id).await? {
        if recovery::led(&mut scoped, id, &row, &state).await? {
            tracing::info!(cluster = %id, partition = %row.key, ?state, "led again after the recovery");
            changed.insert(row.key.generation);
        }
    }
    let mut revision = None;
    for generation in changed {
        revision = Some(changes::record(&mut scoped, id, &Change::Topic(generation), now).await?);
    }
    if let Some(revision) = revision {
        tx.commit().await?;
        app.signals.metadata(id, revision);
        app.signals.reconcile();
    }
    Ok(())
}

async fn decide(
    app: &App,
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
) -> DbResult<Vec<(PartitionRow, PartitionState)>> {
    let mut rows = recovery::recovering(scoped, cluster, None, AT_ONCE_MAX).await?;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let lives = leadership::online(&spus::list(scoped, cluster).await?, &app.board.lives(cluster));
    let fenced = app.board.fenced(cluster);
    let none = BTreeMap::new();
    let of = |key: &PartitionKey| -> &BTreeMap<SpuId, history::Fenced> {
        fenced.get(key).unwrap_or(&none)
    };
    let mut decided = Vec::new();
    // Those that wait are passed by, however many they are.
    while let Some(last) = rows.last().map(|row| row.key) {
        let leads = |row: PartitionRow| match history::lead(&row, of(&row.key), &lives) {
            Verdict::Lead(state) => Some((row, state)),
            Verdict::Wait(_) => None,
        };
        decided.extend(rows.into_iter().filter_map(leads));
        if decided.len() >= usize::try_from(AT_ONCE_MAX).unwrap_or(usize::MAX) {
            break;
        }
        rows = recovery::recovering(scoped, cluster, Some(last), AT_ONCE_MAX).await?;
    }
    Ok(decided)
}
