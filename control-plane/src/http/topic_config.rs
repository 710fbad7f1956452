//! How a topic's records are kept, as requests say it: a field that is left out stays as it
//! is, one that is `null` has no bound.

use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;

use crate::app::{ConfigChange, FlushMode};

/// How a topic's records are kept. What is left out stays as it is; of a new topic records are
/// kept for seven days, and fsynced before they are acknowledged.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TopicConfigChange {
    /// When a batch is acknowledged: once it is fsynced, or once it is in the page cache. With
    /// `interval` a loss of power can take what was acknowledged within the interval.
    #[serde(default, deserialize_with = "said")]
    #[schema(value_type = FlushMode, required = false)]
    flush: Option<FlushMode>,
    /// With `interval`, and only there: from the first unsynced write to the fsync, in
    /// milliseconds.
    #[serde(default, deserialize_with = "said")]
    #[schema(value_type = Option<u32>, required = false, minimum = 1, maximum = 60_000)]
    flush_interval_ms: Option<Option<u32>>,
    /// Records older than this may be removed, in milliseconds; `null`: they are kept for ever.
    #[serde(default, deserialize_with = "said")]
    #[schema(value_type = Option<u64>, required = false, minimum = 1_000,
        maximum = 3_153_600_000_000_u64, example = 604_800_000)]
    retention_ms: Option<Option<u64>>,
    /// The oldest segments of a partition go while the rest holds at least so many bytes;
    /// `null`: size removes nothing.
    #[serde(default, deserialize_with = "said")]
    #[schema(value_type = Option<u64>, required = false, minimum = 1,
        maximum = 9_223_372_036_854_775_807_u64)]
    retention_bytes: Option<Option<u64>>,
    /// A segment is closed before it outgrows this, in bytes.
    #[serde(default, deserialize_with = "said")]
    #[schema(value_type = u64, required = false, minimum = 1_048_576, maximum = 1_073_741_824)]
    segment_bytes: Option<u64>,
    /// A segment is closed when its first record is older than this, in milliseconds; `null`:
    /// age closes none.
    #[serde(default, deserialize_with = "said")]
    #[schema(value_type = Option<u64>, required = false, minimum = 1_000,
        maximum = 3_153_600_000_000_u64)]
    segment_ms: Option<Option<u64>>,
    /// Where no replica is left that holds all that is committed, one that may lack some of it
    /// may lead after a while: the partition is served again, what that one lacks is lost, and
    /// the cut is written down. `false` for a new topic.
    #[serde(default, deserialize_with = "said")]
    #[schema(value_type = bool, required = false)]
    unclean_election: Option<bool>,
}

/// A field that is there, whatever it says: `null` is something else than nothing.
pub(super) fn said<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    field: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(field).map(Some)
}

impl TopicConfigChange {
    /// For the use cases.
    pub(super) const fn change(&self) -> ConfigChange {
        ConfigChange {
            flush: self.flush,
            flush_interval_ms: self.flush_interval_ms,
            retention_ms: self.retention_ms,
            retention_bytes: self.retention_bytes,
            segment_bytes: self.segment_bytes,
            segment_ms: self.segment_ms,
            unclean_election: self.unclean_election,
        }
    }
}

#[cfg(test)]
mod tests {
    use weir_protocol::topic_config::{
        AGE_MS_MAX, AGE_MS_MIN, FLUSH_INTERVAL_MS_MAX, FLUSH_INTERVAL_MS_MIN, SEGMENT_BYTES_MAX,
        SEGMENT_BYTES_MIN,
    };

    use super::*;

    fn parsed(text: &str) -> Result<ConfigChange, serde_json::Error> {
        serde_json::from_str::<TopicConfigChange>(text).map(|said| said.change())
    }

    #[test]
    fn null_is_something_else_than_nothing() {
        assert_eq!(parsed("{}").unwrap(), ConfigChange::default());
        let all = parsed(
            r#"{"flush":"interval","flush_interval_ms":5,"retention_ms":null,
                "retention_bytes":null,"segment_bytes":6,"segment_ms":null,
                "unclean_election":true}"#,
        );
        let expected = ConfigChange {
            flush: Some(FlushMode::Interval),
            flush_interval_ms: Some(Some(5)),
            retention_ms: Some(None),
            retention_bytes: Some(None),
            segment_bytes: Some(6),
            segment_ms: Some(None),
            unclean_election: Some(true),
        };
        assert_eq!(all.unwrap(), expected);
        for wrong in [
            r#"{"flush":null}"#,
            r#"{"flush":"never"}"#,
            r#"{"segment_bytes":null}"#,
            r#"{"unclean_election":null}"#,
            r#"{"unclean_election":"on"}"#,
            r#"{"retention_ms":-1}"#,
            r#"{"retention_ms":"7d"}"#,
            r#"{"retention":7}"#,
        ] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_document_names_the_bounds_that_are_checked() {
        let document = serde_json::to_value(crate::http::document()).unwrap();
        let fields = &document["components"]["schemas"]["TopicConfigChange"]["properties"];
        for (field, min, max) in [
            ("flush_interval_ms", FLUSH_INTERVAL_MS_MIN.into(), FLUSH_INTERVAL_MS_MAX.into()),
            ("retention_ms", AGE_MS_MIN, AGE_MS_MAX),
            ("retention_bytes", 1, i64::MAX as u64),
            ("segment_bytes", SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX),
            ("segment_ms", AGE_MS_MIN, AGE_MS_MAX),
        ] {
            let bounds = [&fields[field]["minimum"], &fields[field]["maximum"]];
            assert_eq!(bounds.map(serde_json::Value::as_u64), [Some(min), Some(max)], "{field}");
        }
    }
}
