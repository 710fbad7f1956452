//! SPUs as processes of this machine.
//!
//! A process is known by its pid *and* its start time *and* the launch id that it carries:
//! pids are used again, so nothing is ever signalled on the strength of a pid alone. The
//! handle survives the control plane, and a new control plane adopts what still runs.

use std::{
    fs, io,
    os::unix::{
        fs::{DirBuilderExt as _, OpenOptionsExt as _},
        process::CommandExt as _,
    },
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use weir_protocol::ids::{ClusterId, LaunchId, SpuId};
use weir_runtime::{
    clock::Clock,
    process::{self as process_table, Carries},
    task,
};

use super::{
    LaunchHandle, LaunchRecord, LaunchSpec, Observed, ProvisionError, Provisioner,
    children::Children, cluster_folder, spu_folder,
};

/// How often a stopping process is looked at.
const POLL: Duration = Duration::from_millis(25);
/// How long the kernel may take to end a process that was killed.
const KILL_WAIT: Duration = Duration::from_secs(10);
/// What an SPU inherits of the control plane's environment; everything else, such as the
/// control plane's own secrets, stays here.
const ENVIRONMENT: [&str; 21] = [
    "PATH",
    "HOME",
    "LANG",
    "TZ",
    "TMPDIR",
    "RUST_LOG",
    "RUST_BACKTRACE",
    "WEIR_LOG",
    "WEIR_LOG_FORMAT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
    "OTEL_BSP_SCHEDULE_DELAY",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_SDK_DISABLED",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
    "LLVM_PROFILE_FILE",
    "WEIR_SPU_UNSAFE_NO_FSYNC",
    "WEIR_SPU_CATCH_UP_BYTES_PER_S",
];

/// How far above its own port an SPU serves its metrics.
const METRICS_PORTS_ABOVE: u16 = 1000;

/// Which program a [`ProcessProvisioner`] starts.
#[derive(Clone, Debug)]
pub struct Program {
    /// The executable.
    pub path: String,
    /// Arguments before those of the launch, for instance `run spu`.
    pub leading_args: Vec<String>,
}

impl Program {
    /// This executable with `run spu`: the `weir` binary is a whole cluster.
    ///
    /// # Errors
    /// When the system cannot tell where this executable lies.
    pub fn current_exe() -> io::Result<Self> {
        let path = std::env::current_exe()?;
        let path = path.into_os_string().into_string().map_err(|path| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{} is not UTF-8", path.display()))
        })?;
        Ok(Self { path, leading_args: vec!["run".to_owned(), "spu".to_owned()] })
    }
}

/// The handle of a process, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ProcessHandle {
    pid: u32,
    started: String,
}

impl ProcessHandle {
    fn to_launch(&self) -> LaunchHandle {
        LaunchHandle(serde_json::json!({ "pid": self.pid, "started": self.started }))
    }

    /// Pids 0 and 1, and those that do not fit the signed type of the system, would turn a
    /// signal into one for a group, for everybody, or for init.
    fn from_launch(handle: &LaunchHandle) -> Option<Self> {
        let handle: Self = serde_json::from_value(handle.0.clone()).ok()?;
        (handle.pid > 1 && i32::try_from(handle.pid).is_ok()).then_some(handle)
    }
}

/// Starts SPUs as processes of their own process group, so that neither Ctrl-C nor the end
/// of the control plane takes them along.
#[derive(Debug)]
pub struct ProcessProvisioner {
    program: Program,
    clock: Clock,
    children: Arc<Children>,
    metrics_host: Option<String>,
}

impl ProcessProvisioner {
    /// A provisioner that starts `program`.
    #[must_use]
    pub fn new(program: Program, clock: Clock) -> Self {
        Self { program, clock, children: Arc::default(), metrics_host: None }
    }

    /// The same; SPUs that it starts serve their metrics at this host, if there is one.
    #[must_use]
    pub fn with_metrics(self, metrics_host: Option<String>) -> Self {
        Self { metrics_host, ..self }
    }

