//! When an SPU that ended is started again: at once the first time, then ever later up to a
//! cap; a life that served for long enough begins the count anew.
//!
//! Pure: times come in as readings of one monotone clock, in milliseconds.

use std::time::Duration;

/// How patient restarts are.
#[derive(Clone, Copy, Debug)]
pub struct RestartPolicy {
    /// Delay before the second try in a row, in milliseconds. The first has none.
    pub delay_first_ms: u64,
    /// No delay is longer, in milliseconds.
    pub delay_max_ms: u64,
    /// A life that was ready for so long counts as stable, in milliseconds.
    pub stable_after_ms: u64,
    /// From so many failures in a row on the cluster is degraded.
    pub failures_degraded: u32,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            delay_first_ms: 500,
            // Far below a producer's delivery timeout: what it holds is to outlast the pause.
            delay_max_ms: 5_000,
            stable_after_ms: 5_000,
            failures_degraded: 3,
        }
    }
}

/// How often in a row one SPU has failed, and when it may be started again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restarts {
    /// Failures in a row: lives that ended early, and starts that did not succeed.
    pub failures: u32,
    /// Not before this reading, in milliseconds.
    pub not_before_ms: u64,
    /// Why the last life ended, or the last start failed.
    pub reason: Option<String>,
    ready_since_ms: Option<u64>,
}

impl Restarts {
    /// Its owner ordered a fresh try: it is due at once, and earlier failures do not count.
    #[must_use]
    pub fn ordered(self) -> Self {
        Self { ready_since_ms: self.ready_since_ms, ..Self::default() }
    }

    /// A life ended, or a start failed.
    #[must_use]
    pub fn failed(self, policy: &RestartPolicy, now_ms: u64, reason: String) -> Self {
        let failures =
            if self.is_stable(policy, now_ms) { 1 } else { self.failures.saturating_add(1) };
        Self {
            failures,
            not_before_ms: now_ms.saturating_add(delay_ms(policy, failures)),
            reason: Some(reason),
            ready_since_ms: None,
        }
    }

    /// Notes whether the present life serves. Failures are forgotten once it has for long
    /// enough.
    #[must_use]
    pub fn settle(self, policy: &RestartPolicy, now_ms: u64, ready: bool) -> Self {
        let ready_since_ms = ready.then(|| self.ready_since_ms.unwrap_or(now_ms));
        let noted = Self { ready_since_ms, ..self };
        if noted.is_stable(policy, now_ms) { noted.ordered() } else { noted }
    }

    fn is_stable(&self, policy: &RestartPolicy, now_ms: u64) -> bool {
        self.ready_since_ms
            .is_some_and(|since| now_ms.saturating_sub(since) >= policy.stable_after_ms)
    }

    /// Whether it may be started now.
    #[must_use]
    pub fn due(&self, now_ms: u64) -> bool {
        now_ms >= self.not_before_ms
    }

    /// Why the cluster counts as degraded on account of this SPU, if it does.
    #[must_use]
    pub fn degraded(&self, policy: &RestartPolicy) -> Option<String> {
        (self.failures >= policy.failures_degraded).then(|| {
            let reason = self.reason.as_deref().unwrap_or("no reason is known");
            let pause = Duration::from_millis(delay_ms(policy, self.failures));
            format!(
                "it failed {} times in a row, last because {reason}; it is tried again {pause:?} \
                 after that",
                self.failures
            )
        })
    }
}

fn delay_ms(policy: &RestartPolicy, failures: u32) -> u64 {
    match failures {
        0 | 1 => 0,
        more => {
            let doublings = (more - 2).min(32);
            policy.delay_first_ms.saturating_mul(1 << doublings).min(policy.delay_max_ms)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RestartPolicy = RestartPolicy {
        delay_first_ms: 500,
        delay_max_ms: 4_000,
        stable_after_ms: 60_000,
        failures_degraded: 3,
    };

    #[test]
    fn delays_double_up_to_the_cap() {
        let mut restarts = Restarts::default();
        let mut delays = Vec::new();
        for _ in 0..7 {
            restarts = restarts.failed(&POLICY, 0, "x".to_owned());
            delays.push(restarts.not_before_ms);
        }
        assert_eq!(delays, [0, 500, 1_000, 2_000, 4_000, 4_000, 4_000]);
        assert_eq!(
            delay_ms(&RestartPolicy { delay_max_ms: u64::MAX, ..POLICY }, u32::MAX),
            500 << 32
        );
    }

    #[test]
    fn a_stable_life_begins_the_count_anew() {
        let mut restarts = Restarts::default();
        for _ in 0..5 {
            restarts = restarts.failed(&POLICY, 0, "x".to_owned());
        }
        assert!(restarts.degraded(&POLICY).is_some());
        let ready = restarts.settle(&POLICY, 1_000, true);
        assert_eq!(ready.failures, 5);
        let stable = ready.clone().settle(&POLICY, 61_000, true);
        assert_eq!((stable.failures, stable.degraded(&POLICY)), (0, None));
        let again = ready.clone().failed(&POLICY, 61_000, "y".to_owned());
        assert_eq!(again.failures, 1);
        assert!(again.due(61_000));
        // A life that does not serve proves nothing, however long it lasts.
        let idle = ready.settle(&POLICY, 2_000, false).settle(&POLICY, 90_000, true);
        assert_eq!(idle.failed(&POLICY, 90_000, "z".to_owned()).failures, 6);
    }

    #[test]
    fn an_order_makes_it_due_at_once_and_forgets_what_failed() {
        let mut restarts = Restarts::default();
        for _ in 0..5 {
            restarts = restarts.failed(&POLICY, 10, "x".to_owned());
        }
        assert!(!restarts.due(11));
        let fresh = restarts.ordered();
        assert!(fresh.due(11));
        assert_eq!((fresh.degraded(&POLICY), fresh.failures), (None, 0));
    }

    #[test]
    fn failed_starts_count_too_and_the_reason_is_told() {
        let mut restarts = Restarts::default();
        for _ in 0..3 {
            assert_eq!(restarts.degraded(&POLICY), None);
            restarts = restarts.failed(&POLICY, 10, "the port is taken".to_owned());
        }
        assert!(restarts.degraded(&POLICY).unwrap().contains("the port is taken"));
        assert!(!restarts.due(500) && restarts.due(1_010));
    }
}
