//! Shutdown, resume, delete: what is wanted changes here, the reconciler makes it so.

use serde_json::json;

use super::{
    App, AppError, Principal, act,
    idempotency::{self, Answer, Repeatable},
    lookup, view,
};
use crate::{
    plan::guards::{self, Order, Verdict},
    store::{
        changes::{self, Change},
        clusters,
        operations::{self, Target},
        types::{KeyScope, OperationKind, OperationState},
    },
};

/// Stops the cluster's SPUs; data and spec are kept. Safe to repeat.
///
/// # Errors
/// [`AppError::ClusterNotFound`], [`AppError::ClusterDeleting`], and as the store.
pub async fn cluster_shutdown(
    app: &App,
    principal: &Principal,
    cluster: &str,
    request: Option<&Repeatable>,
) -> Result<Answer<view::ClusterView>, AppError> {
    order(app, principal, cluster, Order::Shutdown, request).await
}

/// Starts the cluster's SPUs again, with the spec that it has; one that failed is tried anew,
/// at once. Safe to repeat.
///
/// # Errors
/// As [`cluster_shutdown`].
pub async fn cluster_resume(
    app: &App,
    principal: &Principal,
    cluster: &str,
    request: Option<&Repeatable>,
) -> Result<Answer<view::ClusterView>, AppError> {
    order(app, principal, cluster, Order::Resume, request).await
}

/// Removes the cluster with all its data. Safe to repeat, until it is gone.
///
/// # Errors
/// [`AppError::ClusterNotFound`], and as the store.
pub async fn cluster_delete(
    app: &App,
    principal: &Principal,
    cluster: &str,
) -> Result<Answer<view::ClusterView>, AppError> {
    order(app, principal, cluster, Order::Delete, None).await
}

async fn order(
    app: &App,
    principal: &Principal,
    cluster: &str,
    order: Order,
    request: Option<&Repeatable>,
) -> Result<Answer<view::ClusterView>, AppError> {
    principal.require(KeyScope::Admin)?;
    let now = app.now_unix_ms();
    let mut tx = app.store.write().await?;
    let mut org = tx.scoped(principal.org);
    if let Some(answer) = idempotency::before(&mut org, principal, request).await? {
        return Ok(answer);
    }
    let mut row = lookup::cluster(&mut org, cluster).await?;
    if order == Order::Delete {
        row = lookup::decidable(row)?;
    }
    match guards::order(row.desired, row.state, order) {
        Verdict::Deleting => return Err(AppError::ClusterDeleting(row.name)),
        Verdict::AlreadySo => {}
        Verdict::Want(desired, state) => {
            clusters::set_desired(&mut org, row.id, desired, state, now).await?;
            changes::record(&mut org, row.id, &Change::Cluster, now).await?;
            let (kind, action) = match order {
                Order::Shutdown => (OperationKind::Shutdown, "cluster.shutdown"),
                Order::Resume => (OperationKind::Resume, "cluster.resume"),
                Order::Delete => (OperationKind::Delete, "cluster.delete"),
            };
            let spus = row.spec.spus;
            let target = Target { from: spus, to: spus, ..Target::default() };
            // A resume helps what is under way on a cluster that runs, and takes its place not.
            let newest = operations::newest(&mut org, row.id).await?;
            let goes_on = newest.is_some_and(|last| {
                last.account.state == OperationState::Running
                    && matches!(last.kind, OperationKind::Scale | OperationKind::Restart)
            });
            if !(goes_on && order == Order::Resume && row.desired == desired) {
                act::operation(app, &mut org, principal, &row, kind, target).await?;
            }
            act::audit(app, &mut org, principal, action, row.id, &row.name, json!({})).await?;
        }
    }
    let row = lookup::cluster(&mut org, &row.id.to_string()).await?;
    let view = view::cluster(app, &mut org, &row).await?;
    idempotency::remember(&mut org, principal, request, 202, &view, now).await?;
    tx.commit().await?;
    tracing::info!(cluster = %row.id, name = row.name, ?order, desired = %row.desired, "cluster ordered");
    app.signals.metadata(row.id, row.revision);
    app.signals.reconcile();
    Ok(Answer::Fresh(view))
}
