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
