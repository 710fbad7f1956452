//! What is said about how a topic's records are kept, and what becomes of it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use weir_protocol::topic_config::{
    FLUSH_INTERVAL_MS_MAX, FLUSH_INTERVAL_MS_MIN, Flush, OutOfBounds, TopicConfig,
};

/// When a batch is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FlushMode {
    /// Once it is fsynced.
    BeforeAck,
    /// Once it is in the page cache; an fsync follows within the interval.
    Interval,
}

/// A choice, field by field: what is not said stays as it is. For what can be without a
/// bound, `Some(None)` says that it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConfigChange {
    /// When a batch is acknowledged.
    pub flush: Option<FlushMode>,
    /// From the first unsynced write to the fsync, in milliseconds; `Some(None)`: as without an
    /// interval.
    pub flush_interval_ms: Option<Option<u32>>,
    /// How long records are kept, in milliseconds.
    pub retention_ms: Option<Option<u64>>,
    /// How much of a partition is kept, in bytes.
    pub retention_bytes: Option<Option<u64>>,
    /// How large a segment becomes, in bytes.
    pub segment_bytes: Option<u64>,
    /// How old a segment becomes, in milliseconds.
    pub segment_ms: Option<Option<u64>>,
    /// Whether a replica may lead that lacks what is committed, where no other is left.
    pub unclean_election: Option<bool>,
}

/// Why a choice cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A number is too small or too large.
    #[error(transparent)]
    OutOfBounds(#[from] OutOfBounds),
    /// Acknowledged before the fsync, and nothing says how long before.
    #[error(
        "flush_interval_ms is missing; with flush \"interval\" it must be from \
         {FLUSH_INTERVAL_MS_MIN} to {FLUSH_INTERVAL_MS_MAX}"
    )]
    IntervalMissing,
    /// An interval without a use.
    #[error("flush_interval_ms is of no use with flush \"before_ack\"")]
    IntervalUnused,
}

impl ConfigError {
    /// What would be right.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::OutOfBounds(OutOfBounds { field, min, max, .. }) => {
                let none = match *field {
                    "retention_ms" => "; null keeps records for ever",
                    "retention_bytes" => "; null keeps them however many there are",
                    "segment_ms" => "; null lets a segment become as old as it may",
                    _ => "",
                };
                format!("Say {min} to {max}{none}.")
            }
            Self::IntervalMissing => "Say both flush and flush_interval_ms: a loss of power can \
                take what was acknowledged within the interval."
                .to_owned(),
            Self::IntervalUnused => "Leave flush_interval_ms out, or say flush \"interval\" as \
                well: a loss of power can then take what was acknowledged within the interval."
                .to_owned(),
        }
    }
}

impl ConfigChange {
    /// What becomes of `before`.
    ///
    /// # Errors
    /// [`ConfigError`] when that cannot be.
    pub fn apply(&self, before: &TopicConfig) -> Result<TopicConfig, ConfigError> {
        let after = TopicConfig {
            flush: self.flush(before.flush)?,
            retention_ms: self.retention_ms.unwrap_or(before.retention_ms),
            retention_bytes: self.retention_bytes.unwrap_or(before.retention_bytes),
            segment_bytes: self.segment_bytes.unwrap_or(before.segment_bytes),
            segment_ms: self.segment_ms.unwrap_or(before.segment_ms),
            unclean_election: self.unclean_election.unwrap_or(before.unclean_election),
        };
        after.check()?;
        Ok(after)
    }

    fn flush(&self, before: Flush) -> Result<Flush, ConfigError> {
        let (mode, interval) = parts(before);
        match (self.flush.unwrap_or(mode), self.flush_interval_ms) {
            (FlushMode::BeforeAck, Some(Some(_))) => Err(ConfigError::IntervalUnused),
            (FlushMode::BeforeAck, None | Some(None)) => Ok(Flush::BeforeAck),
            (FlushMode::Interval, said) => match said.unwrap_or(interval) {
                Some(ms) => Ok(Flush::Interval { ms }),
                None => Err(ConfigError::IntervalMissing),
            },
        }
    }
}

/// The two fields that the API makes of it.
#[must_use]
pub const fn parts(flush: Flush) -> (FlushMode, Option<u32>) {
    match flush {
        Flush::BeforeAck => (FlushMode::BeforeAck, None),
        Flush::Interval { ms } => (FlushMode::Interval, Some(ms)),
    }
}

#[cfg(test)]
mod tests {
    use weir_protocol::topic_config::{RETENTION_MS_DEFAULT, SEGMENT_BYTES_MAX};

