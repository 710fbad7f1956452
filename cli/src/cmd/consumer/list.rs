//! `weir consumer list`.

use clap::Args;
use weir_client::{Admin, admin::ConsumerSummary};

use super::age;
use crate::{
    cmd::topic,
    context::Context,
    error::Result,
    out::{self, OutputArg, or_dash},
};

/// Options of `weir consumer list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    output: OutputArg,
}

/// Does it.
///
/// # Errors
/// Why it was not done.
pub async fn run(args: &ListArgs, context: &Context, admin: &Admin, cluster: &str) -> Result<()> {
    let consumers = admin.consumer_list(cluster).await?;
    out::print(args.output.format, &consumers, || {
        out::table(
            ["NAME", "TOPICS", "PARTITIONS", "LAG", "COMMITTED-AT"],
            consumers.iter().map(|consumer| {
                [
                    consumer.name.clone(),
                    topics(consumer),
                    consumer.partitions.to_string(),
                    or_dash(consumer.lag),
                    age(context, consumer.committed_at_unix_ms),
                ]
            }),
        )
    })
}

/// Topics by name; where several generations of a name were read, each with its number.
fn topics(consumer: &ConsumerSummary) -> String {
    let named: Vec<_> = consumer
        .topics
        .iter()
        .map(|topic| {
            let same = consumer.topics.iter().filter(|other| other.name == topic.name);
            match same.count() {
                1 => topic.name.clone(),
                _ => format!("{} (generation {})", topic.name, topic.generation_number),
            }
        })
        .collect();
    topic::join(&named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_are_told_apart_where_there_are_several() {
        let consumer: ConsumerSummary = serde_json::from_value(serde_json::json!({
            "name": "billing",
            "topics": [
                {"name": "a", "generation_id": "tg_00000000000000000000000000000001",
                 "generation_number": 3},
                {"name": "b", "generation_id": "tg_00000000000000000000000000000002",
                 "generation_number": 1},
                {"name": "b", "generation_id": "tg_00000000000000000000000000000003",
                 "generation_number": 2},
            ],
        }))
        .unwrap();
        assert_eq!(topics(&consumer), "a, b (generation 1), b (generation 2)");
        assert_eq!(topics(&ConsumerSummary { topics: vec![], ..consumer }), "-");
    }
}
