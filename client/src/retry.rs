//! Capped exponential back-off with full jitter. Pure: the caller sleeps.

use std::time::Duration;

/// How long to wait between attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackoffConfig {
    /// Upper bound of the first wait.
    pub first: Duration,
    /// Upper bound of every wait.
    pub max: Duration,
}

impl Default for BackoffConfig {
    fn default() -> Self {
        Self { first: Duration::from_millis(20), max: Duration::from_secs(1) }
    }
}

/// Counts attempts and says how long to wait before the next.
///
/// The wait is drawn between half and the whole of a bound that doubles with each attempt:
/// never zero, so that a failing peer is not hammered, and never the same for all clients.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    config: BackoffConfig,
    attempts: u32,
}

impl Backoff {
    /// No attempt made yet.
    #[must_use]
    pub const fn new(config: BackoffConfig) -> Self {
        Self { config, attempts: 0 }
    }

    /// Failed attempts so far.
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// An attempt succeeded: begin anew.
    pub const fn reset(&mut self) {
        self.attempts = 0;
    }

    /// An attempt failed: how long to wait before the next, with the seam's randomness.
    pub fn next_wait(&mut self) -> Duration {
        self.next_wait_with(weir_runtime::rng::below)
    }

    /// As [`Backoff::next_wait`], with a draw below a bound given by the caller.
    pub fn next_wait_with(&mut self, below: impl FnOnce(u64) -> u64) -> Duration {
        let doubled = self.config.first.saturating_mul(1 << self.attempts.min(20));
        let bound_us = micros(doubled.min(self.config.max));
        self.attempts = self.attempts.saturating_add(1);
        let half = bound_us / 2;
        Duration::from_micros(half + below(bound_us - half + 1))
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_and_keep_half() {
        let config =
            BackoffConfig { first: Duration::from_millis(10), max: Duration::from_millis(65) };
        let mut longest = Backoff::new(config);
        let mut shortest = Backoff::new(config);
        for expected_ms in [10, 20, 40, 65, 65] {
            let expected = Duration::from_millis(expected_ms);
            assert_eq!(longest.next_wait_with(|bound| bound - 1), expected);
            assert_eq!(shortest.next_wait_with(|_| 0), expected / 2);
        }
        assert_eq!(longest.attempts(), 5);
        longest.reset();
        assert_eq!(longest.next_wait_with(|bound| bound - 1), config.first);
    }

    #[test]
    fn many_attempts_do_not_overflow() {
        let mut backoff = Backoff::new(BackoffConfig {
            first: Duration::from_secs(u64::MAX / 4),
            max: Duration::from_secs(9),
        });
        for _ in 0..100 {
            assert!(backoff.next_wait() <= Duration::from_secs(9));
        }
    }
}
