//! Waiting for a cluster to be where it was told to go.

use std::time::Duration;

use weir_client::admin::{Admin, Cluster, ClusterState, OperationState};

use super::operation;
use crate::{
    context::Context,
    error::{CliError, Result},
    home::target::Place,
    out, signal,
};

const POLL: Duration = Duration::from_millis(50);
/// A cluster that is resumed may be degraded for a moment on its way up. One that is so for
/// longer has failed repeatedly, and says why.
const DEGRADED_MAX: Duration = Duration::from_secs(5);

/// Where a cluster was told to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// A produce and a fetch succeed on every SPU of the spec.
    Running,
    /// No SPU runs.
    Shutdown,
    /// There is no such cluster.
    Gone,
}

/// How far it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is there.
    Reached,
    /// Not yet; what there is to say of it.
    Pending(String),
    /// It will not come by waiting; why.
    Failed(String),
}

/// Judges one look at the cluster (`None`: it is not there).
pub fn judge(goal: Goal, cluster: Option<&Cluster>, degraded_for: Duration) -> Verdict {
    let Some(cluster) = cluster else {
        return match goal {
            Goal::Gone => Verdict::Reached,
            _ => Verdict::Failed("it was deleted meanwhile".to_owned()),
        };
    };
    let why = || cluster.reason.clone().unwrap_or_else(|| "no reason was given".to_owned());
    match (goal, cluster.state) {
        (Goal::Running, ClusterState::Running) | (Goal::Shutdown, ClusterState::Shutdown) => {
            Verdict::Reached
        }
        (Goal::Running, ClusterState::Failed) => Verdict::Failed(why()),
        (Goal::Running, ClusterState::Degraded) if degraded_for >= DEGRADED_MAX => {
            Verdict::Failed(why())
        }
        (Goal::Running, ClusterState::Deleting) => {
            Verdict::Failed("it is being deleted".to_owned())
        }
        (Goal::Running, _) => Verdict::Pending(format!(
            "{} of {} ready{}",
            cluster.spus_ready,
            out::count(u64::from(cluster.spec.spus), "SPU"),
            cluster.reason.as_ref().map_or_else(String::new, |reason| format!(" ({reason})")),
        )),
        (_, state) => {
            Verdict::Pending(cluster.reason.clone().unwrap_or_else(|| format!("state {state}")))
        }
    }
}

/// Looks at the cluster until it is there, with progress on a terminal.
///
/// # Errors
/// When it cannot come there, or has not within `limit`.
pub async fn wait_for(
    context: &Context,
    admin: &Admin,
    name: &str,
    goal: Goal,
    limit: Duration,
) -> Result<Option<Cluster>> {
    let clock = context.clock;
    let begin = clock.now();
    let spinner = context.ui.spinner(format!("cluster {name}"));
    let mut degraded_since = None;
    let interrupted = signal::interrupted();
    tokio::pin!(interrupted);
    let mut seen = "asking for its state".to_owned();
    loop {
        let cluster = tokio::select! {
            biased;
            () = &mut interrupted => return Err(left(name, goal, &seen)),
            cluster = look(admin, name) => cluster?,
        };
        match cluster.as_ref().map(|cluster| cluster.state) {
            Some(ClusterState::Degraded) => {
                degraded_since.get_or_insert_with(|| clock.now());
            }
            _ => degraded_since = None,
        }
        let degraded_for = degraded_since.map_or(Duration::ZERO, |at| clock.now().since(at));
        match judge(goal, cluster.as_ref(), degraded_for) {
            Verdict::Reached => return Ok(cluster),
            Verdict::Failed(reason) => return Err(failed(context, name, goal, &reason)),
            Verdict::Pending(state) => {
                if clock.now().since(begin) >= limit {
                    let limit = crate::error::duration(limit);
                    return Err(failed(context, name, goal, &format!("after {limit}: {state}")));
                }
                let state = match &cluster {
                    Some(cluster) if context.ui.terminal() => {
                        step(admin, cluster).await.unwrap_or(state)
                    }
                    _ => state,
                };
                spinner.set(|| format!("cluster {name}: {state}"));
                seen = state;
            }
        }
        tokio::select! {
            biased;
            () = &mut interrupted => return Err(left(name, goal, &seen)),
            () = clock.sleep(POLL) => {}
        }
    }
}

