//! What starts, watches and stops SPUs. The reconciler decides *that*; a [`Provisioner`]
//! knows *how*: [`process`] starts local processes, a simulation boots nodes.
//!
//! Every start carries a launch id and a secret that the control plane has stored before,
//! so whatever happens between the start and its answer, a registration proves whose it is
//! and [`Provisioner::observe`] can find the SPU again.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use weir_protocol::ids::{ClusterId, LaunchId, OrgId, SpuId};

mod bounded;
mod children;
mod folders;
pub mod process;

pub use bounded::Bounded;
pub use folders::{cluster_folder, spu_folder};

/// One SPU to start.
#[derive(Clone, Debug)]
pub struct LaunchSpec {
    /// The tenant.
    pub org_id: OrgId,
    /// The cluster that the SPU belongs to.
    pub cluster_id: ClusterId,
    /// The cluster's name, for logs and process lists; decides nothing.
    pub cluster_name: String,
    /// Which SPU of the cluster.
    pub spu_id: SpuId,
    /// Which start of it; stored by the control plane before the start.
    pub launch_id: LaunchId,
    /// The proof of the launch. Handed to the SPU alone; the control plane keeps a hash.
    pub launch_secret: SecretString,
    /// The SPU's data folder, made by the provisioner when missing. See [`spu_folder`].
    pub data_dir: String,
    /// `host:port` that the SPU's data plane listens on.
    pub listen: String,
    /// `host:port` of the control plane's gRPC.
    pub control_plane_rpc: String,
}

/// What a provisioner needs to find a launch again, as JSON. Only the provisioner that made
/// it reads it; the control plane stores it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LaunchHandle(pub serde_json::Value);

/// A launch that was ordered earlier, perhaps by an earlier life of the control plane.
#[derive(Clone, Debug)]
pub struct LaunchRecord {
    /// The cluster that the SPU belongs to.
    pub cluster_id: ClusterId,
    /// Which SPU of the cluster.
    pub spu_id: SpuId,
    /// Which start of it.
    pub launch_id: LaunchId,
    /// What [`Provisioner::start`] answered; `None` when the control plane ended before it
    /// could store the answer. The provisioner then searches by launch id.
    pub handle: Option<LaunchHandle>,
}

/// What has become of a launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observed {
    /// It runs. The handle is the one of the record, or the one that the search found.
    Running {
        /// For the launch's record.
        handle: LaunchHandle,
    },
    /// It does not run (any more).
    Gone {
        /// For people: how it ended, as far as that is known.
        reason: String,
    },
}

/// Why a provisioner could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProvisionError {
    /// The SPU could not be started; nothing runs. A later try may succeed.
    #[error("could not start SPU {spu_id}: {reason}")]
    StartFailed {
        /// Which SPU.
        spu_id: SpuId,
        /// What went wrong.
        reason: String,
    },
    /// The SPU still runs although it was told to stop, and then killed.
    #[error("SPU {spu_id} still runs after it was told to stop: {reason}")]
    StillRunning {
        /// Which SPU.
        spu_id: SpuId,
        /// What went wrong.
        reason: String,
    },
    /// A folder that should go could not be removed. Repeating is safe.
    #[error("could not remove {folder}: {reason}")]
    DestroyFailed {
        /// Which folder.
        folder: String,
        /// What went wrong.
        reason: String,
    },
    /// There was no answer in time: it may have been done, be done later, or never.
    #[error("no answer to {what} within {limit:?}")]
    Silent {
        /// What was asked for.
        what: &'static str,
        /// How long was waited.
        limit: Duration,
    },
    /// The launch could not be looked at; whether it runs is unknown.
    #[error("could not look at SPU {spu_id}: {reason}")]
    ObserveFailed {
        /// Which SPU.
        spu_id: SpuId,
        /// What went wrong.
        reason: String,
    },
}

/// Starts, watches, stops and removes SPUs. Every method is safe to repeat.
#[async_trait]
pub trait Provisioner: fmt::Debug + Send + Sync + 'static {
    /// Starts an SPU and returns once it runs (not once it registered).
    async fn start(&self, spec: &LaunchSpec) -> Result<LaunchHandle, ProvisionError>;

    /// Whether a launch still runs.
    async fn observe(&self, launch: &LaunchRecord) -> Result<Observed, ProvisionError>;

    /// Asks a launch to end, waits up to `grace`, then ends it by force. Fine when it has
    /// ended already.
    async fn stop(&self, launch: &LaunchRecord, grace: Duration) -> Result<(), ProvisionError>;

    /// Removes an SPU's data folder for good. `base_dir` is the folder that
    /// [`spu_folder`] was given. Fine when it is gone already.
    async fn destroy_spu(
        &self,
        base_dir: &str,
        cluster_id: ClusterId,
        spu_id: SpuId,
    ) -> Result<(), ProvisionError>;

    /// Removes what is left of a cluster's data for good, all SPUs' folders included. Fine
    /// when it is gone already.
    async fn destroy_cluster(
        &self,
        base_dir: &str,
        cluster_id: ClusterId,
    ) -> Result<(), ProvisionError>;

    /// Whether an SPU could listen on `host:port` now.
    async fn port_free(&self, address: &str) -> bool;
}
