//! An SPU that somebody else runs leaves its cluster: as one that a smaller cluster has no place
//! for, once all that it holds is held by others.

use serde_json::json;
use weir_protocol::ids::SpuId;

use super::{
    App, AppError, Principal, act, cluster_scale,
    idempotency::{self, Answer, Repeatable},
    lookup, reassign, view,
};
use crate::{
    plan::scale::{self, Plan},
    store::{
        clusters::ClusterSpec,
        spus,
        types::{KeyScope, OperationKind},
    },
};

/// Orders it. Safe to repeat: one that is on its way out already is no error.
///
/// # Errors
/// [`AppError::SpuNotFound`], [`AppError::Invalid`] for one that the control plane runs itself,
/// [`AppError::ScaleRefused`] and [`AppError::DrainRefused`] where what it holds cannot be moved,
/// [`AppError::ClusterShutDown`], [`AppError::ClusterDeleting`], and as the store.
pub async fn spu_unregister(
    app: &App,
    principal: &Principal,
    cluster: &str,
    spu: SpuId,
    request: Option<&Repeatable>,
) -> Result<Answer<view::ClusterView>, AppError> {
    principal.require(KeyScope::Admin)?;
    let now = app.now_unix_ms();
    let mut tx = app.store.write().await?;
    let mut org = tx.scoped(principal.org);
    if let Some(answer) = idempotency::before(&mut org, principal, request).await? {
        return Ok(answer);
    }
    let row = lookup::decidable(lookup::running_cluster(&mut org, cluster).await?)?;
    let rows = spus::list(&mut org, row.id).await?;
    let found = rows.iter().find(|row| row.id == spu && !row.removed);
    let Some(found) = found else {
        return Err(AppError::SpuNotFound { cluster: row.name, spu });
    };
    if !found.external {
        return Err(AppError::invalid(
            "spu",
            format!("SPU {spu} is run by the control plane"),
            "Scale the cluster instead (weir cluster scale): it chooses who goes, or empty it \
             first (weir partition reassign --from).",
        ));
    }
    if !found.leaving {
        let wanted = row.spec.spus.saturating_sub(1);
        let spec = ClusterSpec { spus: wanted, ..row.spec.clone() };
        let (_, leaving) = cluster_scale::told_apart(&rows);
        let holdings = super::holdings::load(&mut org, row.id).await?;
        let plan = match scale::plan(&[spu], &leaving, &holdings, 0) {
            Plan::Refuse { lacking, blocking } => {
                let cluster = row.name.clone();
                return Err(AppError::ScaleRefused { cluster, wanted, lacking, blocking });
            }
            plan => plan,
        };
        let (target, moved) = cluster_scale::order(app, &mut org, &row, &spec, plan).await?;
        let stored =
            reassign::store(app, principal, &mut org, &row, &moved.topics, &moved.changes, false);
        stored.await?;
        let detail = json!({ "spu_id": spu.0 });
        act::operation(app, &mut org, principal, &row, OperationKind::Scale, target).await?;
        act::audit(app, &mut org, principal, "spu.unregister", row.id, &row.name, detail).await?;
    }
    let row = lookup::cluster(&mut org, &row.id.to_string()).await?;
    let view = view::cluster(app, &mut org, &row).await?;
    idempotency::remember(&mut org, principal, request, 202, &view, now).await?;
    tx.commit().await?;
    tracing::info!(cluster = %row.id, name = row.name, %spu, "SPU is to leave that runs elsewhere");
    app.signals.metadata(row.id, row.revision);
    app.signals.reconcile();
    Ok(Answer::Fresh(view))
}
