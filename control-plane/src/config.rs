//! What a control plane is told at its start.

use std::{path::PathBuf, time::Duration};

use secrecy::SecretString;

/// How it listens, and what clusters get.
#[derive(Clone, Debug)]
pub struct Config {
    /// `host:port` of the HTTP API; port 0 lets the system choose.
    pub http_listen: String,
    /// `host:port` of the gRPC server that SPUs call; port 0 lets the system choose.
    pub rpc_listen: String,
    /// `host:port` where SPUs reach the gRPC server; none: the bound address.
    pub rpc_advertise: Option<String>,
    /// A whole API key (`weir_…`) that is made an admin key of the default org if it is not
    /// known yet. None: a fresh one is made at the first start and reported once, in
    /// [`crate::Started`].
    pub admin_key: Option<SecretString>,
    /// What fresh keys say about where they belong: lower-case letters and digits.
    pub environment: String,
    /// What clusters get.
    pub cluster: ClusterDefaults,
    /// How long an HTTP request may take.
    pub request_timeout: Duration,
    /// How clusters are kept.
    pub reconcile: crate::reconcile::Config,
    /// The build that runs, for whoever asks.
    pub build: String,
    /// Whether the database is known to be a backup: every cluster is frozen before anything else.
    pub from_backup: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            http_listen: "127.0.0.1:0".to_owned(),
            rpc_listen: "127.0.0.1:0".to_owned(),
            rpc_advertise: None,
            admin_key: None,
            environment: "local".to_owned(),
            cluster: ClusterDefaults::default(),
            request_timeout: Duration::from_secs(30),
            reconcile: crate::reconcile::Config::default(),
            build: env!("CARGO_PKG_VERSION").to_owned(),
            from_backup: false,
        }
    }
}

/// What clusters get.
#[derive(Clone, Debug)]
pub struct ClusterDefaults {
    /// How often SPUs report.
    pub heartbeat_interval: Duration,
    /// After how long a silence a session counts as ended.
    pub lease: Duration,
    /// How long data-plane tokens are good for.
    pub token_ttl: Duration,
    /// Largest record batch that topics take, in bytes.
    pub batch_bytes_max: u32,
    /// Most SPUs that one cluster may ask for.
    pub spus_max: u32,
    /// Absolute folder below which a cluster may ask for a data folder of its own, which is
    /// removed with the cluster. None: no cluster may.
    pub data_dir_root: Option<PathBuf>,
}

impl Default for ClusterDefaults {
    fn default() -> Self {
        Self {
            heartbeat_interval: Duration::from_millis(750),
            lease: Duration::from_secs(3),
            token_ttl: Duration::from_secs(15 * 60),
            batch_bytes_max: 1024 * 1024,
            spus_max: 100,
            data_dir_root: None,
        }
    }
}
