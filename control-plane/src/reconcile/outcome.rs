//! What a pass came to, written down: the cluster's state, and with it how far the operation
//! is that runs on it.

use std::collections::BTreeMap;

use weir_protocol::ids::SpuId;

use super::{Context, snapshot::Snapshot};
use crate::{
    plan::{
        lifecycle::{Plan, View},
        operation,
    },
    store::{
        DbResult, Scoped,
        changes::{self, Change},
        clusters,
        operations::{self, Account},
        types::{Desired, OperationKind, OperationState},
    },
};

/// Stores a new state and the operation's new progress, if the owner still wants what the
/// plan was made for.
pub(super) async fn store(
    context: &Context,
    snapshot: &Snapshot,
    view: &View,
    plan: &Plan,
    (conflicts, waits_for): (&BTreeMap<SpuId, String>, Option<&str>),
) -> DbResult<()> {
    let (app, row) = (&context.app, &snapshot.cluster);
    let same = row.state == plan.state && row.reason == plan.reason;
    let progress = progress(snapshot, view, plan, (conflicts, waits_for));
    if same && progress.is_none() {
        return Ok(());
    }
    let now = app.now_unix_ms();
    let mut tx = app.store.write().await?;
    let mut scoped = tx.scoped(row.org);
    let reason = plan.reason.as_deref();
    let believed = (row.desired, row.state);
    // Also when it is the same: an order may have come in meanwhile.
    if !clusters::set_state(&mut scoped, row.id, believed, plan.state, reason, now).await? {
        return Ok(());
    }
    let ended = match &progress {
        Some(account) => write(&mut scoped, snapshot, account, now).await?,
        None => None,
    };
    let mut revision = None;
    // Reasons come and go while SPUs start; watchers hear of states.
    if row.state != plan.state {
        revision = Some(changes::record(&mut scoped, row.id, &Change::Cluster, now).await?);
    }
    tx.commit().await?;
    if let Some(revision) = revision {
        tracing::info!(cluster = %row.id, name = row.name, from = %row.state, to = %plan.state, reason, "cluster changed");
        app.signals.metadata(row.id, revision);
    }
    if let Some((kind, state)) = ended {
        tracing::info!(cluster = %row.id, name = row.name, %kind, %state, "operation ended");
    }
    Ok(())
}

/// How far the running operation is, where that is news.
fn progress(
    snapshot: &Snapshot,
    view: &View,
    plan: &Plan,
    (conflicts, waits_for): (&BTreeMap<SpuId, String>, Option<&str>),
) -> Option<Account> {
    let operation = snapshot.operation.as_ref()?;
    // The order and what it wants are written together, so they are read together too; but a
    // rolled back database may hold anything.
    let fits = match operation.kind {
        OperationKind::Create | OperationKind::Resume => view.desired == Desired::Running,
        OperationKind::Shutdown => view.desired == Desired::Shutdown,
        OperationKind::Delete => view.desired == Desired::Deleted,
        OperationKind::Scale | OperationKind::Restart => true,
    };
    let seen = operation::View {
        state: plan.state,
        reason: plan.reason.as_deref(),
        wanted: snapshot.cluster.spec.spus,
        spus: &view.spus,
        conflicts,
        moving: &snapshot.moving,
        waits_for,
    };
    let account = operation::advance(operation.kind, &operation.target, &seen);
    (fits && account != operation.account).then_some(account)
}

/// Writes it; what ended by it, if anything did.
async fn write(
    scoped: &mut Scoped<'_>,
    snapshot: &Snapshot,
    account: &Account,
    now: i64,
) -> DbResult<Option<(OperationKind, OperationState)>> {
    let Some(operation) = &snapshot.operation else { return Ok(None) };
    let written = operations::account(scoped, operation.id, account, now).await?;
    let ended = written && account.state != OperationState::Running;
    Ok(ended.then_some((operation.kind, account.state)))
}
