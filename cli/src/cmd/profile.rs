//! `weir profile`: which cluster commands mean.

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::{
    context::Context,
    error::{CliError, Result},
    home::profiles::Profiles,
    out::{self, OutputArg},
    suggest,
};

/// What to do with profiles.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:\n  weir profile list\n  weir profile switch quickstart")]
pub enum ProfileCommand {
    /// Print the cluster that commands mean
    #[command(after_help = "Examples:\n  weir profile current\n  weir profile current -o json")]
    Current(CurrentArgs),
    /// List the known clusters
    #[command(after_help = "Example:\n  weir profile list -o json")]
    List(ListArgs),
    /// Choose the cluster that commands mean from now on
    #[command(after_help = "Example:\n  weir profile switch quickstart")]
    Switch(SwitchArgs),
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

/// Options of `weir profile switch`.
#[derive(Debug, Args)]
pub struct SwitchArgs {
    /// The cluster's name
    name: String,
}

/// What is known of it is absent when nothing is.
#[derive(Debug, Serialize)]
struct Current {
    name: String,
    id: Option<String>,
    control_plane: Option<String>,
    endpoints: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    current: bool,
    id: String,
    control_plane: String,
    endpoints: Vec<String>,
}

/// Does it. Profiles are a file: no server is asked.
///
/// # Errors
/// Why it was not done.
pub async fn run(command: &ProfileCommand, context: &Context) -> Result<()> {
    let profiles = Profiles::load(&context.home)?;
    match command {
        ProfileCommand::Current(args) => current(args, context, profiles),
        ProfileCommand::List(args) => list(args, context, profiles),
        ProfileCommand::Switch(SwitchArgs { name }) => {
            if !profiles.clusters.contains_key(name) {
                let near = suggest::nearest(name, profiles.clusters.keys().map(String::as_str));
                let hint = match near {
                    Some(near) => format!("did you mean {near}? all: weir profile list"),
                    None => "see: weir profile list".to_owned(),
                };
                return Err(CliError::new(format!("no cluster {name} is known"), hint));
            }
            Profiles::update(&context.home, context.clock, |profiles| {
                let news = profiles.current.as_ref() != Some(name);
                profiles.current = Some(name.clone());
                news
            })
            .await?;
            context.ui.note(&format!("commands mean cluster {name} from now on"));
            Ok(())
        }
    }
}

/// Told even if nothing is known of it: `--cluster` may name what another home has.
fn current(args: &CurrentArgs, context: &Context, mut profiles: Profiles) -> Result<()> {
    let name = context.selected()?;
    let profile = profiles.clusters.remove(&name);
    let current = Current {
        id: profile.as_ref().map(|profile| profile.id.clone()),
        control_plane: profile.as_ref().map(|profile| profile.control_plane.clone()),
        endpoints: profile.map(|profile| profile.endpoints).unwrap_or_default(),
        name,
    };
    out::print(args.output.format, &current, || current.name.clone())
}

fn list(args: &ListArgs, context: &Context, profiles: Profiles) -> Result<()> {
    let current = context.cluster.clone().or(profiles.current);
    let rows: Vec<Row> = profiles
        .clusters
        .into_iter()
        .map(|(name, profile)| Row {
            current: current.as_ref() == Some(&name),
            name,
            id: profile.id,
            control_plane: profile.control_plane,
            endpoints: profile.endpoints,
        })
        .collect();
    out::print(args.output.format, &rows, || {
        out::table(
            ["", "NAME", "CONTROL PLANE", "SPUS"],
            rows.iter().map(|row| {
                [
                    if row.current { "*" } else { "" }.to_owned(),
                    row.name.clone(),
                    row.control_plane.clone(),
                    row.endpoints.join(", "),
                ]
            }),
        )
    })
}
