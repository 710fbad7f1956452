//! `weir cluster restart`.

use clap::Args;
use weir_client::admin::{Admin, Cluster};
use weir_protocol::ids::SpuId;

use super::{NameArg, scale};
use crate::{
    context::Context,
    error::Result,
    local::{
        operation,
        wait::{self, Goal},
    },
    out::{self, OutputArg},
};

/// Options of `weir cluster restart`.
#[derive(Debug, Args)]
pub struct RestartArgs {
    #[command(flatten)]
    pub(super) name: NameArg,
    /// One after the other, each once the one before serves: it is never done in another way
    #[arg(long)]
    rolling: bool,
    /// Only this SPU; several: --spu 1 --spu 3
    #[arg(long, value_name = "N")]
    spu: Vec<u32>,
    /// Return before it is done
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    output: OutputArg,
}

/// What came of it.
pub(super) struct Restarted {
    pub(super) cluster: Cluster,
    /// How long it took, if it was waited for.
    seconds: Option<f64>,
}

/// Does it for a cluster of this home. Safe to repeat.
///
/// # Errors
/// Why it was not done.
pub async fn run(args: &RestartArgs, context: &Context) -> Result<()> {
    let context = &context.at(args.name.told());
    let name = context.selected()?;
    let local = super::at_home(context).await?;
    let restarted = order(args, context, &local.admin, &name).await?;
    super::learn(context, &local.endpoint, &restarted.cluster, super::Choose::No).await?;
    restarted.print(args, &name, &format!("--name {name}"))
}

/// Orders it of whatever control plane, and waits for it.
///
/// # Errors
/// Why it was not done.
pub(super) async fn order(
    args: &RestartArgs,
    context: &Context,
    admin: &Admin,
    name: &str,
) -> Result<Restarted> {
    let (begin, limit) = (context.clock.now(), context.lifecycle_timeout());
    let spus: Vec<_> = args.spu.iter().copied().map(SpuId).collect();
    let which = (!spus.is_empty()).then_some(&spus[..]);
    let ordered = admin.cluster_restart(name, which).await;
    let ordered = scale::told(context, admin, name, ordered).await?;
    if args.no_wait {
        return Ok(Restarted { cluster: ordered, seconds: None });
    }
    if let Some(id) = ordered.operation_id {
        operation::wait_for(context, admin, id, limit).await?;
    }
    let left = limit.saturating_sub(context.clock.now().since(begin));
    let cluster = wait::wait_for(context, admin, name, Goal::Running, left).await?;
    let seconds = context.clock.now().since(begin).as_secs_f64();
    Ok(Restarted { cluster: cluster.unwrap_or(ordered), seconds: Some(seconds) })
}

impl Restarted {
    /// Prints it. The cluster is `called` so, and meant by the options `typed`.
    pub(super) fn print(&self, args: &RestartArgs, called: &str, typed: &str) -> Result<()> {
        let spus = match args.spu.as_slice() {
            [] => "every SPU".to_owned(),
            [one] => format!("SPU {one}"),
            several => {
                let ids: Vec<_> = several.iter().map(ToString::to_string).collect();
                format!("SPUs {}", ids.join(", "))
            }
        };
        out::print(args.output.format, &self.cluster, || match self.seconds {
            Some(seconds) => {
                format!("{spus} of cluster {called} was started anew ({seconds:.1} s)")
            }
            None => format!(
                "{spus} of cluster {called} will be started anew; follow it with: weir cluster \
                 status {typed}"
            ),
        })
    }
}
