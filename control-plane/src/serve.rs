//! The control plane as a process: arguments, files, signals. Shared by
//! `weir-control-plane` and `weir run control-plane`.

mod database;

use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use clap::{Args, builder::FalseyValueParser};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};
use weir_runtime::{
    clock::Clock,
    disk::real::RealDisk,
    task::{self, CancellationToken},
    telemetry::{self, LogFormat},
};

use self::database::Opened;
use crate::{
    ClusterDefaults, Config, Deps, Metrics, Started,
    auth::ApiKey,
    provision::process::{ProcessProvisioner, Program},
    reconcile, run_measured,
};

pub use database::URL_VARIABLE;

/// What this process is called where traces are collected.
pub const SERVICE: &str = "weir-control-plane";
/// Held while the process lives, in the data folder: two control planes over one database
/// would start every SPU twice.
const LOCK: &str = "lock";
/// The admin key, in the data folder unless it is asked for elsewhere.
const ADMIN_KEY: &str = "admin-key";
/// Longest key file taken, in bytes.
const ADMIN_KEY_BYTES_MAX: u64 = 1024;

/// How a control plane is started.
#[derive(Clone, Debug, Args)]
pub struct ControlPlaneArgs {
    /// Where its key and its SQLite database lie; made when missing
    #[arg(long, value_name = "DIR", default_value = "weir/control-plane")]
    pub data_dir: PathBuf,
    /// Postgres database to use instead of SQLite, as postgres://USER:PASSWORD@HOST/DATABASE.
    /// With a password, give it by the variable: anyone on the machine can see arguments
    #[arg(long, value_name = "URL", env = URL_VARIABLE, hide_env_values = true)]
    pub database_url: Option<SecretString>,
    /// Have the database for a fresh data folder although it is another one's, which was lost
    #[arg(long, env = database::TAKE_OVER_VARIABLE, value_parser = FalseyValueParser::new())]
    pub take_over_database: bool,
    /// The database is a backup that was put back: freeze every cluster at once, until weir
    /// control-plane recover. For one start only
    #[arg(long)]
    pub from_backup: bool,
    /// Where the data of clusters lies that ask for no folder of their own
    #[arg(long, value_name = "DIR", default_value = "weir/clusters")]
    pub clusters_dir: PathBuf,
    /// Folder below which a cluster may ask for a data folder of its own [default: none may]
    #[arg(long, value_name = "DIR")]
    pub data_dir_root: Option<PathBuf>,
    /// Where to serve the HTTP API
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9400", value_parser = address)]
    pub http_listen: String,
    /// Where to serve SPUs. They keep this address: do not change it while they run
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9401", value_parser = address)]
    pub rpc_listen: String,
    /// Where SPUs reach it, if not at the listening address
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    pub rpc_advertise: Option<String>,
    /// File with the admin's API key; made with a fresh key when missing [default: admin-key
    /// in the data folder]
    #[arg(long, value_name = "FILE")]
    pub admin_key_file: Option<PathBuf>,
    /// The address that SPUs listen on
    #[arg(long, value_name = "HOST", default_value = "127.0.0.1")]
    pub spu_host: String,
    /// The program that SPUs are, started with the arguments of `weir-spu` [default: this
    /// program as `weir run spu`, or the `weir-spu` beside `weir-control-plane`]
    #[arg(long, value_name = "FILE")]
    pub spu_program: Option<PathBuf>,
    /// Where to serve GET /metrics, for Prometheus, over plain HTTP to whoever reaches it; the
    /// SPUs that it starts then serve theirs at the same host, each 1000 ports above its own
    /// [default: nowhere]
    #[arg(long, env = "WEIR_METRICS_LISTEN", value_name = "HOST:PORT", value_parser = address_or_none)]
    pub metrics_listen: Option<String>,
    /// How log lines look, on standard error: text or json
    #[arg(long, env = "WEIR_LOG_FORMAT", value_name = "FORMAT", default_value_t)]
    pub log_format: LogFormat,
}

/// Runs a control plane until SIGTERM or SIGINT: the whole life of the process. Makes its
/// own tokio runtime, and logs to standard error.
#[must_use]
pub fn main(args: ControlPlaneArgs) -> ExitCode {
    telemetry::server(SERVICE, args.log_format, serve(args))
}

/// Runs a control plane until SIGTERM or SIGINT, on the current runtime.
///
/// # Errors
/// A sentence for people.
pub async fn serve(args: ControlPlaneArgs) -> Result<(), String> {
    let shutdown = CancellationToken::new();
    watch_signals(shutdown.clone())
        .map_err(|error| format!("cannot watch for signals: {error}"))?;
    serve_until(args, shutdown).await
}

