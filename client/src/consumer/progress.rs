//! What the application has finished with, and what of that is committed. Pure.

use std::collections::BTreeMap;

use weir_protocol::ids::{LeaderEpoch, Offset, PartitionKey, TopicGenerationId};
use weir_runtime::plant;

use super::Resolution;

/// A place behind which nothing is left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// The next offset to read.
    pub next: Offset,
    /// Of the batch of the last record before it, where one was read.
    pub leader_epoch: Option<LeaderEpoch>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Part {
    /// All before this the application has finished with.
    processed: Option<Mark>,
    /// To be committed: what was processed when a commit was asked for.
    asked: Option<Mark>,
    /// `asked` was named by the application: it is committed even if it lies before `committed`.
    named: bool,
    committed: Option<Offset>,
}

impl Part {
    fn due(&self) -> Option<Mark> {
        let ahead = |mark: &Mark| self.committed.is_none_or(|committed| committed < mark.next);
        self.asked.filter(|mark| self.named || ahead(mark))
    }
}

/// What a named consumer has finished with.
///
/// | Step of a partition's `next` | At |
/// |---|---|
/// | in hand | a record is yielded |
/// | processed | the next one is asked for (if configured so), or the application says so |
/// | asked | a commit is asked for, by the application or by the interval |
/// | committed | the coordinator answered |
///
/// Within a session only [`Progress::name`] turns a commit back, and a reset at the beginning.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// The partitions that the session has claimed.
    parts: BTreeMap<PartitionKey, Part>,
    /// The record that the application has.
    in_hand: Option<(PartitionKey, Mark)>,
}

impl Progress {
    /// The session has claimed a partition, for which this is committed.
    pub(super) fn claimed(&mut self, key: PartitionKey, committed: Option<Offset>) {
        self.parts.entry(key).or_insert(Part { committed, ..Part::default() });
    }

    /// Some of the partitions that the session has claimed, of one generation.
    pub(super) fn held(&self, generation: TopicGenerationId, most: usize) -> Vec<PartitionKey> {
        let of = |key: &&PartitionKey| key.generation == generation;
        self.parts.keys().filter(of).take(most).copied().collect()
    }

    /// Reading begins here. Where that was not committed it is to be, so that what comes
    /// before the first record is processed holds too: records that come behind a start at the
    /// end are not passed over by the next start.
    pub(super) fn begun(&mut self, key: PartitionKey, offset: Offset, resolution: Resolution) {
        let Some(part) = self.parts.get_mut(&key) else { return };
        if resolution == Resolution::Committed || part.processed.is_some() {
            return;
        }
        if resolution == Resolution::Reset {
            part.committed = None;
        }
        part.processed = Some(Mark { next: offset, leader_epoch: None });
    }

    /// The application gets a record.
    pub(super) fn yields(&mut self, key: PartitionKey, behind: Mark) {
        self.in_hand = Some((key, behind));
        if plant::active("commit_on_yield") {
            self.finished();
        }
    }

    /// The application asks for the next record, or says that it has finished with this one.
    pub(super) fn finished(&mut self) {
        if let Some((key, mark)) = self.in_hand.take() {
            self.through(key, mark);
        }
    }

    /// The application asks for the next record, and will say later that it has finished with
    /// this one.
    pub(super) fn handed_on(&mut self) {
        self.in_hand = None;
    }

    /// The application has finished with all before this.
    pub(super) fn through(&mut self, key: PartitionKey, mark: Mark) {
        let Some(part) = self.parts.get_mut(&key) else { return };
        if part.processed.is_none_or(|processed| processed.next < mark.next) {
            part.processed = Some(mark);
        }
    }

    /// Reading goes on at `to`. What was finished with behind that is read again, and is not
    /// to be committed before.
    pub(super) fn skipped(&mut self, key: PartitionKey, to: Offset) {
        self.in_hand = self.in_hand.filter(|(of, mark)| *of != key || mark.next <= to);
        let Some(part) = self.parts.get_mut(&key) else { return };
        part.processed = part.processed.filter(|mark| mark.next <= to);
        part.asked = part.asked.filter(|mark| mark.next <= to);
        part.named &= part.asked.is_some();
    }

    /// Asks for what is processed to be committed.
    pub(super) fn ask(&mut self) {
        for part in self.parts.values_mut() {
            let Some(processed) = part.processed else { continue };
            if part.asked.is_none_or(|asked| asked.next < processed.next) {
                part.asked = Some(processed);
            }
        }
    }

    /// Asks for these offsets to be committed, all or none. Where that is before what was
    /// processed, that counts as not processed.
    ///
    /// # Errors
    /// The partition that is not claimed.
    pub(super) fn name(&mut self, offsets: &[(PartitionKey, Offset)]) -> Result<(), PartitionKey> {
        if let Some((key, _)) = offsets.iter().find(|(key, _)| !self.parts.contains_key(key)) {
            return Err(*key);
        }
        for (key, offset) in offsets {
            if let Some(part) = self.parts.get_mut(key) {
                let mark = Some(Mark { next: *offset, leader_epoch: None });
                (part.processed, part.asked, part.named) = (mark, mark, true);
            }
        }
        Ok(())
    }

    /// What was asked for and is not committed.
    pub(super) fn due(&self) -> Vec<(PartitionKey, Mark)> {
        self.parts.iter().filter_map(|(key, part)| Some((*key, part.due()?))).collect()
    }

    /// The coordinator has committed these.
    pub(super) fn committed(&mut self, marks: &[(PartitionKey, Mark)]) {
        for (key, mark) in marks {
            let Some(part) = self.parts.get_mut(key) else { continue };
            part.committed = Some(mark.next);
            part.named &= part.asked != Some(*mark);
        }
    }

    /// The coordinator will never commit these.
    pub(super) fn refused(&mut self, marks: &[(PartitionKey, Mark)]) {
        for (key, mark) in marks {
            let Some(part) = self.parts.get_mut(key) else { continue };
            part.processed = part.processed.filter(|processed| processed != mark);
            part.asked = part.asked.filter(|asked| asked != mark);
            part.named &= part.asked.is_some();
        }
    }

    /// Nothing of this generation can be committed any more.
    pub(super) fn gone(&mut self, generation: TopicGenerationId) {
        self.parts.retain(|key, _| key.generation != generation);
    }

    /// The application has come to this generation: what it held of others is finished with
    /// and cannot be committed any more.
    pub(super) fn only(&mut self, generation: TopicGenerationId) {
        self.parts.retain(|key, _| key.generation == generation);
        self.in_hand = None;
    }
}

#[cfg(test)]
#[path = "progress_tests.rs"]
mod tests;
