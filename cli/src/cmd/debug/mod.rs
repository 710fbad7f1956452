//! `weir debug`: looking at what lies on a disk, with nothing running.

mod dump;
mod replicas;
mod verify;

use clap::Subcommand;

use crate::{context::Context, error::Result};

/// What to look at.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  weir debug log verify ~/.weir/clusters/dev/spu-1
  weir debug log dump ~/.weir/clusters/dev/spu-1/topics/tg_…/0 --from 1000 --limit 10")]
pub enum DebugCommand {
    /// Look into logs, offline: nothing is changed
    #[command(subcommand)]
    Log(LogCommand),
}

/// What to do with logs.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  weir debug log verify /var/lib/weir/spu-1
  weir debug log dump /var/lib/weir/spu-1/topics/tg_…/0 --records")]
pub enum LogCommand {
    /// Read every byte of the logs in a folder, and say whether they are sound
    #[command(after_help = "\
Exit code: 0 all is sound, 1 something is damaged or cannot be read.

Examples:
  weir debug log verify /var/lib/weir/spu-1                  every log of an SPU
  weir debug log verify /var/lib/weir/spu-1/topics/tg_…/0    one
  weir debug log verify . -o json")]
    Verify(verify::VerifyArgs),
    /// List the batches, or the records, of one log
    #[command(after_help = "\
Examples:
  weir debug log dump /var/lib/weir/spu-1/topics/tg_…/0
  weir debug log dump . --from 1000 --limit 10 --records
  weir debug log dump . -o json")]
    Dump(dump::DumpArgs),
}

/// Does it.
///
/// # Errors
/// Why it was not done, or that something is damaged.
pub async fn run(command: DebugCommand, context: &Context) -> Result<()> {
    let DebugCommand::Log(command) = command;
    match command {
        LogCommand::Verify(args) => verify::run(&args, context).await,
        LogCommand::Dump(args) => dump::run(&args, context).await,
    }
}
