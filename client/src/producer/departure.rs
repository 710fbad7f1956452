//! The moment at which an attempt is written to a stream. Before it a batch can be called off, and
//! then it certainly was not written; after it nobody but the SPU knows.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

const WAITS: u8 = 0;
const GONE: u8 = 1;
const CALLED_OFF: u8 = 2;

/// One attempt's. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Departure(Arc<AtomicU8>);

impl Departure {
    /// Asked right before it is written: whether it may be.
    pub(crate) fn depart(&self) -> bool {
        self.becomes(GONE)
    }

    /// Whether it was not written, and will not be.
    pub(crate) fn call_off(&self) -> bool {
        self.becomes(CALLED_OFF)
    }

    fn becomes(&self, end: u8) -> bool {
        let changed = self.0.compare_exchange(WAITS, end, Ordering::AcqRel, Ordering::Acquire);
        changed.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_departs_or_is_called_off_and_not_both() {
        let (gone, off) = (Departure::default(), Departure::default());
        assert!(gone.depart() && !gone.call_off());
        assert!(off.call_off() && !off.depart());
    }
}
