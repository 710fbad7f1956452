//! The call that tells the control plane what was committed.

use std::time::Duration;

use prost::Message as _;
use secrecy::ExposeSecret as _;
use tokio::sync::watch;
use tonic::Status;
use weir_protocol::{
    ErrorCode, WireError,
    ids::{LeaderEpoch, PartitionKey},
    pb::{
        data,
        session::{
            StoreOffsetsRequest, StoreOffsetsResponse, StoredOffset,
            spu_control_client::SpuControlClient,
        },
    },
};
use weir_runtime::{clock::Clock, rpc::Channel};

use crate::session::{Identity, SessionView};

/// Where uploads go, and who sends them.
pub struct Uploader {
    /// Who we are.
    pub identity: Identity,
    /// The control plane.
    pub channel: Channel,
    /// Whether there is an incarnation to say it with.
    pub session: watch::Receiver<SessionView>,
    /// Time.
    pub clock: Clock,
    /// How long the control plane may take to answer.
    pub timeout: Duration,
}

impl Uploader {
    /// Tells of changes of one offsets partition that this SPU leads at `epoch`.
    ///
    /// # Errors
    /// `FENCED_LEADER_EPOCH`; anything else may be tried again.
    pub async fn store(
        &self,
        offsets_partition: PartitionKey,
        epoch: LeaderEpoch,
        offsets: Vec<StoredOffset>,
    ) -> Result<StoreOffsetsResponse, WireError> {
        let incarnation = self.session.borrow().incarnation;
        let incarnation = incarnation.ok_or_else(|| {
            WireError::new(ErrorCode::NotYetAvailable, "this SPU has no incarnation yet")
        })?;
        let identity = &self.identity;
        let request = StoreOffsetsRequest {
            org_id: identity.org_id.to_string(),
            cluster_id: identity.cluster_id.to_string(),
            spu_id: identity.spu_id.get(),
            incarnation: incarnation.get(),
            launch_id: identity.launch_id.to_string(),
            launch_secret: identity.launch_secret.expose_secret().to_owned(),
            offsets_partition: Some(offsets_partition.to_wire()),
            leader_epoch: epoch.get(),
            offsets,
        };
        let mut client = SpuControlClient::new(self.channel.clone());
        let answer = self.clock.timeout(self.timeout, client.store_offsets(request)).await;
        let answer = answer
            .map_err(|_| WireError::new(ErrorCode::TimedOut, "no answer in time"))?
            .map_err(|status| refusal(&status))?;
        Ok(answer.into_inner())
    }
}

/// The error in a status's details; without details it may be anything.
fn refusal(status: &Status) -> WireError {
    match data::Error::decode(status.details()) {
        Ok(error) if error.code != 0 => error.into(),
        _ => WireError::new(ErrorCode::Unreachable, status.to_string()),
    }
}
