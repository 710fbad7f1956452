//! `weir cluster create`.

use clap::Args;
use weir_client::{
    Admin,
    admin::{Cluster, ClusterSpec, ClusterState},
};

use crate::{
    context::Context,
    error::{CliError, Result},
    home::lock::HomeLock,
    local::{
        endpoint::Endpoint,
        start, stop,
        wait::{self, Goal},
    },
    out::{self, OutputArg},
};

/// The name of a cluster that is given none by `--name`, `--cluster` or `WEIR_CLUSTER`.
pub(super) const DEFAULT_NAME: &str = "local";

/// Options of `weir cluster create`.
#[derive(Debug, Args)]
pub struct CreateArgs {
    #[command(flatten)]
    pub(super) name: super::NameArg,
    /// How many SPUs
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(super) spus: u32,
    /// The first SPU's port, the others follow; default: free ones
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) port_base: Option<u16>,
    /// Return before the cluster is running
    #[arg(long)]
    pub(super) no_wait: bool,
    #[command(flatten)]
    pub(super) output: OutputArg,
}

/// A cluster that was created, and whom to ask about it.
pub struct Created {
    /// As it is now.
    pub cluster: Cluster,
    /// Its control plane.
    pub admin: Admin,
    endpoint: Endpoint,
}

/// Does it.
///
/// # Errors
/// Why it was not done.
pub async fn run(args: &CreateArgs, context: &Context) -> Result<()> {
    let name = args.name.told().or(context.cluster.as_ref());
    let name = name.map_or(DEFAULT_NAME, String::as_str);
    let spec = ClusterSpec { spus: args.spus, port_base: args.port_base, data_dir: None };
    let begin = context.clock.now();
    let created = create(context, name, &spec).await?;
    let (cluster, turned) = match args.no_wait {
        true => created.chosen(context).await?,
        false => created.running(context).await?,
    };
    let seconds = context.clock.now().since(begin).as_secs_f64();
    let turned = if turned { "; commands mean it from now on" } else { "" };
    out::print(args.output.format, &cluster, || {
        let spus = out::count(u64::from(cluster.spec.spus), "SPU");
        match cluster.state {
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
/// When there is one of this name in any state, or it cannot be created.
pub async fn create(context: &Context, name: &str, spec: &ClusterSpec) -> Result<Created> {
    super::check_name(name)?;
    super::check_free(context, name)?;
    // Held until the cluster exists: nobody may stop an idle control plane in between.
    let lock = HomeLock::acquire(&context.home, context.clock, context.lifecycle_timeout()).await?;
    let local = start::ensure(context, &lock).await?;
    match local.admin.cluster_create(name, spec).await {
        Ok(cluster) => {
            super::learn(context, &local.endpoint, &cluster, super::Choose::IfNone).await?;
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
