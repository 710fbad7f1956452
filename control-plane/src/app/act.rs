//! What every act leaves behind in its transaction.

use weir_protocol::ids::{ClusterId, OperationId};

use super::{App, AppError, Principal};
use crate::{
    plan::operation,
    store::{
        Scoped, audit,
        clusters::ClusterRow,
        operations::{self, NewOperation, Target},
        types::OperationKind,
    },
};

/// Writes who did what.
pub(super) async fn audit(
    app: &App,
    scoped: &mut Scoped<'_>,
    principal: &Principal,
    action: &str,
    cluster: ClusterId,
    subject: &str,
    detail: serde_json::Value,
) -> Result<(), AppError> {
    let entry = audit::Entry {
        id: app.uuid_v7()?,
        actor: &principal.key_id.to_string(),
        action,
        cluster: Some(cluster),
        subject,
        detail,
    };
    audit::record(scoped, &entry, app.now_unix_ms()).await?;
    Ok(())
}

/// Writes who ordered what, in a transaction of its own: for an act that is carried out
/// elsewhere, so that it leaves a trace whatever becomes of it.
pub(super) async fn order(
    app: &App,
    principal: &Principal,
    action: &str,
    cluster: ClusterId,
    subject: &str,
    detail: serde_json::Value,
) -> Result<(), AppError> {
    let mut tx = app.store.write().await?;
    let mut org = tx.scoped(principal.org);
    audit(app, &mut org, principal, action, cluster, subject, detail).await?;
    tx.commit().await?;
    Ok(())
}

/// Begins an operation on a cluster. One that still runs there is superseded.
pub(super) async fn operation(
    app: &App,
    scoped: &mut Scoped<'_>,
    principal: &Principal,
    cluster: &ClusterRow,
    kind: OperationKind,
    target: Target,
) -> Result<(), AppError> {
    let new = NewOperation {
        id: OperationId(app.uuid_v7()?),
        cluster: cluster.id,
        cluster_name: &cluster.name,
        kind,
        account: operation::begun(kind, &target),
        target,
        actor: &principal.key_id.to_string(),
    };
    operations::begin(scoped, &new, app.now_unix_ms()).await?;
    Ok(())
}
