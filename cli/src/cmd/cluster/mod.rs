//! `weir cluster`: the clusters of this home, and those of other control planes by their
//! profiles.

mod check;
mod create;
mod delete;
mod diagnostics;
pub mod ensure;
mod learn;
mod list;
mod logs;
mod operation;
mod refused;
mod remote;
mod restart;
mod resume;
mod scale;
mod shutdown;
mod spu;
mod status;
mod upgrade;
mod watch;

use clap::{Args, Subcommand};
use weir_client::Admin;

use self::learn::{Choose, key_file, learn};
use crate::{
    context::Context,
    error::{CliError, Result},
    home::{
        lock::HomeLock,
        profiles::Profiles,
        target::{self, Place},
    },
    local::{
        endpoint::{self, State},
        start::{self, Local},
    },
    suggest,
};

/// What to do with clusters.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  weir cluster create --spus 3
  weir cluster status
  weir cluster shutdown")]
pub enum ClusterCommand {
    /// Create a cluster on this machine and start it
    #[command(after_help = "\
Examples:
  weir cluster create
  weir cluster create --name big --spus 3 --port-base 9600
  weir cluster create --config cluster.yaml --dry-run
  weir cluster create --data-dir /mnt/fast/weir --no-wait -o json

A file says what the options would, which come first:
  name: big
  spus: 3
  port_base: 9600
  data_dir: data            # relative to the file's folder

What the cluster needs is looked at before anything is started: ports, room, open files, and what
is left of others. --dry-run ends there. A folder that was made for --data-dir goes with the cluster
if nothing else is in it.")]
    Create(create::CreateArgs),
    /// List clusters
    #[command(after_help = "Examples:\n  weir cluster list\n  weir cluster list -o json")]
    List(list::ListArgs),
    /// Show a cluster and its SPUs
    #[command(after_help = "\
Examples:
  weir cluster status
  weir cluster status --name big -o yaml
  weir cluster status --watch
  weir cluster status --watch=500ms -o json

--watch shows it anew on a terminal; elsewhere it prints what changed: one block each, with -o json
one line each. Ctrl-C ends it.")]
    Status(status::StatusArgs),
    /// Stop a cluster's SPUs; data and spec are kept
    #[command(
        alias = "stop",
        after_help = "Examples:\n  weir cluster shutdown\n  weir cluster shutdown --name big\n\nstop is another word for it."
    )]
    Shutdown(shutdown::ShutdownArgs),
    /// Start a cluster again that was shut down
    #[command(after_help = "Examples:\n  weir cluster resume\n  weir cluster resume --name big")]
    Resume(resume::ResumeArgs),
    /// Give a cluster another number of SPUs
    #[command(after_help = "\
Examples:
  weir cluster scale --spus 3
  weir cluster scale --name big --spus 1 --dry-run

New SPUs take over their share of what the others hold. Those that go are the empty
ones, then the highest ids; what they hold is moved first. --dry-run shows all that
would move. Where it cannot be, nothing is done, and the topics and partitions in the
way are named. While it lasts, weir cluster scale --cancel keeps who is about to go;
another --spus takes the place of the order. Ids are never used again.")]
    Scale(scale::ScaleArgs),
    /// Start a cluster's SPUs anew, one after the other, while it is in use
    #[command(after_help = "\
Examples:
  weir cluster restart --rolling
  weir cluster restart --name big --spu 2

Each is stopped in order, with its leaderships handed over first, once every other one
serves and every partition can spare it. A partition with no more copies than have to
acknowledge (one, or two by default) waits for the moment that its SPU takes; producers
and consumers try again by themselves.")]
    Restart(restart::RestartArgs),
    /// Delete a cluster and all its data
    #[command(
        after_help = "Examples:\n  weir cluster delete\n  weir cluster delete --name big --yes"
    )]
    Delete(delete::DeleteArgs),
    /// Look at what was ordered of a cluster
    #[command(subcommand, after_help = "Example:\n  weir cluster operation list")]
    Operation(operation::OperationCommand),
    /// Show what a cluster's servers wrote to their logs
    #[command(after_help = "\
