//! `weir cluster create`.
//!
//! | Module | Is |
//! |---|---|
//! | [`config`] | what a file says |
//! | [`wish`] | what the cluster is to be, of all that is said |
//! | [`preview`] | what would be done |

mod config;
mod preview;
pub(super) mod wish;

use std::path::PathBuf;

use clap::Args;
use weir_client::{
    Admin,
    admin::{Cluster, ClusterSpec, ClusterState},
};

use self::wish::{Machine, Wish};
use super::check::before;
use crate::{
    context::Context,
    error::{CliError, Result},
    home::{
        lock::HomeLock,
        profiles::{HOME_KEY, Profiles},
    },
    local::{
        data_dir,
        endpoint::{self, Endpoint, State},
        start, stop,
        wait::{self, Goal},
    },
    out::{self, OutputArg},
};

/// Options of `weir cluster create`.
#[derive(Debug, Args)]
pub struct CreateArgs {
    #[command(flatten)]
    pub(super) name: super::NameArg,
    /// How many SPUs; 0: they come by weir cluster scale [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=i64::from(config::SPUS_MAX)))]
    spus: Option<u32>,
    /// The first SPU's port, the others follow; default: free ones
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port_base: Option<u16>,
    /// Where the data goes, as DIR/CLUSTER_ID/spu-N; default: below WEIR_HOME
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// A YAML file that says name, spus, port_base and data_dir; - is standard input
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Return once the cluster is running (the default)
    #[arg(long, conflicts_with = "no_wait")]
    wait: bool,
    /// Return before the cluster is running
    #[arg(long)]
    pub(super) no_wait: bool,
    /// Only look whether it can be, and say what would be done
    #[arg(long)]
    pub(super) dry_run: bool,
    #[command(flatten)]
    pub(super) output: OutputArg,
}

/// A cluster that was created, and whom to ask about it.
struct Created {
    /// As it is now.
    cluster: Cluster,
    /// Its control plane.
    admin: Admin,
    endpoint: Endpoint,
}

/// Does it.
///
/// # Errors
/// Why it was not done.
pub async fn run(args: &CreateArgs, context: &Context) -> Result<()> {
    let wish = Wish::of(args, context, Machine::Here)?;
    if args.dry_run {
        return preview::run(args, context, &wish).await;
    }
    let name = &wish.name;
    let begin = context.clock.now();
    let created = create(context, &wish).await?;
    let (cluster, turned) = match args.no_wait {
        true => created.chosen(context).await?,
        false => created.running(context).await?,
    };
    let seconds = context.clock.now().since(begin).as_secs_f64();
    let turned = if turned { "; commands mean it from now on" } else { "" };
    out::print(args.output.format, &cluster, || {
        let spus = out::count(u64::from(cluster.spec.spus), "SPU");
        match cluster.state {
            ClusterState::Running if cluster.spec.spus == 0 => format!(
                "cluster {name} is running without an SPU ({seconds:.1} s); give it some with: \
                 weir cluster scale --name {name} --spus 3{turned}"
            ),
            ClusterState::Running => {
                format!("cluster {name} is running with {spus} ({seconds:.1} s){turned}")
            }
            state => {
                format!("cluster {name} is {state}; follow it with: weir cluster status{turned}")
            }
        }
    })
}

/// Creates a cluster and starts the home's control plane if need be. Does not wait for it:
/// until it runs, commands mean it only if they meant none.
///
/// # Errors
/// When there is one of this name in any state, or it cannot be created. What can be seen to be
/// in its way is told before anything is started.
async fn create(context: &Context, wish: &Wish) -> Result<Created> {
    let Wish { name, spec } = wish;
    super::check_free(context, name)?;
    // Held until the cluster exists: nobody may stop an idle control plane in between.
    let lock = HomeLock::acquire(&context.home, context.clock, context.lifecycle_timeout()).await?;
    // Of one that is there its state is told, not that its own SPUs have the ports.
    if !exists_already(context, name).await? {
        let findings = look(context, spec).await?;
        before::refuse(context, name, &findings)?;
    }
    let made = spec.data_dir.as_deref().and_then(data_dir::first_missing);
    let local = start::ensure(context, &lock).await?;
    match local.admin.cluster_create(name, spec).await {
        Ok(cluster) => {
            super::learn(context, &local.endpoint, &cluster, super::Choose::IfNone).await?;
            if let Some(made) = made {
                note_made(context, &cluster, made).await?;
            }
            Ok(Created { cluster, admin: local.admin, endpoint: local.endpoint })
        }
        Err(error) => {
            let error = match error.code() {
                "CLUSTER_EXISTS" => exists(context, &local.admin, &local.endpoint, name).await,
                _ => error.into(),
            };
            // The control plane was perhaps started for nothing.
            stop::stop_if_idle_or_warn(context, &lock).await;
            Err(error)
        }
    }
}

