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
    #[command(after_help = "Example:\n  weir profile current")]
    Current,
    /// List the known clusters
    #[command(after_help = "Example:\n  weir profile list -o json")]
    List(ListArgs),
    /// Choose the cluster that commands mean from now on
    #[command(after_help = "Example:\n  weir profile switch quickstart")]
    Switch(SwitchArgs),
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
pub fn run(command: &ProfileCommand, context: &Context) -> Result<()> {
    let mut profiles = Profiles::load(&context.home)?;
    match command {
        ProfileCommand::Current => out::line(&context.selected()?),
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
            profiles.current = Some(name.clone());
            profiles.save(&context.home)?;
            context.ui.note(&format!("commands mean cluster {name} from now on"));
            Ok(())
        }
    }
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