Examples:
  weir cluster logs
  weir cluster logs --spu 1 --follow
  weir cluster logs --control-plane --since 10m
  weir cluster logs big --lines 1000")]
    Logs(logs::LogsArgs),
    /// Look for what is wrong with this machine, the home and the cluster
    #[command(after_help = "\
Examples:
  weir cluster check
  weir cluster check --fix
  weir cluster check big -o json

--fix does what is safe and says what it did: it takes permissions away from others, and removes
files that say nothing any more. The exit code is 1 if anything is wrong (✗).")]
    Check(check::CheckArgs),
    /// Bring a cluster to the build of this weir, one process after the other
    #[command(after_help = "\
Examples:
  weir cluster upgrade --dry-run
  weir cluster upgrade
  weir cluster upgrade --name big

First the control plane of this home is started anew with this build, which SPUs do not notice; then
each SPU that runs another build, as weir cluster restart does. What is done already is left alone,
so it may be interrupted and ordered again. An older build than one that runs is refused: it may not
understand what a newer one has written.")]
    Upgrade(upgrade::UpgradeArgs),
    /// Write what a bug report needs into one file, without secrets
    #[command(after_help = "\
Examples:
  weir cluster diagnostics
  weir cluster diagnostics big --file /tmp/big.tar.gz --lines 10000
  weir cluster diagnostics -o json

In it: versions and limits, what weir cluster check finds, what the control plane says of the
cluster, its topics and consumers, the ends of the logs, metrics where they are served. Not in it:
keys, tokens, secrets, and what records hold. Names of topics and consumers, and addresses, are:
look through it before you hand it on.")]
    Diagnostics(diagnostics::DiagnosticsArgs),
    /// Look at a cluster's SPUs, and add such as run on other machines
    #[command(
        subcommand,
        after_help = "\
Examples:
  weir cluster spu list
  weir cluster spu register --file spu-4.json
  weir cluster spu unregister 4"
    )]
    Spu(spu::SpuCommand),
}

/// Which cluster a command of `weir cluster` is about.
#[derive(Debug, Args)]
pub struct NameArg {
    /// The cluster's name; default: as --cluster
    #[arg(id = "cluster-name", value_name = "NAME")]
    positional: Option<String>,
    /// The same
    #[arg(long, value_name = "NAME", conflicts_with = "cluster-name")]
    name: Option<String>,
}

impl NameArg {
    /// What is told here takes the place of `--cluster`: `context.at(args.name.told())` is then
    /// what name, control plane and profile are taken from, all of one [`target::Target`].
    fn told(&self) -> Option<&String> {
        self.positional.as_ref().or(self.name.as_ref())
    }
}

/// Does it.
///
/// # Errors
/// Why it was not done.
pub async fn run(command: ClusterCommand, context: &Context) -> Result<()> {
    if Box::pin(remote::run(&command, context)).await? {
        return Ok(());
    }
    match command {
        ClusterCommand::Create(args) => create::run(&args, context).await,
        ClusterCommand::List(args) => list::run(&args, context).await,
        ClusterCommand::Status(args) => status::run(&args, context).await,
        ClusterCommand::Shutdown(args) => shutdown::run(&args, context).await,
        ClusterCommand::Resume(args) => resume::run(&args, context).await,
        ClusterCommand::Scale(args) => scale::run(&args, context).await,
        ClusterCommand::Restart(args) => restart::run(&args, context).await,
        ClusterCommand::Operation(command) => operation::run(&command, context).await,
        ClusterCommand::Delete(args) => delete::run(&args, context).await,
        ClusterCommand::Logs(args) => logs::run(&args, context).await,
        ClusterCommand::Check(args) => Box::pin(check::run(&args, context)).await,
        ClusterCommand::Upgrade(args) => Box::pin(upgrade::run(&args, context)).await,
        ClusterCommand::Diagnostics(args) => Box::pin(diagnostics::run(&args, context)).await,
        ClusterCommand::Spu(command) => spu::run(&command, context).await,
    }
}

