//! Stopping the home's control plane: only ever that very process, only in order.

use std::time::Duration;

use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use weir_client::admin::{ClusterState, DesiredState};
use weir_runtime::process::{self as process_table, Carries};

use super::{
    endpoint::{self, Endpoint, Process, State},
    identity::{self, Answer},
};
use crate::{
    context::Context,
    error::{CliError, Result},
    home::lock::HomeLock,
};

const POLL: Duration = Duration::from_millis(25);
/// How long it may take to end what it is doing.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// Stops the control plane if no cluster of the home runs, is to run, or is on its way.
///
/// # Errors
/// When that cannot be told, or it does not end.
pub async fn stop_if_idle(context: &Context, lock: &HomeLock) -> Result<()> {
    let State::Running(endpoint) = endpoint::look(&context.home)? else { return Ok(()) };
    let admin = context.admin_at(&endpoint.url(), endpoint::key(&context.home)?);
    let busy = admin.cluster_list().await?.iter().any(|cluster| {
        cluster.desired == DesiredState::Running || !matches!(cluster.state, ClusterState::Shutdown)
    });
    if busy { Ok(()) } else { stop(context, lock, endpoint).await }
}

/// As [`stop_if_idle`], beside an error that is to be told and that this must not hide.
pub async fn stop_if_idle_or_warn(context: &Context, lock: &HomeLock) {
    if let Err(error) = stop_if_idle(context, lock).await {
        context.ui.warn(&format!("the control plane was not stopped: {error}"));
    }
}

/// Stops the control plane: asks its process to end, waits, and remembers that it was so.
///
/// # Errors
/// When it is not certain that the process is ours, or it does not end.
pub async fn stop(context: &Context, _lock: &HomeLock, mut endpoint: Endpoint) -> Result<()> {
    let Some(process) = endpoint.process.clone() else { return Ok(()) };
    if !is_ours(context, &endpoint, &process).await? {
        return Err(CliError::new(
            format!("process {} does not prove to be this home's control plane", process.pid),
            "it was left alone; look at it with ps, and end it yourself if it is",
        ));
    }
    if endpoint::runs(&process)? {
        signal(process.pid)?;
    }
    let begin = context.clock.now();
    while endpoint::runs(&process)? {
        if context.clock.now().since(begin) >= STOP_TIMEOUT {
            return Err(CliError::new(
                format!("the control plane (pid {}) did not end in time", process.pid),
                format!("see what it does in {}", context.home.control_plane_log().display()),
            ));
        }
        context.clock.sleep(POLL).await;
    }
    endpoint.process = None;
    endpoint.save(&context.home)
}

/// Whether the process is the home's control plane: its start time is right (looked at by
/// the caller), and it answers on HTTP to the home's key by that key's id. One that is too
/// busy to answer must at least carry the home's path in its command line.
async fn is_ours(context: &Context, endpoint: &Endpoint, process: &Process) -> Result<bool> {
    let key = endpoint::key(&context.home)?;
    let admin = context.admin_at(&endpoint.url(), key.clone());
    Ok(match identity::who(&admin, &key).await {
        Answer::Ours => true,
        Answer::Stranger => false,
        Answer::Nobody(_) => {
            let home = context.home.control_plane();
            process_table::carries(process.pid, &home.to_string_lossy()) == Carries::Yes
        }
    })
}

fn signal(pid: u32) -> Result<()> {
    let target = i32::try_from(pid).map(Pid::from_raw);
    let sent = target.map_err(|_| Errno::EINVAL).and_then(|pid| kill(pid, Signal::SIGTERM));
    match sent {
        // It ended in between.
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(CliError::new(
            format!("the control plane (pid {pid}) cannot be told to end: {}", error.desc()),
            "end it yourself, as the user who started it",
        )),
    }
}
