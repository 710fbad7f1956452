//! What time it is, as far as it may decide that records are too old.
//!
//! A wall clock that jumps ahead by a year would have retention remove everything, for good. So
//! age counts only while this machine's clock and the control plane's agree. Between two
//! heartbeats, and while the control plane is away, its clock goes on by our monotone one.

use std::sync::{Mutex, MutexGuard, PoisonError};

use weir_runtime::{
    clock::{Clock, Monotonic},
    plant,
};

/// Clocks that differ by more disagree: far more than heartbeats take, and than clocks that are
/// kept in time differ. Within it the earlier one counts, so that nothing goes too soon.
pub const TOLERANCE_MS: u64 = 60_000;

/// The two clocks.
#[derive(Debug, Default)]
pub struct WallClock {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What the control plane's clock said, and when.
    told: Option<(i64, Monotonic)>,
    /// It was said that they disagree.
    said: bool,
}

/// What both clocks say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WallTime {
    /// They agree: milliseconds since 1970 by the earlier one.
    Agreed(i64),
    /// They do not.
    Disagreed,
    /// The control plane's is not known yet.
    Unknown,
}

impl WallClock {
    /// The control plane's clock says so now.
    pub fn told(&self, unix_ms: i64) {
        self.state().told = Some((unix_ms, Clock.now()));
    }

    /// What time it is. Says so when they cease or begin to agree.
    #[must_use]
    pub fn now(&self) -> WallTime {
        let mut state = self.state();
        let Some((unix_ms, at)) = state.told else { return WallTime::Unknown };
        let since_ms = i64::try_from(Clock.now().since(at).as_millis()).unwrap_or(i64::MAX);
        let (ours_ms, theirs_ms) = (Clock.unix_ms(), unix_ms.saturating_add(since_ms));
        let time = judge(ours_ms, theirs_ms);
        let disagreed = time == WallTime::Disagreed;
        if std::mem::replace(&mut state.said, disagreed) != disagreed {
            let ahead_ms = ours_ms.saturating_sub(theirs_ms);
            if disagreed {
                tracing::warn!(
                    ahead_ms,
                    "this machine's clock is not the control plane's: nothing is removed for its age until they agree"
                );
            } else {
                tracing::info!(
                    ahead_ms,
                    "this machine's clock and the control plane's agree again"
                );
            }
        }
        time
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn judge(ours_ms: i64, theirs_ms: i64) -> WallTime {
    let ahead_ms = ours_ms.saturating_sub(theirs_ms);
    if ahead_ms.unsigned_abs() > TOLERANCE_MS && !plant::active("retention_trusts_clock") {
        return WallTime::Disagreed;
    }
    if plant::active("retention_trusts_clock") {
        return WallTime::Agreed(ours_ms);
    }
    WallTime::Agreed(ours_ms.min(theirs_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_is_agreement_and_no_more_in_either_direction() {
        assert_eq!(judge(100_000, 40_000), WallTime::Agreed(40_000), "the earlier one");
        assert_eq!(judge(100_001, 40_000), WallTime::Disagreed);
        assert_eq!(judge(40_000, 100_000), WallTime::Agreed(40_000));
        assert_eq!(judge(39_999, 100_000), WallTime::Disagreed);
        assert_eq!(judge(i64::MAX, i64::MIN), WallTime::Disagreed);
    }

    #[tokio::test]
    async fn before_the_control_plane_spoke_nobody_knows() {
        let clock = WallClock::default();
        assert_eq!(clock.now(), WallTime::Unknown);
        clock.told(Clock.unix_ms());
        assert!(matches!(clock.now(), WallTime::Agreed(_)));
    }
}
