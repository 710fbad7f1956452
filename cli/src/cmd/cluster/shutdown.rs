//! `weir cluster shutdown`.

use clap::Args;

use super::{NameArg, list};
use crate::{
    context::Context,
    error::Result,
    home::lock::HomeLock,
    local::{
        endpoint::{self, State},
        start, stop,
        wait::{self, Goal},
    },
    out::{self, OutputArg},
};

/// Options of `weir cluster shutdown`.
#[derive(Debug, Args)]
pub struct ShutdownArgs {
    #[command(flatten)]
    pub(super) name: NameArg,
    #[command(flatten)]
    pub(super) output: OutputArg,
}

/// Does it. Safe to repeat: a cluster that is shut down is shut down.
///
/// # Errors
/// Why it was not done.
pub async fn run(args: &ShutdownArgs, context: &Context) -> Result<()> {
    let (asked, context) = (context, &context.at(args.name.told()));
    let name = context.selected()?;
    let limit = context.lifecycle_timeout();
    let lock = HomeLock::acquire(&context.home, context.clock, limit).await?;
    match endpoint::look(&context.home)? {
        State::Stopped(_) => {
            let rows = list::remember(asked, "shutdown")?;
            let Some(row) = rows.iter().find(|row| row.name() == name) else {
                return Err(super::no_cluster_here(context, &name)?);
            };
            return out::print(args.output.format, row, || {
                format!("cluster {name} was shut down already")
            });
        }
        state @ State::Never => return Err(context.not_running(&state)),
        // After a crash of the control plane SPUs may run on: only a new one can stop them.
        State::Running(_) | State::Died(_) => {}
    }
    let local = start::ensure(context, &lock).await?;
    if let Err(error) = local.admin.cluster_shutdown(&name).await {
        let told = match error.status() {
            Some(404) => super::unknown_cluster(&local.admin, &name).await,
            _ => error.into(),
        };
        stop::stop_if_idle_or_warn(context, &lock).await;
        return Err(told);
    }
    drop(lock);
    let cluster = wait::wait_for(context, &local.admin, &name, Goal::Shutdown, limit).await?;
    if let Some(cluster) = &cluster {
        super::learn(context, &local.endpoint, cluster, super::Choose::No).await?;
    }
    let lock = HomeLock::acquire(&context.home, context.clock, limit).await?;
    stop::stop_if_idle(context, &lock).await?;
    out::print(args.output.format, &cluster, || {
        format!(
            "cluster {name} is shut down, its data is kept; start it again with: weir cluster \
             resume --name {name}"
        )
    })
}
