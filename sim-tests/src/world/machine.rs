//! SPU machines: nodes with disks, on which the provisioner starts processes.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use madsim::{
    runtime::{Handle, NodeHandle},
    task::NodeId,
};
use weir_control_plane::provision::LaunchSpec;
use weir_protocol::ids::{ClusterId, LaunchId, SpuId};
use weir_runtime::{
    clock::Clock,
    disk::sim::{DiskSim, SimDisk},
    net::cuts,
    task::CancellationToken,
    trace::{self, Kind},
};

use super::Counters;

/// What a machine does at present.
#[derive(Default)]
struct State {
    /// The process that is to run, or runs.
    process: Option<Process>,
    running: bool,
    /// Power is off: no process can be started.
    off: bool,
    /// How the last process ended.
    last_exit: Option<String>,
    /// The process is up and does nothing.
    idle: bool,
}

#[derive(Clone)]
struct Process {
    spec: LaunchSpec,
    shutdown: CancellationToken,
}

/// One SPU machine.
#[derive(Clone)]
pub struct Machine {
    /// Its node.
    pub node: NodeId,
    ip: IpAddr,
    state: Arc<Mutex<State>>,
}

impl Machine {
    fn build(name: &str, ip: IpAddr) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        let node: NodeHandle = Handle::current()
            .create_node()
            .name(name)
            .ip(ip)
            .init(move || boot(shared.clone(), ip))
            .build();
        cuts::register(ip, node.id());
        Self { node: node.id(), ip, state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its address.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    /// Starts a process, on a machine that has just been switched on.
    ///
    /// # Errors
    /// When the power is off.
    pub fn start(&self, spec: LaunchSpec) -> Result<(), String> {
        self.start_as(spec, false)
    }

    /// As [`Machine::start`], of a process that is up and does nothing.
    ///
    /// # Errors
    /// As [`Machine::start`].
    pub fn start_idle(&self, spec: LaunchSpec) -> Result<(), String> {
        self.start_as(spec, true)
    }

    fn start_as(&self, spec: LaunchSpec, idle: bool) -> Result<(), String> {
        {
            let mut state = self.state();
            if state.off {
                return Err(format!("machine {} has no power", self.ip));
            }
            state.process = Some(Process { spec, shutdown: CancellationToken::new() });
            (state.running, state.idle) = (true, idle);
        }
        Handle::current().kill(self.node);
        Handle::current().restart(self.node);
        Ok(())
    }

    /// The launch that runs.
    #[must_use]
    pub fn running(&self) -> Option<LaunchId> {
        let state = self.state();
        state.process.as_ref().filter(|_| state.running).map(|p| p.spec.launch_id)
    }

    /// The launch that runs and is not idle.
    #[must_use]
    pub fn working(&self) -> Option<LaunchId> {
        self.running().filter(|_| !self.state().idle)
    }

    /// The launch that ran last, running or not.
    #[must_use]
    pub fn last_spec(&self) -> Option<LaunchSpec> {
        self.state().process.as_ref().map(|p| p.spec.clone())
    }

    /// How the last process ended.
    #[must_use]
    pub fn last_exit(&self) -> Option<String> {
        self.state().last_exit.clone()
    }

    /// Asks the process to end in order.
    pub fn ask_to_stop(&self) {
        if self.state().idle {
            // Nobody is there to notice, and nothing has to be closed.
            return self.kill();
        }
        if let Some(process) = &self.state().process {
            process.shutdown.cancel();
        }
    }

    /// Takes the power away: what was not fsynced is gone.
    pub fn power_off(&self) {
        {
            let mut state = self.state();
            state.off = true;
            state.running = false;
            state.last_exit = Some("power failure".into());
        }
        Handle::current().kill(self.node);
    }

    /// Ends the process by force. On this machine that is a short power failure.
    pub fn kill(&self) {
        self.power_off();
        self.power_on();
    }

    /// Gives power back. Nothing runs until the provisioner starts it.
    pub fn power_on(&self) {
        self.state().off = false;
    }

    /// Gives this machine the disk of another one, and that one the disk of this.
    pub fn swap_disks(&self, other: &Self) {
        DiskSim::current().swap(self.node, other.node);
    }

    /// Empties the disk.
    pub fn wipe(&self) {
        DiskSim::current().wipe(self.node);
    }
}

async fn boot(state: Arc<Mutex<State>>, ip: IpAddr) {
    let lock = || state.lock().unwrap_or_else(PoisonError::into_inner);
    let process = {
        let state = lock();
        state.process.clone().filter(|_| state.running && !state.idle)
    };
    let Some(Process { spec, shutdown }) = process else { return };
    let launch = spec.launch_id;
    let port = spec.listen.rsplit_once(':').map_or("9600", |(_, port)| port);
    let listen = format!("{ip}:{port}");
    let config = weir_dataplane::Config {
        org_id: spec.org_id,
        cluster_id: spec.cluster_id,
        spu_id: spec.spu_id,
        launch_id: spec.launch_id,
        launch_secret: spec.launch_secret.clone(),
        control_plane: spec.control_plane_rpc.clone(),
        listen,
        advertise: None,
        rack: Some(format!("rack-{}", spec.spu_id)),
        build: "0.1.0".to_owned(),
        // Short, or the in-sync sets would hardly change in a run.
        limits: weir_dataplane::Limits {
            replica_lag_max: Duration::from_secs(2),
            ..weir_dataplane::Limits::default()
        },
        log: weir_dataplane::log::LogConfig::default(),
    };
    let deps = weir_dataplane::Deps { disk: SimDisk::of_this_node(), clock: Clock };
    let result = weir_dataplane::run(config, deps, shutdown).await;
    trace::line(Kind::Step, || format!("SPU process ended: {result:?}"));
    let mut state = lock();
    if state.process.as_ref().is_some_and(|p| p.spec.launch_id == launch) {
        state.running = false;
        state.last_exit = Some(match result {
            Ok(()) => "ended in order".into(),
            Err(error) => error.to_string(),
        });
    }
}

/// All SPU machines, by cluster and SPU. Clones are the same machines.
#[derive(Clone)]
pub struct Machines {
    machines: Arc<Mutex<BTreeMap<(ClusterId, SpuId), Machine>>>,
    built: Arc<AtomicU32>,
    /// Where starts after a death are counted.
    pub(super) counters: Arc<Counters>,
}

impl std::fmt::Debug for Machines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machines").finish_non_exhaustive()
    }
}

