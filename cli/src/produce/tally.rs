//! What became of the records: counted truly, told in one sentence.

use serde::Serialize;
use weir_client::ProduceError;
use weir_protocol::{ErrorCode, Outcome};

use crate::{error::rounded, out};

/// Different errors that are told; the others of a kind are only counted.
const KINDS_MAX: usize = 20;

/// The count.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Tally {
    /// In the log, as durably as `--acks` asks.
    pub acknowledged: u64,
    /// Not in the log, and never will be.
    pub failed: u64,
    /// Perhaps in the log.
    pub unknown: u64,
    /// Keys and values of the acknowledged ones.
    pub bytes: u64,
    /// From the first line read to the last answer.
    pub seconds: f64,
    /// The first line that was not acknowledged; all before it were.
    pub first_not_acknowledged_line: Option<u64>,
    /// Whether that one is known not to be in the log.
    #[serde(skip)]
    pub first_is_failed: bool,
    /// By code and outcome, in the order in which they came up; what only follows from
    /// another error last.
    pub errors: Vec<ErrorKind>,
}

/// Errors of one code and outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ErrorKind {
    /// The stable code.
    pub code: &'static str,
    /// `failed` or `unknown`.
    pub outcome: &'static str,
    /// How many records.
    pub records: u64,
    /// The first one.
    pub first: String,
}

impl Tally {
    /// A record of `bytes` was acknowledged.
    pub fn acknowledged(&mut self, bytes: u64) {
        self.acknowledged += 1;
        self.bytes += bytes;
    }

    /// A record that was handed over was not acknowledged.
    pub fn not_acknowledged(&mut self, line: u64, error: &ProduceError) {
        self.lost(line, error.outcome == Outcome::NotDone);
        let outcome = match error.outcome {
            Outcome::NotDone => {
                self.failed += 1;
                "failed"
            }
            Outcome::Unknown => {
                self.unknown += 1;
                "unknown"
            }
        };
        let code = error.code.as_str();
        let mut kinds = self.errors.iter_mut();
        if let Some(kind) = kinds.find(|kind| (kind.code, kind.outcome) == (code, outcome)) {
            kind.records += 1;
        } else if self.errors.len() < KINDS_MAX {
            let first = rounded(&error.to_string());
            let kind = ErrorKind { code, outcome, records: 1, first };
            let at = if follows(code) {
                self.errors.len()
            } else {
                self.errors.partition_point(|kind| !follows(kind.code))
            };
            self.errors.insert(at, kind);
        }
    }

    /// No answer came in time, of this line and perhaps of later ones.
    pub fn unanswered(&mut self, line: u64) {
        self.lost(line, false);
    }

    fn lost(&mut self, line: u64, failed: bool) {
        if self.first_not_acknowledged_line.is_none_or(|first| line < first) {
            self.first_not_acknowledged_line = Some(line);
            self.first_is_failed = failed;
        }
    }

    /// How many lines behind the first one that was not acknowledged were: all before it were,
    /// so what is more than these is behind it.
    pub fn acknowledged_later(&self) -> u64 {
        let first = self.first_not_acknowledged_line.unwrap_or(u64::MAX);
        self.acknowledged.saturating_sub(first.saturating_sub(1))
    }

    /// Which line was the first that was not acknowledged, and what is behind it.
    pub fn first_lost(&self) -> Option<String> {
        let line = out::thousands(self.first_not_acknowledged_line?);
        let mut text = match self.first_is_failed {
            true => format!("line {line} was the first that was not written"),
            false => format!("line {line} was the first that was not acknowledged"),
        };
        match (self.acknowledged_later(), self.unknown) {
            (0, 0) => text += ", and no later one was",
            (0, _) if self.first_is_failed => {
                text += ", later ones may have been written all the same";
            }
            (0, _) => text += ", it or later ones may have been written all the same",
            (n, 0) => text += &format!(", {} of the later ones were", out::thousands(n)),
            (n, _) => {
                text += &format!(
                    ", {} of the later ones were, others may have been written",
                    out::thousands(n)
                );
            }
        }
        Some(text)
    }

    /// Whether every record handed over was acknowledged.
    pub fn is_clean(&self) -> bool {
        self.failed == 0 && self.unknown == 0
    }

