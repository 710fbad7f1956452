//! `weir cluster spu`.

use clap::{Args, Subcommand};
use weir_client::admin::Spu;

use super::NameArg;
use crate::{
    context::Context,
    error::Result,
    out::{self, OutputArg, or_dash},
};

/// What to do with SPUs.
#[derive(Debug, Subcommand)]
pub enum SpuCommand {
    /// List a cluster's SPUs
    #[command(
        after_help = "Examples:\n  weir cluster spu list\n  weir cluster spu list --name big -o json"
    )]
    List(ListArgs),
}

/// Options of `weir cluster spu list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    name: NameArg,
    #[command(flatten)]
    output: OutputArg,
}

/// Does it.
///
/// # Errors
/// Why it was not done.
pub async fn run(command: &SpuCommand, context: &Context) -> Result<()> {
    let SpuCommand::List(args) = command;
    let context = &context.at(args.name.told());
    let name = context.selected()?;
    let admin = context.admin()?;
    let spus = match admin.spu_list(&name).await {
        Ok(spus) => spus,
        Err(error) if error.status() == Some(404) => {
            return Err(super::unknown_cluster(&admin, &name).await);
        }
        Err(error) => return Err(error.into()),
    };
    out::print(args.output.format, &spus, || table(&spus))
}

/// SPUs for people.
pub fn table(spus: &[Spu]) -> String {
    out::table(
        ["SPU", "STATE", "READY", "ENDPOINT", "RACK", "INCARNATION", "RESTARTS", "REASON"],
        spus.iter().map(|spu| {
            [
                spu.spu_id.to_string(),
                if spu.leaving { "leaving".to_owned() } else { spu.state.to_string() },
                if spu.ready { "yes" } else { "no" }.to_owned(),
                or_dash(spu.endpoint.as_ref()),
                or_dash(spu.rack.as_ref()),
                or_dash(spu.incarnation),
                spu.restarts.to_string(),
                spu.reason.clone().unwrap_or_default(),
            ]
        }),
    )
}