    async fn look(&self, launch: &LaunchRecord) -> Result<Observed, ProvisionError> {
        let (program, children) = (self.program.path.clone(), self.children.clone());
        let (launch_id, handle) = (launch.launch_id, launch.handle.clone());
        task::blocking(move || look(&program, &children, launch_id, handle.as_ref())).await.map_err(
            |error| ProvisionError::ObserveFailed {
                spu_id: launch.spu_id,
                reason: error.to_string(),
            },
        )
    }

    /// Signals the launch if it still runs; the check and the signal lie as close together
    /// as the system allows.
    async fn signal(
        &self,
        launch: &LaunchRecord,
        signal: Signal,
    ) -> Result<Observed, ProvisionError> {
        let (program, children) = (self.program.path.clone(), self.children.clone());
        let (launch_id, handle) = (launch.launch_id, launch.handle.clone());
        task::blocking(move || {
            let seen = look(&program, &children, launch_id, handle.as_ref())?;
            if let Observed::Running { handle } = &seen
                && let Some(process) = ProcessHandle::from_launch(handle)
            {
                send(process.pid, signal)?;
            }
            Ok(seen)
        })
        .await
        .map_err(|error| ProvisionError::StillRunning {
            spu_id: launch.spu_id,
            reason: format!("{signal}: {error}"),
        })
    }

    async fn wait_gone(
        &self,
        launch: &LaunchRecord,
        limit: Duration,
    ) -> Result<bool, ProvisionError> {
        let begin = self.clock.now();
        loop {
            if let Observed::Gone { .. } = self.look(launch).await? {
                return Ok(true);
            }
            if self.clock.now().since(begin) >= limit {
                return Ok(false);
            }
            self.clock.sleep(POLL).await;
        }
    }
}

#[async_trait]
impl Provisioner for ProcessProvisioner {
    async fn start(&self, spec: &LaunchSpec) -> Result<LaunchHandle, ProvisionError> {
        let (program, spec_, children) =
            (self.program.clone(), spec.clone(), self.children.clone());
        let metrics = self.metrics_host.as_deref().and_then(|host| metrics_at(host, &spec.listen));
        let spawned = task::blocking(move || spawn(&program, &spec_, metrics, &children)).await;
        let handle = spawned.map_err(|error| ProvisionError::StartFailed {
            spu_id: spec.spu_id,
            reason: format!("{}: {error}", self.program.path),
        })?;
        tracing::info!(cluster = %spec.cluster_id, spu = %spec.spu_id, launch = %spec.launch_id, pid = handle.pid, "SPU process started");
        Ok(handle.to_launch())
    }

    async fn observe(&self, launch: &LaunchRecord) -> Result<Observed, ProvisionError> {
        self.look(launch).await
    }

    async fn stop(&self, launch: &LaunchRecord, grace: Duration) -> Result<(), ProvisionError> {
        // A launch without a handle is searched for once; what is then signalled and waited
        // for is the process that was found.
        let Observed::Running { handle } = self.signal(launch, Signal::SIGTERM).await? else {
            return Ok(());
        };
        let launch = LaunchRecord { handle: Some(handle), ..launch.clone() };
        if self.wait_gone(&launch, grace).await? {
            return Ok(());
        }
        tracing::warn!(cluster = %launch.cluster_id, spu = %launch.spu_id, ?grace, "SPU did not end in time; killing it");
        self.signal(&launch, Signal::SIGKILL).await?;
        if self.wait_gone(&launch, KILL_WAIT).await? {
            return Ok(());
        }
        Err(ProvisionError::StillRunning {
            spu_id: launch.spu_id,
            reason: format!("killed {KILL_WAIT:?} ago"),
        })
    }

    async fn destroy_spu(
        &self,
        base_dir: &str,
        cluster_id: ClusterId,
        spu_id: SpuId,
    ) -> Result<(), ProvisionError> {
        remove(spu_folder(base_dir, cluster_id, spu_id)).await
    }

