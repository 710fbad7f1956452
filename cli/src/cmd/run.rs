//! `weir run`: the servers in the foreground.

use std::ffi::OsString;

use clap::{Args, Parser, Subcommand};
use weir_control_plane::serve::{self as control_plane, ControlPlaneArgs};
use weir_dataplane::serve::{self as dataplane, SpuArgs};
use weir_runtime::telemetry::LogFormat;

use crate::{
    args::Command,
    error::{CliError, Result},
};

/// Which server.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Also: weir run spu, which stores and serves partitions and is started by the control plane; see
weir run spu --help.

Examples:
  weir run control-plane --data-dir /var/lib/weir/control-plane
  weir run spu --help

On this machine weir cluster create starts both, in the background.")]
pub enum RunCommand {
    /// The control plane: decides which clusters, SPUs and topics there are
    #[command(
        name = "control-plane",
        after_help = "\
Examples:
  weir run control-plane
  WEIR_LOG=debug weir run control-plane --http-listen 127.0.0.1:8080
  WEIR_DATABASE_URL=postgres://weir:PASSWORD@db.example/weir weir run control-plane

Ends in order at Ctrl-C or SIGTERM; SPUs go on running."
    )]
    ControlPlane(ControlPlane),
    /// An SPU. Parsed by [`spu_line`].
    #[command(skip)]
    Spu(SpuArgs),
}

/// Options of `weir run control-plane`.
#[derive(Debug, Args)]
pub struct ControlPlane {
    #[command(flatten)]
    args: ControlPlaneArgs,
    /// Become the first process of a session of its own, which no terminal's end reaches
    #[arg(long, hide = true)]
    own_session: bool,
}

/// Run an SPU, which stores and serves partitions; control planes start it
#[derive(Debug, Parser)]
#[command(
    name = "weir run spu",
    version,
    max_term_width = 100,
    after_help = "\
Examples:
  weir run spu --credentials spu-4.json --data-dir /var/lib/weir/spu-4 --listen 10.0.0.4:9500
  WEIR_LAUNCH_SECRET=… weir run spu --control-plane 127.0.0.1:9401 --org org_… --cluster cl_… \\
      --spu-id 1 --launch-id … --data-dir /var/lib/weir/spu-1 --listen 127.0.0.1:9500

With --credentials it runs on a machine of its own, as one that weir cluster spu register added;
it ends with its cluster, and when it is unregistered.

Ends in order at Ctrl-C or SIGTERM."
)]
struct SpuLine {
    #[command(flatten)]
    args: SpuArgs,
}

/// Reads the command line of `weir run spu`; `None` when it is another one. An SPU's
/// `--cluster` is an id, and not the `--cluster` of every other command: so it is read apart.
///
/// # Errors
/// As clap's.
pub fn spu_line(line: &[OsString]) -> Option<Result<SpuArgs, clap::Error>> {
    let [_, run, spu, options @ ..] = line else { return None };
    if run != "run" || spu != "spu" {
        return None;
    }
    // What stands first is what the usage calls the program.
    let line = std::iter::once(OsString::from("weir run spu")).chain(options.iter().cloned());
    Some(SpuLine::try_parse_from(line).map(|line| line.args))
}

/// The newest version of a control plane's database that this build knows.
pub fn database_version() -> i64 {
    weir_control_plane::store::migrate::database_version()
}

/// What must be done before there is a second thread.
///
/// # Errors
/// When there can be no session.
pub fn prepare(command: &Command) -> Result<()> {
    let Command::Run(run) = command else { return Ok(()) };
    // Whatever servers write is their owner's alone, inherited by what they start.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    if let RunCommand::ControlPlane(ControlPlane { own_session: true, .. }) = &**run {
        nix::unistd::setsid().map_err(|e| {
            CliError::new(
                format!("this process cannot have a session of its own: {}", e.desc()),
                "leave out --own-session, it is for weir cluster create",
            )
        })?;
    }
    Ok(())
}

/// What this process is called where traces are collected, and how its log lines look:
/// servers write a log, commands none.
pub fn service(command: &Command) -> (&'static str, Option<LogFormat>) {
    match command {
        Command::Run(run) => match &**run {
            RunCommand::ControlPlane(run) => (control_plane::SERVICE, Some(run.args.log_format)),
            RunCommand::Spu(args) => (dataplane::SERVICE, Some(args.log_format)),
        },
        _ => ("weir", None),
    }
}

/// Runs a server until it is told to end.
///
/// # Errors
/// When it cannot start.
pub async fn run(command: RunCommand) -> Result<()> {
    let (log, served, hint) = match command {
        RunCommand::ControlPlane(ControlPlane { args, .. }) => (
            args.log_format,
            control_plane::serve(args).await,
            "what it takes and where it keeps things: weir run control-plane --help",
        ),
        RunCommand::Spu(args) => (
            args.log_format,
            dataplane::serve(args).await,
            "SPUs are started by the control plane, or with what weir cluster spu register wrote; see \
             weir run spu --help",
        ),
    };
    served.map_err(|reason| {
        if log == LogFormat::Json {
            // Whoever collects the log takes objects only, and wants this one most.
            tracing::error!(reason, "it ends");
        }
        CliError::new(reason, hint)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Vec<OsString> {
        text.split(' ').map(Into::into).collect()
    }

    #[test]
    fn an_spu_s_command_line_is_read_apart() {
        assert!(spu_line(&line("weir run control-plane")).is_none());
        assert!(spu_line(&line("weir")).is_none());
        assert!(spu_line(&line("weir run spu")).unwrap().is_err());
        let whole = "weir run spu --control-plane h:1 --org org_00000000000000000000000000000001 \
                     --cluster cl_00000000000000000000000000000007 --spu-id 3 --launch-id \
                     00000000-0000-0000-0000-000000000009 --data-dir /d --listen h:2";
        let args = spu_line(&line(whole)).unwrap().unwrap();
        assert_eq!(args.spu_id, Some(3));
        let cluster = args.cluster.unwrap();
        assert_eq!(cluster.to_string(), "cl_00000000000000000000000000000007");
        let short = "weir run spu --credentials f --data-dir /d --listen h:2";
        assert!(spu_line(&line(short)).unwrap().is_ok());
        assert!(spu_line(&line(&format!("{short} --spu-id 3"))).unwrap().is_err());
    }
}
