//! Control plane, key, cluster, SPUs: whether they are there and answer.

use secrecy::SecretString;
use weir_client::{
    Admin,
    admin::{Cluster, ClusterState},
};
use weir_runtime::process as process_table;

use super::{before, finding::Finding, leftovers};
use crate::{
    context::Context,
    error::CliError,
    home::{keys, profiles::Profiles, target::Remote},
    local::{
        adopt,
        endpoint::{self, Endpoint, State},
        identity::{self, Answer},
        ports, wait,
    },
    remote::connect,
};

const CONTROL_PLANE: &str = "control plane";
const RESUME: &str = "start it again with: weir cluster resume";

/// A finding of what an error says.
fn wrong(check: &'static str, error: CliError) -> Finding {
    match error {
        CliError::Told { what, hint, .. } => Finding::wrong(check, what, hint),
        CliError::BrokenPipe => Finding::wrong(check, error.to_string(), "run it again"),
    }
}

/// Looks at the home's own control plane and the cluster that is meant.
pub async fn local(context: &Context, fix: bool) -> Vec<Finding> {
    let state = match endpoint::look(&context.home) {
        Ok(state) => state,
        Err(error) => return vec![damaged(context, fix, error)],
    };
    let mut findings = unnamed(context, &state);
    findings.extend(left(context, &state).await);
    match &state {
        State::Never if findings.is_empty() => {
            findings.push(Finding::good(CONTROL_PLANE, "there is none yet: no cluster was made"));
        }
        State::Never => {}
        State::Stopped(_) => {
            findings.push(Finding::good(CONTROL_PLANE, "none runs: no cluster is to run"));
            let target = context.target().ok();
            let known = target.as_ref().and_then(|target| target.profile.as_ref());
            findings.extend(known.and_then(|(name, profile)| before::kept(name, profile)));
        }
        State::Died(at) => findings.push(Finding::wrong(
            CONTROL_PLANE,
            format!("it is not running (it was at {})", at.http),
            RESUME,
        )),
        State::Running(at) => match endpoint::key(&context.home) {
            Err(error) => findings.push(wrong("key", error)),
            Ok(key) => {
                let admin = context.admin_at(&at.url(), key.clone());
                findings.extend(asked(context, &admin, &at.url(), key).await);
            }
        },
    }
    findings
}

/// Looks at another control plane and the cluster that is meant.
pub async fn remote(context: &Context, remote: &Remote) -> Vec<Finding> {
    match keys::load(&remote.key_path(&context.home)) {
        Err(error) => vec![wrong("key", error)],
        Ok(key) => {
            let admin = context.admin_at(&remote.url, key.clone());
            asked(context, &admin, &remote.url, key).await
        }
    }
}

/// What a control plane that should be there says.
async fn asked(context: &Context, admin: &Admin, url: &str, key: SecretString) -> Vec<Finding> {
    let patient = context.admin_within(url, key.clone(), connect::patience(context));
    match identity::who(&patient, &key).await {
        Answer::Nobody(why) => {
            return vec![Finding::wrong(
                CONTROL_PLANE,
                format!("{url}: {why}"),
                "see what it does, where it runs: weir cluster logs --control-plane",
            )];
        }
        Answer::Stranger => {
            return vec![
                Finding::good(CONTROL_PLANE, format!("{url} answers")),
                Finding::wrong(
                    "key",
                    format!("what answers at {url} does not know the key of this profile"),
                    "connect again with a key of it: weir cloud connect --url URL; is WEIR_HOME \
                     the right folder?",
                ),
            ];
        }
        Answer::Ours => {}
    }
    let mut findings = vec![
        Finding::good(CONTROL_PLANE, format!("{url} answers")),
        Finding::good("key", "the control plane knows it"),
    ];
    match context.target() {
        // No cluster is meant: nothing more to look at.
        Err(_) => {}
        Ok(target) => match wait::look(admin, &target.cluster).await {
            Err(error) => findings.push(wrong("cluster", error)),
            Ok(None) => {
                let error = crate::cmd::cluster::unknown_cluster(admin, &target.cluster).await;
                findings.push(wrong("cluster", error));
            }
            Ok(Some(found)) => {
                if let Some((name, profile)) = &target.profile
                    && profile.id != found.id.to_string()
                {
                    findings.push(Finding::doubtful(
                        "profile",
                        format!(
                            "cluster {} was recreated since profile {name} was made",
                            found.name
                        ),
                        "weir cluster list learns the new one",
                    ));
                }
                findings.push(cluster(&found));
                if crate::connect::serving(&found).is_ok() {
                    findings.push(spus(context, url, key, &found).await);
                }
            }
        },
    }
    findings
}

