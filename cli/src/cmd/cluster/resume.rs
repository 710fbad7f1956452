//! `weir cluster resume`.

use clap::Args;

use super::NameArg;
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

/// Options of `weir cluster resume`.
#[derive(Debug, Args)]
pub struct ResumeArgs {
    #[command(flatten)]
    pub(super) name: NameArg,
    #[command(flatten)]
    pub(super) output: OutputArg,
}

/// Does it. Safe to repeat: a cluster that runs, runs.
///
/// # Errors
/// Why it was not done.
pub async fn run(args: &ResumeArgs, context: &Context) -> Result<()> {
    let context = &context.at(args.name.told());
    let name = context.selected()?;
    let begin = context.clock.now();
    let limit = context.lifecycle_timeout();
    let lock = HomeLock::acquire(&context.home, context.clock, limit).await?;
    if let state @ State::Never = endpoint::look(&context.home)? {
        return Err(context.not_running(&state));
    }
    let local = start::ensure(context, &lock).await?;
    if let Err(error) = local.admin.cluster_resume(&name).await {
        let told = match error.status() {
            Some(404) => super::unknown_cluster(&local.admin, &name).await,
            _ => error.into(),
        };
        stop::stop_if_idle_or_warn(context, &lock).await;
        return Err(told);
    }
    drop(lock);
    let cluster = wait::wait_for(context, &local.admin, &name, Goal::Running, limit).await?;
    if let Some(cluster) = &cluster {
        super::learn(context, &local.endpoint, cluster, super::Choose::No).await?;
    }
    let seconds = context.clock.now().since(begin).as_secs_f64();
    out::print(args.output.format, &cluster, || {
        format!("cluster {name} is running ({seconds:.1} s)")
    })
}
