//! What each idempotent producer wrote last: the check that makes a retry harmless.
//!
//! The state is a function of the log alone, so that every replica and every recovery comes
//! to the same: "last use" is the offset of a producer's last batch, not a time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use weir_protocol::ids::{Offset, ProducerEpoch, ProducerId};

use super::event::{Refusal, Stamp};

/// Batches remembered per producer. A client may have at most so many under way per
/// partition, or a retry of the oldest could not be told from a gap. (Kafka remembers 5, which
/// is too few to hide an fsync behind.)
pub const BATCHES_REMEMBERED: usize = 16;

/// So many are kept: whatever of a producer's batches under way a follower has to cut off again,
/// those before them are still known.
const BATCHES_KEPT: usize = 2 * BATCHES_REMEMBERED;

/// The sequence after `sequence`; after `i32::MAX` comes 0.
#[must_use]
pub const fn next_sequence(sequence: u32) -> u32 {
    if sequence >= i32::MAX as u32 { 0 } else { sequence + 1 }
}

/// One appended batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Appended {
    first_sequence: u32,
    last_sequence: u32,
    base_offset: Offset,
    last_offset: Offset,
}

/// One producer's last batches, oldest first, never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Producer {
    epoch: ProducerEpoch,
    batches: VecDeque<Appended>,
    last_use: Offset,
}

/// What a batch is to its producer's sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// The next one.
    Fresh,
    /// One of the last, appended before at these offsets.
    Duplicate {
        /// Offset of its first record.
        base_offset: Offset,
        /// Offset of its last record.
        last_offset: Offset,
    },
}

/// One of the last batches of a producer, for a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastBatch {
    /// Whose, and where in its sequence.
    pub stamp: Stamp,
    /// Offset of its first record.
    pub base_offset: Offset,
    /// Offset of its last record.
    pub last_offset: Offset,
}

/// The producers of one partition. Bounded: the one that wrote longest ago is forgotten
/// first, and must then begin anew with sequence 0.
#[derive(Clone, Debug)]
pub struct ProducerState {
    producers: BTreeMap<ProducerId, Producer>,
    by_last_use: BTreeSet<(Offset, ProducerId)>,
    producers_max: usize,
    /// What to put back if the appends since the last commit turn out not to have happened.
    undo: Vec<(ProducerId, Option<Producer>)>,
}

impl PartialEq for ProducerState {
    fn eq(&self, other: &Self) -> bool {
        (&self.producers, &self.by_last_use) == (&other.producers, &other.by_last_use)
    }
}

impl ProducerState {
    /// Nobody has written yet. At most `producers_max` (at least 1) are remembered.
    #[must_use]
    pub fn new(producers_max: usize) -> Self {
        Self {
            producers: BTreeMap::new(),
            by_last_use: BTreeSet::new(),
            producers_max: producers_max.max(1),
            undo: Vec::new(),
        }
    }

