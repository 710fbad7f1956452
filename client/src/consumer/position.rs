//! How far reading a partition has come, and whether what arrives follows on. Pure.

use weir_protocol::{
    batch::BatchHeader,
    ids::{Offset, PartitionIndex},
};
use weir_runtime::plant;

use super::{ConsumeError, ResetPolicy, Resolution, start::Opening};

/// How far reading a partition has come.
#[derive(Clone, Debug)]
pub(super) struct Position {
    partition: PartitionIndex,
    opening: Opening,
    /// The next offset to be read; none before the SPU resolved the start.
    next: Option<Offset>,
    /// Whether reading ends where the log ended at its beginning.
    until_end: bool,
    /// Where reading ends; none: never, or not known yet.
    stop_at: Option<Offset>,
    /// Nothing has come since the last subscription: the next batch may begin early.
    first: bool,
}

/// What to do with a batch that follows on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// The first offset of it that is wanted.
    pub from: Offset,
    /// The first offset that is not wanted any more.
    pub below: Offset,
}

impl Position {
    pub(super) fn new(partition: PartitionIndex, opening: Opening, until_end: bool) -> Self {
        Self { partition, opening, next: None, until_end, stop_at: None, first: true }
    }

    /// What to ask an SPU for. A reset is for the beginning only.
    pub(super) fn opening(&self) -> Opening {
        self.next.map_or(self.opening, Opening::at)
    }

    /// This is committed for the consumer: it begins there, if it has not begun.
    pub(super) fn committed(&mut self, offset: Option<Offset>) {
        self.opening.committed = offset;
    }

    /// Whether an SPU has said where it begins.
    pub(super) fn begun(&self) -> bool {
        self.next.is_some()
    }

    /// Whether the leader has to say yet where reading ends.
    pub(super) fn wants_end(&self) -> bool {
        self.until_end && self.stop_at.is_none()
    }

    /// Goes on elsewhere.
    pub(super) fn skip_to(&mut self, offset: Offset) {
        self.next = Some(offset);
        self.first = true;
    }

    /// The SPU began to serve. An answer that is not what was asked for is a gap.
    pub(super) fn started(
        &mut self,
        offset: Offset,
        resolution: Resolution,
        high_watermark: Offset,
    ) -> Result<(), ConsumeError> {
        let asked = self.opening();
        // The planted bug sits at both ends: else this check would catch it.
        let moved = resolution == Resolution::Reset
            && (asked.reset != ResetPolicy::Error || plant::active("start_clamped"));
        if let Some(expected) = asked.offset().filter(|expected| *expected != offset && !moved) {
            return Err(self.gap(expected, offset));
        }
        self.next = Some(offset);
        self.first = true;
        if self.wants_end() {
            self.stop_at = Some(high_watermark);
        }
        Ok(())
    }

    /// Whether there is nothing more to read.
    pub(super) fn done(&self) -> bool {
        matches!((self.next, self.stop_at), (Some(next), Some(stop_at)) if next >= stop_at)
    }

    /// Takes in a verified batch. `None`: nothing of it is wanted.
    pub(super) fn accept(&mut self, header: &BatchHeader) -> Result<Option<Span>, ConsumeError> {
        // Records before the start was resolved: as good a place as any, where none was named.
        let next = self.opening().offset().unwrap_or(header.base_offset);
        let early_allowed = self.first && header.next_offset() > next;
        if header.base_offset > next || (header.base_offset < next && !early_allowed) {
            return Err(self.gap(next, header.base_offset));
        }
        self.first = false;
        self.next = Some(header.next_offset());
        let below = self.stop_at.map_or(header.next_offset(), |at| at.min(header.next_offset()));
        Ok((next < below).then_some(Span { from: next, below }))
    }

    fn gap(&self, expected: Offset, found: Offset) -> ConsumeError {
        ConsumeError::Gap { partition: self.partition, expected, found }
    }

