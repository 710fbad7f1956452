//! SPUs that are gone: others lead what they led, and nobody waits for their replicas.

use std::collections::{BTreeMap, BTreeSet};

use weir_protocol::ids::{ClusterId, PartitionKey, Revision, SpuId};
use weir_runtime::clock::Monotonic;

use super::{Context, snapshot::Snapshot};
use crate::{
    app::{App, leadership},
    plan::{damage, election::Electorate},
    store::{
        DbResult, Scoped,
        clusters::{self, ClusterRow},
        partition_state::{self, PartitionState},
        partitions::PartitionRow,
        spus,
        types::{Desired, SpuState},
    },
};

/// Since when each SPU is known not to be online. In memory: a control plane that has just begun
/// waits for a whole lease before it deposes anybody.
#[derive(Debug, Default)]
pub(super) struct Absences(BTreeMap<SpuId, Monotonic>);

impl Absences {
    /// Notes who is there. While a cluster is to stand still nobody is absent: all come back as
    /// they went.
    pub(super) fn note(&mut self, snapshot: &Snapshot, now: Monotonic) {
        if snapshot.cluster.desired != Desired::Running {
            self.0.clear();
            return;
        }
        for row in &snapshot.spus {
            if row.state == SpuState::Online || row.destroyed {
                self.0.remove(&row.id);
            } else {
                self.0.entry(row.id).or_insert(now);
            }
        }
    }

    /// Who has been absent for as long as the lease.
    pub(super) fn lost(&self, now: Monotonic, lease: std::time::Duration) -> BTreeSet<SpuId> {
        let lost = self.0.iter().filter(|(_, since)| now.since(**since) >= lease);
        lost.map(|(spu, _)| *spu).collect()
    }
}

/// Takes the lost off what they lead and are in sync with, in the caller's transaction, where
/// others can do without them. Answers the revision, if anything changed.
pub(super) async fn store(
    app: &App,
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    lost: &BTreeSet<SpuId>,
) -> DbResult<Option<Revision>> {
    let row = clusters::by_id(scoped, cluster).await?;
    let decidable = |row: ClusterRow| row.desired == Desired::Running && row.frozen.is_none();
    // One that has just begun deposes nobody before it has heard everybody: see `plan::history`.
    if !row.is_some_and(decidable) || app.board.calls(cluster, app.clock.now()) {
        return Ok(None);
    }
    let (rows, electorate) = load(app, scoped, cluster, lost, lost).await?;
    let decided = decide(app, cluster, &rows, &electorate);
    let revision = leadership::store(scoped, cluster, &decided, app.now_unix_ms()).await?;
    if revision.is_some() {
        tracing::info!(%cluster, spus = ?lost, partitions = decided.len(), "led and kept in sync by others now");
    }
    Ok(revision)
}

fn decide<'a>(
    app: &App,
    cluster: ClusterId,
    rows: &'a [PartitionRow],
    electorate: &Electorate,
) -> Vec<(&'a PartitionRow, PartitionState)> {
    let damage = app.board.damage(cluster);
    let settle = |row: &PartitionRow| damage::elect(row, electorate, damage.get(&row.key));
    rows.iter().filter_map(|row| Some((row, settle(row)?))).collect()
}

/// What these SPUs are counted on for, and who may take the place of the lost.
pub(super) async fn load(
    app: &App,
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    of: &BTreeSet<SpuId>,
    lost: &BTreeSet<SpuId>,
) -> DbResult<(Vec<PartitionRow>, Electorate)> {
    let lives = app.board.lives(cluster);
    let may_lead = leadership::online(&spus::list(scoped, cluster).await?, &lives);
    let mut rows: BTreeMap<PartitionKey, PartitionRow> = BTreeMap::new();
    for spu in of {
        let shared = partition_state::shared_by(scoped, cluster, *spu).await?;
        rows.extend(shared.into_iter().map(|row| (row.key, row)));
    }
    let electorate = Electorate { may_lead, lost: lost.clone(), eligible_too: true };
    Ok((rows.into_values().collect(), electorate))
}

/// Whatever is still with SPUs that have been absent for a lease, and can be with others by now:
/// those that never came, and what nobody could take over when they went.
pub(super) async fn sweep(
    context: &Context,
    snapshot: &Snapshot,
    absences: &Absences,
) -> DbResult<()> {
    let (app, id, org) = (&context.app, snapshot.cluster.id, snapshot.cluster.org);
    let lost = absences.lost(app.clock.now(), app.defaults.lease);
    if lost.is_empty() {
        return Ok(());
    }
    let idle = {
        let mut tx = app.store.read().await?;
        let (rows, electorate) = load(app, &mut tx.scoped(org), id, &lost, &lost).await?;
        decide(app, id, &rows, &electorate).is_empty()
    };
    if idle {
        return Ok(());
    }
    let mut tx = app.store.write().await?;
    let mut scoped = tx.scoped(org);
    // Looked at again: one may have come back meanwhile.
    let rows = spus::list(&mut scoped, id).await?;
    let online = |spu: &SpuId| rows.iter().any(|r| r.id == *spu && r.state == SpuState::Online);
    let lost = lost.into_iter().filter(|spu| !online(spu)).collect();
    if let Some(revision) = store(app, &mut scoped, id, &lost).await? {
        tx.commit().await?;
        app.signals.metadata(id, revision);
    }
    Ok(())
}
