//! How often the control plane is told: one upload per interval in the long run, a few at
//! once after a quiet time. A consumer that begins claims, and commits shortly after: both
//! should be seen at once. Pure.

use std::time::Duration;

use weir_runtime::clock::Monotonic;

/// Uploads that may follow each other at once.
const AT_ONCE: u32 = 3;

/// When the next upload may begin.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    interval: Duration,
    /// When all that was begun will have had its interval.
    spent: Option<Monotonic>,
}

impl Pace {
    /// Nothing was begun for long.
    #[must_use]
    pub const fn new(interval: Duration) -> Self {
        Self { interval, spent: None }
    }

    /// One begins.
    pub fn begin(&mut self, now: Monotonic) {
        // Those that could not wait are not paid for for ever.
        let ahead = self.ahead(now).min(self.interval.saturating_mul(AT_ONCE - 1));
        self.spent = Some(now.plus(ahead.saturating_add(self.interval)));
    }

    /// How long the next one has to wait: an interval at most.
    #[must_use]
    pub fn wait(&self, now: Monotonic) -> Duration {
        self.ahead(now).saturating_sub(self.interval.saturating_mul(AT_ONCE - 1))
    }

    fn ahead(&self, now: Monotonic) -> Duration {
        self.spent.map_or(Duration::ZERO, |spent| spent.since(now))
    }
}

#[cfg(test)]
mod tests {
    use weir_runtime::clock::Clock;

    use super::*;

    const INTERVAL: Duration = Duration::from_secs(1);

    /// How many begin within `seconds` where there is always something to tell.
    fn busy(pace: &mut Pace, mut now: Monotonic, seconds: u32) -> u32 {
        let end = now.plus(INTERVAL * seconds);
        let mut begun = 0;
        while end.since(now) > Duration::ZERO {
            match pace.wait(now) {
                Duration::ZERO => {
                    pace.begin(now);
                    begun += 1;
                }
                wait => now = now.plus(wait),
            }
        }
        begun
    }

    #[tokio::test]
    async fn a_few_go_at_once_and_then_one_per_interval() {
        let (mut pace, now) = (Pace::new(INTERVAL), Clock.now());
        for _ in 0..AT_ONCE {
            assert_eq!(pace.wait(now), Duration::ZERO);
            pace.begin(now);
        }
        assert_eq!(pace.wait(now), INTERVAL);
        let soon = now.plus(INTERVAL / 4);
        assert_eq!(pace.wait(soon), INTERVAL * 3 / 4);
        // After a quiet time again.
        assert_eq!(busy(&mut pace, now.plus(INTERVAL * 50), 10), AT_ONCE + 9);
    }

    #[tokio::test]
    async fn many_that_could_not_wait_delay_the_next_by_an_interval_only() {
        let (mut pace, now) = (Pace::new(INTERVAL), Clock.now());
        (0..100).for_each(|_| pace.begin(now));
        assert_eq!(pace.wait(now), INTERVAL);
    }
}
