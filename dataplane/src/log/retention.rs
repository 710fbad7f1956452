//! What is old enough, or too much, and may go. Pure: whole segments, oldest first.

use weir_protocol::{ids::Offset, topic_config::TopicConfig};

use super::segment::Segment;

/// How long, and how much, is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// A segment may go once all its records are older than this, in milliseconds.
    pub ms: Option<u64>,
    /// A segment may go while those after it hold at least so many bytes.
    pub bytes: Option<u64>,
}

impl Retention {
    /// Whether anything may ever go.
    #[must_use]
    pub const fn is_any(self) -> bool {
        self.ms.is_some() || self.bytes.is_some()
    }
}

impl From<&TopicConfig> for Retention {
    fn from(config: &TopicConfig) -> Self {
        Self { ms: config.retention_ms, bytes: config.retention_bytes }
    }
}

/// Where the log starts once all segments are gone that may go; `None` if none may. No
/// segment that reaches beyond `below` goes. Age can take the last one too, size cannot.
pub(super) fn new_start(
    segments: &[Segment],
    rule: Retention,
    now_ms: i64,
    below: Offset,
) -> Option<Offset> {
    let oldest_ms = rule.ms.map(|ms| now_ms.saturating_sub_unsigned(ms));
    let mut left: u64 = segments.iter().map(|s| s.bytes).sum();
    let mut start = None;
    for segment in segments.iter().filter(|s| s.bytes > 0) {
        let after = left - segment.bytes;
        let too_old = oldest_ms.is_some_and(|oldest| segment.largest_ms < oldest);
        let too_much = rule.bytes.is_some_and(|max| after > 0 && after >= max);
        if segment.end > below || !(too_old || too_much) {
            break;
        }
        left = after;
        start = Some(segment.end);
    }
    start
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Segments of 10 records and 100 bytes each, with these largest timestamps.
    fn segments(times: &[i64]) -> Vec<Segment> {
        let segment = |(n, largest_ms): (u64, &i64)| {
            let mut segment = Segment::empty(Offset(n * 10), 4096, 0);
            (segment.end, segment.bytes) = (Offset(n * 10 + 10), 100);
            segment.largest_ms = *largest_ms;
            segment
        };
        (0..).zip(times).map(segment).collect()
    }

    fn start(times: &[i64], ms: Option<u64>, bytes: Option<u64>, below: u64) -> Option<u64> {
        let rule = Retention { ms, bytes };
        new_start(&segments(times), rule, 1_000, Offset(below)).map(|start| start.0)
    }

    #[test]
    fn age_takes_whole_segments_from_the_oldest_up_to_the_first_that_is_young() {
        let times = [100, 300, 200, 900];
        assert_eq!(start(&times, None, None, 40), None);
        assert_eq!(start(&times, Some(900), None, 40), None, "not a millisecond too early");
        assert_eq!(start(&times, Some(899), None, 40), Some(10));
        assert_eq!(start(&times, Some(750), None, 40), Some(10), "the second is younger");
        assert_eq!(start(&times, Some(600), None, 40), Some(30));
        assert_eq!(start(&times, Some(50), None, 40), Some(40), "the last one too");
        assert_eq!(start(&[], Some(1), None, 40), None);
    }

    #[test]
    fn size_leaves_at_least_so_many_bytes_and_never_takes_the_last() {
        let times = [0; 4];
        assert_eq!(start(&times, None, Some(400), 40), None);
        assert_eq!(start(&times, None, Some(301), 40), None);
        assert_eq!(start(&times, None, Some(300), 40), Some(10));
        assert_eq!(start(&times, None, Some(101), 40), Some(20));
        assert_eq!(start(&times, None, Some(1), 40), Some(30));
    }

    #[test]
    fn nothing_goes_that_is_not_committed() {
        assert_eq!(start(&[0; 4], Some(1), None, 25), Some(20));
        assert_eq!(start(&[0; 4], None, Some(1), 9), None);
    }

    #[test]
    fn a_record_from_the_year_2100_keeps_only_what_is_not_older() {
        assert_eq!(start(&[0, i64::MAX, 0], Some(1), None, 30), Some(10));
        assert_eq!(start(&[i64::MIN, 0], Some(u64::MAX), None, 30), None);
    }
}
