//! Where in the log each leadership began (KIP-101, KIP-279): what truncation by epoch will
//! ask, and what keeps a process from leading in an epoch that is over.

use weir_protocol::ids::{LeaderEpoch, Offset};

/// The epochs of one log with the offset each begins at; both strictly ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaderEpochs {
    entries: Vec<(LeaderEpoch, Offset)>,
}

impl LeaderEpochs {
    /// The newest epoch.
    #[must_use]
    pub fn latest(&self) -> Option<LeaderEpoch> {
        self.entries.last().map(|(epoch, _)| *epoch)
    }

    /// Notes that `epoch` writes from `start` on. An epoch that wrote nothing before the
    /// next one began is forgotten. False, and nothing changes, when the epoch or the offset
    /// would go back.
    pub fn begin(&mut self, epoch: LeaderEpoch, start: Offset) -> bool {
        match self.entries.last() {
            Some((latest, _)) if *latest == epoch => true,
            Some((latest, begun)) if *latest > epoch || *begun > start => false,
            _ => {
                while self.entries.last().is_some_and(|(_, begun)| *begun == start) {
                    self.entries.pop();
                }
                self.entries.push((epoch, start));
                true
            }
        }
    }

    /// The newest epoch at or below `epoch`, and the offset where it ended (the next one's
    /// start, or `log_end`). `None` when all epochs are newer.
    #[must_use]
    pub fn end_of(&self, epoch: LeaderEpoch, log_end: Offset) -> Option<(LeaderEpoch, Offset)> {
        let after = self.entries.partition_point(|(known, _)| *known <= epoch);
        let (known, _) = self.entries.get(after.checked_sub(1)?)?;
        Some((*known, self.entries.get(after).map_or(log_end, |(_, start)| *start)))
    }

    /// The epoch that the record at `offset` has.
    #[must_use]
    pub fn at(&self, offset: Offset) -> Option<LeaderEpoch> {
        let after = self.entries.partition_point(|(_, start)| *start <= offset);
        after.checked_sub(1).map(|last| self.entries[last].0)
    }

    /// Forgets epochs that begin at or after `log_end`.
    pub fn truncate_to(&mut self, log_end: Offset) {
        self.entries.retain(|(_, start)| *start < log_end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(entries: &[(u32, u64)]) -> LeaderEpochs {
        let mut epochs = LeaderEpochs::default();
        for (epoch, start) in entries {
            assert!(epochs.begin(LeaderEpoch(*epoch), Offset(*start)));
        }
        epochs
    }

    #[test]
    fn an_epoch_ends_where_the_next_begins() {
        let epochs = epochs(&[(1, 0), (2, 10), (5, 30)]);
        let end = |epoch| epochs.end_of(LeaderEpoch(epoch), Offset(44));
        assert_eq!(end(0), None);
        assert_eq!(end(1), Some((LeaderEpoch(1), Offset(10))));
        assert_eq!(end(3), Some((LeaderEpoch(2), Offset(30))));
        assert_eq!(end(5), Some((LeaderEpoch(5), Offset(44))));
        assert_eq!(end(9), Some((LeaderEpoch(5), Offset(44))));
    }

    #[test]
    fn neither_epoch_nor_offset_goes_back() {
        let mut epochs = epochs(&[(2, 10)]);
        assert!(!epochs.begin(LeaderEpoch(1), Offset(20)));
        assert!(!epochs.begin(LeaderEpoch(3), Offset(9)));
        assert!(epochs.begin(LeaderEpoch(2), Offset(50)), "the same epoch goes on");
        assert_eq!(epochs.latest(), Some(LeaderEpoch(2)));
    }

    #[test]
    fn an_epoch_without_records_leaves_no_trace() {
        assert_eq!(epochs(&[(1, 0), (2, 10), (3, 10)]), epochs(&[(1, 0), (3, 10)]));
    }

    #[test]
    fn truncation_forgets_later_epochs() {
        let mut cut = epochs(&[(1, 0), (2, 10), (3, 20)]);
        cut.truncate_to(Offset(20));
        assert_eq!(cut, epochs(&[(1, 0), (2, 10)]));
    }
}