    use super::*;

    const INTERVAL: TopicConfig = TopicConfig {
        flush: Flush::Interval { ms: 100 },
        retention_ms: Some(60_000),
        retention_bytes: Some(1),
        segment_bytes: 1 << 20,
        segment_ms: Some(60_000),
        unclean_election: true,
    };

    #[test]
    fn what_is_not_said_stays() {
        let nothing = ConfigChange::default();
        for before in [INTERVAL, TopicConfig::default(), TopicConfig::of_new_topic()] {
            assert_eq!(nothing.apply(&before), Ok(before));
        }
        let one = ConfigChange { retention_bytes: Some(Some(5)), ..nothing };
        let after = one.apply(&TopicConfig::of_new_topic()).unwrap();
        assert_eq!(after.retention_ms, Some(RETENTION_MS_DEFAULT));
        assert_eq!((after.retention_bytes, after.segment_bytes), (Some(5), SEGMENT_BYTES_MAX));
    }

    #[test]
    fn none_takes_a_bound_away() {
        let change = ConfigChange {
            flush: Some(FlushMode::BeforeAck),
            flush_interval_ms: Some(None),
            retention_ms: Some(None),
            retention_bytes: Some(None),
            segment_bytes: Some(SEGMENT_BYTES_MAX),
            segment_ms: Some(None),
            unclean_election: Some(false),
        };
        assert_eq!(change.apply(&INTERVAL), Ok(TopicConfig::default()));
    }

    #[test]
    fn a_flush_and_its_interval_go_together() {
        use FlushMode::{BeforeAck, Interval};
        let of = |ms| Ok(Flush::Interval { ms });
        let cases = [
            (Flush::BeforeAck, Some(Interval), Some(Some(5)), of(5)),
            (Flush::BeforeAck, Some(Interval), None, Err(ConfigError::IntervalMissing)),
            (Flush::BeforeAck, None, Some(Some(5)), Err(ConfigError::IntervalUnused)),
            (Flush::BeforeAck, None, Some(None), Ok(Flush::BeforeAck)),
            (Flush::Interval { ms: 9 }, None, Some(Some(5)), of(5)),
            (Flush::Interval { ms: 9 }, Some(Interval), None, of(9)),
            (Flush::Interval { ms: 9 }, None, Some(None), Err(ConfigError::IntervalMissing)),
            (Flush::Interval { ms: 9 }, Some(BeforeAck), None, Ok(Flush::BeforeAck)),
            (
                Flush::Interval { ms: 9 },
                Some(BeforeAck),
                Some(Some(5)),
                Err(ConfigError::IntervalUnused),
            ),
        ];
        for (before, flush, flush_interval_ms, after) in cases {
            let change = ConfigChange { flush, flush_interval_ms, ..ConfigChange::default() };
            let found = change.apply(&TopicConfig { flush: before, ..TopicConfig::default() });
            assert_eq!(found.map(|config| config.flush), after, "{before:?} {change:?}");
        }
    }

    #[test]
    fn what_is_out_of_bounds_names_its_field_and_them() {
        let nothing = ConfigChange::default();
        for (change, field) in [
            (ConfigChange { retention_ms: Some(Some(999)), ..nothing }, "retention_ms"),
            (ConfigChange { retention_ms: Some(Some(u64::MAX)), ..nothing }, "retention_ms"),
            (ConfigChange { retention_bytes: Some(Some(0)), ..nothing }, "retention_bytes"),
            (ConfigChange { retention_bytes: Some(Some(u64::MAX)), ..nothing }, "retention_bytes"),
            (ConfigChange { segment_bytes: Some((1 << 20) - 1), ..nothing }, "segment_bytes"),
            (ConfigChange { segment_bytes: Some((1 << 30) + 1), ..nothing }, "segment_bytes"),
            (ConfigChange { segment_ms: Some(Some(0)), ..nothing }, "segment_ms"),
            (ConfigChange { flush_interval_ms: Some(Some(0)), ..nothing }, "flush_interval_ms"),
            (
                ConfigChange { flush_interval_ms: Some(Some(60_001)), ..nothing },
                "flush_interval_ms",
            ),
        ] {
            let error = change.apply(&INTERVAL).unwrap_err();
            let ConfigError::OutOfBounds(bounds) = error else { panic!("{error:?}") };
            assert_eq!(bounds.field, field);
            for text in [error.to_string(), error.hint()] {
                assert!(text.contains(&format!("{} to {}", bounds.min, bounds.max)), "{text}");
            }
        }
    }
}
