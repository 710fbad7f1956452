//! Who was refused as an SPU of a cluster.

use serde::Serialize;
use utoipa::ToSchema;
use weir_protocol::ids::LaunchId;

use super::{App, AppError, Principal, lookup};
use crate::store::types::KeyScope;

/// One that asked to be an SPU of the cluster, or was one, and was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Refusal)]
pub struct RefusalView {
    /// The SPU that it said it is: perhaps one that was removed, or that there never was.
    pub spu_id: u32,
    /// The launch that it said it is of.
    #[schema(value_type = String)]
    pub launch_id: LaunchId,
    /// Why, for programs.
    #[schema(example = "STALE_LAUNCH")]
    pub code: String,
    /// Why, for people.
    pub reason: String,
    /// Whether it proved, by its secret, to be a launch of that SPU, be it an earlier one.
    pub proven: bool,
    /// How often, since the control plane began.
    pub count: u64,
    /// When last, milliseconds since 1970.
    pub last_at_unix_ms: i64,
}

/// Refusals since the control plane began, the newest first; few are kept.
///
/// # Errors
/// [`AppError::ClusterNotFound`], and as the store.
pub async fn spu_refusals(
    app: &App,
    principal: &Principal,
    cluster: &str,
) -> Result<Vec<RefusalView>, AppError> {
    principal.require(KeyScope::Read)?;
    let mut tx = app.store.read().await?;
    let mut org = tx.scoped(principal.org);
    let cluster = lookup::cluster(&mut org, cluster).await?;
    let refusals = app.board.refusals(cluster.id).into_iter().map(|refusal| RefusalView {
        spu_id: refusal.spu.0,
        launch_id: refusal.launch,
        code: refusal.code.to_string(),
        reason: refusal.reason,
        proven: refusal.proven,
        count: refusal.count,
        last_at_unix_ms: refusal.at_unix_ms,
    });
    Ok(refusals.collect())
}