    async fn destroy_cluster(
        &self,
        base_dir: &str,
        cluster_id: ClusterId,
    ) -> Result<(), ProvisionError> {
        remove(cluster_folder(base_dir, cluster_id)).await
    }

    async fn port_free(&self, address: &str) -> bool {
        weir_runtime::net::Listener::bind(address).await.is_ok()
    }
}

/// Removes a folder with data, unless an SPU writes to it: one of a launch that the database
/// does not know, as after a backup was restored, was not stopped before.
async fn remove(folder: String) -> Result<(), ProvisionError> {
    let path = folder.clone();
    task::blocking(move || {
        let users = process_table::find_by_arguments(|line| is_spu_in(line, &path))?;
        if let Some(pid) = users.first() {
            return Err(io::Error::other(format!(
                "process {pid} is an SPU that uses it, of a launch that is not known here; end it \
                 first: kill {pid}"
            )));
        }
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    })
    .await
    .map_err(|error| ProvisionError::DestroyFailed { folder, reason: error.to_string() })
}

/// Where an SPU that listens at `listen` serves its metrics; nowhere when there is no such port.
fn metrics_at(host: &str, listen: &str) -> Option<String> {
    let port: u16 = listen.rsplit_once(':')?.1.parse().ok()?;
    Some(format!("{host}:{}", port.checked_add(METRICS_PORTS_ABOVE)?))
}

fn spawn(
    program: &Program,
    spec: &LaunchSpec,
    metrics: Option<String>,
    children: &Children,
) -> io::Result<ProcessHandle> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&spec.data_dir)?;
    let log = fs::OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(format!("{}/spu.log", spec.data_dir))?;
    let mut command = Command::new(&program.path);
    command
        .args(&program.leading_args)
        .args(["--control-plane", &spec.control_plane_rpc])
        .args(["--org", &spec.org_id.to_string()])
        .args(["--cluster", &spec.cluster_id.to_string()])
        .args(["--spu-id", &spec.spu_id.to_string()])
        .args(["--launch-id", &spec.launch_id.to_string()])
        .args(["--data-dir", &spec.data_dir])
        .args(["--listen", &spec.listen])
        .args(metrics.into_iter().flat_map(|address| ["--metrics-listen".to_owned(), address]))
        .env_clear()
        .envs(ENVIRONMENT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
        // Not secret: it names the launch also where the command line was replaced.
        .env("WEIR_LAUNCH_ID", spec.launch_id.to_string())
        .env("WEIR_LAUNCH_SECRET", spec.launch_secret.expose_secret())
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0);
    let (pid, started) = children.spawn(&mut command)?;
    Ok(ProcessHandle { pid, started })
}

/// Looks at a launch: reaps children first, so that no zombie counts as running.
fn look(
    program: &str,
    children: &Children,
    launch_id: LaunchId,
    handle: Option<&LaunchHandle>,
) -> io::Result<Observed> {
    let gone = |reason: &str| Ok(Observed::Gone { reason: reason.to_owned() });
    children.reap();
    let Some(stored) = handle else {
        return Ok(match search(program, launch_id)? {
            Some(found) => Observed::Running { handle: found.to_launch() },
            None => Observed::Gone { reason: "no process of this launch was found".to_owned() },
        });
    };
    let Some(process) = ProcessHandle::from_launch(stored) else {
        return gone("its handle names no process");
    };
    if let Some(reason) = children.ended(process.pid, &process.started) {
        return Ok(Observed::Gone { reason });
    }
    match process_table::view(process.pid)? {
        None => gone("its process has ended"),
        Some(seen) if seen.zombie => gone("its process has ended"),
        Some(seen) if seen.started != process.started => {
            gone("its process has ended; the pid belongs to another one now")
        }
        Some(_) if process_table::carries(process.pid, &launch_id.to_string()) == Carries::No => {
            gone("its process has ended; the pid belongs to another launch now")
        }
        Some(_) => Ok(Observed::Running { handle: stored.clone() }),
    }
}

