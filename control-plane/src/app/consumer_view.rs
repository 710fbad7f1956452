//! Named consumers as people are shown them: what is committed, joined with what the leaders
//! of the partitions reported last.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use weir_protocol::ids::{Offset, TopicGenerationId};

use super::view::{self, Seen};
use crate::store::{consumer_offsets::OffsetRow, types::TopicState};

/// A named consumer in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = ConsumerSummary)]
pub struct ConsumerSummary {
    /// Its name.
    #[schema(example = "billing")]
    pub name: String,
    /// The topic generations that it has read, by name and number.
    pub topics: Vec<ConsumerTopic>,
    /// How many partitions it has read.
    pub partitions: u32,
    /// Records that it has not committed yet, over the partitions of topics that are there
    /// and for which it committed something; unknown while one of their leaders is away.
    pub lag: Option<u64>,
    /// When it last committed, milliseconds since 1970.
    pub committed_at_unix_ms: Option<i64>,
}

/// A topic generation that a consumer has read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConsumerTopic {
    /// Its name.
    #[schema(example = "orders")]
    pub name: String,
    /// What its data belongs to.
    #[schema(value_type = String, example = "tg_0192f0c17a6e7c0e8a1b5d2f3c4e5a6b")]
    pub generation_id: TopicGenerationId,
    /// Which generation of the name.
    pub generation_number: u32,
}

/// A named consumer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Consumer)]
pub struct ConsumerView {
    /// Its name.
    #[schema(example = "billing")]
    pub name: String,
    /// As in the list.
    pub lag: Option<u64>,
    /// When it last committed, milliseconds since 1970.
    pub committed_at_unix_ms: Option<i64>,
    /// By topic, generation and index. Those of deleted topics too: these keep their offsets.
    pub partitions: Vec<ConsumerPartition>,
}

/// What a consumer has committed for a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConsumerPartition {
    /// The topic's name.
    #[schema(example = "orders")]
    pub topic: String,
    /// What the data belongs to.
    #[schema(value_type = String, example = "tg_0192f0c17a6e7c0e8a1b5d2f3c4e5a6b")]
    pub generation_id: TopicGenerationId,
    /// Which generation of the name.
    pub generation_number: u32,
    /// What is so of the generation.
    pub generation_state: TopicState,
    /// Which partition.
    pub partition: u32,
    /// The next offset to read; none: nothing is committed yet.
    pub committed: Option<u64>,
    /// Oldest kept offset, as the leader reported it last; unknown while it is away.
    pub log_start: Option<u64>,
    /// First offset that is not committed to the log yet, as the leader reported it last.
    pub end: Option<u64>,
    /// Records between what is committed and the end.
    pub lag: Option<u64>,
    /// Leader epoch of the last record that was read, where one was.
    pub leader_epoch: Option<u32>,
    /// The application's own.
    pub metadata: String,
    /// When it was committed, milliseconds since 1970.
    pub committed_at_unix_ms: Option<i64>,
}

/// What a reset does to a consumer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConsumerReset {
    /// Its name.
    #[schema(example = "billing")]
    pub consumer: String,
    /// The topic's name.
    #[schema(example = "orders")]
    pub topic: String,
    /// What the data belongs to.
    #[schema(value_type = String, example = "tg_0192f0c17a6e7c0e8a1b5d2f3c4e5a6b")]
    pub generation_id: TopicGenerationId,
    /// Which generation of the name.
    pub generation_number: u32,
    /// Nothing was changed: this is what would be.
    pub dry_run: bool,
    /// By index.
    pub partitions: Vec<PartitionReset>,
}

/// What a reset does to a partition of a consumer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PartitionReset {
    /// Which partition.
    pub partition: u32,
    /// What was committed, as the coordinator reported it last; none: nothing was.
    pub old: Option<u64>,
    /// What is committed now: the next offset to read.
    pub new: u64,
    /// Oldest kept offset.
    pub log_start: u64,
    /// First offset that is not committed to the log yet.
    pub end: u64,
}

/// What was forgotten of a consumer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConsumerDeleted {
    /// Its name.
    #[schema(example = "billing")]
    pub name: String,
    /// How many partitions had something to forget.
    pub partitions: u32,
}

