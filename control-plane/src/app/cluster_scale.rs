//! Another number of SPUs: what is wanted changes here, the reconciler makes it so.
//!
//! Those that are added get their rows at once. Those that go are only marked: they are
//! removed by the reconciler, in a transaction that checks once more that they are empty.

use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;
use weir_protocol::ids::SpuId;

use super::{
    App, AppError, Principal, act, cluster_create, holdings,
    idempotency::{self, Answer, Repeatable},
    lookup, view,
};
use crate::{
    plan::scale::{self, Plan},
    store::{
        Scoped,
        changes::{self, Change},
        clusters::{self, ClusterRow, ClusterSpec},
        operations::{self, Target},
        spus,
        types::{KeyScope, OperationKind, OperationState},
    },
};

/// What scaling would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ScalePreview)]
pub struct ScalePreview {
    /// How many SPUs there are.
    pub from: u32,
    /// How many there would be.
    pub to: u32,
    /// How many would be added.
    pub add: u32,
    /// Which would be removed.
    #[schema(value_type = Vec<u32>)]
    pub remove: Vec<SpuId>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scaled {
    /// It was ordered.
    Ordered(Answer<view::ClusterView>),
    /// It was only asked what would be done.
    Preview(ScalePreview),
}

/// Gives a running cluster another number of SPUs; with `dry_run` only says how. Safe to
/// repeat.
///
/// # Errors
/// [`AppError::ScaleRefused`] when too few SPUs are empty, [`AppError::ClusterShutDown`],
/// [`AppError::ClusterDeleting`], [`AppError::Invalid`], and as the store.
pub async fn cluster_scale(
    app: &App,
    principal: &Principal,
    cluster: &str,
    spus: u32,
    dry_run: bool,
    request: Option<&Repeatable>,
) -> Result<Scaled, AppError> {
    principal.require(KeyScope::Admin)?;
    let now = app.now_unix_ms();
    let mut tx = app.store.write().await?;
    let mut org = tx.scoped(principal.org);
    if let Some(answer) = idempotency::before(&mut org, principal, request).await? {
        return Ok(Scaled::Ordered(answer));
    }
    let row = lookup::decidable(lookup::running_cluster(&mut org, cluster).await?)?;
    let spec = ClusterSpec { spus, ..row.spec.clone() };
    cluster_create::check(app, &spec)?;
    let plan = decide(&mut org, &row, spus).await?;
    if dry_run {
        let (add, remove) = match plan {
            Plan::Up { add } => (add, Vec::new()),
            Plan::Down { remove } => (0, remove),
            Plan::Same | Plan::Refuse { .. } => (0, Vec::new()),
        };
        return Ok(Scaled::Preview(ScalePreview { from: row.spec.spus, to: spus, add, remove }));
    }
    // One that failed is begun anew by a repetition: what it came to is no answer to that.
    let newest = operations::newest(&mut org, row.id).await?;
    let failed = newest.is_some_and(|last| last.account.state == OperationState::Failed);
    if plan != Plan::Same || failed {
        let target = order(&mut org, &row, &spec, plan, now).await?;
        let detail = json!(target);
        act::operation(app, &mut org, principal, &row, OperationKind::Scale, target).await?;
        act::audit(app, &mut org, principal, "cluster.scale", row.id, &row.name, detail).await?;
    }
    let row = lookup::cluster(&mut org, &row.id.to_string()).await?;
    let view = view::cluster(app, &mut org, &row).await?;
    idempotency::remember(&mut org, principal, request, 202, &view, now).await?;
    tx.commit().await?;
    tracing::info!(cluster = %row.id, name = row.name, spus, "cluster scaled");
    app.signals.metadata(row.id, row.revision);
    app.signals.reconcile();
    Ok(Scaled::Ordered(Answer::Fresh(view)))
}

/// What to do; an error when it cannot be done.
async fn decide(org: &mut Scoped<'_>, row: &ClusterRow, wanted: u32) -> Result<Plan, AppError> {
    let rows = spus::list(org, row.id).await?;
    let stay: Vec<_> = rows.iter().filter(|spu| spu.stays()).map(|spu| spu.id).collect();
    let holdings = holdings::load(org, row.id).await?;
    match scale::plan(&stay, &holdings, wanted) {
        Plan::Refuse { lacking, blocking } => {
            let cluster = row.name.clone();
            Err(AppError::ScaleRefused { cluster, wanted, lacking, blocking })
        }
        plan => Ok(plan),
    }
}

/// Writes what is wanted now.
async fn order(
    org: &mut Scoped<'_>,
    row: &ClusterRow,
    spec: &ClusterSpec,
    plan: Plan,
    now: i64,
) -> Result<Target, AppError> {
    let mut target = Target { from: row.spec.spus, to: spec.spus, ..Target::default() };
    match plan {
        Plan::Up { add } => {
            for _ in 0..add {
                let spu = spus::add(org, row.id, now).await?;
                changes::record(org, row.id, &Change::Spu(spu), now).await?;
                target.add.push(spu);
            }
        }
        Plan::Down { remove } => {
            for spu in &remove {
                spus::set_leaving(org, row.id, *spu, true, now).await?;
            }
            target.remove = remove;
        }
        Plan::Same | Plan::Refuse { .. } => {}
    }
    clusters::set_spec(org, row.id, spec, now).await?;
    changes::record(org, row.id, &Change::Cluster, now).await?;
    Ok(target)
}
