//! The session with the control plane: register, hear the map and orders, report.
//!
//! | Module | Does |
//! |---|---|
//! | `connect` | one connection: registers, then listens and reports until it breaks |
//! | `orders` | carries out what the control plane sends |
//! | [`backoff`] | how long to wait before the next connection |
//!
//! **The control plane away changes nothing for what is led**: the incarnation and the map
//! stay what they were, appends and reads go on, expired tokens have grace. A process that
//! starts while it is away knows no map and leads nothing.

pub mod backoff;
mod connect;
mod orders;

use secrecy::SecretString;
use tokio::sync::watch;
use weir_protocol::ids::{
    BootId, ClusterId, FolderId, Incarnation, LaunchId, OrgId, ProcessId, SpuId,
};
use weir_runtime::{
    clock::Clock,
    rpc::{Channel, ChannelConfig},
    task::CancellationToken,
};

use crate::{
    config::Limits, error::SpuError, metadata::Cache, partition::Registry, seen::Seen,
    token::Tokens,
};

/// What the rest of the SPU sees of the session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionView {
    /// Whether the control plane is there.
    pub up: bool,
    /// This process's incarnation; `None` before the first registration.
    pub incarnation: Option<Incarnation>,
    /// The cluster's largest record batch, in bytes, where the control plane named one.
    pub batch_bytes_max: Option<u32>,
}

/// Who this process says it is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The tenant.
    pub org_id: OrgId,
    /// The cluster.
    pub cluster_id: ClusterId,
    /// The SPU.
    pub spu_id: SpuId,
    /// Which start of it.
    pub launch_id: LaunchId,
    /// The proof of that start.
    pub launch_secret: SecretString,
    /// Its data folder.
    pub folder_id: FolderId,
    /// This process.
    pub process_id: ProcessId,
    /// Where clients reach it.
    pub endpoint: String,
    /// What fails together with it; empty: it does not say.
    pub rack: String,
    /// Which boot of its machine this is, where that is known.
    pub boot_id: Option<BootId>,
    /// The build that runs.
    pub build: String,
}

/// One SPU's session.
pub struct Session {
    pub(crate) identity: Identity,
    pub(crate) channel: Channel,
    pub(crate) clock: Clock,
    pub(crate) limits: Limits,
    pub(crate) cache: Cache,
    pub(crate) registry: Registry,
    pub(crate) tokens: Tokens,
    pub(crate) seen: Seen,
    pub(crate) view: watch::Sender<SessionView>,
    /// The token to fetch from other SPUs with; empty before the first.
    pub(crate) replication_token: watch::Sender<String>,
    pub(crate) leave: Leave,
    /// Set when the control plane says that this SPU is to end.
    pub(crate) ordered_to_end: CancellationToken,
}

/// How an SPU that is about to stop hands over what it leads.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leave {
    /// Set when it wants to.
    pub(crate) wanted: CancellationToken,
    /// Set, before `done`, when all other SPUs end as well.
    pub(crate) together: CancellationToken,
    /// Set when the control plane has done what it could.
    pub(crate) done: CancellationToken,
}

/// How a connection ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// To be tried again; whether the registration had succeeded.
    Lost {
        /// What broke.
        reason: String,
        /// The registration had succeeded: begin with short pauses again.
        registered: bool,
    },
    /// The control plane will not have this process.
    Refused(SpuError),
    /// We are going down.
    Stopped,
}

/// The channel to the control plane. It serves the session and the producer ids.
#[must_use]
pub fn channel(endpoint: &str) -> Channel {
    Channel::new(endpoint, ChannelConfig::default())
}

impl Session {
    /// Keeps a session until `stop`.
    ///
    /// # Errors
    /// [`SpuError::Refused`], when trying again would not help.
    pub async fn run(self, stop: CancellationToken) -> Result<(), SpuError> {
        let mut backoff = backoff::Backoff::new(self.limits.reconnect_pause_max);
        loop {
            let ended = self.connect(&stop).await;
            self.view.send_modify(|view| view.up = false);
            match ended {
                Ended::Stopped => return Ok(()),
                Ended::Refused(error) => return Err(error),
                Ended::Lost { reason, registered } => {
                    if registered {
                        backoff.reset();
                    }
                    let pause = backoff.next_pause();
                    tracing::warn!(
                        control_plane = self.channel.endpoint(),
                        reason,
                        pause_ms = pause.as_millis(),
                        "no session with the control plane; what is led goes on"
                    );
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => return Ok(()),
                        () = self.clock.sleep(pause) => {}
                    }
                }
            }
        }
    }
}
