//! What time it is, as far as it may decide that records are too old.
//!
//! A wall clock that jumps ahead by a year would have retention remove everything, for good. So
//! age counts only while this machine's clock and the control plane's agree. Between two
//! heartbeats, and while the control plane is away, its clock goes on by our monotone one.

use std::sync::{Mutex, PoisonError};

use weir_runtime::{
    clock::{Clock, Monotonic},
    plant,
};

/// Clocks that differ by more disagree. Far more than heartbeats take, and than clocks that are
/// kept in time differ; far less than any age that records are kept for is wrong by.
pub const TOLERANCE_MS: u64 = 60_000;

/// The two clocks.
#[derive(Debug, Default)]
pub struct WallClock {
    /// What the control plane's clock said, and when.
    told: Mutex<Option<(i64, Monotonic)>>,
}

/// What both clocks say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WallTime {
    /// They agree: milliseconds since 1970 by this machine's.
    Agreed(i64),
    /// This machine's is ahead of the control plane's by so many milliseconds, or behind.
    Disagreed(i64),
    /// The control plane's is not known yet.
    Unknown,
}

impl WallClock {
    /// The control plane's clock says so now.
    pub fn told(&self, unix_ms: i64) {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = Some((unix_ms, Clock.now()));
    }

    /// What time it is.
    #[must_use]
    pub fn now(&self) -> WallTime {
        let told = *self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((unix_ms, at)) = told else { return WallTime::Unknown };
        let since_ms = i64::try_from(Clock.now().since(at).as_millis()).unwrap_or(i64::MAX);
        judge(Clock.unix_ms(), unix_ms.saturating_add(since_ms))
    }
}

fn judge(ours_ms: i64, theirs_ms: i64) -> WallTime {
    let ahead_ms = ours_ms.saturating_sub(theirs_ms);
    if ahead_ms.unsigned_abs() > TOLERANCE_MS && !plant::active("retention_trusts_clock") {
        return WallTime::Disagreed(ahead_ms);
    }
    WallTime::Agreed(ours_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_is_agreement_and_no_more_in_either_direction() {
        assert_eq!(judge(100_000, 40_000), WallTime::Agreed(100_000));
        assert_eq!(judge(100_001, 40_000), WallTime::Disagreed(60_001));
        assert_eq!(judge(40_000, 100_000), WallTime::Agreed(40_000));
        assert_eq!(judge(39_999, 100_000), WallTime::Disagreed(-60_001));
        assert_eq!(judge(i64::MAX, i64::MIN), WallTime::Disagreed(i64::MAX));
    }

    #[test]
    fn before_the_control_plane_spoke_nobody_knows() {
        let clock = WallClock::default();
        assert_eq!(clock.now(), WallTime::Unknown);
        clock.told(Clock.unix_ms());
        assert!(matches!(clock.now(), WallTime::Agreed(_)));
    }
}