/// The home's control plane, for orders to a cluster that it has.
async fn at_home(context: &Context) -> Result<Local> {
    let limit = context.lifecycle_timeout();
    let lock = HomeLock::acquire(&context.home, context.clock, limit).await?;
    if let state @ (State::Never | State::Stopped(_)) = endpoint::look(&context.home)? {
        return Err(context.not_running(&state));
    }
    start::ensure(context, &lock).await
}

/// A cluster that is not there, and what may have been meant.
pub async fn unknown_cluster(admin: &Admin, name: &str) -> CliError {
    let clusters = admin.cluster_list().await.unwrap_or_default();
    no_cluster(name, clusters.iter().map(|cluster| cluster.name.as_str()))
}

fn no_cluster<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> CliError {
    let known: Vec<&str> = known.into_iter().collect();
    let hint = match (suggest::nearest(name, known.iter().copied()), known.as_slice()) {
        (Some(near), _) => format!("did you mean {near}? all: weir cluster list"),
        (None, []) => format!("make it with: weir cluster create --name {name}"),
        (None, known) => format!("there is {}; see: weir cluster list", known.join(", ")),
    };
    CliError::new(format!("there is no cluster {name}"), hint)
}

/// As [`no_cluster`], by the profiles: the control plane does not run.
fn no_cluster_here(context: &Context, name: &str) -> Result<CliError> {
    let profiles = Profiles::load(&context.home)?;
    let own = profiles.clusters.iter().filter(|(_, profile)| profile.is_home());
    Ok(no_cluster(name, own.map(|(name, profile)| profile.cluster_name(name))))
}

/// A cluster of this home cannot have the name of a profile of another control plane: the name
/// would mean that one.
///
/// # Errors
/// When there is such a profile.
fn check_free(context: &Context, name: &str) -> Result<()> {
    match Profiles::load(&context.home)?.clusters.get(name) {
        Some(profile) if !profile.is_home() => Err(CliError::new(
            format!("{name} is a profile of a cluster at {}", profile.control_plane),
            format!("choose another name, or rename the profile: weir profile rename {name} NEW"),
        )),
        _ => Ok(()),
    }
}

/// The name as the control plane takes it, told here in the words of the command line.
fn check_name(name: &str) -> Result<()> {
    let good = (1..=63).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if good {
        return Ok(());
    }
    Err(CliError::usage(
        format!("{name:?} cannot be a cluster's name"),
        "a cluster's name is 1 to 63 of lower-case letters, digits and \"-\"",
    ))
}

/// Whether commands mean this cluster without being told.
pub fn is_selected(context: &Context, name: &str) -> bool {
    Profiles::load(&context.home)
        .and_then(|profiles| target::resolve(None, None, &profiles))
        .is_ok_and(|target| target.place == Place::Home && target.cluster == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Exit;

    #[test]
    fn bad_names_are_usage_errors() {
        assert_eq!(check_name("big-1"), Ok(()));
        for bad in ["", "Big", "a_b", "a b", &"x".repeat(64)] {
            assert_eq!(check_name(bad).unwrap_err().exit(), Exit::Usage, "{bad}");
        }
    }

    #[test]
    fn an_unknown_cluster_leads_on() {
        let hint = |name, known: &[&'static str]| match no_cluster(name, known.iter().copied()) {
            CliError::Told { hint, .. } => hint,
            CliError::BrokenPipe => String::new(),
        };
        assert!(hint("quikstart", &["quickstart", "big"]).contains("did you mean quickstart?"));
        assert!(hint("x", &[]).contains("create --name x"));
        assert!(hint("x", &["big", "small"]).contains("there is big, small"));
    }
}
