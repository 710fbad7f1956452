//! Named consumers as people are shown them: what is committed, joined with where the logs of
//! the partitions begin and end.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use weir_protocol::ids::{Offset, TopicGenerationId};

use super::{
    consumer_held::Placed,
    ends::{AllEnds, Ends},
};
use crate::store::types::TopicState;

/// A named consumer in a list, as its coordinator and the leaders of its partitions reported
/// last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = ConsumerSummary)]
pub struct ConsumerSummary {
    /// Its name.
    #[schema(example = "billing")]
    pub name: String,
    /// The topic generations that it has read, by name and number.
    pub topics: Vec<ConsumerTopic>,
    /// How many partitions these have, without those of deleted topics that it has not read.
    pub partitions: u32,
    /// Records that it has not committed yet, over all partitions of those topics that are
    /// there; unknown while one of their leaders is away.
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
    /// What is committed is what its coordinator says right now. False: the coordinator could
    /// not be asked in time, and this is what it reported last.
    pub current: bool,
    /// By topic, generation and index: every partition of a topic of which it has read one.
    /// Of deleted topics those that it has read: these keep their offsets.
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
    /// Oldest kept offset; unknown while the leader is away.
    pub log_start: Option<u64>,
    /// First offset that is not committed to the log yet.
    pub end: Option<u64>,
    /// `log_start` and `end` are what the leader says right now. False: they are what it
    /// reported last; always so of a deleted topic.
    pub current: bool,
    /// Records between what is committed and the end. Where nothing is committed, all that the
    /// log has: as for a consumer that begins at the beginning. One that is told to begin
    /// elsewhere reads less.
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
    /// What was committed until then; none: nothing was. A repetition of the order without
    /// its `Idempotency-Key` finds what the first one set.
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
pub(super) fn partition(placed: Placed, ends: &AllEnds) -> ConsumerPartition {
    let Placed { topic, led, committed } = placed;
    let ends = ends.get(&led.key).copied();
    let next = committed.next_offset;
    ConsumerPartition {
        topic: topic.name,
        generation_id: topic.generation,
        generation_number: topic.number.get(),
        generation_state: topic.state,
        partition: led.key.partition.get(),
        committed: next.map(Offset::get),
        log_start: ends.map(|ends| ends.log_start.get()),
        end: ends.map(|ends| ends.end.get()),
        current: ends.is_some_and(|ends| ends.current),
        lag: ends.map(|ends| behind(next, ends)),
        leader_epoch: committed.leader_epoch.map(|epoch| epoch.get()),
        metadata: committed.metadata,
        committed_at_unix_ms: next.map(|_| committed.committed_at_unix_ms),
    }
}

/// Records that a reader has before it. Without a commit it begins at the log start, if it is
/// not told otherwise.
pub(super) fn behind(committed: Option<Offset>, ends: Ends) -> u64 {
    // What the leader reported may be older than what is committed.
    ends.end.get().saturating_sub(committed.unwrap_or(ends.log_start).get())
}

/// Shows a consumer whole.
pub(super) fn consumer(
    name: String,
    current: bool,
    partitions: Vec<ConsumerPartition>,
) -> ConsumerView {
    ConsumerView {
        name,
        lag: lag(&partitions),
        committed_at_unix_ms: last_commit(&partitions),
        current,
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
        .filter(|p| p.generation_state == TopicState::Active)
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
        let ends = |end| Ends { log_start: Offset(2), end: Offset(end), current: true };
        ConsumerPartition {
            topic: "t".to_owned(),
            generation_id: TopicGenerationId(Uuid::nil()),
            generation_number: 1,
            generation_state: state,
            partition: 0,
            committed,
            log_start: Some(2),
            end,
            current: true,
            lag: end.map(|end| behind(committed.map(Offset), ends(end))),
            leader_epoch: None,
            metadata: String::new(),
            committed_at_unix_ms: committed.map(|at| at as i64),
        }
    }

    #[test]
    fn lag_is_a_sum_over_what_is_there_and_counts_what_was_never_committed_whole() {
        use TopicState::{Active, Tombstone};
        let known = [shown(Active, Some(2), Some(10)), shown(Active, Some(9), Some(9))];
        assert_eq!(lag(&known), Some(8));
        let with = |more| lag(&[known.to_vec(), vec![more]].concat());
        // Of a deleted topic nothing is known.
        assert_eq!(with(shown(Tombstone, Some(1), None)), Some(8));
        assert_eq!(with(shown(Active, None, Some(5))), Some(8 + 3), "from the log start");
        assert_eq!(with(shown(Active, Some(7), Some(5))), Some(8), "the report is older");
        assert_eq!(with(shown(Active, Some(1), None)), None);
        assert_eq!(with(shown(Active, None, None)), None);
        assert_eq!(lag(&[shown(Active, None, Some(5))]), Some(3));
        assert_eq!(lag(&[shown(Tombstone, Some(1), Some(5))]), None);
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