/// Runs a control plane until `shutdown`, on the current runtime. SPUs go on running.
///
/// # Errors
/// A sentence for people.
pub async fn serve_until(
    args: ControlPlaneArgs,
    shutdown: CancellationToken,
) -> Result<(), String> {
    // SPUs have working folders of their own.
    let data_dir = absolute(&args.data_dir)?;
    let clusters_dir = absolute(&args.clusters_dir)?;
    let data_dir_root = args.data_dir_root.as_deref().map(absolute).transpose()?;
    make_private(&data_dir).await?;
    let disk = RealDisk::open(&data_dir)
        .await
        .map_err(|error| format!("cannot use the data folder {}: {error}", data_dir.display()))?;
    let _lock = disk.lock(LOCK).await.map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => {
            format!("another control plane runs in {}", data_dir.display())
        }
        _ => format!("cannot lock {}: {error}", data_dir.display()),
    })?;
    let key_file = args.admin_key_file.unwrap_or_else(|| data_dir.join(ADMIN_KEY));
    let admin_key = admin_key(key_file).await?;
    let program = match args.spu_program {
        Some(path) => Program { path: text(&path)?, leading_args: Vec::new() },
        None => spu_program()?,
    };
    let metrics_listen = args.metrics_listen.filter(|address| !address.is_empty());
    let metrics_host = metrics_listen.as_deref().and_then(|address| address.rsplit_once(':'));
    let metrics_host = metrics_host.map(|(host, _)| host.to_owned());
    let config = Config {
        http_listen: args.http_listen,
        rpc_listen: args.rpc_listen,
        rpc_advertise: args.rpc_advertise,
        admin_key: Some(admin_key),
        from_backup: args.from_backup,
        build: weir_runtime::process::build(),
        cluster: ClusterDefaults { data_dir_root, ..ClusterDefaults::default() },
        reconcile: reconcile::Config {
            data_root: text(&clusters_dir)?,
            spu_listen_host: args.spu_host,
            ..reconcile::Config::default()
        },
        ..Config::default()
    };
    // Nobody else has the database until all that is under way has ended.
    let Opened { database, alone: _alone, note } =
        database::open(&data_dir, args.database_url.as_ref(), args.take_over_database, &shutdown)
            .await?;
    let (started, serves) = oneshot::channel::<Started>();
    if let Some((file, note)) = note {
        drop(task::spawn(async move {
            let Ok(started) = serves.await else { return };
            if let Err(error) = database::put(&file, &note.with(started.database_id)).await {
                tracing::warn!(error, "another database will not be told from this one");
            }
        }));
    }
    let deps = Deps {
        database,
        provisioner: Arc::new(ProcessProvisioner::new(program, Clock).with_metrics(metrics_host)),
        clock: Clock,
        started: Some(started),
    };
    let metrics = Metrics::default();
    if let Some(address) = &metrics_listen {
        telemetry::serve_metrics(address, metrics.set(), shutdown.clone()).await;
    }
    run_measured(config, deps, metrics, shutdown).await.map_err(|error| error.to_string())
}

/// The first signal asks for an orderly end, the second ends the process.
fn watch_signals(shutdown: CancellationToken) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    drop(task::spawn(async move {
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
    }));
    Ok(())
}

/// `weir-spu` beside `weir-control-plane`; everybody else is `weir`, which can be an SPU.
fn spu_program() -> Result<Program, String> {
    let own = Program::current_exe().map_err(|error| format!("cannot find weir-spu: {error}"))?;
    let path = Path::new(&own.path);
    if path.file_stem().is_some_and(|name| name == "weir-control-plane") {
        let beside = path.with_file_name("weir-spu");
        return Ok(Program { path: text(&beside)?, leading_args: Vec::new() });
    }
    Ok(own)
}

/// Looked at before anything is made on the disk.
fn address(text: &str) -> Result<String, String> {
    let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
    match port.map(str::parse::<u16>) {
        Some(Ok(_)) => Ok(text.to_owned()),
        _ => Err("say HOST:PORT, such as 127.0.0.1:9400".to_owned()),
    }
}

/// A variable that is empty is as good as none.
fn address_or_none(text: &str) -> Result<String, String> {
    if text.is_empty() { Ok(String::new()) } else { address(text) }
}

fn absolute(path: &Path) -> Result<PathBuf, String> {
    std::path::absolute(path).map_err(|error| format!("cannot use {}: {error}", path.display()))
}

fn text(path: &Path) -> Result<String, String> {
    path.to_str().map(str::to_owned).ok_or_else(|| format!("{} is not UTF-8", path.display()))
}