impl Machines {
    pub(super) fn new(counters: Arc<Counters>) -> Self {
        Self { machines: Arc::default(), built: Arc::default(), counters }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(ClusterId, SpuId), Machine>> {
        self.machines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The machine of an SPU; built when it is asked for the first time.
    pub fn get_or_build(&self, cluster: ClusterId, spu: SpuId) -> Machine {
        self.lock().entry((cluster, spu)).or_insert_with(|| self.stranger(&spu.to_string())).clone()
    }

    /// A machine that no one lists: for processes of an earlier life.
    #[must_use]
    pub fn stranger(&self, name: &str) -> Machine {
        let number = self.built.fetch_add(1, Ordering::Relaxed) + 1;
        let last = u8::try_from(number).expect("fewer than 256 machines in a run");
        Machine::build(&format!("spu-{name}"), IpAddr::from([10, 0, 1, last]))
    }

    /// The machines of a cluster.
    #[must_use]
    pub fn of(&self, cluster: ClusterId) -> Vec<Machine> {
        let machines = self.lock();
        let own = machines.iter().filter(|((of, _), _)| *of == cluster);
        own.map(|(_, machine)| machine.clone()).collect()
    }

    /// The machines by SPU id. One cluster is assumed.
    #[must_use]
    pub fn all(&self) -> Vec<(u32, Machine)> {
        self.lock().iter().map(|((_, spu), machine)| (spu.0, machine.clone())).collect()
    }

    /// The machine of an SPU, if it was ever started.
    #[must_use]
    pub fn get(&self, spu: u32) -> Option<Machine> {
        self.all().into_iter().find(|(id, _)| *id == spu).map(|(_, machine)| machine)
    }
}
