//! Who calls outside of a session, and the proof of it: a launch id with its secret, and the
//! incarnation that the registration was answered with.

use secrecy::SecretString;
use tonic::Status;
use weir_protocol::ids::{ClusterId, Incarnation, LaunchId, OrgId, ParseIdError, SpuId};

use crate::{
    app::App,
    auth::pepper::Purpose,
    store::{
        DbResult, Scoped, clusters, launches, spus,
        types::{Desired, LaunchState},
    },
};

/// What an SPU says of itself.
pub(super) struct Claim {
    pub(super) org: OrgId,
    pub(super) cluster: ClusterId,
    pub(super) spu: SpuId,
    pub(super) incarnation: Incarnation,
    pub(super) launch: LaunchId,
    pub(super) secret: SecretString,
}

/// An id that is none.
pub(super) fn invalid(error: ParseIdError) -> Status {
    Status::invalid_argument(format!("not a valid request: {error}"))
}

impl Claim {
    /// Looks, in the transaction of what is to be done, whether it is so, and whether the
    /// cluster is to be one of `wanted`.
    pub(super) async fn check(
        &self,
        app: &App,
        scoped: &mut Scoped<'_>,
        wanted: &[Desired],
    ) -> DbResult<Result<(), Status>> {
        let denied = || Ok(Err(Status::permission_denied("not the current launch of this SPU")));
        let Some(spu) = spus::get(scoped, self.cluster, self.spu).await? else { return denied() };
        if spu.removed || spu.launch_id != Some(self.launch) {
            return denied();
        }
        let Some(launch) = launches::get(scoped, self.cluster, self.launch).await? else {
            return denied();
        };
        if launch.state == LaunchState::Ended {
            return denied();
        }
        let id = self.launch.to_string();
        if !app.pepper.verify(Purpose::Launch, &id, &self.secret, &launch.secret_hash) {
            return denied();
        }
        let cluster = clusters::by_id(scoped, self.cluster).await?;
        if let Some(frozen) = cluster.as_ref().and_then(|cluster| cluster.frozen.as_ref()) {
            return Ok(Err(Status::unavailable(format!(
                "the cluster is frozen: {}",
                frozen.reason
            ))));
        }
        if !cluster.is_some_and(|cluster| wanted.contains(&cluster.desired)) {
            return Ok(Err(Status::permission_denied("the cluster is not to run")));
        }
        if spu.incarnation != self.incarnation {
            return Ok(Err(Status::failed_precondition("an earlier life of this SPU")));
        }
        Ok(Ok(()))
    }
}
