//! Clocks and timers. In simulation each node has its own offset and rate (`skew`).

use std::{future::Future, time::Duration};

#[cfg(madsim)]
pub mod skew;

/// Longer than anything waits. Beyond it a duration means "never": clocks cannot count to the
/// end of [`Duration`], and a wait that a user made too long must not end a task.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// A node's clock. Cheap to copy; in simulation it reads the skew of the node that the
/// calling task runs on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock;

/// The deadline passed before the future was ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("deadline passed")]
pub struct Elapsed;

impl Clock {
    /// Milliseconds since 1970 by this node's wall clock. May jump.
    #[must_use]
    pub fn unix_ms(self) -> i64 {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        // In 64 bits: this is asked for each record, and `as_millis` divides 128.
        let now = now.map_or(0, |since| {
            let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
            seconds.saturating_mul(1000).saturating_add(since.subsec_millis().into())
        });
        #[cfg(madsim)]
        let now = skew::wall_ms(now);
        now
    }

    /// A monotone reading, only good for differences on the same node.
    #[must_use]
    pub fn now(self) -> Monotonic {
        let now = tokio::time::Instant::now();
        #[cfg(madsim)]
        let now = skew::instant(now);
        Monotonic(now)
    }

    /// Sleeps by this node's clock.
    pub async fn sleep(self, duration: Duration) {
        let duration = duration.min(FAR);
        #[cfg(madsim)]
        let duration = skew::true_duration(duration);
        tokio::time::sleep(duration).await;
    }

    /// Runs a future for at most `limit`.
    ///
    /// # Errors
    /// [`Elapsed`], and the future is dropped.
    pub async fn timeout<F: Future>(
        self,
        limit: Duration,
        future: F,
    ) -> Result<F::Output, Elapsed> {
        let limit = limit.min(FAR);
        #[cfg(madsim)]
        let limit = skew::true_duration(limit);
        tokio::time::timeout(limit, future).await.map_err(|_| Elapsed)
    }
}

/// A point on a node's monotone clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Monotonic(tokio::time::Instant);

impl Monotonic {
    /// Time since `earlier`; zero when it is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_duration_since(earlier.0)
    }

    /// This point moved on, by thirty years at most.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        // The fallback is for a clock that is itself at its end.
        Self(self.0.checked_add(duration.min(FAR)).unwrap_or(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn durations_without_end_are_far_and_nothing_worse() {
        let now = Clock.now();
        assert_eq!(now.plus(Duration::MAX).since(now), FAR);
        assert_eq!(now.plus(Duration::from_secs(7)).since(now), Duration::from_secs(7));
        assert_eq!(Clock.timeout(Duration::MAX, async { 7 }).await, Ok(7));
        let slept = Clock.timeout(Duration::from_millis(5), Clock.sleep(Duration::MAX)).await;
        assert_eq!(slept, Err(Elapsed));
    }
}
