//! Which leader epoch wrote which offsets.
//!
//! Pure. The list is persisted in the checkpoint file *before* the first batch of a new
//! epoch is appended, so recovery can ask of every batch exactly which epoch it must have:
//! the field lies outside the batch's own checksum.
//!
//! A follower compares its list with its leader's to find where they part: see
//! [`Epochs::end_of`]. Motivation: KIP-101, KIP-279, KIP-320.

use weir_protocol::ids::{LeaderEpoch, Offset};

/// One epoch and the offset of its first record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochStart {
    /// The epoch.
    pub epoch: LeaderEpoch,
    /// Its first offset.
    pub start: Offset,
}

/// Where an epoch ends in this log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEnd {
    /// The largest known epoch that is not above the one asked for.
    pub epoch: LeaderEpoch,
    /// One past its last offset.
    pub end: Offset,
}

/// Epochs in the order of the log. Epochs rise; starts never fall. (Two may start at one
/// offset only when the first of them wrote nothing, and then the first is dropped.)
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Epochs {
    starts: Vec<EpochStart>,
}

impl Epochs {
    /// From a list; `None` unless epochs and starts both rise.
    #[must_use]
    pub fn from_starts(starts: Vec<EpochStart>) -> Option<Self> {
        let rises = starts.windows(2).all(|w| w[0].epoch < w[1].epoch && w[0].start < w[1].start);
        rises.then_some(Self { starts })
    }

    /// The list, oldest first.
    #[must_use]
    pub fn starts(&self) -> &[EpochStart] {
        &self.starts
    }

    /// The newest epoch.
    #[must_use]
    pub fn latest(&self) -> Option<LeaderEpoch> {
        self.starts.last().map(|last| last.epoch)
    }

    /// The epoch that the record at `offset` has, or would have as the next one appended.
    #[must_use]
    pub fn at(&self, offset: Offset) -> Option<LeaderEpoch> {
        let after = self.starts.partition_point(|s| s.start <= offset);
        after.checked_sub(1).map(|i| self.starts[i].epoch)
    }

    /// Notes that `epoch` begins at `start`, the log end. True if that changed anything;
    /// an epoch that is not newer than the latest changes nothing.
    pub fn begin(&mut self, epoch: LeaderEpoch, start: Offset) -> bool {
        if self.latest().is_some_and(|latest| epoch <= latest) {
            return false;
        }
        self.cut_end(start);
        self.starts.push(EpochStart { epoch, start });
        true
    }

    /// Where the largest epoch not above `epoch` ends: at the start of the next, or at
    /// `log_end` for the latest. `None` when every known epoch is above it.
    #[must_use]
    pub fn end_of(&self, epoch: LeaderEpoch, log_end: Offset) -> Option<EpochEnd> {
        let after = self.starts.partition_point(|s| s.epoch <= epoch);
        let found = self.starts.get(after.checked_sub(1)?)?;
        let end = self.starts.get(after).map_or(log_end, |next| next.start);
        Some(EpochEnd { epoch: found.epoch, end })
    }

    /// Forgets epochs that begin at or after `end`: the log was cut there.
    pub fn cut_end(&mut self, end: Offset) {
        self.starts.retain(|s| s.start < end);
    }

    /// Forgets epochs that end at or before `start`, and lets the one that `start` lies in
    /// begin there: the log now starts there.
    pub fn cut_start(&mut self, start: Offset) {
        let after = self.starts.partition_point(|s| s.start <= start);
        if let Some(first) = after.checked_sub(1) {
            self.starts.drain(..first);
            self.starts[0].start = start;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(list: &[(u32, u64)]) -> Epochs {
        let starts = list
            .iter()
            .map(|&(epoch, start)| EpochStart { epoch: LeaderEpoch(epoch), start: Offset(start) })
            .collect();
        Epochs::from_starts(starts).unwrap()
    }

    #[test]
    fn end_of_an_epoch_is_the_start_of_the_next_or_the_log_end() {
        let e = epochs(&[(1, 0), (3, 10), (7, 30)]);
        let end = |epoch| e.end_of(LeaderEpoch(epoch), Offset(40)).map(|x| (x.epoch.0, x.end.0));
        assert_eq!(end(0), None);
        assert_eq!(end(1), Some((1, 10)));
        assert_eq!(end(2), Some((1, 10)), "an epoch that wrote nothing here: the one below");
        assert_eq!(end(3), Some((3, 30)));
        assert_eq!(end(7), Some((7, 40)));
        assert_eq!(end(9), Some((7, 40)));
        assert_eq!(Epochs::default().end_of(LeaderEpoch(1), Offset(0)), None);
    }

    #[test]
    fn each_offset_has_one_epoch() {
        let e = epochs(&[(1, 5), (3, 10)]);
        assert_eq!(e.at(Offset(4)), None);
        assert_eq!(e.at(Offset(5)), Some(LeaderEpoch(1)));
        assert_eq!(e.at(Offset(9)), Some(LeaderEpoch(1)));
        assert_eq!(e.at(Offset(10)), Some(LeaderEpoch(3)));
        assert_eq!(e.at(Offset(1000)), Some(LeaderEpoch(3)));
    }

    #[test]
    fn an_epoch_that_wrote_nothing_makes_way() {
        let mut e = epochs(&[(1, 0)]);
        assert!(e.begin(LeaderEpoch(2), Offset(10)));
        assert!(e.begin(LeaderEpoch(4), Offset(10)));
        assert!(!e.begin(LeaderEpoch(4), Offset(11)), "not newer");
        assert!(!e.begin(LeaderEpoch(3), Offset(11)), "older");
        assert_eq!(e, epochs(&[(1, 0), (4, 10)]));
    }

    #[test]
    fn cutting_either_end() {
        let mut e = epochs(&[(1, 0), (3, 10), (7, 30)]);
        e.cut_end(Offset(30));
        assert_eq!(e, epochs(&[(1, 0), (3, 10)]));
        e.cut_start(Offset(12));
        assert_eq!(e, epochs(&[(3, 12)]));
        e.cut_start(Offset(5));
        assert_eq!(e, epochs(&[(3, 12)]), "never moves back");
        e.cut_end(Offset(0));
        assert_eq!(e, Epochs::default());
        e.cut_start(Offset(9));
        assert_eq!(e, Epochs::default());
    }

    #[test]
    fn a_list_that_does_not_rise_is_refused() {
        let s = |epoch, start| EpochStart { epoch: LeaderEpoch(epoch), start: Offset(start) };
        assert!(Epochs::from_starts(vec![s(1, 0), s(1, 5)]).is_none());
        assert!(Epochs::from_starts(vec![s(2, 0), s(1, 5)]).is_none());
        assert!(Epochs::from_starts(vec![s(1, 5), s(2, 5)]).is_none());
        assert!(Epochs::from_starts(vec![]).is_some());
    }
}
