//! When an SPU that ended is started again: at once the first time, then ever later up to a
//! cap; a life that lasted long enough begins the count anew.
//!
//! Pure: times come in as readings of one monotone clock, in milliseconds.

/// How patient restarts are.
#[derive(Clone, Copy, Debug)]
pub struct RestartPolicy {
    /// Delay before the second try in a row, in milliseconds. The first has none.
    pub delay_first_ms: u64,
    /// No delay is longer, in milliseconds.
    pub delay_max_ms: u64,
    /// A life of this length counts as stable, in milliseconds.
    pub stable_after_ms: u64,
    /// From so many failures in a row on the cluster is degraded.
    pub failures_degraded: u32,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            delay_first_ms: 500,
            delay_max_ms: 30_000,
            stable_after_ms: 60_000,
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
    started_ms: Option<u64>,
}

impl Restarts {
    /// The SPU was started.
    #[must_use]
    pub fn started(self, now_ms: u64) -> Self {
        Self { started_ms: Some(now_ms), ..self }
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
            started_ms: None,
        }
    }

    /// Forgets failures once the present life has lasted long enough.
    #[must_use]
    pub fn settle(self, policy: &RestartPolicy, now_ms: u64) -> Self {
        if self.is_stable(policy, now_ms) {
            Self { failures: 0, reason: None, not_before_ms: 0, ..self }
        } else {
            self
        }
    }

    fn is_stable(&self, policy: &RestartPolicy, now_ms: u64) -> bool {
        self.started_ms
            .is_some_and(|started| now_ms.saturating_sub(started) >= policy.stable_after_ms)
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
            format!("it failed {} times in a row, last because {reason}", self.failures)
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
            restarts = restarts.started(0).failed(&POLICY, 0, "x".to_owned());
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
            restarts = restarts.started(0).failed(&POLICY, 0, "x".to_owned());
        }
        assert!(restarts.degraded(&POLICY).is_some());
        let stable = restarts.clone().started(1_000).settle(&POLICY, 61_000);
        assert_eq!((stable.failures, stable.degraded(&POLICY)), (0, None));
        let again = restarts.started(1_000).failed(&POLICY, 61_000, "y".to_owned());
        assert_eq!(again.failures, 1);
        assert!(again.due(61_000));
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
