//! The simulated world of one run: one control plane, its SPU machines, client nodes.
//!
//! A *machine* is a node with a disk; its one process is an SPU that the provisioner
//! started. Killing a node is a power failure: what was not fsynced is gone. Processes are
//! started by the control plane alone, through `provisioner`.

mod control_plane;
mod machine;
mod provisioner;

use std::{
    net::IpAddr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use madsim::{
    runtime::{Handle, NodeHandle},
    task::NodeId,
};
use secrecy::SecretString;
use weir_client::{Admin, AdminConfig, Client, ClientConfig};
use weir_runtime::{clock::Clock, http, net::cuts};

pub use control_plane::{Backup, ControlPlane};
pub use machine::{Machine, Machines};
pub use provisioner::{ProvisionFaults, SimProvisioner, StartFault};
/// The topic by which the control plane finds out whether an SPU serves: it comes and goes by itself.
pub use weir_control_plane::plan::names::PROBE_TOPIC;

use crate::history::History;

/// The cluster that scenarios work with.
pub const CLUSTER: &str = "sim";
/// Largest answer that an HTTP client takes.
const HTTP_BODY_BYTES_MAX: usize = 16 << 20;

/// What a run counts, beside the history.
#[derive(Default)]
pub struct Counters {
    /// Faults that really struck.
    pub faults: AtomicU64,
    /// SPU processes started again after a death.
    pub recoveries: AtomicU64,
    /// Leaders elected after the first ones, where a scenario counts them.
    pub elections: AtomicU64,
}

/// The simulated world of one run. Clones are the same world.
#[derive(Clone)]
pub struct World {
    /// What clients did and saw.
    pub history: History,
    /// What happened.
    pub counters: Arc<Counters>,
    /// The control plane's node.
    pub control_plane: ControlPlane,
    /// The SPUs' nodes.
    pub machines: Machines,
    /// Held while a replica is being filled again.
    pub refilling: Arc<tokio::sync::Mutex<()>>,
    admin_key: SecretString,
    clients: Arc<Mutex<Vec<NodeId>>>,
}

impl World {
    /// Builds the control plane's node on a database in `folder`, and starts it.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        cuts::reset();
        weir_runtime::clock::skew::reset();
        let counters = Arc::new(Counters::default());
        let machines = Machines::new(counters.clone());
        let admin_key = control_plane::admin_key();
        let control_plane = ControlPlane::start(folder, admin_key.clone(), machines.clone());
        Self {
            history: History::default(),
            counters,
            control_plane,
            machines,
            refilling: Arc::default(),
            admin_key,
            clients: Arc::default(),
        }
    }

    /// A new node for clients.
    #[must_use]
    pub fn client_node(&self) -> NodeHandle {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let number = u8::try_from(clients.len() + 1).expect("fewer than 256 clients in a run");
        let node = node(&format!("client-{number}"), [10, 0, 2, number]);
        clients.push(node.id());
        node
    }

    /// The client nodes.
    #[must_use]
    pub fn clients(&self) -> Vec<NodeId> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A handle to the HTTP API. Use it on a client node.
    #[must_use]
    pub fn admin(&self) -> Admin {
        let mut config = AdminConfig::new(self.control_plane.url(), self.admin_key.clone());
        config.deadline = Duration::from_secs(60);
        Admin::new(config, http::transport(HTTP_BODY_BYTES_MAX), Clock)
    }

    /// How clients of this world connect.
    #[must_use]
    pub fn client_config(&self) -> ClientConfig {
        let url = self.control_plane.url();
        let mut config = ClientConfig::with_control_plane(url, self.admin_key.clone(), CLUSTER);
        config.connect_timeout = Duration::from_secs(60);
        config.topic_timeout = Duration::from_secs(30);
        config
    }

    /// A client, once it could connect. Use it on a client node.
    pub async fn connect(&self) -> Client {
        loop {
            let transport = http::transport(HTTP_BODY_BYTES_MAX);
            match Client::connect(self.client_config(), transport, Clock).await {
                Ok(client) => return client,
                Err(error) => {
                    tracing::info!(%error, "client cannot connect yet");
                    Clock.sleep(Duration::from_millis(500)).await;
                }
            }
        }
    }
}

/// Builds a node that the cut table knows.
pub(crate) fn node(name: &str, ip: [u8; 4]) -> NodeHandle {
    let ip = IpAddr::from(ip);
    let node = Handle::current().create_node().name(name).ip(ip).build();
    cuts::register(ip, node.id());
    node
}