/// Whether this is the command line of an SPU that was started for the launch: somebody
/// who searches for the launch, or shows its log, names it too.
fn is_spu_of(command_line: &[&str], program: &str, launch_id: &str) -> bool {
    let Some(at) = command_line.windows(2).position(|pair| pair == ["--launch-id", launch_id])
    else {
        return false;
    };
    let before = command_line.get(..at).unwrap_or_default();
    // The program may have been another one: a new control plane adopts what an older build
    // started.
    let called = before.first().copied().unwrap_or_default();
    called == program || called.ends_with("weir-spu") || before.contains(&"spu")
}

/// Whether this is the command line of an SPU whose data lies in `folder`.
fn is_spu_in(command_line: &[&str], folder: &str) -> bool {
    let below = |path: &str| {
        path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    (command_line.contains(&"--launch-id") || command_line.contains(&"--credentials"))
        && command_line.windows(2).any(|pair| pair[0] == "--data-dir" && below(pair[1]))
}

fn search(program: &str, launch_id: LaunchId) -> io::Result<Option<ProcessHandle>> {
    let launch_id = launch_id.to_string();
    let found = process_table::find_by_arguments(|line| is_spu_of(line, program, &launch_id))?;
    for pid in found {
        if pid > 1
            && pid != std::process::id()
            && let Some(seen) = process_table::view(pid)?
            && !seen.zombie
        {
            return Ok(Some(ProcessHandle { pid, started: seen.started }));
        }
    }
    Ok(None)
}

fn send(pid: u32, signal: Signal) -> io::Result<()> {
    let pid = i32::try_from(pid).map_err(io::Error::other)?;
    match kill(Pid::from_raw(pid), signal) {
        // It ended in between.
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::{is_spu_in, is_spu_of, metrics_at};

    #[test]
    fn metrics_lie_a_thousand_ports_above() {
        let at = |listen| metrics_at("0.0.0.0", listen);
        assert_eq!(at("127.0.0.1:9600").as_deref(), Some("0.0.0.0:10600"));
        assert_eq!(metrics_at("[::1]", "[::1]:1").as_deref(), Some("[::1]:1001"));
        assert_eq!(at("127.0.0.1:65000"), None);
        assert_eq!(at("nowhere"), None);
    }

    #[test]
    fn an_spu_is_known_by_its_folder() {
        let uses = |folder| {
            let line = ["weir", "run", "spu", "--launch-id", "x", "--data-dir", "/c/cl_1/spu-1"];
            is_spu_in(&line, folder)
        };
        assert!(uses("/c/cl_1") && uses("/c/cl_1/spu-1"));
        assert!(!uses("/c/cl") && !uses("/c/cl_1/spu") && !uses("/c/cl_1/spu-1/topics"));
        let elsewhere = ["weir", "--credentials", "f", "--data-dir", "/c/cl_1/x"];
        assert!(is_spu_in(&elsewhere, "/c/cl_1"));
        assert!(!is_spu_in(&["tar", "--data-dir", "/c/cl_1"], "/c/cl_1"));
    }

    #[test]
    fn only_the_command_line_of_an_spu_of_this_launch_counts() {
        let program = "/opt/own program";
        let is = |line: &[&str]| is_spu_of(line, program, "id-1");
        assert!(is(&["/usr/bin/weir", "run", "spu", "--spu-id", "1", "--launch-id", "id-1"]));
        assert!(is(&["/usr/bin/weir-spu", "--launch-id", "id-1", "--listen", "x"]));
        assert!(is(&[program, "--launch-id", "id-1"]));
        for line in [
            &[][..],
            &["weir", "run", "spu"],
            &["weir", "run", "spu", "--launch-id"],
            &["weir", "run", "spu", "--launch-id", "id-11"],
            &["weir", "run", "spu", "--launch-id=id-1"],
            &["weir", "run", "spu", "id-1"],
            &["grep", "--launch-id", "id-1"],
            &["grep", "--launch-id", "id-1", "spu"],
            &["tail", "--launch-id id-1"],
            &["sh", "-c", "weir run spu --launch-id id-1"],
        ] {
            assert!(!is(line), "{line:?}");
        }
    }
}
