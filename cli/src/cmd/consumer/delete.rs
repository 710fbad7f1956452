//! `weir consumer delete`.

use clap::Args;
use weir_client::Admin;

use super::explain;
use crate::{
    error::Result,
    out::{self, OutputArg},
    prompt,
};

/// Options of `weir consumer delete`.
#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// The consumer's name
    pub(super) consumer: String,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    output: OutputArg,
}

/// Does it.
///
/// # Errors
/// Why it was not done.
pub async fn run(args: &DeleteArgs, admin: &Admin, cluster: &str) -> Result<()> {
    let question = format!("Delete consumer {} and all that it has committed?", args.consumer);
    prompt::confirm(args.yes, &question)?;
    let deleted = match admin.consumer_delete(cluster, &args.consumer).await {
        Ok(deleted) => deleted,
        Err(error) => return Err(explain(admin, cluster, &args.consumer, error).await),
    };
    out::print(args.output.format, &deleted, || {
        let count = out::count(u64::from(deleted.partitions), "partition");
        format!("consumer {} deleted: offsets of {count} are forgotten", deleted.name)
    })
}
