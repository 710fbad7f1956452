//! `weir cluster delete`.

use clap::Args;
use serde::Serialize;

use super::NameArg;
use crate::{
    context::Context,
    error::Result,
    home::{lock::HomeLock, profiles::Profiles, tokens},
    local::{
        data_dir,
        endpoint::{self, State},
        start, stop,
        wait::{self, Goal},
    },
    out::{self, OutputArg},
    prompt,
};

/// Options of `weir cluster delete`.
#[derive(Debug, Args)]
pub struct DeleteArgs {
    #[command(flatten)]
    pub(super) name: NameArg,
    /// Do not ask
    #[arg(short, long)]
    pub(super) yes: bool,
    #[command(flatten)]
    pub(super) output: OutputArg,
}

#[derive(Debug, Serialize)]
struct Deleted<'a> {
    name: &'a str,
    id: String,
    state: &'static str,
}

/// Does it.
///
/// # Errors
/// Why it was not done.
pub async fn run(args: &DeleteArgs, context: &Context) -> Result<()> {
    let context = &context.at(args.name.told());
    let name = context.selected()?;
    if let state @ State::Never = endpoint::look(&context.home)? {
        return Err(context.not_running(&state));
    }
    prompt::confirm(args.yes, &format!("Delete cluster {name} and all its data?"))?;
    let limit = context.lifecycle_timeout();
    let lock = HomeLock::acquire(&context.home, context.clock, limit).await?;
    let local = start::ensure(context, &lock).await?;
    let Some(cluster) = wait::look(&local.admin, &name).await? else {
        let told = super::unknown_cluster(&local.admin, &name).await;
        stop::stop_if_idle_or_warn(context, &lock).await;
        return Err(told);
    };
    // By id: what was looked at is what is deleted, whoever recreates the name meanwhile.
    let id = cluster.id.to_string();
    if let Err(error) = local.admin.cluster_delete(&id).await {
        stop::stop_if_idle_or_warn(context, &lock).await;
        return Err(error.into());
    }
    drop(lock);
    wait::wait_for(context, &local.admin, &id, Goal::Gone, limit).await?;
    tokens::forget(&context.home, cluster.id)?;
    let lock = HomeLock::acquire(&context.home, context.clock, limit).await?;
    let mut made = None;
    Profiles::update(&context.home, context.clock, |profiles| {
        // Its profile may have been renamed.
        let known = profiles.clusters.iter().find(|(_, profile)| profile.id == id);
        let Some((name, profile)) = known.map(|(name, known)| (name.clone(), known)) else {
            return false;
        };
        made = profile.data_dir.clone().zip(profile.data_dir_made.clone());
        profiles.forget(&name);
        true
    })
    .await?;
    if let Some((folder, top)) = made {
        // Made for this cluster, they go with it, unless something else came to lie in them.
        data_dir::remove_empty(&folder, &top);
    }
    stop::stop_if_idle(context, &lock).await?;
    let deleted = Deleted { name: &name, id, state: "deleted" };
    out::print(args.output.format, &deleted, || {
        format!("cluster {name} and all its data are deleted")
    })
}
