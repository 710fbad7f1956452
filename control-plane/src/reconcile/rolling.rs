//! SPUs that are started anew, one after the other: `plan::rolling`, of the operation that runs.
//! Each is stopped in order here; what starts it again is what starts any that does not run.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use weir_protocol::ids::SpuId;
use weir_runtime::clock::Monotonic;

use super::{Context, snapshot::Snapshot};
use crate::{
    plan::{
        lifecycle::View,
        rolling::{self, Holds, Next},
    },
    store::{
        DbResult,
        partitions::{self, PartitionRow},
        topics,
        types::{Desired, OperationKind, TopicState},
    },
};

/// Since when each SPU is known to run and not to be ready. In memory: a control plane that has just
/// begun waits for those that it has not heard of yet.
#[derive(Debug, Default)]
pub(super) struct Unready(BTreeMap<SpuId, Monotonic>);

impl Unready {
    pub(super) fn note(&mut self, view: &View, now: Monotonic) {
        for spu in &view.spus {
            if spu.running && spu.lacks.is_some() {
                self.0.entry(spu.spu_id).or_insert(now);
            } else {
                self.0.remove(&spu.spu_id);
            }
        }
    }

    /// Forgets what it knows: whoever lives may not have come back yet.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Who has not been ready for a lease. It begins when a control plane that has just begun has
    /// called all for as long: whoever lives tries again sooner than that.
    fn ill(&self, now: Monotonic, lease: Duration) -> BTreeSet<SpuId> {
        let ill = self.0.iter().filter(|(_, since)| now.since(**since) >= lease);
        ill.map(|(spu, _)| *spu).collect()
    }
}

/// What is to be done now; `None` where nothing of the kind was ordered.
pub(super) async fn next(
    context: &Context,
    snapshot: &Snapshot,
    view: &View,
    unready: &Unready,
) -> DbResult<Option<Next>> {
    let restart = snapshot.operation.as_ref().filter(|row| row.kind == OperationKind::Restart);
    let Some(operation) = restart.filter(|_| snapshot.cluster.desired == Desired::Running) else {
        return Ok(None);
    };
    let (app, id) = (&context.app, snapshot.cluster.id);
    let asked = &operation.target.restart;
    if let Some(why) = rolling::waits(asked, &view.spus) {
        return Ok(Some(Next::Wait(why)));
    }
    let damage = app.board.damage(id);
    let mut held = BTreeMap::new();
    let mut tx = app.store.read().await?;
    let mut scoped = tx.scoped(snapshot.cluster.org);
    let topics = topics::list(&mut scoped, id).await?;
    // Of deleted ones nobody fetches: who has fallen out of sync stays so.
    let served: BTreeSet<_> = topics
        .iter()
        .filter(|topic| topic.state == TopicState::Active)
        .map(|topic| topic.generation)
        .collect();
    for before in asked.iter().filter(|before| !rolling::is_done(before, &view.spus)) {
        let spu = before.spu_id;
        let mut rows = partitions::of_spu(&mut scoped, id, spu).await?;
        rows.retain(|row| served.contains(&row.key.generation));
        let out = |row: &PartitionRow| damage.get(&row.key).is_some_and(|d| d.all().contains(&spu));
        let count = rows.len();
        rows.retain(|row| !out(row));
        held.insert(spu, Holds { out_of_service: rows.len() < count, rows });
    }
    let ill = unready.ill(app.clock.now(), app.defaults.lease);
    Ok(Some(rolling::next(asked, &view.spus, &held, &ill)))
}
