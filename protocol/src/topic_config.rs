//! How a topic's records are kept: what its owner may choose, and within which bounds.
//!
//! The control plane stores it, the map of the cluster carries it to the SPUs, and each
//! replica follows it, also when it changes while the topic is in use.

use std::fmt;

use crate::pb::metadata as wire;

/// The smallest segment that may be asked for, in bytes.
pub const SEGMENT_BYTES_MIN: u64 = 1 << 20;
/// The largest, in bytes: positions in a segment have 32 bits, of which one is a sign.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;
/// The shortest age of a segment, or time to keep records, that may be asked for, in
/// milliseconds.
pub const AGE_MS_MIN: u64 = 1_000;
/// The longest, in milliseconds: a hundred years. More means `None`, for ever.
pub const AGE_MS_MAX: u64 = 100 * 365 * 24 * 60 * 60 * 1_000;
/// The shortest interval between two fsyncs that may be asked for, in milliseconds.
pub const FLUSH_INTERVAL_MS_MIN: u32 = 1;
/// The longest, in milliseconds.
pub const FLUSH_INTERVAL_MS_MAX: u32 = 60_000;
/// How long a new topic keeps its records where nothing else is said: seven days, in
/// milliseconds.
pub const RETENTION_MS_DEFAULT: u64 = 7 * 24 * 60 * 60 * 1_000;

/// When a batch is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flush {
    /// Once it is fsynced: an acknowledged record survives a loss of power.
    #[default]
    BeforeAck,
    /// Once it is in the page cache; an fsync follows within so many milliseconds. An
    /// acknowledged record survives the death of the process; a loss of power can take
    /// what was acknowledged within the interval.
    Interval {
        /// From the first unsynced write to the fsync, in milliseconds.
        ms: u32,
    },
}

/// How a topic's records are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicConfig {
    /// When a batch is acknowledged.
    pub flush: Flush,
    /// Records older than this may be removed, in milliseconds; `None`: age removes nothing.
    pub retention_ms: Option<u64>,
    /// The oldest segments of a partition go while the rest holds at least so many bytes;
    /// `None`: size removes nothing.
    pub retention_bytes: Option<u64>,
    /// A segment is closed before it outgrows this, in bytes.
    pub segment_bytes: u64,
    /// A segment is closed when it was begun longer ago than this, in milliseconds; `None`: age
    /// closes none.
    pub segment_ms: Option<u64>,
    /// Where no replica is left that holds all that is committed, one that may lack some of it
    /// may lead: the partition is served again, and what that one lacks is lost.
    pub unclean_election: bool,
}

impl Default for TopicConfig {
    /// Keeps everything: what a topic has that was made before there was a choice.
    fn default() -> Self {
        Self {
            flush: Flush::BeforeAck,
            retention_ms: None,
            retention_bytes: None,
            segment_bytes: SEGMENT_BYTES_MAX,
            segment_ms: None,
            unclean_election: false,
        }
    }
}

/// A choice out of bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {value}; it must be from {min} to {max}")]
pub struct OutOfBounds {
    /// Which field, as the API names it.
    pub field: &'static str,
    /// What it says.
    pub value: u64,
    /// The least that is taken.
    pub min: u64,
    /// The most that is taken.
    pub max: u64,
}

impl TopicConfig {
    /// What a new topic gets where nothing is said: the default, but for a retention of
    /// [`RETENTION_MS_DEFAULT`], as is usual in the field.
    #[must_use]
    pub fn of_new_topic() -> Self {
        Self { retention_ms: Some(RETENTION_MS_DEFAULT), ..Self::default() }
    }

    /// Whether every choice is within its bounds.
    ///
    /// # Errors
    /// The first that is not.
    pub fn check(&self) -> Result<(), OutOfBounds> {
        let within = |field, value, min, max| {
            let fine = (min..=max).contains(&value);
            if fine { Ok(()) } else { Err(OutOfBounds { field, value, min, max }) }
        };
        if let Flush::Interval { ms } = self.flush {
            let (min, max) = (FLUSH_INTERVAL_MS_MIN.into(), FLUSH_INTERVAL_MS_MAX.into());
            within("flush_interval_ms", ms.into(), min, max)?;
        }
        if let Some(ms) = self.retention_ms {
            within("retention_ms", ms, AGE_MS_MIN, AGE_MS_MAX)?;
        }
        if let Some(bytes) = self.retention_bytes {
            within("retention_bytes", bytes, 1, i64::MAX as u64)?;
        }
        within("segment_bytes", self.segment_bytes, SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX)?;
        if let Some(ms) = self.segment_ms {
            within("segment_ms", ms, AGE_MS_MIN, AGE_MS_MAX)?;
        }
        Ok(())
    }

    /// For the map of the cluster.
    #[must_use]
    pub fn to_wire(&self) -> wire::TopicConfig {
        let (flush, flush_interval_ms) = match self.flush {
            Flush::BeforeAck => (wire::FlushMode::BeforeAck, 0),
            Flush::Interval { ms } => (wire::FlushMode::Interval, ms),
        };
        wire::TopicConfig {
            flush: flush.into(),
            flush_interval_ms,
            retention_ms: self.retention_ms,
            retention_bytes: self.retention_bytes,
            segment_bytes: self.segment_bytes,
            segment_ms: self.segment_ms,
            unclean_election: self.unclean_election,
        }
    }

    /// From the map. What this build does not know, or finds out of bounds, becomes the
    /// safest there is: fsync before acknowledging, remove nothing.
    #[must_use]
    pub fn from_wire(sent: Option<&wire::TopicConfig>) -> Self {
        let Some(sent) = sent else { return Self::default() };
        let flush = match sent.flush() {
            wire::FlushMode::Interval => Flush::Interval { ms: sent.flush_interval_ms },
            wire::FlushMode::BeforeAck | wire::FlushMode::Unspecified => Flush::BeforeAck,
        };
        let config = Self {
            flush,
            retention_ms: sent.retention_ms,
            retention_bytes: sent.retention_bytes,
            segment_bytes: sent.segment_bytes,
            segment_ms: sent.segment_ms,
            unclean_election: sent.unclean_election,
        };
        if config.check().is_ok() { config } else { Self::default() }
    }
}

impl fmt::Display for Flush {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BeforeAck => f.write_str("before_ack"),
            Self::Interval { .. } => f.write_str("interval"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_travels() {
        let chosen = TopicConfig {
            flush: Flush::Interval { ms: 200 },
            retention_ms: Some(60_000),
            retention_bytes: Some(1 << 30),
            segment_bytes: 1 << 20,
            segment_ms: Some(3_600_000),
            unclean_election: true,
        };
        for config in [chosen, TopicConfig::default(), TopicConfig::of_new_topic()] {
            assert_eq!(config.check(), Ok(()));
            assert_eq!(TopicConfig::from_wire(Some(&config.to_wire())), config);
        }
        assert_eq!(TopicConfig::from_wire(None), TopicConfig::default());
    }

    #[test]
    fn nonsense_keeps_everything_safely() {
        let wild = TopicConfig { retention_ms: Some(0), ..TopicConfig::of_new_topic() };
        let error = wild.check().unwrap_err();
        assert_eq!((error.field, error.value), ("retention_ms", 0));
        assert_eq!(TopicConfig::from_wire(Some(&wild.to_wire())), TopicConfig::default());
        let mut unknown = TopicConfig::of_new_topic().to_wire();
        unknown.flush = 99;
        assert_eq!(TopicConfig::from_wire(Some(&unknown)).flush, Flush::BeforeAck);
    }
}
