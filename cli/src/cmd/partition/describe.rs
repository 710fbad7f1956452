//! `weir partition describe`.

use clap::Args;
use serde::Serialize;
use weir_client::admin::{Cut, TopicPartition, TopicReplica};
use weir_protocol::ids::PartitionIndex;

use super::{find, join};
use crate::{
    consume::template::timestamp,
    context::Context,
    error::{CliError, Result},
    out::{self, OutputArg, or_dash},
};

/// Options of `weir partition describe`.
#[derive(Debug, Args)]
pub struct DescribeArgs {
    /// The name, or the id of a generation (tg_…)
    topic: String,
    /// Which partition; default: all
    partition: Option<u32>,
    #[command(flatten)]
    output: OutputArg,
}

#[derive(Debug, Serialize)]
struct Shown<'a> {
    topic: &'a str,
    #[serde(flatten)]
    partition: &'a TopicPartition,
}

/// Does it.
///
/// # Errors
/// Why it was not done.
pub async fn run(args: &DescribeArgs, context: &Context) -> Result<()> {
    let cluster = context.selected()?;
    let admin = context.admin()?;
    let topic = find(&admin, &cluster, &args.topic).await?;
    let shown = |partition| Shown { topic: &topic.name, partition };
    let Some(index) = args.partition.map(PartitionIndex) else {
        let all: Vec<_> = topic.partitions.iter().map(shown).collect();
        return out::print(args.output.format, &all, || {
            all.iter().map(text).collect::<Vec<_>>().join("\n\n")
        });
    };
    let partition = topic.partitions.iter().find(|partition| partition.index == index);
    let partition = partition.ok_or_else(|| {
        CliError::new(
            format!("topic {} has no partition {index}", topic.name),
            format!("see: weir partition list {}", topic.name),
        )
    })?;
    let one = shown(partition);
    out::print(args.output.format, &one, || text(&one))
}

fn text(Shown { topic, partition }: &Shown<'_>) -> String {
    let leader = partition.leader_spu_id.map(|spu| format!("SPU {spu}"));
    let mut lines = vec![
        format!("topic      {topic}"),
        format!("partition  {}", partition.index),
        format!("leader     {}, leader epoch {}", or_dash(leader), partition.leader_epoch),
        format!("epoch      {}", partition.partition_epoch),
        format!("replicas   {}", join(&partition.replica_spu_ids)),
        format!("in sync    {}", join(&partition.isr_spu_ids)),
        format!("eligible   {}", join(&partition.eligible_spu_ids)),
        format!(
            "log        start {}, committed to {}, end {}",
            or_dash(partition.log_start),
            or_dash(partition.high_watermark),
            or_dash(partition.log_end)
        ),
    ];
    if let Some(waiting) = &partition.waiting {
        lines.push(format!("waits      {}", waiting.reason));
        if !waiting.for_spu_ids.is_empty() {
            lines.push(format!("waits for  any of SPUs {}", join(&waiting.for_spu_ids)));
        }
    }
    lines.extend(partition.cuts.iter().map(cut));
    if let Some(goal) = &partition.reassignment {
        let how = match (goal.cancelled, goal.moving) {
            (true, _) => "back to",
            (false, true) => "to",
            (false, false) => "waits for its turn, to",
        };
        lines.push(format!(
            "moves      {how} SPUs {}; adding {}, removing {}",
            join(&goal.target_spu_ids),
            join(&goal.adding_spu_ids),
            join(&goal.removing_spu_ids)
        ));
    }
    lines.push(String::new());
    lines.push(out::table(
        ["SPU", "ROLE", "SERVED", "LOG END", "LAST EPOCH", "LAG", "WHY NOT IN SYNC"],
        partition.replicas.iter().map(|replica| {
            [
                replica.spu_id.to_string(),
                role(partition, replica).to_owned(),
                or_dash(replica.online.map(|online| if online { "yes" } else { "no" })),
                or_dash(replica.log_end),
                or_dash(replica.last_epoch),
                or_dash(replica.lag),
                replica.missing.clone().or_else(|| replica.problem.clone()).unwrap_or_default(),
            ]
        }),
    ));
    let away = |replica: &TopicReplica| replica.online.is_none() && replica.log_end.is_some();
    if partition.replicas.iter().any(away) {
        lines.push(String::new());
        lines.push("Where SERVED is -, the log end is what the SPU reported last.".to_owned());
    }
    lines.join("\n")
}