async fn make_private(folder: &Path) -> Result<(), String> {
    let path = folder.to_owned();
    task::blocking(move || fs::DirBuilder::new().recursive(true).mode(0o700).create(path))
        .await
        .map_err(|error| format!("cannot make {}: {error}", folder.display()))
}

/// The key in the file; a fresh one is put there first when there is no file. It is valid
/// from the start that follows on.
async fn admin_key(file: PathBuf) -> Result<SecretString, String> {
    let shown = file.display().to_string();
    task::blocking(move || match read_key(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => make_key(&file),
        other => other,
    })
    .await
    .map_err(|error| format!("cannot use the admin key in {shown}: {error}"))
}

fn read_key(file: &Path) -> io::Result<SecretString> {
    let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let about = fs::metadata(file)?;
    if about.len() > ADMIN_KEY_BYTES_MAX {
        return Err(invalid("the file is too long for a key".to_owned()));
    }
    if about.mode() & 0o077 != 0 {
        tracing::warn!(file = %file.display(), mode = format_args!("{:o}", about.mode() & 0o777),
            "others may read or change the admin's key; take that from them: chmod go-rwx");
    }
    let text = SecretString::from(fs::read_to_string(file)?.trim().to_owned());
    ApiKey::parse(&text).map_err(|error| invalid(error.to_string()))?;
    Ok(text)
}

fn make_key(file: &Path) -> io::Result<SecretString> {
    let key = ApiKey::generate(&Config::default().environment)?.to_text();
    put_private(file, key.expose_secret())?;
    tracing::info!(file = %file.display(), "admin key made");
    Ok(key)
}

/// A line in a file for its owner only. Written beside and renamed, so that whoever looks
/// sees the whole line or none.
fn put_private(file: &Path, line: &str) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let beside = file.with_extension("new");
    let mut out =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    writeln!(out, "{line}")?;
    out.sync_all()?;
    #[expect(clippy::disallowed_methods, reason = "a process's own file; never simulated")]
    fs::rename(&beside, file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[tokio::test]
    async fn the_admin_key_is_made_once_and_for_its_owner_only() {
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("deep/admin-key");
        let made = admin_key(file.clone()).await.unwrap();
        let read = admin_key(file.clone()).await.unwrap();
        assert_eq!(made.expose_secret(), read.expose_secret());
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        fs::OpenOptions::new().append(true).open(&file).unwrap().write_all(b"x").unwrap();
        assert!(admin_key(file).await.is_err(), "a damaged key is not replaced");
    }

    fn args(folder: &Path) -> ControlPlaneArgs {
        ControlPlaneArgs {
            data_dir: folder.join("control-plane"),
            database_url: None,
            take_over_database: false,
            from_backup: false,
            clusters_dir: folder.join("clusters"),
            data_dir_root: None,
            http_listen: "127.0.0.1:0".to_owned(),
            rpc_listen: "127.0.0.1:0".to_owned(),
            rpc_advertise: None,
            admin_key_file: None,
            spu_host: "127.0.0.1".to_owned(),
            spu_program: None,
            metrics_listen: None,
            log_format: LogFormat::Text,
        }
    }

    #[tokio::test]
    async fn one_control_plane_per_folder_and_it_ends_when_told() {
        let folder = tempfile::TempDir::new().unwrap();
        let shutdown = CancellationToken::new();
        let first = tokio::spawn(serve_until(args(folder.path()), shutdown.clone()));
        let database = folder.path().join("control-plane").join(database::SQLITE);
        while !fs::exists(&database).unwrap() {
            Clock.sleep(std::time::Duration::from_millis(5)).await;
        }
        let second = serve_until(args(folder.path()), CancellationToken::new()).await;
        assert!(second.unwrap_err().contains("another control plane runs"));
        shutdown.cancel();
        first.await.unwrap().unwrap();
        // Its place is free.
        let third = CancellationToken::new();
        third.cancel();
        serve_until(args(folder.path()), third).await.unwrap();
    }

    #[test]
    fn an_address_has_a_host_and_a_port() {
        for good in ["127.0.0.1:0", "localhost:9400", "[::1]:1"] {
            assert_eq!(address(good).as_deref(), Ok(good));
        }
        for bad in ["", "9400", ":9400", "localhost", "localhost:", "h:94000", "h:94x"] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_argument_has_a_default() {
        #[derive(clap::Parser)]
        struct Cli {
            #[command(flatten)]
            args: ControlPlaneArgs,
        }
        let cli = <Cli as clap::Parser>::try_parse_from(["weir-control-plane"]).unwrap();
        assert_eq!(cli.args.rpc_listen, "127.0.0.1:9401");
    }
}
