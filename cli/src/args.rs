//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, builder::NonEmptyStringValueParser};
use weir_dataplane::serve::SpuArgs;

use crate::cmd::{
    cloud::CloudCommand, cluster::ClusterCommand, completions::CompletionsArgs,
    consume::ConsumeArgs, consumer::ConsumerCommand, control_plane::ControlPlaneCommand,
    debug::DebugCommand, partition::PartitionCommand, produce::ProduceArgs,
    profile::ProfileCommand, quickstart::QuickstartArgs, run::RunCommand, topic::TopicCommand,
    version::VersionArgs,
};

/// Event streaming: topics, producers, consumers, and clusters to hold them.
#[derive(Debug, Parser)]
#[command(
    name = "weir",
    version,
    arg_required_else_help = true,
    propagate_version = false,
    infer_long_args = false,
    max_term_width = 100,
    after_help = "\
Examples:
  weir quickstart                         see everything at work, on this machine
  weir cluster create --spus 3            a cluster of three SPUs
  weir topic create orders -p 3           a topic with three partitions
  seq 1000 | weir produce orders          a record per line
  weir consume orders -B -d               all of them, then end

Exit codes: 0 done, 1 failed (or done in part), 2 the command line is wrong, 130 interrupted before
all was done (a second Ctrl-C ends at once).
Environment: WEIR_HOME where everything local lies (default ~/.weir), WEIR_PROFILE, WEIR_CLUSTER,
WEIR_API_KEY the key for weir cloud connect, NO_COLOR."
)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// The command line of an SPU, which takes none of the options of the others.
    pub fn spu(args: SpuArgs) -> Self {
        let command = Command::Run(Box::new(RunCommand::Spu(args)));
        Self { global: Global::default(), command }
    }
}

/// What every command takes.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// The cluster to work with; default: the profile's current one
    #[arg(
        long,
        global = true,
        env = "WEIR_CLUSTER",
        value_name = "NAME",
        hide_env_values = true,
        value_parser = NonEmptyStringValueParser::new()
    )]
    pub cluster: Option<String>,
    /// The profile to work with (see weir profile); default: the current one
    #[arg(
        long,
        global = true,
        env = "WEIR_PROFILE",
        value_name = "NAME",
        hide_env_values = true,
        value_parser = NonEmptyStringValueParser::new()
    )]
    pub profile: Option<String>,
    /// Print results and errors only
    #[arg(long, global = true)]
    pub quiet: bool,
    /// No colours (also: NO_COLOR=1)
    #[arg(long, global = true)]
    pub no_color: bool,
    /// How long to wait for an answer, or for a cluster to start or stop (such as 30s, 2m)
    #[arg(long, global = true, value_name = "TIME")]
    pub timeout: Option<humantime::Duration>,
    /// Where everything local lies; default: ~/.weir
    #[arg(skip)]
    pub home: Option<PathBuf>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a local cluster, write a file to a topic, read it back, and compare
    Quickstart(QuickstartArgs),
    /// Create, look at, stop and delete clusters
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Create, look at, change, grow and delete topics
    #[command(subcommand)]
    Topic(TopicCommand),
    /// Look at partitions, and let other SPUs hold them
    #[command(subcommand)]
    Partition(PartitionCommand),
    /// Write lines to a topic, a record per line
    Produce(ProduceArgs),
    /// Read records of a topic
    Consume(ConsumeArgs),
    /// Look at, reset and delete named consumers
    #[command(subcommand)]
    Consumer(ConsumerCommand),
    /// Look at and choose the cluster that commands mean
    #[command(subcommand)]
    Profile(ProfileCommand),
    /// Connect to a cluster of any control plane
    #[command(subcommand)]
    Cloud(CloudCommand),
    /// Take clusters up again whose control plane's database went back
    #[command(subcommand)]
    ControlPlane(ControlPlaneCommand),
    /// Look into what lies on a disk, with nothing running
    #[command(subcommand)]
    Debug(DebugCommand),
    /// Run a server in the foreground
    #[command(subcommand)]
    Run(Box<RunCommand>),
    /// Print the version
    Version(VersionArgs),
    /// Print what makes a shell complete weir's commands
    Completions(CompletionsArgs),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_examples() {
        fn walk(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let visible = !command.is_hide_set() && command.get_name() != "help";
            assert!(!visible || help.contains("Example"), "{path} has no example");
            assert!(!visible || command.get_about().is_some(), "{path} has no description");
            command.get_subcommands().for_each(|sub| walk(sub, &path));
        }
        walk(&Cli::command(), "");
    }

    #[test]
    fn options_of_every_command_may_stand_anywhere() {
        for line in
            ["weir --cluster a topic list --timeout 5s", "weir topic list --cluster a --timeout 5s"]
        {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            assert_eq!(cli.global.cluster.as_deref(), Some("a"));
            assert_eq!(cli.global.timeout.map(|t| t.as_secs()), Some(5));
        }
    }
}
