//! `weir profile`: which cluster commands mean.

mod add;
mod edit;

pub use edit::remove;

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::{
    context::Context,
    error::Result,
    home::profiles::Profiles,
    out::{self, OutputArg},
};

/// What to do with profiles.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  weir profile list
  weir profile switch quickstart
  weir profile add prod --url http://10.0.0.7:9400 --cluster orders --key-stdin < key

A profile names a cluster, its control plane and the key for it. Clusters made on this machine
have one by themselves.")]
pub enum ProfileCommand {
    /// Print the profile that commands mean
    #[command(after_help = "Examples:\n  weir profile current\n  weir profile current -o json")]
    Current(CurrentArgs),
    /// List the known clusters
    #[command(after_help = "Examples:\n  weir profile list\n  weir profile list -o json")]
    List(ListArgs),
    /// Choose the cluster that commands mean from now on
    #[command(after_help = "Examples:\n  weir profile switch quickstart")]
    Switch(edit::SwitchArgs),
    /// Add a cluster of any control plane
    #[command(after_help = "\
Examples:
  weir profile add prod --url http://10.0.0.7:9400 --cluster orders
  weir profile add prod --url http://10.0.0.7:9400 --key-stdin < key

The key is taken from WEIR_API_KEY, from standard input with --key-stdin, or asked for on a
terminal. The control plane is asked for the cluster: it must answer. weir cloud connect does
the same, looks whether the SPUs answer, and makes the profile the current one.")]
    Add(add::AddArgs),
    /// Give a profile another name; the cluster keeps its own
    #[command(after_help = "Examples:\n  weir profile rename orders prod")]
    Rename(edit::RenameArgs),
    /// Forget a profile and its key; the cluster itself is not touched
    #[command(after_help = "Examples:\n  weir profile delete prod")]
    Delete(edit::DeleteArgs),
}

/// Options of `weir profile current`.
#[derive(Debug, Args)]
pub struct CurrentArgs {
    #[command(flatten)]
    output: OutputArg,
}

/// Options of `weir profile list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    output: OutputArg,
}

/// What is known of it is absent when nothing is.
#[derive(Debug, Serialize)]
struct Current {
    name: String,
    cluster: String,
    id: Option<String>,
    control_plane: Option<String>,
    endpoints: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    current: bool,
    cluster: String,
    id: String,
    control_plane: String,
    local: bool,
    endpoints: Vec<String>,
}

/// Does it. Only adding one asks a server.
///
/// # Errors
/// Why it was not done.
pub async fn run(command: ProfileCommand, context: &Context) -> Result<()> {
    match command {
        ProfileCommand::Current(args) => current(&args, context),
        ProfileCommand::List(args) => list(&args, context),
        ProfileCommand::Switch(args) => edit::switch(args, context).await,
        ProfileCommand::Add(args) => Box::pin(add::run(args, context)).await,
        ProfileCommand::Rename(args) => edit::rename(args, context).await,
        ProfileCommand::Delete(args) => edit::delete(args, context).await,
    }
}

/// Told even if nothing is known of it: `--cluster` may name what another home has.
fn current(args: &CurrentArgs, context: &Context) -> Result<()> {
    let target = context.target()?;
    let (name, profile) = target.profile.unzip();
    let current = Current {
        name: name.unwrap_or_else(|| target.cluster.clone()),
        cluster: target.cluster,
        id: profile.as_ref().map(|profile| profile.id.clone()),
        control_plane: profile.as_ref().map(|profile| profile.control_plane.clone()),
        endpoints: profile.map(|profile| profile.endpoints).unwrap_or_default(),
    };
    out::print(args.output.format, &current, || current.name.clone())
}

fn list(args: &ListArgs, context: &Context) -> Result<()> {
    let profiles = Profiles::load(&context.home)?;
    let current = context.target().ok().and_then(|target| target.profile).map(|(name, _)| name);
    let rows: Vec<Row> = profiles
        .clusters
        .into_iter()
        .map(|(name, profile)| Row {
            current: current.as_ref() == Some(&name),
            cluster: profile.cluster_name(&name).to_owned(),
            local: profile.is_home(),
            name,
            id: profile.id,
            control_plane: profile.control_plane,
            endpoints: profile.endpoints,
        })
        .collect();
    out::print(args.output.format, &rows, || {
        out::table(
            ["", "NAME", "CLUSTER", "CONTROL PLANE", "SPUS"],
            rows.iter().map(|row| {
                [
                    if row.current { "*" } else { "" }.to_owned(),
                    row.name.clone(),
                    row.cluster.clone(),
                    row.control_plane.clone(),
                    row.endpoints.join(", "),
                ]
            }),
        )
    })
}
