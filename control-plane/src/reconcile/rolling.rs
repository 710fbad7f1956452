//! SPUs that are started anew, one after the other: `plan::rolling`, of the operation that runs.
//! Each is stopped in order here; what starts it again is what starts any that does not run.

use std::collections::BTreeMap;

use super::{Context, snapshot::Snapshot};
use crate::{
    plan::{
        lifecycle::View,
        rolling::{self, Next},
    },
    store::{
        DbResult, partitions,
        types::{Desired, OperationKind},
    },
};

/// What is to be done now; `None` where nothing of the kind was ordered.
pub(super) async fn next(
    context: &Context,
    snapshot: &Snapshot,
    view: &View,
) -> DbResult<Option<Next>> {
    let restart = snapshot.operation.as_ref().filter(|row| row.kind == OperationKind::Restart);
    let Some(operation) = restart.filter(|_| snapshot.cluster.desired == Desired::Running) else {
        return Ok(None);
    };
    let asked = &operation.target.restart;
    let mut held = BTreeMap::new();
    let mut tx = context.app.store.read().await?;
    let mut scoped = tx.scoped(snapshot.cluster.org);
    for before in asked.iter().filter(|before| !rolling::is_done(before, &view.spus)) {
        let rows = partitions::of_spu(&mut scoped, snapshot.cluster.id, before.spu_id).await?;
        held.insert(before.spu_id, rows);
    }
    Ok(Some(rolling::next(asked, &view.spus, &held)))
}
