//! Replicas that are out of service on SPUs that are there: others take their place, by
//! `plan::damage`.

use std::collections::{BTreeMap, BTreeSet};

use weir_protocol::ids::PartitionKey;

use super::{Context, snapshot::Snapshot};
use crate::{
    app::{App, leadership},
    plan::damage::{self, Damage},
    store::{
        DbResult, Scoped,
        partition_state::{self, PartitionState},
        partitions::PartitionRow,
        spus,
        types::Desired,
    },
};

/// Looks, and moves what can be moved.
pub(super) async fn sweep(context: &Context, snapshot: &Snapshot) -> DbResult<()> {
    let (app, cluster) = (&context.app, &snapshot.cluster);
    let damage = app.board.damage(cluster.id);
    if damage.is_empty() || cluster.desired != Desired::Running {
        return Ok(());
    }
    let idle = {
        let mut tx = app.store.read().await?;
        decide(app, &mut tx.scoped(cluster.org), snapshot, &damage).await?.is_empty()
    };
    if idle {
        return Ok(());
    }
    let mut tx = app.store.write().await?;
    let mut scoped = tx.scoped(cluster.org);
    if !super::decides(app, &mut scoped, cluster.id).await? {
        return Ok(());
    }
    let decided = decide(app, &mut scoped, snapshot, &damage).await?;
    let decided: Vec<_> = decided.iter().map(|(row, state)| (row, state.clone())).collect();
    let now = app.now_unix_ms();
    if let Some(revision) = leadership::store(&mut scoped, cluster.id, &decided, now).await? {
        tx.commit().await?;
        tracing::warn!(cluster = %cluster.id, partitions = decided.len(), "led and kept in sync without replicas that are out of service");
        app.signals.metadata(cluster.id, revision);
    }
    Ok(())
}

/// By generation and index.
async fn decide(
    app: &App,
    scoped: &mut Scoped<'_>,
    snapshot: &Snapshot,
    damage: &BTreeMap<PartitionKey, Damage>,
) -> DbResult<Vec<(PartitionRow, PartitionState)>> {
    let cluster = snapshot.cluster.id;
    let lives = app.board.lives(cluster);
    let may_lead = leadership::online(&spus::list(scoped, cluster).await?, &lives);
    let holders: BTreeSet<_> = damage.values().flat_map(Damage::all).collect();
    let mut rows = BTreeMap::new();
    for spu in holders {
        let shared = partition_state::shared_by(scoped, cluster, spu).await?;
        rows.extend(shared.into_iter().map(|row| (row.key, row)));
    }
    let decided = rows.into_values().filter_map(|row| {
        let state = damage::settle(&row, damage.get(&row.key)?, &may_lead)?;
        Some((row, state))
    });
    Ok(decided.collect())
}
