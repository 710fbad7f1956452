//! How fast replicas that are not in sync are fed, all of one SPU's together (KIP-73): what they
//! catch up with must leave room for clients, and for those that the high watermark waits for.
//!
//! What was sent is paid for at the rate, one response after another; whoever comes while
//! something is unpaid waits until it is. So a response goes out whole, however large.

use std::{num::NonZeroU64, sync::Mutex, sync::PoisonError, time::Duration};

use weir_runtime::clock::Monotonic;

/// The rate, and what is unpaid. Shared by all streams.
#[derive(Debug)]
pub struct Throttle {
    bytes_per_s: Option<NonZeroU64>,
    /// When all that was sent is paid for.
    paid_at: Mutex<Option<Monotonic>>,
}

impl Throttle {
    /// `None`: as fast as it goes.
    #[must_use]
    pub const fn new(bytes_per_s: Option<NonZeroU64>) -> Self {
        Self { bytes_per_s, paid_at: Mutex::new(None) }
    }

    /// How long the next response has to wait; none: not at all.
    pub(super) fn wait(&self, now: Monotonic) -> Option<Duration> {
        let paid_at = *self.paid_at.lock().unwrap_or_else(PoisonError::into_inner);
        paid_at.map(|paid_at| paid_at.since(now)).filter(|left| !left.is_zero())
    }

    /// So much goes out now.
    pub(super) fn sent(&self, bytes: usize, now: Monotonic) {
        let Some(bytes_per_s) = self.bytes_per_s else { return };
        let cost_ns = (bytes as u128 * 1_000_000_000) / u128::from(bytes_per_s.get());
        let cost = Duration::from_nanos(u64::try_from(cost_ns).unwrap_or(u64::MAX));
        let mut paid_at = self.paid_at.lock().unwrap_or_else(PoisonError::into_inner);
        let from = paid_at.map_or(now, |paid_at| paid_at.max(now));
        *paid_at = Some(from.plus(cost));
    }
}

#[cfg(test)]
mod tests {
    use weir_runtime::clock::Clock;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test]
    async fn what_was_sent_is_paid_for_before_more_goes_out() {
        let (throttle, now) = (Throttle::new(NonZeroU64::new(1_000)), Clock.now());
        assert_eq!(throttle.wait(now), None);
        throttle.sent(2_500, now);
        assert_eq!(throttle.wait(now), Some(SECOND * 5 / 2));
        assert_eq!(throttle.wait(now.plus(SECOND * 2)), Some(SECOND / 2));
        assert_eq!(throttle.wait(now.plus(SECOND * 5 / 2)), None);
        // Nobody saves up: what was not used is gone.
        let later = now.plus(SECOND * 100);
        throttle.sent(1_000, later);
        throttle.sent(1_000, later);
        assert_eq!(throttle.wait(later), Some(SECOND * 2));
    }

    #[tokio::test]
    async fn without_a_rate_nobody_waits() {
        let (throttle, now) = (Throttle::new(None), Clock.now());
        throttle.sent(usize::MAX, now);
        assert_eq!(throttle.wait(now), None);
    }
}
