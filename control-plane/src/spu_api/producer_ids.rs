//! Producer ids in blocks, from a counter in SQL: what was given out is never given out
//! again, whatever became of the answer.

use std::sync::Arc;

use secrecy::SecretString;
use tonic::Status;
use weir_protocol::{
    ids::{Incarnation, ProducerId, SpuId},
    pb::session::{AllocateProducerIdsRequest, AllocateProducerIdsResponse},
};

use super::claim::{self, Claim};
use crate::{
    app::App,
    store::{DbError, clusters, types::Desired},
};

/// Ids per block.
pub const BLOCK: u32 = 1000;

fn parse(message: AllocateProducerIdsRequest) -> Result<Claim, Status> {
    Ok(Claim {
        org: message.org_id.parse().map_err(claim::invalid)?,
        cluster: message.cluster_id.parse().map_err(claim::invalid)?,
        spu: SpuId(message.spu_id),
        incarnation: Incarnation(message.incarnation),
        launch: message.launch_id.parse().map_err(claim::invalid)?,
        secret: SecretString::from(message.launch_secret),
    })
}

/// A block for the SPU that asks.
///
/// # Errors
/// `INVALID_ARGUMENT`, `PERMISSION_DENIED` (not the current launch of a cluster that is to
/// run, one that ended, or a wrong secret), `FAILED_PRECONDITION` (an earlier life), `UNAVAILABLE` (try
/// again; a block may be lost, which does no harm).
pub async fn allocate(
    app: &Arc<App>,
    message: AllocateProducerIdsRequest,
) -> Result<AllocateProducerIdsResponse, Status> {
    let asked = parse(message)?;
    let unavailable = |error: DbError| {
        tracing::warn!(%error, "no producer ids could be given out");
        Status::unavailable("the database did not answer; try again")
    };
    if app.board.calls(asked.cluster, app.clock.now()) {
        let text = "the control plane has just begun and is yet to hear every SPU; try again";
        return Err(Status::unavailable(text));
    }
    let mut tx = app.store.write().await.map_err(unavailable)?;
    let mut scoped = tx.scoped(asked.org);
    asked.check(app, &mut scoped, &[Desired::Running]).await.map_err(unavailable)??;
    let first = clusters::take_producer_ids(&mut scoped, asked.cluster, BLOCK)
        .await
        .map_err(unavailable)?
        .ok_or_else(|| Status::permission_denied("no such cluster"))?;
    // Without a known commit nothing is handed out: the block stays unused for ever.
    tx.commit().await.map_err(unavailable)?;
    tracing::debug!(cluster = %asked.cluster, spu = %asked.spu, %first, "producer ids given out");
    let ProducerId(first) = first;
    Ok(AllocateProducerIdsResponse { first, count: BLOCK })
}