/// An election that may have lost what was committed.
fn cut(cut: &Cut) -> String {
    let given_up: Vec<_> = cut
        .given_up
        .iter()
        .map(|of| match of.log_end {
            Some(end) => format!("SPU {} (log end {end})", of.spu_id),
            None => format!("SPU {}", of.spu_id),
        })
        .collect();
    format!(
        "cut        {}: SPU {} came to lead in epoch {} without {}; its log ended at {}, and what was \
         committed at {} or above may be lost",
        timestamp(cut.at_unix_ms),
        cut.leader_spu_id,
        cut.leader_epoch,
        given_up.join(", "),
        cut.log_end,
        cut.high_watermark
    )
}

fn role(partition: &TopicPartition, replica: &TopicReplica) -> &'static str {
    let goal = partition.reassignment.as_ref();
    let among = |spus: Option<&Vec<_>>| spus.is_some_and(|spus| spus.contains(&replica.spu_id));
    if partition.leader_spu_id == Some(replica.spu_id) {
        "leader"
    } else if among(goal.map(|goal| &goal.removing_spu_ids)) {
        "removing"
    } else if replica.in_sync {
        "in sync"
    } else if among(goal.map(|goal| &goal.adding_spu_ids)) {
        "adding"
    } else if replica.eligible {
        "eligible"
    } else {
        "missing"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_replica_says_what_it_is_and_why_it_is_missing() {
        let partition: TopicPartition = serde_json::from_value(serde_json::json!({
            "index": 3, "leader_spu_id": 1, "leader_epoch": 4, "partition_epoch": 9,
            "replica_spu_ids": [4, 2, 1], "isr_spu_ids": [1], "eligible_spu_ids": [2],
            "log_start": 0, "high_watermark": 9, "log_end": 10,
            "reassignment": {"target_spu_ids": [4, 2], "adding_spu_ids": [4],
                "removing_spu_ids": [1], "moving": true},
            "replicas": [
                {"spu_id": 4, "online": true, "log_end": 3, "lag": 7,
                    "missing": "SPU 4 is behind by 7 records"},
                {"spu_id": 2, "eligible": true, "missing": "SPU 2 is offline"},
                {"spu_id": 1, "in_sync": true, "online": true, "log_end": 10,
                    "last_epoch": 4, "lag": 0},
            ],
        }))
        .unwrap();
        let shown = text(&Shown { topic: "orders", partition: &partition });
        let lines: Vec<_> = shown.lines().collect();
        assert!(lines.contains(&"leader     SPU 1, leader epoch 4"), "{shown}");
        assert!(lines.contains(&"moves      to SPUs 4, 2; adding 4, removing 1"), "{shown}");
        assert!(lines.contains(&"log        start 0, committed to 9, end 10"), "{shown}");
        let row =
            |n: usize| lines[lines.len() - n].split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(row(3), "4 adding yes 3 - 7 SPU 4 is behind by 7 records");
        assert_eq!(row(2), "2 eligible - - - - SPU 2 is offline");
        assert_eq!(row(1), "1 leader yes 10 4 0");
    }

    #[test]
    fn one_that_waits_says_for_whom_and_what_each_holds() {
        let partition: TopicPartition = serde_json::from_value(serde_json::json!({
            "index": 0, "leader_spu_id": 1, "leader_epoch": 4, "partition_epoch": 9,
            "replica_spu_ids": [1, 2], "isr_spu_ids": [1],
            "waiting": {"reason": "SPU 1 is offline; nobody is left", "for_spu_ids": [1]},
            "cuts": [{"at_unix_ms": 0, "leader_spu_id": 2, "leader_epoch": 3,
                "high_watermark": 7, "log_end": 8,
                "given_up": [{"spu_id": 1, "log_end": 12}, {"spu_id": 3}]}],
            "replicas": [
                {"spu_id": 1, "in_sync": true, "log_end": 10, "last_epoch": 4},
                {"spu_id": 2, "online": true, "log_end": 8, "last_epoch": 3,
                    "missing": "SPU 2 does not follow the newest leader yet"},
            ],
        }))
        .unwrap();
        let shown = text(&Shown { topic: "orders", partition: &partition });
        for line in [
            "waits      SPU 1 is offline; nobody is left",
            "waits for  any of SPUs 1",
            "cut        1970-01-01T00:00:00.000Z: SPU 2 came to lead in epoch 3 without SPU 1 (log \
             end 12), SPU 3; its log ended at 8, and what was committed at 7 or above may be lost",
            "Where SERVED is -, the log end is what the SPU reported last.",
        ] {
            assert!(shown.lines().any(|this| this == line), "{shown}");
        }
        let rows: Vec<_> = shown
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert!(rows.iter().any(|row| row == "1 leader - 10 4 -"), "{shown}");
    }
}
