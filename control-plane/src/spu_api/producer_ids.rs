//! Producer ids in blocks, from a counter in SQL: what was given out is never given out
//! again, whatever became of the answer.

use std::sync::Arc;

use secrecy::SecretString;
use tonic::Status;
use weir_protocol::{
    ids::{ClusterId, Incarnation, LaunchId, OrgId, ProducerId, SpuId},
    pb::session::{AllocateProducerIdsRequest, AllocateProducerIdsResponse},
};

use crate::{
    app::App,
    auth::pepper::Purpose,
    store::{
        DbResult, Scoped, clusters, launches, spus,
        types::{Desired, LaunchState},
    },
};

/// Ids per block.
pub const BLOCK: u32 = 1000;

struct Asked {
    org: OrgId,
    cluster: ClusterId,
    spu: SpuId,
    incarnation: Incarnation,
    launch: LaunchId,
    secret: SecretString,
}

fn parse(message: AllocateProducerIdsRequest) -> Result<Asked, Status> {
    let invalid = |error| Status::invalid_argument(format!("not a valid request: {error}"));
    Ok(Asked {
        org: message.org_id.parse().map_err(invalid)?,
        cluster: message.cluster_id.parse().map_err(invalid)?,
        spu: SpuId(message.spu_id),
        incarnation: Incarnation(message.incarnation),
        launch: message.launch_id.parse().map_err(invalid)?,
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
    let unavailable = |error: crate::store::DbError| {
        tracing::warn!(%error, "no producer ids could be given out");
        Status::unavailable("the database did not answer; try again")
    };
    let mut tx = app.store.write().await.map_err(unavailable)?;
    let mut scoped = tx.scoped(asked.org);
    check(app, &mut scoped, &asked).await.map_err(unavailable)??;
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

async fn check(app: &App, scoped: &mut Scoped<'_>, asked: &Asked) -> DbResult<Result<(), Status>> {
    let denied = || Ok(Err(Status::permission_denied("not the current launch of this SPU")));
    let Some(spu) = spus::get(scoped, asked.cluster, asked.spu).await? else { return denied() };
    if spu.removed || spu.launch_id != Some(asked.launch) {
        return denied();
    }
    let Some(launch) = launches::get(scoped, asked.cluster, asked.launch).await? else {
        return denied();
    };
    if launch.state == LaunchState::Ended {
        return denied();
    }
    let id = asked.launch.to_string();
    if !app.pepper.verify(Purpose::Launch, &id, &asked.secret, &launch.secret_hash) {
        return denied();
    }
    let wanted = clusters::by_id(scoped, asked.cluster)
        .await?
        .is_some_and(|cluster| cluster.desired == Desired::Running);
    if !wanted {
        return Ok(Err(Status::permission_denied("the cluster is not to run")));
    }
    if spu.incarnation != asked.incarnation {
        return Ok(Err(Status::failed_precondition("an earlier life of this SPU")));
    }
    Ok(Ok(()))
}