    /// The offset that errors name: the next one, or what was asked for.
    pub(super) fn offset(&self) -> Offset {
        self.opening().offset().unwrap_or(Offset::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use weir_protocol::{
        batch::{BatchBuilder, BatchConfig, NewRecord, assign, verify},
        ids::LeaderEpoch,
    };

    use super::*;
    use crate::Start;

    fn batch(base: u64, records: u64) -> BatchHeader {
        let mut builder = BatchBuilder::new(BatchConfig::default());
        for _ in 0..records {
            builder.push(NewRecord::default()).unwrap();
        }
        let bytes = builder.finish(None).unwrap();
        let [head, rest] = assign(&bytes, Offset(base), LeaderEpoch(1));
        verify(&[head, rest].concat()).unwrap()
    }

    fn opening(committed: Option<u64>, start: Start, reset: ResetPolicy) -> Position {
        let opening = Opening { committed: committed.map(Offset), start, reset };
        Position::new(PartitionIndex(3), opening, false)
    }

    fn started(at: u64, stop_at: Option<u64>) -> Position {
        let mut position = opening(None, Start::Beginning, ResetPolicy::Error);
        position.until_end = stop_at.is_some();
        assert_eq!(position.wants_end(), stop_at.is_some());
        let high_watermark = Offset(stop_at.unwrap_or(0));
        position.started(Offset(at), Resolution::AsAsked, high_watermark).unwrap();
        assert!(!position.wants_end());
        position
    }

    fn span(from: u64, below: u64) -> Option<Span> {
        Some(Span { from: Offset(from), below: Offset(below) })
    }

    #[test]
    fn the_first_batch_may_begin_early_and_no_other() {
        let mut position = started(5, None);
        assert_eq!(position.accept(&batch(2, 6)), Ok(span(5, 8)));
        assert_eq!(position.accept(&batch(8, 1)), Ok(span(8, 9)));
        let error = position.accept(&batch(8, 2)).unwrap_err();
        assert_eq!(error.code(), "GAP");
        assert_eq!(position.opening(), Opening::at(Offset(9)));
    }

    #[test]
    fn a_missing_batch_is_a_gap_at_any_time() {
        let gap = |expected, found| ConsumeError::Gap {
            partition: PartitionIndex(3),
            expected: Offset(expected),
            found: Offset(found),
        };
        assert_eq!(started(5, None).accept(&batch(6, 1)), Err(gap(5, 6)));
        let mut position = started(5, None);
        assert!(position.accept(&batch(5, 2)).is_ok());
        assert_eq!(position.accept(&batch(8, 2)), Err(gap(7, 8)));
        assert_eq!(position.accept(&batch(7, 2)), Ok(span(7, 9)), "the error moved nothing");
    }

    #[test]
    fn a_first_batch_that_ends_before_the_start_is_no_answer() {
        assert_eq!(started(5, None).accept(&batch(2, 3)).unwrap_err().code(), "GAP");
    }

    #[test]
    fn stops_at_the_end_that_was_seen_at_the_start() {
        let mut position = started(5, Some(7));
        assert!(!position.done());
        assert_eq!(position.accept(&batch(5, 4)), Ok(span(5, 7)));
        assert!(position.done());
        assert!(started(7, Some(7)).done());
        assert!(!started(7, None).done());
    }

    #[test]
    fn an_spu_that_begins_elsewhere_is_caught() {
        let mut position = started(5, None);
        let mut says = |at, how| position.started(Offset(at), how, Offset(9));
        assert_eq!(says(6, Resolution::AsAsked).unwrap_err().code(), "GAP");
        assert_eq!(says(9, Resolution::Reset).unwrap_err().code(), "GAP", "it had begun");
        assert!(says(5, Resolution::AsAsked).is_ok());
    }

    #[test]
    fn a_committed_offset_is_begun_at_unless_the_policy_moves_it() {
        let cases = [
            (ResetPolicy::Nearest, 7, Resolution::Committed, true),
            (ResetPolicy::Nearest, 9, Resolution::Committed, false),
            (ResetPolicy::Nearest, 9, Resolution::Reset, true),
            (ResetPolicy::Error, 9, Resolution::Reset, false),
        ];
        for (reset, at, how, taken) in cases {
            let mut position = opening(Some(7), Start::Beginning, reset);
            assert_eq!(position.offset(), Offset(7));
            let answer = position.started(Offset(at), how, Offset(9));
            assert_eq!(answer.is_ok(), taken, "{reset:?} {at} {how:?}");
        }
    }
}
