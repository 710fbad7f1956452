//! A control plane over a temporary database, SPUs that keep records in memory, and a
//! provisioner that starts them. Everything speaks over loopback, as it does in production.

#![allow(dead_code, missing_docs, clippy::unwrap_used, clippy::expect_used)]

pub mod case;
pub mod data_plane;
#[path = "../support_database/mod.rs"]
pub mod database;
pub mod offsets;
pub mod provisioner;
pub mod spu;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use secrecy::SecretString;
use tempfile::TempDir;
use weir_control_plane::{
    Metrics,
    app::{self, App, Principal, Signals, StatusBoard, view::ClusterView},
    config::ClusterDefaults,
    reconcile,
    spu_api::SpuApi,
    store::{SqlFaults, Store, clusters::ClusterSpec, types::KeyScope},
};
use weir_protocol::ids::{ApiKeyId, ClusterId, OrgId, SpuId};
use weir_runtime::{
    clock::Clock,
    net::Listener,
    rpc::{self, ServerConfig},
    task::{self, CancellationToken, JoinHandle},
};

/// How long a test waits for what must happen.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// Of clusters, where a test asks for no other.
const LEASE: Duration = Duration::from_secs(2);

/// One life of a control plane. The folder outlives it.
pub struct ControlPlane {
    pub app: Arc<App>,
    pub principal: Principal,
    /// Of the first life only: afterwards only its hash is known.
    pub admin_key: Option<SecretString>,
    pub rpc: String,
    pub faults: SqlFaults,
    pub down: CancellationToken,
    reconciling: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        self.down.cancel();
    }
}

impl ControlPlane {
    /// Opens the database in `folder` and serves SPU sessions.
    pub async fn start(folder: &TempDir) -> Self {
        Self::start_with(folder, LEASE).await
    }

    /// The same, with a lease of its own.
    pub async fn start_with(folder: &TempDir, lease: Duration) -> Self {
        Self::start_at(folder, "127.0.0.1:0", lease).await
    }

    /// The next life of a control plane, at the same address, once nothing of this one is at work.
    pub async fn restart(self, folder: &TempDir) -> Self {
        let (rpc, lease) = (self.rpc.clone(), self.app.defaults.lease);
        self.down.cancel();
        let reconciling = self.reconciling.lock().unwrap().take();
        if let Some(reconciling) = reconciling {
            reconciling.await.unwrap();
        }
        drop(self);
        Self::start_at(folder, &rpc, lease).await
    }

    async fn start_at(folder: &TempDir, rpc: &str, lease: Duration) -> Self {
        let clock = Clock;
        let faults = SqlFaults::default();
        let database = database::open_with(folder, faults.clone()).await;
        database.migrate().await.unwrap();
        let store = Store::new(database);
        let key = app::bootstrap::AdminKey::new(None, "test").unwrap();
        let boot = app::bootstrap(&store, clock.unix_ms(), &key).await.unwrap();
        let mut listener = None;
        until("the address is free", async || {
            listener = Listener::bind(rpc).await.ok();
            listener.is_some()
        })
        .await;
        let listener = listener.unwrap();
        let rpc = listener.local_addr().unwrap().to_string();
        let defaults = ClusterDefaults {
            heartbeat_interval: Duration::from_millis(50),
            lease,
            ..ClusterDefaults::default()
        };
        let app = Arc::new(App {
            store,
            clock,
            ids: weir_control_plane::app::UuidSource::default(),
            board: StatusBoard::default(),
            metrics: Metrics::default(),
            signals: Signals::default(),
            pepper: boot.pepper,
            signer: boot.signer,
            database_id: boot.meta.database_id,
            restore_number: boot.meta.restore_number,
            defaults,
            rpc_address: rpc.clone(),
            build: "0.1.0".to_owned(),
        });
        let down = CancellationToken::new();
        let service = SpuApi::new(Arc::clone(&app), down.clone()).into_service();
        let routes = tonic::service::Routes::new(service);
        task::spawn(rpc::serve(listener, routes, ServerConfig::default(), down.clone()));
        let principal = Principal {
            org: boot.org,
            key_id: ApiKeyId(uuid::Uuid::from_u128(1)),
            scopes: vec![KeyScope::Admin],
        };
        let (admin_key, reconciling) = (boot.fresh_admin_key, Mutex::default());
        Self { app, principal, admin_key, rpc, faults, down, reconciling }
    }

    /// Starts reconciling with `provisioner`.
    pub fn reconcile(&self, provisioner: &provisioner::InMemory) {
        let config = reconcile::Config {
            period: Duration::from_millis(100),
            data_root: "/test".to_owned(),
            restart: weir_control_plane::plan::restart::RestartPolicy {
                delay_first_ms: 50,
                delay_max_ms: 200,
                ..Default::default()
            },
            stop_grace: Duration::from_millis(200),
            probe_timeout: Duration::from_secs(2),
            probe_pause: Duration::from_millis(20),
            ..reconcile::Config::default()
        };
        let reconciling = task::spawn(reconcile::run(
            Arc::clone(&self.app),
            Arc::new(provisioner.clone()),
            config,
            self.down.clone(),
        ));
        *self.reconciling.lock().unwrap() = Some(reconciling);
    }

    pub const fn org(&self) -> OrgId {
        self.principal.org
    }

    /// Creates a cluster with ports that the tests do not really use.
    pub async fn create(&self, name: &str, spus: u32) -> ClusterId {
        let spec = ClusterSpec { spus, port_base: Some(9500), data_dir: None };
        self.create_with(name, spec).await
    }

    pub async fn create_with(&self, name: &str, spec: ClusterSpec) -> ClusterId {
        match app::cluster_create(&self.app, &self.principal, name, spec, true).await.unwrap() {
            app::Created::New(view) | app::Created::Same(view) => view.id,
        }
    }

    /// `None` when it is gone.
    pub async fn cluster(&self, id: ClusterId) -> Option<ClusterView> {
        app::cluster_get(&self.app, &self.principal, &id.to_string()).await.ok()
    }

    /// Waits until the cluster is as `condition` says.
    pub async fn until(
        &self,
        what: &str,
        id: ClusterId,
        condition: impl Fn(&ClusterView) -> bool,
    ) -> ClusterView {
        let begin = self.app.clock.now();
        loop {
            let view = self.cluster(id).await;
            if let Some(view) = &view
                && condition(view)
            {
                return view.clone();
            }
            let waited = self.app.clock.now().since(begin);
            assert!(waited < PATIENCE, "never: {what}: {view:#?}");
            self.app.clock.sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Waits until `condition` holds.
pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let begin = Clock.now();
    while !condition().await {
        assert!(Clock.now().since(begin) < PATIENCE, "never: {what}");
        Clock.sleep(Duration::from_millis(50)).await;
    }
}

pub const fn spu(id: u32) -> SpuId {
    SpuId(id)
}
