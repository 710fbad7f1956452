//! The provisioner of the simulated world: machines instead of processes.

use std::{collections::BTreeSet, sync::atomic::Ordering, time::Duration};

use async_trait::async_trait;
use weir_control_plane::provision::{
    LaunchHandle, LaunchRecord, LaunchSpec, Observed, ProvisionError, Provisioner,
};
use weir_protocol::ids::{ClusterId, SpuId};
use weir_runtime::{
    clock::Clock,
    trace::{self, Kind},
};

use super::{Machine, Machines};

/// How often a stopping machine is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Starts SPUs on [`Machines`]. It belongs to the world, not to the control plane's node:
/// it survives the control plane's death, as processes do.
#[derive(Clone, Debug)]
pub struct SimProvisioner {
    machines: Machines,
    started: std::sync::Arc<std::sync::Mutex<BTreeSet<(ClusterId, SpuId)>>>,
}

impl SimProvisioner {
    /// Over these machines.
    #[must_use]
    pub fn new(machines: Machines) -> Self {
        Self { machines, started: std::sync::Arc::default() }
    }

    fn machine_of(&self, launch: &LaunchRecord) -> Machine {
        self.machines.get_or_build(launch.cluster_id, launch.spu_id)
    }
}

#[async_trait]
impl Provisioner for SimProvisioner {
    async fn start(&self, spec: &LaunchSpec) -> Result<LaunchHandle, ProvisionError> {
        trace::line(Kind::Step, || format!("start SPU {} as {}", spec.spu_id, spec.launch_id));
        let machine = self.machines.get_or_build(spec.cluster_id, spec.spu_id);
        machine
            .start(spec.clone())
            .map_err(|reason| ProvisionError::StartFailed { spu_id: spec.spu_id, reason })?;
        let first = self.started.lock().unwrap().insert((spec.cluster_id, spec.spu_id));
        if !first {
            self.machines.counters.recoveries.fetch_add(1, Ordering::Relaxed);
        }
        Ok(LaunchHandle(serde_json::Value::String(spec.launch_id.to_string())))
    }

    async fn observe(&self, launch: &LaunchRecord) -> Result<Observed, ProvisionError> {
        let machine = self.machine_of(launch);
        Ok(if machine.running() == Some(launch.launch_id) {
            let id = launch.launch_id.to_string();
            Observed::Running { handle: LaunchHandle(serde_json::Value::String(id)) }
        } else {
            let reason = machine.last_exit().unwrap_or_else(|| "never started".into());
            Observed::Gone { reason }
        })
    }

    async fn stop(&self, launch: &LaunchRecord, grace: Duration) -> Result<(), ProvisionError> {
        let machine = self.machine_of(launch);
        if machine.running() != Some(launch.launch_id) {
            return Ok(());
        }
        machine.ask_to_stop();
        let ended = async {
            while machine.running() == Some(launch.launch_id) {
                Clock.sleep(LOOK_AGAIN).await;
            }
        };
        if Clock.timeout(grace, ended).await.is_err() {
            machine.kill();
        }
        Ok(())
    }

    async fn destroy_spu(
        &self,
        _base_dir: &str,
        cluster_id: ClusterId,
        spu_id: SpuId,
    ) -> Result<(), ProvisionError> {
        self.machines.get_or_build(cluster_id, spu_id).wipe();
        Ok(())
    }

    async fn destroy_cluster(&self, _base_dir: &str, _: ClusterId) -> Result<(), ProvisionError> {
        for (_, machine) in self.machines.all() {
            machine.wipe();
        }
        Ok(())
    }

    async fn port_free(&self, _address: &str) -> bool {
        true
    }
}
