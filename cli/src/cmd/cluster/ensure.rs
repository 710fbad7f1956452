//! A cluster that runs, whatever it takes: for `weir quickstart`.

use weir_client::admin::{Cluster, ClusterSpec, DesiredState};

use crate::{
    context::Context,
    error::Result,
    home::lock::HomeLock,
    local::{
        start::{self, Local},
        stop,
        wait::{self, Goal},
    },
};

/// What it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Took {
    /// It was not there.
    Create,
    /// It was shut down.
    Resume,
    /// It ran, or was on its way.
    Nothing,
}

/// Makes the cluster run and waits until it does.
///
/// # Errors
/// Why it does not.
pub async fn ensure(context: &Context, name: &str, spec: &ClusterSpec) -> Result<(Cluster, Took)> {
    super::check_name(name)?;
    super::check_free(context, name)?;
    let limit = context.lifecycle_timeout();
    let lock = HomeLock::acquire(&context.home, context.clock, limit).await?;
    let local = start::ensure(context, &lock).await?;
    let took = match order(context, &local, name, spec).await {
        Ok(took) => took,
        Err(error) => {
            // The control plane was perhaps started for nothing.
            stop::stop_if_idle_or_warn(context, &lock).await;
            return Err(error);
        }
    };
    drop(lock);
    let cluster = wait::wait_for(context, &local.admin, name, Goal::Running, limit).await?;
    let cluster = cluster.ok_or_else(|| super::no_cluster(name, []))?;
    super::learn(context, &local.endpoint, &cluster, super::Choose::No).await?;
    Ok((cluster, took))
}

/// Says that it is to run, unless that was said.
async fn order(context: &Context, local: &Local, name: &str, spec: &ClusterSpec) -> Result<Took> {
    let found = wait::look(&local.admin, name).await?;
    Ok(match found.map(|cluster| cluster.desired) {
        None => {
            let cluster = local.admin.cluster_create(name, spec).await?;
            super::learn(context, &local.endpoint, &cluster, super::Choose::Yes).await?;
            Took::Create
        }
        Some(DesiredState::Running) => Took::Nothing,
        Some(_) => {
            local.admin.cluster_resume(name).await?;
            Took::Resume
        }
    })
}
