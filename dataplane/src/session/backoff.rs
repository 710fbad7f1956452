//! Pauses between attempts: doubling, capped, and jittered so that SPUs that lost the same
//! control plane do not all come back at once.

use std::time::Duration;

use weir_runtime::rng;

const FIRST: Duration = Duration::from_millis(100);

/// The pauses of one client.
#[derive(Debug)]
pub struct Backoff {
    pause: Duration,
    max: Duration,
}

impl Backoff {
    /// Pauses of at most `max`.
    #[must_use]
    pub fn new(max: Duration) -> Self {
        Self { pause: FIRST.min(max), max }
    }

    /// The last attempt did well.
    pub fn reset(&mut self) {
        self.pause = FIRST.min(self.max);
    }

    /// Between a half and the whole of the current pause, which then doubles.
    pub fn next_pause(&mut self) -> Duration {
        let half = self.pause / 2;
        let jitter = rng::below(u64::try_from(half.as_micros()).unwrap_or(u64::MAX).max(1));
        self.pause = (self.pause * 2).min(self.max);
        half + Duration::from_micros(jitter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_to_its_cap_and_begins_anew() {
        let max = Duration::from_secs(1);
        let mut backoff = Backoff::new(max);
        let mut bound = FIRST;
        for _ in 0..12 {
            let pause = backoff.next_pause();
            assert!(bound / 2 <= pause && pause <= bound, "{pause:?} within {bound:?}");
            bound = (bound * 2).min(max);
        }
        backoff.reset();
        assert!(backoff.next_pause() <= FIRST);
    }
}
