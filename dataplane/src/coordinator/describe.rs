//! What is known of a consumer, a part of it at a time. Pure.

use std::ops::Bound::{Excluded, Unbounded};

use weir_protocol::ids::PartitionKey;

use super::{
    record::{Committed, FIXED_BYTES, Key},
    staged::Staged,
};

/// Partitions of one part, as the protocol has it.
const PART_MAX: usize = 1_000;
/// And their bytes, about: far below what a gRPC message may have.
const PART_BYTES_MAX: usize = 1 << 20;

/// One part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// By partition; without an offset where it was only claimed.
    pub held: Vec<(PartitionKey, Option<Committed>)>,
    /// There are more behind the last.
    pub more: bool,
}

/// The partitions of a consumer behind `after`, at most `limit` of them; 0: as many as fit.
#[must_use]
pub fn describe(
    staged: &Staged<'_>,
    consumer: &str,
    after: Option<PartitionKey>,
    limit: usize,
) -> Part {
    let most = if limit == 0 { PART_MAX } else { limit.min(PART_MAX) };
    let partitions = staged.of_consumer(consumer);
    let mut rest = partitions.range((after.map_or(Unbounded, Excluded), Unbounded));
    let (mut part, mut bytes) = (Part::default(), 0);
    for partition in rest.by_ref() {
        let key = Key { consumer: consumer.into(), partition: *partition };
        let committed = staged.get(&key).and_then(|value| value.committed.clone());
        bytes += FIXED_BYTES + committed.as_ref().map_or(0, |it| it.metadata.len());
        // At least one: else nobody ever got behind it.
        let fits = part.held.len() < most && bytes <= PART_BYTES_MAX;
        if !part.held.is_empty() && !fits {
            part.more = true;
            break;
        }
        part.held.push((*partition, committed));
    }
    part
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;
    use weir_protocol::ids::{Offset, PartitionIndex, TopicGenerationId};

    use super::*;
    use crate::coordinator::{
        fold::Fold,
        record::{Record, SessionId, Value},
    };

    fn key(index: u32) -> PartitionKey {
        let generation = TopicGenerationId(Uuid::from_u128(1));
        PartitionKey { generation, partition: PartitionIndex(index) }
    }

    fn fold(consumer: &str, count: u32, metadata: &str) -> Fold {
        let mut fold = Fold::default();
        for index in 0..count {
            let key = Key { consumer: consumer.into(), partition: key(index) };
            let committed = (index % 2 == 0).then(|| Committed {
                next_offset: Offset(u64::from(index)),
                leader_epoch: None,
                metadata: metadata.into(),
                at_unix_ms: 1,
            });
            let value = Value { session: SessionId([1; 16]), sequence: 1, committed };
            fold.apply(fold.end(), Record { key, value: Some(value) });
        }
        fold
    }

    /// The sizes of the parts until the end; each partition came once and in order.
    fn walk(fold: &Fold, limit: usize) -> Vec<usize> {
        let staged = Staged::on(fold);
        let (mut sizes, mut seen, mut after) = (Vec::new(), Vec::new(), None);
        loop {
            let part = describe(&staged, "c", after, limit);
            sizes.push(part.held.len());
            after = part.held.last().map(|(partition, _)| *partition);
            seen.extend(part.held.into_iter().map(|(partition, committed)| {
                let index = partition.partition.get();
                let next = committed.map(|committed| committed.next_offset.get());
                assert_eq!(next, (index % 2 == 0).then_some(u64::from(index)));
                index
            }));
            if !part.more {
                assert_eq!(seen, (0..u32::try_from(fold.keys()).unwrap()).collect::<Vec<_>>());
                return sizes;
            }
        }
    }

    #[test]
    fn parts_are_bounded_by_count_and_by_bytes_and_miss_nothing() {
        assert_eq!(walk(&fold("c", 0, ""), 0), [0]);
        assert_eq!(walk(&fold("c", 5, ""), 2), [2, 2, 1]);
        assert_eq!(walk(&fold("c", 4, ""), 2), [2, 2]);
        assert_eq!(walk(&fold("c", 2_500, ""), 0), [1_000, 1_000, 500]);
        assert_eq!(walk(&fold("c", 1_001, ""), 9_999), [1_000, 1]);
        let sizes = walk(&fold("c", 1_000, &"x".repeat(4_096)), 0);
        assert!(sizes.len() > 2 && sizes.iter().all(|size| size * 2_048 < 2 << 20), "{sizes:?}");
        let huge = "x".repeat(2 << 20);
        assert_eq!(walk(&fold("c", 3, &huge), 0), [1, 1, 1], "one that is too large comes alone");
    }

    #[test]
    fn another_consumer_shows_nothing_and_a_group_shows_what_it_changes() {
        let fold = fold("c", 2, "");
        let mut staged = Staged::on(&fold);
        assert_eq!(describe(&staged, "d", None, 0), Part::default());
        let key = Key { consumer: "c".into(), partition: key(0) };
        staged.put(Record { key, value: None });
        assert_eq!(describe(&staged, "c", None, 0).held, [(self::key(1), None)]);
    }
}