/// Shows a partition.
pub(super) fn partition(row: OffsetRow, seen: &Seen) -> ConsumerPartition {
    let status = view::reported(row.leader, row.partition, seen);
    let (log_start, end) = status.map(|s| (s.log_start, s.high_watermark)).unzip();
    let committed = row.committed.next_offset.map(Offset::get);
    ConsumerPartition {
        topic: row.topic,
        generation_id: row.partition.generation,
        generation_number: row.generation_number.get(),
        generation_state: row.generation_state,
        partition: row.partition.partition.get(),
        committed,
        log_start,
        end,
        // What the leader reported may be older than what is committed.
        lag: committed.zip(end).map(|(committed, end)| end.saturating_sub(committed)),
        leader_epoch: row.committed.leader_epoch.map(|epoch| epoch.get()),
        metadata: row.committed.metadata,
        committed_at_unix_ms: committed.map(|_| row.committed.committed_at_unix_ms),
    }
}

/// Shows a consumer whole.
pub(super) fn consumer(name: String, partitions: Vec<ConsumerPartition>) -> ConsumerView {
    ConsumerView {
        name,
        lag: lag(&partitions),
        committed_at_unix_ms: last_commit(&partitions),
        partitions,
    }
}

/// Shows a consumer in a list.
pub(super) fn summary(name: String, partitions: &[ConsumerPartition]) -> ConsumerSummary {
    let mut topics: Vec<_> = partitions
        .iter()
        .map(|partition| ConsumerTopic {
            name: partition.topic.clone(),
            generation_id: partition.generation_id,
            generation_number: partition.generation_number,
        })
        .collect();
    // They come by topic and generation.
    topics.dedup();
    ConsumerSummary {
        name,
        topics,
        partitions: u32::try_from(partitions.len()).unwrap_or(u32::MAX),
        lag: lag(partitions),
        committed_at_unix_ms: last_commit(partitions),
    }
}

fn lag(partitions: &[ConsumerPartition]) -> Option<u64> {
    let mut counted = partitions
        .iter()
        .filter(|p| p.generation_state == TopicState::Active && p.committed.is_some())
        .map(|partition| partition.lag)
        .peekable();
    counted.peek()?;
    counted.try_fold(0_u64, |sum, lag| Some(sum.saturating_add(lag?)))
}

fn last_commit(partitions: &[ConsumerPartition]) -> Option<i64> {
    partitions.iter().filter_map(|partition| partition.committed_at_unix_ms).max()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn shown(state: TopicState, committed: Option<u64>, end: Option<u64>) -> ConsumerPartition {
        ConsumerPartition {
            topic: "t".to_owned(),
            generation_id: TopicGenerationId(Uuid::nil()),
            generation_number: 1,
            generation_state: state,
            partition: 0,
            committed,
            log_start: Some(0),
            end,
            lag: committed.zip(end).map(|(committed, end)| end.saturating_sub(committed)),
            leader_epoch: None,
            metadata: String::new(),
            committed_at_unix_ms: committed.map(|at| at as i64),
        }
    }

    #[test]
    fn lag_is_a_sum_over_what_is_there_and_committed() {
        use TopicState::{Active, Tombstone};
        let known = [shown(Active, Some(2), Some(10)), shown(Active, Some(9), Some(9))];
        assert_eq!(lag(&known), Some(8));
        // Of a deleted topic nothing is known, and where nothing is committed nothing lags.
        let with = |more| lag(&[known.to_vec(), vec![more]].concat());
        assert_eq!(with(shown(Tombstone, Some(1), None)), Some(8));
        assert_eq!(with(shown(Active, None, Some(5))), Some(8));
        assert_eq!(with(shown(Active, Some(1), None)), None);
        assert_eq!(lag(&[shown(Active, None, Some(5))]), None);
        assert_eq!(lag(&[]), None);
        assert_eq!(last_commit(&known), Some(9));
    }

    #[test]
    fn generations_of_one_name_are_told_apart() {
        let old = shown(TopicState::Tombstone, Some(1), None);
        let new = ConsumerPartition { generation_number: 2, ..old.clone() };
        let summary = summary("a".to_owned(), &[old.clone(), old, new]);
        let numbers: Vec<_> = summary.topics.iter().map(|topic| topic.generation_number).collect();
        assert_eq!((numbers, summary.partitions), (vec![1, 2], 3));
    }
}
