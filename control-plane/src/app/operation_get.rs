//! One operation, and lists of them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use weir_protocol::ids::{ClusterId, OperationId};

use super::{App, AppError, Principal, lookup, page};
use crate::store::{
    operations::{self, Failure, OperationRow, Step, Target},
    types::{KeyScope, OperationKind, OperationState},
};

/// What was ordered of a cluster, and how far it has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Operation)]
pub struct OperationView {
    /// Its id.
    #[schema(value_type = String, example = "op_0192f0c17a6e7c0e8a1b5d2f3c4e5a6b")]
    pub id: OperationId,
    /// The cluster; it may be gone.
    #[schema(value_type = String)]
    pub cluster_id: ClusterId,
    /// What it is, or was, called.
    pub cluster_name: String,
    /// What was ordered.
    pub kind: OperationKind,
    /// What became of it so far.
    pub state: OperationState,
    /// What it is to come to, in numbers.
    pub target: Target,
    /// In their order.
    pub steps: Vec<Step>,
    /// How much of it is done.
    pub progress: Progress,
    /// Why it failed, if it did.
    pub error: Option<Failure>,
    /// Who ordered it: the API key's id.
    pub actor: String,
    /// Milliseconds since 1970.
    pub created_at_unix_ms: i64,
    /// Milliseconds since 1970.
    pub updated_at_unix_ms: i64,
    /// Milliseconds since 1970, once it ended.
    pub ended_at_unix_ms: Option<i64>,
}

/// Units of work, of all steps together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = OperationProgress)]
pub struct Progress {
    /// Done.
    pub done: u32,
    /// In all.
    pub total: u32,
}

fn view(row: OperationRow) -> OperationView {
    OperationView {
        id: row.id,
        cluster_id: row.cluster,
        cluster_name: row.cluster_name,
        kind: row.kind,
        state: row.account.state,
        target: row.target,
        steps: row.account.steps,
        progress: Progress { done: row.account.done, total: row.account.total },
        error: row.account.error,
        actor: row.actor,
        created_at_unix_ms: row.created_at_unix_ms,
        updated_at_unix_ms: row.updated_at_unix_ms,
        ended_at_unix_ms: row.ended_at_unix_ms,
    }
}

/// One operation, also of a cluster that is gone.
///
/// # Errors
/// [`AppError::OperationNotFound`], and as the store.
pub async fn operation_get(
    app: &App,
    principal: &Principal,
    operation: &str,
) -> Result<OperationView, AppError> {
    principal.require(KeyScope::Read)?;
    let missing = || AppError::OperationNotFound(operation.to_owned());
    let id: OperationId = operation.parse().map_err(|_| missing())?;
    let mut tx = app.store.read().await?;
    let row = operations::get(&mut tx.scoped(principal.org), id).await?;
    row.map(view).ok_or_else(missing)
}

/// The operations of a cluster (`None`: of all, also of those that are gone), the newest
/// first, from before `before` on. Answers the id to go on before, if there are more.
///
/// # Errors
/// [`AppError::ClusterNotFound`], and as the store.
pub async fn operation_list(
    app: &App,
    principal: &Principal,
    cluster: Option<&str>,
    before: Option<OperationId>,
    limit: u32,
) -> Result<(Vec<OperationView>, Option<OperationId>), AppError> {
    principal.require(KeyScope::Read)?;
    let mut tx = app.store.read().await?;
    let mut org = tx.scoped(principal.org);
    let cluster = match cluster {
        Some(cluster) => Some(lookup::cluster(&mut org, cluster).await?.id),
        None => None,
    };
    let rows = operations::page(&mut org, cluster, before, limit.saturating_add(1)).await?;
    let (rows, next) = page::cut(rows, limit, |row| row.id);
    Ok((rows.into_iter().map(view).collect(), next))
}