fn cluster(cluster: &Cluster) -> Finding {
    let name = &cluster.name;
    let reason = cluster.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
    let found = format!(
        "{name} is {}, {} of {} SPUs ready{reason}",
        cluster.state, cluster.spus_ready, cluster.spec.spus
    );
    let look = format!("see: weir cluster status {name}; weir cluster logs {name}");
    match cluster.state {
        ClusterState::Running => Finding::good("cluster", found),
        ClusterState::Failed | ClusterState::Degraded => Finding::wrong("cluster", found, look),
        ClusterState::Shutdown => {
            Finding::doubtful("cluster", found, format!("weir cluster resume {name}"))
        }
        _ => Finding::doubtful("cluster", found, look),
    }
}

async fn spus(context: &Context, url: &str, key: SecretString, cluster: &Cluster) -> Finding {
    match connect::answers(context, url, key, cluster).await {
        Ok(()) => Finding::good("SPUs", format!("they answer ({})", connect::listed(cluster))),
        Err(error) => wrong("SPUs", error),
    }
}

/// Processes of this home that no file names.
fn unnamed(context: &Context, state: &State) -> Vec<Finding> {
    if matches!(state, State::Running(_)) {
        return Vec::new();
    }
    let found = adopt::find(&context.home);
    let pids: Vec<String> = found
        .iter()
        .filter_map(|endpoint| endpoint.process.as_ref())
        .map(|process| process.pid.to_string())
        .collect();
    if pids.is_empty() {
        return Vec::new();
    }
    vec![Finding::wrong(
        "processes",
        format!("a control plane of this home runs (pid {}) and no file names it", pids.join(", ")),
        "weir cluster resume takes it over",
    )]
}

/// What is left of clusters that this home does not know.
async fn left(context: &Context, state: &State) -> Vec<Finding> {
    leftovers::find(context, None, state).await
}

/// A file that says where the control plane is and cannot be understood. It is written anew
/// only if nothing of this home runs: whatever runs would not be found any more.
fn damaged(context: &Context, fix: bool, error: CliError) -> Finding {
    let home = &context.home;
    let told = wrong("endpoint", error);
    // Profiles that cannot be read hide clusters with folders of their own.
    let Ok(profiles) = Profiles::load(home) else { return told };
    let own = profiles.clusters.values().filter(|profile| profile.is_home());
    let folders = own.map(|profile| profile.data_folder(home));
    let mut folders = [home.control_plane(), home.clusters()].into_iter().chain(folders);
    let runs = folders.any(|path| {
        let pids = process_table::find_by_argument(&path.to_string_lossy());
        pids.map_or(true, |pids| !pids.is_empty())
    });
    let Some((http, rpc)) = ports::free_pair(ports::FIRST).filter(|_| fix && !runs) else {
        return told;
    };
    match Endpoint::new(ports::loopback(http), ports::loopback(rpc)).save(home) {
        Ok(()) => Finding::fixed(
            "endpoint",
            told.found,
            "it was written anew: nothing of this home runs; go on with: weir cluster resume",
        ),
        Err(error) => wrong("endpoint", error),
    }
}
