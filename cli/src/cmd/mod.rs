//! The commands, one verb or noun per file.

pub mod cloud;
pub mod cluster;
pub mod completions;
pub mod consume;
pub mod consumer;
pub mod control_plane;
pub mod debug;
pub mod partition;
pub mod produce;
pub mod profile;
pub mod quickstart;
pub mod run;
pub mod topic;
pub mod version;

use crate::{args::Command, context::Context, error::Result};

/// Does what the command line says.
///
/// # Errors
/// Why it was not done.
pub async fn run(command: Command, context: &Context) -> Result<()> {
    match command {
        Command::Quickstart(args) => Box::pin(quickstart::run(args, context)).await,
        Command::Cluster(command) => Box::pin(cluster::run(command, context)).await,
        Command::Topic(command) => topic::run(command, context).await,
        Command::Partition(command) => partition::run(command, context).await,
        Command::Produce(args) => Box::pin(produce::run(args, context)).await,
        Command::Consume(args) => Box::pin(consume::run(args, context)).await,
        Command::Profile(command) => profile::run(command, context).await,
        Command::Cloud(command) => Box::pin(cloud::run(command, context)).await,
        Command::ControlPlane(command) => Box::pin(control_plane::run(command, context)).await,
        Command::Consumer(command) => consumer::run(command, context).await,
        Command::Debug(command) => Box::pin(debug::run(command, context)).await,
        Command::Run(server) => Box::pin(run::run(*server)).await,
        Command::Version(args) => version::run(&args),
        Command::Completions(args) => completions::run(&args),
    }
}
