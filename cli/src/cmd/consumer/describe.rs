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
    let (name, lag) = (&consumer.name, or_dash(consumer.lag));
    format!("name  {name}\nlag   {lag}\n\n{partitions}{}", old(consumer))
}

/// What of it is not of now, and why.
fn old(consumer: &ConsumerDetail) -> String {
    let mut lines = String::new();
    if !consumer.current {
        lines += "\n\nCOMMITTED is as last reported: the consumer's coordinator is away";
    }
    let active = |p: &&ConsumerPartition| p.generation_state == TopicState::Active;
    let old = consumer.partitions.iter().filter(active).filter(|p| !p.current).count();
    if old > 0 {
        let of = out::count(u64::try_from(old).unwrap_or(u64::MAX), "partition");
        lines += &format!("\n\nEND of {of} is as last reported: the leader is away");
    }
    lines
}

/// The number, and that the topic was deleted where it was.
fn generation(partition: &ConsumerPartition) -> String {
    match partition.generation_state {
        TopicState::Active => partition.generation_number.to_string(),
        TopicState::Tombstone => format!("{} (deleted)", partition.generation_number),
        other => format!("{} ({other})", partition.generation_number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detail(current: bool, leader: bool, state: &str) -> ConsumerDetail {
        serde_json::from_value(serde_json::json!({
            "name": "billing", "lag": 1, "current": current,
            "partitions": [{
                "topic": "orders", "generation_id": "tg_00000000000000000000000000000001",
                "generation_number": 1, "generation_state": state, "partition": 0,
                "committed": 9, "end": 10, "current": leader, "lag": 1,
            }],
        }))
        .unwrap()
    }

    #[test]
    fn what_is_not_of_now_is_said() {
        assert_eq!(old(&detail(true, true, "active")), "");
        let coordinator = old(&detail(false, true, "active"));
        assert!(coordinator.contains("COMMITTED is as last reported"), "{coordinator}");
        let leader = old(&detail(true, false, "active"));
        assert!(leader.contains("END of 1 partition is as last reported"), "{leader}");
        assert_eq!(old(&detail(true, false, "tombstone")), "", "nobody serves it anyway");
    }
}
