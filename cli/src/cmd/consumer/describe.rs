//! `weir consumer describe`.

use clap::Args;
use weir_client::{
    Admin,
    admin::{ConsumerDetail, ConsumerPartition, TopicState},
};

use super::{age, explain};
use crate::{
    context::Context,
    error::Result,
    out::{self, OutputArg, or_dash},
};

/// Options of `weir consumer describe`.
#[derive(Debug, Args)]
pub struct DescribeArgs {
    /// The consumer's name
    pub(super) consumer: String,
    #[command(flatten)]
    output: OutputArg,
}

/// Does it.
///
/// # Errors
/// Why it was not done.
pub async fn run(
    args: &DescribeArgs,
    context: &Context,
    admin: &Admin,
    cluster: &str,
) -> Result<()> {
    let consumer = match admin.consumer(cluster, &args.consumer).await {
        Ok(consumer) => consumer,
        Err(error) => return Err(explain(admin, cluster, &args.consumer, error).await),
    };
    out::print(args.output.format, &consumer, || text(&consumer, context))
}

fn text(consumer: &ConsumerDetail, context: &Context) -> String {
    let partitions = out::table(
        ["TOPIC", "GENERATION", "PARTITION", "COMMITTED", "END", "LAG", "COMMITTED-AT"],
        consumer.partitions.iter().map(|partition| {
            [
                partition.topic.clone(),
                generation(partition),
                partition.partition.to_string(),
                or_dash(partition.committed),
                or_dash(partition.end),
                or_dash(partition.lag),
                age(context, partition.committed_at_unix_ms),
            ]
        }),
    );
    format!("name  {}\nlag   {}\n\n{partitions}", consumer.name, or_dash(consumer.lag))
}

/// The number, and that the topic was deleted where it was.
fn generation(partition: &ConsumerPartition) -> String {
    match partition.generation_state {
        TopicState::Active => partition.generation_number.to_string(),
        TopicState::Tombstone => format!("{} (deleted)", partition.generation_number),
        other => format!("{} ({other})", partition.generation_number),
    }
}
