//! The SPU as a process: arguments, signals, the real disk. Shared by `weir-spu` and
//! `weir run spu`.

use std::{
    fs,
    io::{self, Read as _},
    num::NonZeroU64,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use secrecy::SecretString;
use serde::Deserialize;
use tokio::signal::unix::{SignalKind, signal};
use weir_protocol::ids::{ClusterId, LaunchId, OrgId, SpuId};
use weir_runtime::{
    clock::Clock,
    disk::real::RealDisk,
    process,
    task::{self, CancellationToken},
    telemetry::{self, LogFormat},
};

use crate::{Config, Deps, Limits, Metrics, log::LogConfig, run_measured};

/// Holds the launch secret, so that it shows in no list of processes.
const SECRET_VARIABLE: &str = "WEIR_LAUNCH_SECRET";
/// Credentials are a few lines.
const CREDENTIALS_BYTES_MAX: u64 = 16 << 10;
/// What this process is called where traces are collected.
pub const SERVICE: &str = "weir-spu";

/// How an SPU is started. A provisioner names each of the ids and puts the launch secret into the
/// environment variable `WEIR_LAUNCH_SECRET`; people have all of them in a file.
#[derive(Clone, Debug, Args)]
pub struct SpuArgs {
    /// What it proves itself with: the file that weir cluster spu register wrote
    #[arg(long, value_name = "FILE",
        conflicts_with_all = ["org", "cluster", "spu_id", "launch_id"])]
    pub credentials: Option<PathBuf>,
    /// The control plane's gRPC endpoint [default: that of the credentials]
    #[arg(long, value_name = "HOST:PORT", required_unless_present = "credentials")]
    pub control_plane: Option<String>,
    /// The org that owns the cluster
    #[arg(long, value_name = "ID", required_unless_present = "credentials")]
    pub org: Option<OrgId>,
    /// The cluster to serve
    #[arg(long, value_name = "ID", required_unless_present = "credentials")]
    pub cluster: Option<ClusterId>,
    /// Which of the cluster's SPUs this is
    #[arg(long, value_name = "N", required_unless_present = "credentials")]
    pub spu_id: Option<u32>,
    /// Which start of it this is
    #[arg(long, value_name = "UUID", required_unless_present = "credentials")]
    pub launch_id: Option<LaunchId>,
    /// Where its data lies; made when missing
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Where to serve clients; port 0 lets the system choose
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: String,
    /// Where clients reach it, if not at the listening address
    #[arg(long, value_name = "HOST:PORT")]
    pub advertise: Option<String>,
    /// What fails together with it, such as a zone: copies of a partition are spread over racks
    #[arg(long, env = "WEIR_SPU_RACK", value_name = "NAME")]
    pub rack: Option<String>,
    /// Never fsync record data: acknowledged records survive the death of the process, and
    /// not that of the machine. For measuring, and for data that nobody would miss
    #[arg(long, env = "WEIR_SPU_UNSAFE_NO_FSYNC")]
    pub unsafe_no_fsync: bool,
    /// How many segments stay open, of all logs together, but for those that are being written
    #[arg(long, env = "WEIR_SPU_MAX_OPEN_SEGMENTS", value_name = "N", default_value_t = 1_000,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_open_segments: u32,
    /// How fast copies that are not in sync are fed by this SPU, all together, so that filling
    /// them leaves room for clients [default: as fast as it goes]
    #[arg(long, env = "WEIR_SPU_CATCH_UP_BYTES_PER_S", value_name = "N")]
    pub catch_up_bytes_per_s: Option<NonZeroU64>,
    /// Where to serve GET /metrics, for Prometheus, over plain HTTP to whoever reaches it
    /// [default: nowhere]
    #[arg(long, value_name = "HOST:PORT")]
    pub metrics_listen: Option<String>,
    /// How log lines look, on standard error: text or json
    #[arg(long, env = "WEIR_LOG_FORMAT", value_name = "FORMAT", default_value_t)]
    pub log_format: LogFormat,
}

/// Runs an SPU until SIGTERM or SIGINT: the whole life of the process. Makes its own tokio
/// runtime, and logs to standard error.
#[must_use]
pub fn main(args: SpuArgs) -> ExitCode {
    telemetry::server(SERVICE, args.log_format, serve(args))
}

