//! `weir partition`.

use clap::{Args, Subcommand};
use serde::Serialize;
use weir_client::admin::{Topic, TopicPartition};

use super::topic::{find, join};
use crate::{
    context::Context,
    error::Result,
    out::{self, OutputArg, or_dash},
};

/// What to do with partitions.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:\n  weir partition list\n  weir partition list orders")]
pub enum PartitionCommand {
    /// List the partitions of a topic, or of all
    #[command(after_help = "\
Examples:
  weir partition list
  weir partition list orders -o json")]
    List(ListArgs),
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
    let PartitionCommand::List(args) = command;
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
