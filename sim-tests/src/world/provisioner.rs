//! The provisioner of the simulated world: machines instead of processes.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::Duration,
};

use async_trait::async_trait;
use weir_control_plane::{
    provision::{LaunchHandle, LaunchRecord, LaunchSpec, Observed, ProvisionError, Provisioner},
    store::SqlFaults,
};
use weir_protocol::ids::{ClusterId, SpuId};
use weir_runtime::{
    clock::Clock,
    trace::{self, Kind},
};

use super::{Machine, Machines};

/// How often a stopping machine is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// What becomes of a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartFault {
    /// It fails, and nothing runs.
    Fails,
    /// It hangs, and nothing ever runs.
    Hangs,
    /// The process runs, and the answer never comes.
    AnswerLost,
    /// The process ends as soon as it began.
    Dies,
    /// The process is up and does nothing, ever.
    Idles,
}

/// What goes wrong from now on. Clones are the same switch.
#[derive(Clone, Debug, Default)]
pub struct ProvisionFaults {
    inner: Arc<Mutex<Faults>>,
}

#[derive(Debug, Default)]
struct Faults {
    starts: BTreeMap<SpuId, VecDeque<StartFault>>,
    stops_that_hang: u32,
    struck: u64,
}

impl ProvisionFaults {
    fn lock(&self) -> MutexGuard<'_, Faults> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next start of this SPU that has no fault yet gets one.
    pub fn at_next_start(&self, spu: SpuId, fault: StartFault) {
        self.lock().starts.entry(spu).or_default().push_back(fault);
    }

    /// So many stops hang, and stop nothing.
    pub fn stops_hang(&self, stops: u32) {
        self.lock().stops_that_hang = stops;
    }

    /// How many faults struck.
    #[must_use]
    pub fn struck(&self) -> u64 {
        self.lock().struck
    }

    fn of_start(&self, spu: SpuId) -> Option<StartFault> {
        let mut faults = self.lock();
        let fault = faults.starts.get_mut(&spu)?.pop_front();
        faults.struck += u64::from(fault.is_some());
        fault
    }

    fn stop_hangs(&self) -> bool {
        let mut faults = self.lock();
        let hangs = faults.stops_that_hang > 0;
        faults.stops_that_hang = faults.stops_that_hang.saturating_sub(1);
        faults.struck += u64::from(hangs);
        hangs
    }
}

/// Starts SPUs on [`Machines`]. It belongs to the world, not to the control plane's node:
/// it survives the control plane's death, as processes do.
#[derive(Clone, Debug)]
pub struct SimProvisioner {
    machines: Machines,
    started: Arc<Mutex<BTreeSet<(ClusterId, SpuId)>>>,
    faults: ProvisionFaults,
    /// Each thing done is a step at which the control plane may come to stand still.
    steps: SqlFaults,
}

impl SimProvisioner {
    /// Over these machines.
    #[must_use]
    pub fn new(machines: Machines, faults: ProvisionFaults, steps: SqlFaults) -> Self {
        Self { machines, started: Arc::default(), faults, steps }
    }

    fn machine_of(&self, launch: &LaunchRecord) -> Machine {
        self.machines.get_or_build(launch.cluster_id, launch.spu_id)
    }

    fn note_started(&self, spec: &LaunchSpec) {
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        if !started.insert((spec.cluster_id, spec.spu_id)) {
            self.machines.counters.recoveries.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[async_trait]
impl Provisioner for SimProvisioner {
    async fn start(&self, spec: &LaunchSpec) -> Result<LaunchHandle, ProvisionError> {
        trace::line(Kind::Step, || format!("start SPU {} as {}", spec.spu_id, spec.launch_id));
        let failed = |reason| ProvisionError::StartFailed { spu_id: spec.spu_id, reason };
        let fault = self.faults.of_start(spec.spu_id);
        let machine = self.machines.get_or_build(spec.cluster_id, spec.spu_id);
        match fault {
            Some(StartFault::Fails) => return Err(failed("nothing can be started".into())),
            Some(StartFault::Hangs) => std::future::pending().await,
            Some(StartFault::Idles) => machine.start_idle(spec.clone()).map_err(failed)?,
            Some(StartFault::Dies | StartFault::AnswerLost) | None => {
                machine.start(spec.clone()).map_err(failed)?;
                self.note_started(spec);
            }
        }
        match fault {
            Some(StartFault::AnswerLost) => std::future::pending().await,
            Some(StartFault::Dies) => machine.kill(),
            _ => {}
        }
        self.steps.step().await;
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
        if self.faults.stop_hangs() {
            std::future::pending::<()>().await;
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
        self.steps.step().await;
        Ok(())
    }

    async fn destroy_spu(
        &self,
        _base_dir: &str,
        cluster_id: ClusterId,
        spu_id: SpuId,
    ) -> Result<(), ProvisionError> {
        self.machines.get_or_build(cluster_id, spu_id).wipe();
        self.steps.step().await;
        Ok(())
    }

    async fn destroy_cluster(
        &self,
        _base_dir: &str,
        cluster_id: ClusterId,
    ) -> Result<(), ProvisionError> {
        for machine in self.machines.of(cluster_id) {
            machine.wipe();
        }
        self.steps.step().await;
        Ok(())
    }

    async fn port_free(&self, _address: &str) -> bool {
        true
    }
}
