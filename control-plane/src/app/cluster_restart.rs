//! That a cluster's SPUs are started anew, one after the other, while it is in use.

use serde_json::json;
use weir_protocol::ids::SpuId;

use super::{
    App, AppError, Principal, act,
    idempotency::{self, Answer, Repeatable},
    lookup, view,
};
use crate::store::{
    operations::{self, Started, Target},
    spus,
    types::{KeyScope, OperationKind, OperationState},
};

/// Orders it of these SPUs; `None`: of all. Safe to repeat: the same order that is being carried
/// out is not begun again.
///
/// # Errors
/// [`AppError::SpuNotFound`], [`AppError::Invalid`] for none or while one leaves, [`AppError::ClusterShutDown`], [`AppError::ClusterDeleting`], and as
/// the store.
pub async fn cluster_restart(
    app: &App,
    principal: &Principal,
    cluster: &str,
    which: Option<&[SpuId]>,
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
    if which.is_some_and(<[SpuId]>::is_empty) {
        let hint = "Name at least one, or leave the list out: then all are meant.";
        return Err(AppError::invalid("spu_ids", "no SPU is named", hint));
    }
    if let Some(leaving) = rows.iter().find(|spu| spu.leaving && !spu.removed) {
        let what = format!("SPU {} is about to leave the cluster", leaving.id);
        let hint =
            "Wait until it has (weir cluster status), or keep it: weir cluster scale --cancel.";
        return Err(AppError::invalid("cluster", what, hint));
    }
    let there = |spu: SpuId| rows.iter().any(|row| row.id == spu && row.stays());
    if let Some(unknown) = which.into_iter().flatten().find(|spu| !there(**spu)) {
        return Err(AppError::SpuNotFound { cluster: row.name, spu: *unknown });
    }
    let elsewhere = |spu: &&SpuId| rows.iter().any(|row| row.id == **spu && row.external);
    if let Some(external) = which.into_iter().flatten().find(elsewhere) {
        let what = format!("SPU {external} runs elsewhere, and is not for this to start");
        let hint = "Start it anew where it runs; others are restarted without naming it.";
        return Err(AppError::invalid("spu_ids", what, hint));
    }
    let asked = rows
        .iter()
        .filter(|spu| spu.stays() && !spu.external)
        .filter(|spu| which.is_none_or(|which| which.contains(&spu.id)))
        .map(|spu| Started { spu_id: spu.id, launch_id: spu.launch_id });
    let restart: Vec<_> = asked.collect();
    let newest = operations::newest(&mut org, row.id).await?;
    let under_way = newest.is_some_and(|last| {
        let ids = |started: &[Started]| started.iter().map(|s| s.spu_id).collect::<Vec<_>>();
        last.kind == OperationKind::Restart
            && last.account.state == OperationState::Running
            && ids(&last.target.restart) == ids(&restart)
    });
    if !under_way {
        let spus = row.spec.spus;
        let target = Target { from: spus, to: spus, restart, ..Target::default() };
        let detail = json!(target);
        act::operation(app, &mut org, principal, &row, OperationKind::Restart, target).await?;
        act::audit(app, &mut org, principal, "cluster.restart", row.id, &row.name, detail).await?;
    }
    let view = view::cluster(app, &mut org, &row).await?;
    idempotency::remember(&mut org, principal, request, 202, &view, now).await?;
    tx.commit().await?;
    tracing::info!(cluster = %row.id, name = row.name, "restart ordered");
    app.signals.reconcile();
    Ok(Answer::Fresh(view))
}