    /// How many producers are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.producers.len()
    }

    /// Whether no producer is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.producers.is_empty()
    }

    /// What each producer wrote last, in the order of the log, but for what
    /// [`ProducerState::commit`] has not been told of yet.
    #[must_use]
    pub fn last_batches(&self) -> Vec<LastBatch> {
        debug_assert!(self.undo.is_empty(), "between two groups of appends");
        let of = |(id, producer): (&ProducerId, &Producer)| {
            let (id, epoch) = (*id, producer.epoch);
            let batch = move |batch: &Appended| LastBatch {
                stamp: Stamp {
                    id,
                    epoch,
                    first_sequence: batch.first_sequence,
                    last_sequence: batch.last_sequence,
                },
                base_offset: batch.base_offset,
                last_offset: batch.last_offset,
            };
            producer.batches.iter().map(batch).collect::<Vec<_>>()
        };
        let mut all: Vec<LastBatch> = self.producers.iter().flat_map(of).collect();
        all.sort_unstable_by_key(|batch| batch.base_offset);
        all
    }

    /// What a batch with this stamp is. Changes nothing.
    ///
    /// # Errors
    /// [`Refusal::ProducerFenced`] or [`Refusal::OutOfOrderSequence`].
    pub fn check(&self, stamp: Stamp) -> Result<Check, Refusal> {
        let got = stamp.first_sequence;
        let begins = |expected| {
            if got == expected {
                Ok(Check::Fresh)
            } else {
                Err(Refusal::OutOfOrderSequence { expected, got })
            }
        };
        let Some(producer) = self.producers.get(&stamp.id) else { return begins(0) };
        if stamp.epoch < producer.epoch {
            return Err(Refusal::ProducerFenced { current: producer.epoch });
        }
        if stamp.epoch > producer.epoch {
            return begins(0);
        }
        let same = |batch: &&Appended| {
            (batch.first_sequence, batch.last_sequence) == (got, stamp.last_sequence)
        };
        if let Some(batch) = producer.batches.iter().find(same) {
            let Appended { base_offset, last_offset, .. } = *batch;
            return Ok(Check::Duplicate { base_offset, last_offset });
        }
        begins(producer.batches.back().map_or(0, |batch| next_sequence(batch.last_sequence)))
    }

    /// Notes that a batch was (or, until [`ProducerState::commit`], is being) appended.
    pub fn append(&mut self, stamp: Stamp, base_offset: Offset, last_offset: Offset) {
        let appended = Appended {
            first_sequence: stamp.first_sequence,
            last_sequence: stamp.last_sequence,
            base_offset,
            last_offset,
        };
        let before = self.producers.get(&stamp.id).cloned();
        let mut batches = match &before {
            Some(producer) if producer.epoch == stamp.epoch => producer.batches.clone(),
            _ => VecDeque::new(),
        };
        while batches.len() >= BATCHES_KEPT {
            batches.pop_front();
        }
        batches.push_back(appended);
        self.undo.push((stamp.id, before));
        self.put(stamp.id, Some(Producer { epoch: stamp.epoch, batches, last_use: base_offset }));
        self.evict();
    }

    /// What was appended so far is in the log.
    pub fn commit(&mut self) {
        self.undo.clear();
    }

    /// What was appended since the last commit is not in the log after all.
    pub fn roll_back(&mut self) {
        while let Some((id, before)) = self.undo.pop() {
            self.put(id, before);
        }
    }

    /// What was at or beyond `end` is not in the log any more.
    pub fn truncate_to(&mut self, end: Offset) {
        debug_assert!(self.undo.is_empty(), "between two groups of appends");
        let cut: Vec<ProducerId> =
            self.by_last_use.range((end, ProducerId(0))..).map(|(_, id)| *id).collect();
        for id in cut {
            let Some(mut producer) = self.producers.get(&id).cloned() else { continue };
            producer.batches.retain(|batch| batch.base_offset < end);
            let last_use = producer.batches.back().map(|batch| batch.base_offset);
            self.put(id, last_use.map(|last_use| Producer { last_use, ..producer }));
        }
    }

    fn evict(&mut self) {
        while self.producers.len() > self.producers_max {
            let Some((_, oldest)) = self.by_last_use.first().copied() else { return };
            self.undo.push((oldest, self.producers.get(&oldest).cloned()));
            self.put(oldest, None);
        }
    }

    fn put(&mut self, id: ProducerId, producer: Option<Producer>) {
        let last_use = producer.as_ref().map(|producer| producer.last_use);
        let before = match producer {
            Some(producer) => self.producers.insert(id, producer),
            None => self.producers.remove(&id),
        };
        if let Some(before) = before {
            self.by_last_use.remove(&(before.last_use, id));
        }
        if let Some(last_use) = last_use {
            self.by_last_use.insert((last_use, id));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LAST: u32 = i32::MAX as u32;

    fn stamp(id: u64, epoch: u16, first: u32, records: u32) -> Stamp {
        let last = (u64::from(first) + u64::from(records) - 1) % (u64::from(LAST) + 1);
        Stamp {
            id: ProducerId(id),
            epoch: ProducerEpoch(epoch),
            first_sequence: first,
            last_sequence: last as u32,
        }
    }

    fn write(state: &mut ProducerState, stamp: Stamp, base: u64, records: u64) {
        assert_eq!(state.check(stamp), Ok(Check::Fresh));
        state.append(stamp, Offset(base), Offset(base + records - 1));
        state.commit();
    }

    #[test]
    fn a_producer_begins_at_zero_and_goes_on_without_gaps() {
        let mut state = ProducerState::new(9);
        let gap = |expected, got| Err(Refusal::OutOfOrderSequence { expected, got });
        assert_eq!(state.check(stamp(1, 0, 3, 1)), gap(0, 3));
        write(&mut state, stamp(1, 0, 0, 4), 10, 4);
        assert_eq!(state.check(stamp(1, 0, 5, 1)), gap(4, 5));
        assert_eq!(state.check(stamp(1, 0, 4, 1)), Ok(Check::Fresh));
    }

    #[test]
    fn the_last_batches_are_known_again() {
        let mut state = ProducerState::new(9);
        let remembered = BATCHES_KEPT as u64;
        for n in 0..=remembered as u32 {
            write(&mut state, stamp(1, 0, n * 2, 2), u64::from(n) * 2, 2);
        }
        let next = 2 * (remembered as u32 + 1);
        for n in 1..=remembered {
            let (base_offset, last_offset) = (Offset(n * 2), Offset(n * 2 + 1));
            let duplicate = Check::Duplicate { base_offset, last_offset };
            assert_eq!(state.check(stamp(1, 0, n as u32 * 2, 2)), Ok(duplicate));
        }
        let gap = |got| Err(Refusal::OutOfOrderSequence { expected: next, got });
        assert_eq!(state.check(stamp(1, 0, 0, 2)), gap(0), "the one before is not");
        let last = next - 2;
        assert_eq!(state.check(stamp(1, 0, last, 1)), gap(last), "another length, another batch");
    }

    #[test]
    fn a_snapshot_makes_the_same_state_again() {
        let mut state = ProducerState::new(9);
        for n in 0..40_u64 {
            let count = state
                .producers
                .get(&ProducerId(n % 3))
                .map_or(0, |p| next_sequence(p.batches.back().unwrap().last_sequence));
            write(&mut state, stamp(n % 3, 1, count, 2), n * 2, 2);
        }
        let mut again = ProducerState::new(9);
        for LastBatch { stamp, base_offset, last_offset } in state.last_batches() {
            again.append(stamp, base_offset, last_offset);
            again.commit();
        }
        assert_eq!(again, state);
    }

    #[test]
    fn what_is_cut_off_is_forgotten_and_what_was_before_is_known_again() {
        let mut state = ProducerState::new(9);
        for n in 0..20_u32 {
            write(&mut state, stamp(1, 0, n * 2, 2), u64::from(n) * 2, 2);
        }
        let before = state.clone();
        write(&mut state, stamp(1, 0, 40, 2), 40, 2);
        write(&mut state, stamp(2, 0, 0, 1), 42, 1);
        state.truncate_to(Offset(40));
        assert_eq!(state, before);
        state.truncate_to(Offset(0));
        assert_eq!(state, ProducerState::new(9));
    }

    #[test]
    fn sequences_wrap_after_the_largest_i32() {
        let mut state = ProducerState::new(9);
        write(&mut state, stamp(1, 0, 0, LAST), 0, u64::from(LAST));
        write(&mut state, stamp(1, 0, LAST, 3), u64::from(LAST), 3);
        assert_eq!(state.check(stamp(1, 0, 2, 1)), Ok(Check::Fresh));
        assert!(matches!(state.check(stamp(1, 0, LAST, 3)), Ok(Check::Duplicate { .. })));
        assert_eq!((next_sequence(LAST), next_sequence(u32::MAX)), (0, 0));
    }

    #[test]
    fn a_newer_instance_fences_the_older() {
        let mut state = ProducerState::new(9);
        write(&mut state, stamp(1, 3, 0, 1), 0, 1);
        let refused = Err(Refusal::ProducerFenced { current: ProducerEpoch(3) });
        assert_eq!(state.check(stamp(1, 2, 0, 1)), refused);
        assert!(state.check(stamp(1, 4, 1, 1)).is_err(), "it begins at 0");
        write(&mut state, stamp(1, 4, 0, 1), 1, 1);
        let refused = Err(Refusal::ProducerFenced { current: ProducerEpoch(4) });
        assert_eq!(state.check(stamp(1, 3, 1, 1)), refused);
    }

    #[test]
    fn who_wrote_longest_ago_is_forgotten_first() {
        let mut state = ProducerState::new(2);
        write(&mut state, stamp(7, 0, 0, 1), 0, 1);
        write(&mut state, stamp(3, 0, 0, 1), 1, 1);
        write(&mut state, stamp(7, 0, 1, 1), 2, 1);
        write(&mut state, stamp(5, 0, 0, 1), 3, 1);
        assert_eq!(state.len(), 2);
        assert!(state.check(stamp(3, 0, 1, 1)).is_err(), "3 must begin anew");
        assert_eq!(state.check(stamp(7, 0, 2, 1)), Ok(Check::Fresh));
    }

    proptest! {
        #[test]
        fn bounded_and_rolled_back_without_a_trace(
            writes in proptest::collection::vec((0..6_u64, 0..3_u16, 1..4_u64), 0..60), keep in 0..60_usize,
        ) {
            let mut state = ProducerState::new(3);
            let mut kept = state.clone();
            let mut end = 0;
            for (n, (id, epoch, records)) in writes.into_iter().enumerate() {
                let stamp = stamp(id, epoch, end as u32, records as u32);
                state.append(stamp, Offset(end), Offset(end + records - 1));
                end += records;
                prop_assert!(state.len() <= 3);
                prop_assert_eq!(state.len(), state.by_last_use.len());
                if n < keep {
                    state.commit();
                    kept = state.clone();
                }
            }
            state.roll_back();
            prop_assert_eq!(state, kept);
        }
    }
}
