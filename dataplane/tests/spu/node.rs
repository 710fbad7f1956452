//! An SPU with its folder, started and stopped.

use std::sync::Arc;

use tempfile::TempDir;
use uuid::Uuid;
use weir_dataplane::{Config, Deps, Limits, Metrics, SpuError, log::LogConfig, run_measured};
use weir_protocol::{
    ids::{LaunchId, SpuId},
    pb::session::ReplicaState,
};
use weir_runtime::{
    clock::Clock,
    disk::{Disk, real::RealDisk},
    task::{self, CancellationToken, JoinHandle},
};

use crate::{
    client::{self, Client},
    control_plane::{ControlPlane, key, topic},
};

pub struct Node {
    pub control_plane: ControlPlane,
    pub client: Client,
    pub folder: Arc<TempDir>,
    pub metrics: Metrics,
    disk: Arc<dyn Disk>,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), SpuError>>,
}

pub fn config(control_plane: &str) -> Config {
    Config {
        org_id: client::ORG,
        cluster_id: client::CLUSTER,
        spu_id: SpuId(1),
        launch_id: LaunchId(Uuid::from_u128(5)),
        launch_secret: "secret".into(),
        control_plane: control_plane.to_owned(),
        listen: "127.0.0.1:0".to_owned(),
        advertise: None,
        rack: None,
        build: "0.1.0".to_owned(),
        limits: Limits::default(),
        log: LogConfig::default(),
    }
}

pub async fn real_disk(folder: &TempDir) -> Arc<dyn Disk> {
    RealDisk::open(folder.path()).await.unwrap()
}

impl Node {
    /// An SPU that leads both partitions of the topic "t", generation 1.
    pub async fn start() -> Self {
        let folder = Arc::new(TempDir::new().unwrap());
        let disk = real_disk(&folder).await;
        Self::on(folder, disk, ControlPlane::start(vec![topic(1, 1, "t")]).await).await
    }

    /// On a disk of the test's own making.
    pub async fn on(
        folder: Arc<TempDir>,
        disk: Arc<dyn Disk>,
        control_plane: ControlPlane,
    ) -> Self {
        Self::with_log(folder, disk, control_plane, LogConfig::default()).await
    }

    /// With a control plane that lets it lead nothing: it has registered, and that is all.
    pub async fn idle(
        folder: Arc<TempDir>,
        disk: Arc<dyn Disk>,
        control_plane: ControlPlane,
    ) -> Self {
        Self::registered(folder, disk, control_plane, |_| ()).await
    }

    /// With logs of the test's own making.
    pub async fn with_log(
        folder: Arc<TempDir>,
        disk: Arc<dyn Disk>,
        control_plane: ControlPlane,
        log: LogConfig,
    ) -> Self {
        Self::with(folder, disk, control_plane, |config| config.log = log).await
    }

    /// As a test wants it.
    pub async fn with(
        folder: Arc<TempDir>,
        disk: Arc<dyn Disk>,
        control_plane: ControlPlane,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let node = Self::registered(folder, disk, control_plane, change).await;
        for partition in 0..2 {
            node.leads(1, partition).await;
        }
        node
    }

    async fn registered(
        folder: Arc<TempDir>,
        disk: Arc<dyn Disk>,
        control_plane: ControlPlane,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let before = control_plane.state.registers.borrow().len();
        let shutdown = CancellationToken::new();
        let deps = Deps { disk: disk.clone(), clock: Clock };
        let mut config = config(&control_plane.endpoint);
        change(&mut config);
        let metrics = Metrics::default();
        let task = task::spawn(run_measured(config, deps, metrics.clone(), shutdown.clone()));
        let register = control_plane.registered(before + 1).await;
        let client = Client::new(&register.endpoint);
        Self { control_plane, client, folder, metrics, disk, shutdown, task }
    }

    /// Waits until a partition is open and reported at its newest epoch.
    pub async fn leads(&self, generation: u128, partition: u32) {
        let key = key(generation, partition);
        let epoch = {
            let topics = self.control_plane.state.topics.lock().unwrap();
            let topic = topics.iter().find(|topic| topic.generation_id == key.generation.to_wire());
            topic.unwrap().partitions[partition as usize].leader_epoch
        };
        let online = ReplicaState::Online;
        let there = self
            .control_plane
            .reported(key, |status| status.state() == online && status.leader_epoch == epoch);
        there.await;
    }

    /// Ends it in an orderly way.
    pub async fn stop(self) -> (Result<(), SpuError>, ControlPlane, Arc<TempDir>, Arc<dyn Disk>) {
        self.shutdown.cancel();
        let ended = client::soon(self.task).await.unwrap();
        (ended, self.control_plane, self.folder, self.disk)
    }

    /// Waits for its end without asking for it.
    pub async fn ends(self) -> Result<(), SpuError> {
        client::soon(self.task).await.unwrap()
    }
}