    /// `1,000 records acknowledged (10.0 MB in 0.5 s, 20.0 MB/s)`, and what was not.
    pub fn sentence(&self) -> String {
        let mut text = format!("{} acknowledged", out::count(self.acknowledged, "record"));
        if !self.is_clean() {
            text += &format!(
                ", {} failed (not written), {} unknown (perhaps written)",
                out::thousands(self.failed),
                out::thousands(self.unknown)
            );
        }
        if self.acknowledged > 0 {
            text += &format!(
                " ({} in {:.2} s, {})",
                out::bytes(self.bytes),
                self.seconds,
                out::rate(self.bytes, self.seconds)
            );
        }
        text
    }

    /// The first error of each kind, for people.
    pub fn told(&self) -> String {
        let told = self.errors.iter().map(|kind| match kind.records {
            1 => kind.first.clone(),
            n => format!("{} ({} records)", kind.first, out::thousands(n)),
        });
        told.collect::<Vec<_>>().join("; ")
    }
}

/// Whether errors of this code only follow from another one, or tell nothing of the cause.
fn follows(code: &str) -> bool {
    [ErrorCode::OutOfOrderSequence, ErrorCode::TimedOut, ErrorCode::ShuttingDown]
        .iter()
        .any(|follower| follower.as_str() == code)
}

#[cfg(test)]
mod tests {
    use weir_protocol::ids::{PartitionIndex, PartitionKey, TopicGenerationId};

    use super::*;

    fn error(code: ErrorCode, outcome: Outcome) -> ProduceError {
        let generation = TopicGenerationId(uuid::Uuid::from_u128(1));
        ProduceError {
            code,
            outcome,
            message: "no room".into(),
            topic: "t".into(),
            key: PartitionKey { generation, partition: PartitionIndex(0) },
        }
    }

    #[test]
    fn failed_and_unknown_are_kept_apart_and_told_once_per_kind() {
        let mut tally = Tally { seconds: 2.0, ..Tally::default() };
        for _ in 0..1_000 {
            tally.acknowledged(1_000);
        }
        assert!(tally.is_clean());
        assert_eq!(tally.sentence(), "1,000 records acknowledged (1.0 MB in 2.00 s, 500.0 kB/s)");
        tally.not_acknowledged(1_001, &error(ErrorCode::StorageFull, Outcome::NotDone));
        tally.not_acknowledged(1_002, &error(ErrorCode::StorageFull, Outcome::NotDone));
        tally.not_acknowledged(1_003, &error(ErrorCode::TimedOut, Outcome::Unknown));
        assert!(!tally.is_clean());
        assert!(
            tally.sentence().contains("2 failed (not written), 1 unknown (perhaps written)"),
            "{}",
            tally.sentence()
        );
        tally.not_acknowledged(1_004, &error(ErrorCode::TimedOut, Outcome::NotDone));
        let kinds: Vec<_> = tally.errors.iter().map(|k| (k.code, k.outcome, k.records)).collect();
        let full = ErrorCode::StorageFull.as_str();
        let late = ErrorCode::TimedOut.as_str();
        assert_eq!(kinds, [(full, "failed", 2), (late, "unknown", 1), (late, "failed", 1)]);
        assert!(tally.told().contains("no room (2 records)"), "{}", tally.told());
    }

    #[test]
    fn the_cause_comes_before_what_follows_and_the_first_line_is_named() {
        let mut tally = Tally::default();
        (0..6).for_each(|_| tally.acknowledged(1));
        tally.not_acknowledged(9, &error(ErrorCode::OutOfOrderSequence, Outcome::NotDone));
        assert_eq!(tally.acknowledged_later(), 0);
        tally.not_acknowledged(5, &error(ErrorCode::StorageFull, Outcome::NotDone));
        assert_eq!(tally.errors[0].code, ErrorCode::StorageFull.as_str());
        assert_eq!(tally.first_not_acknowledged_line, Some(5));
        // Lines 1 to 4 are before it, so two of the six are behind it.
        assert_eq!(
            tally.first_lost().unwrap(),
            "line 5 was the first that was not written, 2 of the later ones were"
        );
        tally.acknowledged = 4;
        assert!(tally.first_lost().unwrap().ends_with("not written, and no later one was"));
        tally.not_acknowledged(6, &error(ErrorCode::ShuttingDown, Outcome::Unknown));
        assert!(tally.first_lost().unwrap().ends_with("may have been written all the same"));
        assert_eq!(tally.errors.last().unwrap().code, ErrorCode::ShuttingDown.as_str());
    }
}