/// Runs an SPU until SIGTERM or SIGINT, on the current runtime.
///
/// # Errors
/// A sentence for people.
pub async fn serve(args: SpuArgs) -> Result<(), String> {
    let Credentials { org_id, cluster_id, spu_id, launch_id, launch_secret, control_plane } =
        credentials(&args).await?;
    let opened = if args.unsafe_no_fsync {
        tracing::warn!("fsync is off: acknowledged records will not survive a power failure");
        RealDisk::open_without_fsync(&args.data_dir).await
    } else {
        RealDisk::open(&args.data_dir).await
    };
    let disk = opened.map_err(|error| {
        format!("cannot use the data folder {}: {error}", args.data_dir.display())
    })?;
    let open_segments_max = open_segments_max(args.max_open_segments);
    let shutdown = CancellationToken::new();
    watch_signals(shutdown.clone())
        .map_err(|error| format!("cannot watch for signals: {error}"))?;
    let config = Config {
        org_id,
        cluster_id,
        spu_id: SpuId(spu_id),
        launch_id,
        launch_secret: SecretString::from(launch_secret),
        control_plane,
        listen: args.listen,
        advertise: args.advertise,
        rack: args.rack,
        build: process::build(),
        limits: Limits {
            open_segments_max,
            catch_up_bytes_per_s: args.catch_up_bytes_per_s,
            ..Limits::default()
        },
        log: LogConfig::default(),
    };
    let metrics = Metrics::default();
    if let Some(address) = &args.metrics_listen {
        telemetry::serve_metrics(address, metrics.set(), shutdown.clone()).await;
    }
    let deps = Deps { disk, clock: Clock };
    run_measured(config, deps, metrics, shutdown).await.map_err(|error| error.to_string())
}

/// Who an SPU is, and the proof of it.
#[derive(Deserialize)]
struct Credentials {
    org_id: OrgId,
    cluster_id: ClusterId,
    spu_id: u32,
    launch_id: LaunchId,
    launch_secret: String,
    control_plane: String,
}

/// From the file that the arguments name, or from arguments and environment.
async fn credentials(args: &SpuArgs) -> Result<Credentials, String> {
    let Some(file) = &args.credentials else {
        let launch_secret = std::env::var(SECRET_VARIABLE).map_err(|_| {
            format!("{SECRET_VARIABLE} is not set; provisioners set it at each launch")
        })?;
        let named = || {
            Some(Credentials {
                org_id: args.org?,
                cluster_id: args.cluster?,
                spu_id: args.spu_id?,
                launch_id: args.launch_id?,
                launch_secret,
                control_plane: args.control_plane.clone()?,
            })
        };
        return named().ok_or_else(|| "not every id of the SPU is named".to_owned());
    };
    let (path, shown) = (file.clone(), file.display());
    let text = task::blocking(move || read(&path));
    let text =
        text.await.map_err(|error| format!("cannot read the credentials {shown}: {error}"))?;
    // What serde says of a wrong value may quote it: the secret is such a value.
    let mut read: Credentials = serde_json::from_str(&text).map_err(|error| {
        format!(
            "{shown} holds no credentials of an SPU (line {}): weir cluster spu register writes them",
            error.line()
        )
    })?;
    if let Some(control_plane) = &args.control_plane {
        read.control_plane.clone_from(control_plane);
    }
    Ok(read)
}

#[expect(clippy::disallowed_methods, reason = "a process's own file; never simulated")]
fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    fs::File::open(path)?.take(CREDENTIALS_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// So many as was asked for, but no more than half of the files that the system lets this
/// process have: the rest is for connections, and for segments that are being written.
fn open_segments_max(asked: u32) -> usize {
    let asked = u64::from(asked);
    let allowed = process::raise_open_files_limit().map_or(asked, |files| files / 2);
    if allowed < asked {
        tracing::warn!(
            asked,
            allowed,
            "fewer segments than asked for may stay open, by the limit on open files (ulimit -n)"
        );
    }
    usize::try_from(asked.min(allowed)).unwrap_or(usize::MAX)
}

/// The first signal asks for an orderly end, the second ends the process.
fn watch_signals(shutdown: CancellationToken) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    task::spawn(async move {
        loop {
            tokio::select! {
                biased;
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if shutdown.is_cancelled() {
                std::process::exit(130);
            }
            shutdown.cancel();
        }
    });
    Ok(())
}
