//! `weir partition`.

mod describe;
pub(super) mod moving;
mod reassign;

use clap::{Args, Subcommand};
use serde::Serialize;
use weir_client::admin::{Topic, TopicPartition};

use super::topic::{explain, find, join};
use crate::{
    context::Context,
    error::Result,
    out::{self, OutputArg, or_dash},
};

/// What to do with partitions.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  weir partition list
  weir partition describe orders 0
  weir partition reassign orders 0 --replicas 2,3,1
  weir partition reassign --from 3 --dry-run")]
pub enum PartitionCommand {
    /// List the partitions of a topic, or of all
    #[command(after_help = "\
Examples:
  weir partition list
  weir partition list orders -o json")]
    List(ListArgs),
    /// Show a topic's partitions with each copy: how far it is, and why it is not in sync
    #[command(after_help = "\
Examples:
  weir partition describe orders
  weir partition describe orders 0
  weir partition describe __offsets 3 -o yaml")]
    Describe(describe::DescribeArgs),
    /// Let other SPUs hold a partition, or all that one holds, while it is in use
    #[command(after_help = "\
Examples:
  weir partition reassign orders 0 --replicas 2,3,1     the first is preferred as its leader
  weir partition reassign --from 3 --dry-run            what would move off SPU 3, and where
  weir partition reassign --from 3                      then: weir cluster scale --spus 2
  weir partition reassign --from 3 --to 4,5 --no-wait
  weir partition reassign orders 0 --cancel
  weir partition reassign --from 3 --cancel

New copies fetch everything first; once they are in sync one of them leads if need be, and the
others are removed. With --timeout it waits that long; what is not done then goes on.")]
    Reassign(reassign::ReassignArgs),
}

/// Options of `weir partition list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Of this topic only
    topic: Option<String>,
    #[command(flatten)]
    output: OutputArg,
}

#[derive(Debug, Serialize)]
struct Row<'a> {
    topic: &'a str,
    #[serde(flatten)]
    partition: &'a TopicPartition,
}

/// Does it.
///
/// # Errors
/// Why it was not done.
pub async fn run(command: PartitionCommand, context: &Context) -> Result<()> {
    match command {
        PartitionCommand::List(args) => list(&args, context).await,
        PartitionCommand::Describe(args) => describe::run(&args, context).await,
        PartitionCommand::Reassign(args) => reassign::run(&args, context).await,
    }
}

async fn list(args: &ListArgs, context: &Context) -> Result<()> {
    let cluster = context.selected()?;
    let admin = context.admin()?;
    let topics: Vec<Topic> = match &args.topic {
        Some(topic) => vec![find(&admin, &cluster, topic).await?],
        None => admin.topic_list(&cluster).await?.into_iter().filter(|t| !t.internal).collect(),
    };
    let rows: Vec<Row<'_>> = topics
        .iter()
        .flat_map(|topic| {
            topic.partitions.iter().map(|partition| Row { topic: &topic.name, partition })
        })
        .collect();
    out::print(args.output.format, &rows, || {
        out::table(
            ["TOPIC", "PARTITION", "LEADER", "EPOCH", "REPLICAS", "IN SYNC", "START", "END"],
            rows.iter().map(|Row { topic, partition }| {
                [
                    (*topic).to_owned(),
                    partition.index.to_string(),
                    or_dash(partition.leader_spu_id),
                    partition.leader_epoch.to_string(),
                    join(&partition.replica_spu_ids),
                    join(&partition.isr_spu_ids),
                    or_dash(partition.log_start),
                    or_dash(partition.high_watermark),
                ]
            }),
        )
    })
}
