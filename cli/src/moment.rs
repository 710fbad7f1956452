//! Points in time on the command line: a date, or how long ago.

use std::{str::FromStr, time::Duration};

use crate::consume::template::timestamp;

/// A point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Milliseconds since 1970.
    At(i64),
    /// So long before now.
    Ago(Duration),
}

impl FromStr for Moment {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(ago) = humantime::parse_duration(text) {
            return Ok(Self::Ago(ago));
        }
        let time = humantime::parse_rfc3339(text).ok();
        let since_1970 = time.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        let ms = since_1970.and_then(|since| i64::try_from(since.as_millis()).ok());
        ms.map(Self::At).ok_or(
            "say a time in UTC such as 2026-01-31T12:00:00Z, or how long ago, such as 10m or 2h 30m",
        )
    }
}

impl Moment {
    /// In milliseconds since 1970, seen from now.
    pub fn unix_ms(self, now_unix_ms: i64) -> i64 {
        match self {
            Self::At(ms) => ms,
            Self::Ago(ago) => {
                now_unix_ms.saturating_sub(i64::try_from(ago.as_millis()).unwrap_or(i64::MAX))
            }
        }
    }

    /// For people, seen from now.
    pub fn told(self, now_unix_ms: i64) -> String {
        timestamp(self.unix_ms(now_unix_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_date_or_an_age() {
        let now = 1_767_268_800_000;
        for (text, ms, told) in [
            ("2026-01-01T00:00:00Z", 1_767_225_600_000, "2026-01-01T00:00:00.000Z"),
            ("2026-01-01T00:00:00.250Z", 1_767_225_600_250, "2026-01-01T00:00:00.250Z"),
            ("12h", 1_767_225_600_000, "2026-01-01T00:00:00.000Z"),
            ("11h 59m 60s", 1_767_225_600_000, "2026-01-01T00:00:00.000Z"),
            ("0s", now, "2026-01-01T12:00:00.000Z"),
            ("1970-01-01T00:00:00Z", 0, "1970-01-01T00:00:00.000Z"),
        ] {
            let moment: Moment = text.parse().unwrap();
            assert_eq!((moment.unix_ms(now), moment.told(now)), (ms, told.to_owned()), "{text}");
        }
        assert!("1000years".parse::<Moment>().unwrap().unix_ms(now) < 0, "before 1970");
        for wrong in ["", "yesterday", "2026-01-01", "2026-01-01T00:00:00", "-10m", "10"] {
            assert!(wrong.parse::<Moment>().is_err(), "{wrong}");
        }
    }
}
