//! Where a small write runs.
//!
//! A write without a sync ends in the page cache. Handing it to the blocking pool costs two
//! thread switches: in an experiment with 128 KiB batches on two cores, writing on the calling
//! worker gave between 4 % (few writers, each waiting for its sync) and 65 % (no syncs) more
//! throughput, and no worse a tail beside fdatasync. But when the kernel holds
//! writers back because too many pages are dirty, a write can sleep for a long time, and a
//! sleeping worker serves nobody. So: small writes run on the worker until one was slow,
//! then on the pool for a while.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

/// Larger writes always go to the pool: copying them takes longer than the switch.
const INLINE_BYTES_MAX: usize = 1 << 20;
/// A write that took longer was held back.
const SLOW: Duration = Duration::from_millis(5);
/// How many writes go to the pool after a slow one.
const AWAY_WRITES: u32 = 256;

/// One data folder's memory of how its writes went.
#[derive(Debug, Default)]
pub(super) struct Pace {
    away: AtomicU32,
}

impl Pace {
    /// Whether a write of so many bytes runs on the calling worker.
    pub(super) fn inline(&self, bytes: usize) -> bool {
        bytes <= INLINE_BYTES_MAX
            && self
                .away
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |away| away.checked_sub(1))
                .is_err()
    }

    /// Learns how long a write took on a worker.
    pub(super) fn took(&self, elapsed: Duration) {
        if elapsed > SLOW {
            self.away.store(AWAY_WRITES, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_write_sends_the_next_ones_away() {
        let pace = Pace::default();
        assert!(pace.inline(INLINE_BYTES_MAX));
        assert!(!pace.inline(INLINE_BYTES_MAX + 1));
        pace.took(SLOW);
        assert!(pace.inline(1));
        pace.took(SLOW * 2);
        for _ in 0..AWAY_WRITES {
            assert!(!pace.inline(1));
        }
        assert!(pace.inline(1));
    }
}