/// What is in the way of a cluster on this machine, by itself and by what runs.
async fn look(context: &Context, spec: &ClusterSpec) -> Result<Vec<super::check::Finding>> {
    let state = endpoint::look(&context.home)?;
    Ok(before::look(context, spec, &state).await)
}

/// Whether there is a cluster of this name, as far as can be told without starting anything.
async fn exists_already(context: &Context, name: &str) -> Result<bool> {
    Ok(match endpoint::look(&context.home)? {
        State::Never => false,
        State::Running(_) => match context.admin_of_home() {
            Ok(admin) => wait::look(&admin, name).await.is_ok_and(|found| found.is_some()),
            Err(_) => false,
        },
        State::Stopped(_) | State::Died(_) => {
            Profiles::load(&context.home)?.name_of(name, HOME_KEY).is_some()
        }
    })
}

/// Remembers which folder was not there before: it goes with the cluster.
async fn note_made(context: &Context, cluster: &Cluster, made: String) -> Result<()> {
    let id = cluster.id.to_string();
    let note = |profiles: &mut Profiles| {
        let mut known = profiles.clusters.values_mut();
        known.find(|known| known.id == id).map(|known| known.data_dir_made = Some(made)).is_some()
    };
    Profiles::update(&context.home, context.clock, note).await.map(drop)
}

impl Created {
    /// Makes it the one that commands mean. Also returns whether they meant another one.
    async fn chosen(self, context: &Context) -> Result<(Cluster, bool)> {
        let turned = super::learn(context, &self.endpoint, &self.cluster, super::Choose::Yes);
        let turned = turned.await?;
        Ok((self.cluster, turned))
    }

    /// Waits until it is running, and makes it the one that commands mean.
    ///
    /// # Errors
    /// When it does not come up: then they mean what they meant before.
    async fn running(self, context: &Context) -> Result<(Cluster, bool)> {
        let (name, limit) = (self.cluster.name.clone(), context.lifecycle_timeout());
        let cluster = wait::wait_for(context, &self.admin, &name, Goal::Running, limit).await?;
        let cluster = cluster.unwrap_or_else(|| self.cluster.clone());
        Self { cluster, ..self }.chosen(context).await
    }
}

async fn exists(context: &Context, admin: &Admin, endpoint: &Endpoint, name: &str) -> CliError {
    let Ok(cluster) = admin.cluster(name).await else {
        return CliError::new(format!("cluster {name} exists"), "see: weir cluster list");
    };
    // A home whose profiles were lost learns them again.
    let _ = super::learn(context, endpoint, &cluster, super::Choose::No).await;
    refusal(name, cluster.state, cluster.reason.as_deref())
}

fn refusal(name: &str, state: ClusterState, reason: Option<&str>) -> CliError {
    let hint = match state {
        ClusterState::Shutdown | ClusterState::Stopping => {
            format!("start it again with: weir cluster resume --name {name}")
        }
        ClusterState::Running => {
            format!("use it with --cluster {name}, or delete it: weir cluster delete --name {name}")
        }
        ClusterState::Deleting => "wait until it is gone: weir cluster list".to_owned(),
        _ => match reason.and_then(|reason| wait::port_hint(&format!("--name {name}"), reason)) {
            Some(hint) => hint,
            None => format!(
                "see what it lacks: weir cluster status --name {name}; or begin anew: weir \
                 cluster delete --name {name} --yes, then create it"
            ),
        },
    };
    CliError::new(format!("cluster {name} exists already (state {state})"), hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_state_and_the_command_that_leads_on() {
        for (state, next) in [
            (ClusterState::Shutdown, "weir cluster resume --name a"),
            (ClusterState::Running, "weir cluster delete --name a"),
            (ClusterState::Degraded, "weir cluster status --name a"),
            (ClusterState::Deleting, "weir cluster list"),
        ] {
            let CliError::Told { what, hint, .. } = refusal("a", state, None) else { panic!() };
            assert!(what.contains(&format!("(state {state})")), "{what}");
            assert!(hint.contains(next), "{hint}");
        }
        for state in [ClusterState::Failed, ClusterState::Degraded, ClusterState::Provisioning] {
            let CliError::Told { hint, .. } = refusal("a", state, None) else { panic!() };
            assert!(hint.contains("weir cluster delete --name a --yes"), "{hint}");
            let reason = Some("SPU 1 cannot listen: 127.0.0.1:9500 is taken");
            let CliError::Told { hint, .. } = refusal("a", state, reason) else { panic!() };
            assert!(hint.contains("another --port-base"), "{hint}");
        }
    }
}
