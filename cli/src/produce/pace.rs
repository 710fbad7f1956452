//! How fast records may be sent: `--rate`.

use std::{str::FromStr, time::Duration};

use weir_runtime::clock::Monotonic;

/// What is behind by more than this is not made up for: a stall is followed by no flood.
const BEHIND_MAX_S: f64 = 1.0;
/// Waits that are shorter are saved up: a timer is no more precise.
const WAIT_MIN_S: f64 = 0.001;

/// So many records in so much time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    per_second: f64,
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "a rate is a number of records per s, m or h, such as 500/s".to_owned();
        let (number, unit) = text.split_once('/').unwrap_or((text, "s"));
        let seconds = match unit {
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(wrong()),
        };
        let number: f64 = number.parse().map_err(|_| wrong())?;
        if !(number.is_finite() && number > 0.0) {
            return Err(wrong());
        }
        Ok(Self { per_second: number / seconds })
    }
}

/// Keeps to a rate.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    rate: Rate,
    begin: Monotonic,
    sent: f64,
}

impl Pace {
    /// From now on.
    pub fn new(rate: Rate, now: Monotonic) -> Self {
        Self { rate, begin: now, sent: 0.0 }
    }

    /// How long the next record waits; it counts as sent.
    pub fn wait(&mut self, now: Monotonic) -> Duration {
        let passed = now.since(self.begin).as_secs_f64();
        let due = self.sent / self.rate.per_second;
        self.sent += 1.0;
        if passed - due > BEHIND_MAX_S {
            *self = Self { sent: 1.0, ..Self::new(self.rate, now) };
            return Duration::ZERO;
        }
        match due - passed {
            ahead if ahead < WAIT_MIN_S => Duration::ZERO,
            ahead => Duration::try_from_secs_f64(ahead).unwrap_or(Duration::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use weir_runtime::clock::Clock;

    use super::*;

    #[test]
    fn rates_are_read() {
        let per_second = |text: &str| text.parse::<Rate>().map(|rate| rate.per_second);
        assert_eq!(per_second("500/s"), Ok(500.0));
        assert_eq!(per_second("30/m"), Ok(0.5));
        assert_eq!(per_second("10"), Ok(10.0));
        for bad in ["", "0", "-1/s", "x/s", "5/d", "inf", "NaN"] {
            assert!(per_second(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn records_wait_for_their_turn() {
        let now = Clock.now();
        let mut pace = Pace::new("10/s".parse().unwrap(), now);
        assert_eq!(pace.wait(now), Duration::ZERO);
        for turn in 1..4 {
            let wait = pace.wait(now).as_millis();
            assert!((turn * 100 - 1..=turn * 100).contains(&wait), "{wait}");
        }
    }
}
