//! Where readers left off: a sequential reader finds its place without index or scan.
//!
//! Pure. A handful of (offset → place) pairs per log, in a ring; a reader that goes on from
//! its hint takes over its slot, so that one fast reader does not push out the others.

use weir_protocol::ids::Offset;

const SLOTS: usize = 32;

/// A batch boundary: the batch at `offset` begins (or will) at `position`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hint {
    /// The boundary's offset.
    pub offset: Offset,
    /// The segment's base offset.
    pub segment: Offset,
    /// Where in the segment's file, in bytes.
    pub position: u64,
}

/// The ring.
#[derive(Debug, Default)]
pub struct Hints {
    slots: Vec<Hint>,
    next: usize,
}

impl Hints {
    /// The place of `offset`, if known.
    pub fn find(&self, offset: Offset) -> Option<Hint> {
        self.slots.iter().find(|hint| hint.offset == offset).copied()
    }

    /// Remembers a boundary, in the slot of `instead` if that is here.
    pub fn put(&mut self, hint: Hint, instead: Option<Offset>) {
        if self.find(hint.offset).is_some() {
            return;
        }
        let slot = instead.and_then(|old| self.slots.iter().position(|s| s.offset == old));
        if let Some(slot) = slot {
            self.slots[slot] = hint;
        } else if self.slots.len() < SLOTS {
            self.slots.push(hint);
        } else {
            self.slots[self.next] = hint;
            self.next = (self.next + 1) % SLOTS;
        }
    }

    /// Forgets everything: the log was cut.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(offset: u64) -> Hint {
        Hint { offset: Offset(offset), segment: Offset(0), position: offset * 10 }
    }

    #[test]
    fn a_reader_that_goes_on_keeps_one_slot() {
        let mut hints = Hints::default();
        hints.put(hint(5), None);
        for at in 100..1000 {
            hints.put(hint(at + 1), Some(Offset(at)));
        }
        assert_eq!(hints.find(Offset(1000)), Some(hint(1000)));
        assert_eq!(hints.find(Offset(999)), None);
        assert_eq!(hints.find(Offset(5)), Some(hint(5)), "the other reader's is still there");
    }

    #[test]
    fn bounded_and_forgetful() {
        let mut hints = Hints::default();
        for at in 0..1000 {
            hints.put(hint(at), None);
        }
        assert_eq!(hints.slots.len(), SLOTS);
        assert!(hints.find(Offset(999)).is_some() && hints.find(Offset(0)).is_none());
        hints.clear();
        assert_eq!(hints.find(Offset(999)), None);
    }
}