/// The step of the operation that runs on a cluster, if one does and can be asked for.
async fn step(admin: &Admin, cluster: &Cluster) -> Option<String> {
    let operation = admin.operation(&cluster.operation_id?.to_string()).await.ok()?;
    (operation.state == OperationState::Running).then(|| operation::step(&operation))
}

/// Ctrl-C came: the control plane goes on with what it was told.
fn left(name: &str, goal: Goal, state: &str) -> CliError {
    let doing = match goal {
        Goal::Running => "is still being started",
        Goal::Shutdown => "is still being stopped",
        Goal::Gone => "is still being deleted",
    };
    CliError::interrupted(
        format!(
            "interrupted: cluster {name} {doing} ({state}), which goes on without this command"
        ),
        "follow it with: weir cluster list",
    )
}

/// The cluster, if there is one of this name.
///
/// # Errors
/// When that cannot be told.
pub async fn look(admin: &Admin, name: &str) -> Result<Option<Cluster>> {
    match admin.cluster(name).await {
        Ok(cluster) => Ok(Some(cluster)),
        Err(error) if error.status() == Some(404) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn failed(context: &Context, name: &str, goal: Goal, reason: &str) -> CliError {
    let what = match goal {
        Goal::Running => "is not running",
        Goal::Shutdown => "did not shut down",
        Goal::Gone => "was not deleted",
    };
    let meaning = context.meaning(name);
    let hint = port_hint(&meaning, reason).unwrap_or_else(|| {
        let look = format!("look with: weir cluster status {meaning}");
        match context.place() {
            Ok(Place::Remote(_)) => look,
            _ => format!("{look}; what its SPUs say: weir cluster logs {name}"),
        }
    });
    CliError::new(format!("cluster {name} {what}: {reason}"), hint)
}

/// What to do about a cluster whose SPUs have no ports, if that is why it does not run.
pub fn port_hint(meaning: &str, reason: &str) -> Option<String> {
    // The control plane's words for a port that somebody else has, and for no free ones.
    let ports = ["cannot listen", "no free block of ports"].iter().any(|w| reason.contains(w));
    ports.then(|| {
        format!(
            "end what listens there (ss -ltnp), or: weir cluster delete {meaning} --yes, then \
             create it with another --port-base"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::home::profiles::tests::cluster;

    fn with(state: ClusterState, reason: Option<&str>) -> Cluster {
        let mut cluster = cluster("a", &["h:1", "h:2"]);
        cluster.state = state;
        cluster.reason = reason.map(str::to_owned);
        cluster.spus_ready = 1;
        cluster
    }

    #[test]
    fn running_is_reached_by_running_only() {
        let judge = |state, reason, degraded_ms| {
            judge(Goal::Running, Some(&with(state, reason)), Duration::from_millis(degraded_ms))
        };
        assert_eq!(judge(ClusterState::Running, None, 0), Verdict::Reached);
        assert_eq!(
            judge(ClusterState::Provisioning, Some("SPU 2: starting"), 0),
            Verdict::Pending("1 of 2 SPUs ready (SPU 2: starting)".into())
        );
        let why = "SPU 2: port 9501 is taken";
        assert_eq!(judge(ClusterState::Failed, Some(why), 0), Verdict::Failed(why.into()));
        assert!(matches!(judge(ClusterState::Degraded, Some(why), 0), Verdict::Pending(_)));
        assert_eq!(judge(ClusterState::Degraded, Some(why), 5_000), Verdict::Failed(why.into()));
        assert!(matches!(judge(ClusterState::Deleting, None, 0), Verdict::Failed(_)));
    }

    #[test]
    fn a_cluster_that_is_not_there_is_gone_and_nothing_else() {
        assert_eq!(judge(Goal::Gone, None, Duration::ZERO), Verdict::Reached);
        assert!(matches!(judge(Goal::Running, None, Duration::ZERO), Verdict::Failed(_)));
        let deleting = with(ClusterState::Deleting, None);
        assert_eq!(
            judge(Goal::Gone, Some(&deleting), Duration::ZERO),
            Verdict::Pending("state deleting".into())
        );
        assert_eq!(
            judge(Goal::Shutdown, Some(&with(ClusterState::Shutdown, None)), Duration::ZERO),
            Verdict::Reached
        );
    }
}
