//! How a topic's records are kept: as it is, and what should be otherwise.

use serde::{Deserialize, Deserializer, Serialize};

use super::types::FlushMode;

/// How a topic's records are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicConfig {
    /// When a batch is acknowledged.
    pub flush: FlushMode,
    /// With [`FlushMode::Interval`]: from the first unsynced write to the fsync, in
    /// milliseconds.
    #[serde(default)]
    pub flush_interval_ms: Option<u32>,
    /// Records older than this may be removed, in milliseconds; none: they are kept for ever.
    #[serde(default)]
    pub retention_ms: Option<u64>,
    /// The oldest segments of a partition go while the rest holds at least so many bytes; none:
    /// size removes nothing.
    #[serde(default)]
    pub retention_bytes: Option<u64>,
    /// A segment is closed before it outgrows this, in bytes.
    pub segment_bytes: u64,
    /// A segment is closed when its first record is older than this, in milliseconds; none: age
    /// closes none.
    #[serde(default)]
    pub segment_ms: Option<u64>,
    /// Whether a copy may lead that lacks what is committed, where no other is left.
    #[serde(default)]
    pub unclean_election: bool,
}

/// What should be otherwise: a field that is `None` stays as it is (of a new topic: as the
/// control plane has it by default); `Some(None)` takes a bound away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TopicConfigChange {
    /// When a batch is acknowledged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flush: Option<FlushMode>,
    /// From the first unsynced write to the fsync, in milliseconds; goes with
    /// [`FlushMode::Interval`]. 1 to 60,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flush_interval_ms: Option<u32>,
    /// How long records are kept, in milliseconds; at least 1,000.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "said")]
    pub retention_ms: Option<Option<u64>>,
    /// How much of a partition is kept, in bytes.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "said")]
    pub retention_bytes: Option<Option<u64>>,
    /// How large a segment becomes, in bytes: 1 MiB to 1 GiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segment_bytes: Option<u64>,
    /// How old a segment becomes, in milliseconds; at least 1,000.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "said")]
    pub segment_ms: Option<Option<u64>>,
    /// Whether a copy may lead that lacks what is committed, where no other is left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unclean_election: Option<bool>,
}

impl TopicConfigChange {
    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A field that is there, whatever it says: `null` is something else than nothing.
fn said<'de, D: Deserializer<'de>, T: Deserialize<'de>>(field: D) -> Result<Option<T>, D::Error> {
    T::deserialize(field).map(Some)
}

/// What should be otherwise with a topic; what is `None` stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TopicUpdate {
    /// How its records are kept.
    #[serde(skip_serializing_if = "TopicConfigChange::is_empty")]
    pub config: TopicConfigChange,
    /// Fewer copies in sync than this commit nothing; `Some(None)`: two, where there are two.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "said")]
    pub min_insync_replicas: Option<Option<u32>>,
    /// How many copies of each partition there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replication: Option<u32>,
}

impl TopicUpdate {
    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl From<TopicConfigChange> for TopicUpdate {
    fn from(config: TopicConfigChange) -> Self {
        Self { config, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_not_sent_and_no_bound_is_null() {
        let text = |change: &TopicConfigChange| serde_json::to_string(change).unwrap();
        assert_eq!(text(&TopicConfigChange::default()), "{}");
        let change = TopicConfigChange {
            flush: Some(FlushMode::BeforeAck),
            retention_ms: Some(None),
            segment_bytes: Some(5),
            segment_ms: Some(Some(6)),
            unclean_election: Some(true),
            ..TopicConfigChange::default()
        };
        let sent = r#"{"flush":"before_ack","retention_ms":null,"segment_bytes":5,"segment_ms":6,"unclean_election":true}"#;
        assert_eq!(text(&change), sent);
        for said in [change, TopicConfigChange::default()] {
            assert_eq!(serde_json::from_str::<TopicConfigChange>(&text(&said)).unwrap(), said);
        }
        assert!(!change.is_empty() && TopicConfigChange::default().is_empty());
    }

    #[test]
    fn a_flush_of_a_newer_server_is_unknown() {
        let config = r#"{"flush":"at_night","segment_bytes":1,"a_new_field":2}"#;
        let config: TopicConfig = serde_json::from_str(config).unwrap();
        assert_eq!((config.flush, config.retention_ms), (FlushMode::Unknown, None));
    }
}
