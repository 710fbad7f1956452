//! Starts SPUs as tasks. They register, send heartbeats and serve probes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use uuid::Uuid;
use weir_control_plane::provision::{
    LaunchHandle, LaunchRecord, LaunchSpec, Observed, ProvisionError, Provisioner,
};
use weir_protocol::{
    ids::{ClusterId, FolderId, LaunchId, ProcessId, SpuId},
    pb::{data::data_plane_server::DataPlaneServer, offsets::offsets_server::OffsetsServer},
};
use weir_runtime::{
    clock::Clock,
    net::Listener,
    rpc::{self, ServerConfig},
    task::{self, CancellationToken},
};

use super::{
    data_plane::MemoryDataPlane,
    offsets::MemoryOffsets,
    spu::{self, Identity},
};

#[derive(Default)]
struct World {
    running: BTreeMap<LaunchId, (SpuId, CancellationToken)>,
    specs: Vec<LaunchSpec>,
    folders: BTreeMap<(ClusterId, SpuId), FolderId>,
    destroyed: Vec<String>,
    taken_ports: BTreeSet<String>,
    away: BTreeSet<SpuId>,
    log: Vec<String>,
}

/// Clones are the same world: it outlives control planes.
#[derive(Clone, Default)]
pub struct InMemory {
    world: Arc<Mutex<World>>,
    pub data_plane: MemoryDataPlane,
    pub offsets: MemoryOffsets,
    /// Started SPUs end at once.
    pub sickly: Arc<AtomicBool>,
    /// Started SPUs never register.
    pub silent: Arc<AtomicBool>,
}

impl std::fmt::Debug for InMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InMemory")
    }
}

impl InMemory {
    pub fn specs(&self) -> Vec<LaunchSpec> {
        self.world.lock().unwrap().specs.clone()
    }

    pub fn running(&self) -> Vec<SpuId> {
        self.world.lock().unwrap().running.values().map(|(spu, _)| *spu).collect()
    }

    /// The SPU's process is there, and is not heard of any more.
    pub fn hang(&self, spu: SpuId) {
        let world = self.world.lock().unwrap();
        world.running.values().filter(|(running, _)| *running == spu).for_each(|(_, s)| s.cancel());
    }

    pub fn destroyed(&self) -> Vec<String> {
        self.world.lock().unwrap().destroyed.clone()
    }

    pub fn log(&self) -> Vec<String> {
        self.world.lock().unwrap().log.clone()
    }

    /// The SPU goes on, and does not find the control plane until it is back.
    pub fn set_away(&self, spu: SpuId, away: bool) {
        let set = &mut self.world.lock().unwrap().away;
        if away {
            set.insert(spu)
        } else {
            set.remove(&spu)
        };
    }

    fn is_away(&self, spu: SpuId) -> bool {
        self.world.lock().unwrap().away.contains(&spu)
    }

    /// Another program takes a port.
    pub fn take_port(&self, address: &str) {
        self.world.lock().unwrap().taken_ports.insert(address.to_owned());
    }

    pub fn free_port(&self, address: &str) {
        self.world.lock().unwrap().taken_ports.remove(address);
    }

    /// A launch that a test speaks for runs.
    pub fn adopt(&self, launch: LaunchId, spu: SpuId) {
        let stop = CancellationToken::new();
        self.world.lock().unwrap().running.insert(launch, (spu, stop));
    }

    /// Kills an SPU, as a crash would.
    pub fn kill(&self, spu: SpuId) {
        let mut world = self.world.lock().unwrap();
        world.running.retain(|_, (running, stop)| {
            if *running == spu {
                stop.cancel();
            }
            *running != spu
        });
    }
}

async fn run(
    spec: LaunchSpec,
    folder: FolderId,
    process: ProcessId,
    world: InMemory,
    stop: CancellationToken,
) {
    // Not the port that was ordered: tests run side by side.
    let listener = Listener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = listener.local_addr().unwrap().to_string();
    let offsets = world.offsets.at(spec.spu_id);
    let routes = tonic::service::Routes::new(DataPlaneServer::new(world.data_plane.clone()))
        .add_service(OffsetsServer::new(offsets));
    task::spawn(rpc::serve(listener, routes, ServerConfig::default(), stop.clone()));
    let identity = Identity {
        org: spec.org_id,
        cluster: spec.cluster_id,
        spu: spec.spu_id,
        launch: spec.launch_id,
        secret: spec.launch_secret.clone(),
        folder,
        process,
        endpoint,
    };
    while !stop.is_cancelled() {
        let session = async {
            if world.is_away(identity.spu) {
                return;
            }
            if let Ok(session) = spu::open(&spec.control_plane_rpc, identity.register()).await {
                session.keep().await;
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = session => {}
        }
        Clock.sleep(Duration::from_millis(20)).await;
    }
}

#[async_trait]
impl Provisioner for InMemory {
    async fn start(&self, spec: &LaunchSpec) -> Result<LaunchHandle, ProvisionError> {
        let stop = CancellationToken::new();
        let mut world = self.world.lock().unwrap();
        world.specs.push(spec.clone());
        world.log.push(format!("start {}", spec.spu_id));
        if !self.sickly.load(Ordering::Relaxed) {
            let fresh = FolderId(Uuid::from_u128(world.specs.len() as u128 + 1000));
            let place = (spec.cluster_id, spec.spu_id);
            let folder = *world.folders.entry(place).or_insert(fresh);
            let process = ProcessId(Uuid::from_u128(world.specs.len() as u128));
            world.running.insert(spec.launch_id, (spec.spu_id, stop.clone()));
            if !self.silent.load(Ordering::Relaxed) {
                task::spawn(run(spec.clone(), folder, process, self.clone(), stop));
            }
        }
        Ok(LaunchHandle(serde_json::json!({ "launch": spec.launch_id })))
    }

    async fn observe(&self, launch: &LaunchRecord) -> Result<Observed, ProvisionError> {
        let handle = LaunchHandle(serde_json::json!({ "launch": launch.launch_id }));
        Ok(if self.world.lock().unwrap().running.contains_key(&launch.launch_id) {
            Observed::Running { handle }
        } else {
            Observed::Gone { reason: "it exited with code 7".to_owned() }
        })
    }

    async fn stop(&self, launch: &LaunchRecord, _: Duration) -> Result<(), ProvisionError> {
        let mut world = self.world.lock().unwrap();
        if let Some((spu, stop)) = world.running.remove(&launch.launch_id) {
            stop.cancel();
            world.log.push(format!("stop {spu}"));
        }
        Ok(())
    }

    async fn destroy_spu(
        &self,
        base_dir: &str,
        cluster_id: ClusterId,
        spu_id: SpuId,
    ) -> Result<(), ProvisionError> {
        let mut world = self.world.lock().unwrap();
        world.folders.remove(&(cluster_id, spu_id));
        world
            .destroyed
            .push(weir_control_plane::provision::spu_folder(base_dir, cluster_id, spu_id));
        Ok(())
    }

    async fn destroy_cluster(
        &self,
        base_dir: &str,
        cluster_id: ClusterId,
    ) -> Result<(), ProvisionError> {
        let folder = weir_control_plane::provision::cluster_folder(base_dir, cluster_id);
        self.world.lock().unwrap().destroyed.push(folder);
        Ok(())
    }

    async fn port_free(&self, address: &str) -> bool {
        !self.world.lock().unwrap().taken_ports.contains(address)
    }
}
