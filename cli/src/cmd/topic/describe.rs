//! A topic as `weir topic describe` shows it.

use weir_client::admin::Topic;

use super::{config, join, yes_no};
use crate::{
    consume::template::timestamp,
    out::{self, or_dash},
};

/// The topic, and a line for each of its partitions.
pub fn describe(topic: &Topic) -> String {
    let mut lines = vec![
        format!("name         {}", topic.name),
        format!("generation   {} (number {})", topic.generation_id, topic.generation_number),
        format!("state        {}", topic.state),
        format!("ready        {}", yes_no(topic.ready)),
        format!("replication  {}", topic.replication),
    ];
    if topic.min_insync_replicas > 0 {
        lines.push(format!("min in sync  {}", topic.min_insync_replicas));
    }
    lines.push(format!("created      {}", timestamp(topic.created_at_unix_ms)));
    if let Some(config) = &topic.config {
        let lines_of = config::lines(config).into_iter();
        lines.extend(lines_of.map(|(name, value)| format!("{name:<11}  {value}")));
    }
    if let Some(deleted) = topic.deleted_at_unix_ms {
        lines.push(format!("deleted      {}", timestamp(deleted)));
    }
    lines.push(String::new());
    lines.push(out::table(
        ["PARTITION", "LEADER", "EPOCH", "REPLICAS", "IN SYNC", "ELIGIBLE", "START", "END"],
        topic.partitions.iter().map(|partition| {
            [
                partition.index.to_string(),
                or_dash(partition.leader_spu_id),
                partition.leader_epoch.to_string(),
                join(&partition.replica_spu_ids),
                join(&partition.isr_spu_ids),
                join(&partition.eligible_spu_ids),
                or_dash(partition.log_start),
                or_dash(partition.high_watermark),
            ]
        }),
    ));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_described_whole() {
        let topic: Topic = serde_json::from_value(serde_json::json!({
            "generation_id": "tg_00000000000000000000000000000007",
            "generation_number": 2, "name": "orders", "state": "active", "ready": true,
            "replication": 1, "min_insync_replicas": 1,
            "config": {"flush": "before_ack", "retention_ms": 604_800_000_u64,
                "segment_bytes": 1 << 30},
            "partitions": [
                {"index": 0, "leader_spu_id": 1, "replica_spu_ids": [1], "isr_spu_ids": [1],
                 "high_watermark": 10, "log_start": 0},
                {"index": 1},
            ],
        }))
        .unwrap();
        let text = describe(&topic);
        assert!(text.contains("(number 2)") && text.contains("1970-01-01"));
        for line in [
            "min in sync  1",
            "retention    7 days",
            "flush        before the acknowledgement",
            "segments     at most 1.0 GiB",
            "unclean      off",
        ] {
            assert!(text.lines().any(|this| this == line), "{text}");
        }
        let of_before = describe(&Topic { config: None, ..topic });
        assert!(!of_before.contains("retention"), "{of_before}");
        let last = text.lines().last().unwrap();
        assert_eq!(
            last.split_whitespace().collect::<Vec<_>>(),
            ["1", "-", "0", "-", "-", "-", "-", "-"]
        );
    }
}
