//! What became of the records: counted truly, told in one sentence.

use serde::Serialize;
use weir_client::ProduceError;
use weir_protocol::Outcome;

use crate::out;

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
    /// By code and outcome, in the order in which they came up.
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
    pub fn not_acknowledged(&mut self, error: &ProduceError) {
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
            let first = error.to_string();
            self.errors.push(ErrorKind { code, outcome, records: 1, first });
        }
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

#[cfg(test)]
mod tests {
    use weir_protocol::{
        ErrorCode,
        ids::{PartitionIndex, PartitionKey, TopicGenerationId},
    };

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
        tally.not_acknowledged(&error(ErrorCode::StorageFull, Outcome::NotDone));
        tally.not_acknowledged(&error(ErrorCode::StorageFull, Outcome::NotDone));
        tally.not_acknowledged(&error(ErrorCode::TimedOut, Outcome::Unknown));
        assert!(!tally.is_clean());
        assert!(
            tally.sentence().contains("2 failed (not written), 1 unknown (perhaps written)"),
            "{}",
            tally.sentence()
        );
        tally.not_acknowledged(&error(ErrorCode::TimedOut, Outcome::NotDone));
        let kinds: Vec<_> = tally.errors.iter().map(|k| (k.code, k.outcome, k.records)).collect();
        let full = ErrorCode::StorageFull.as_str();
        let late = ErrorCode::TimedOut.as_str();
        assert_eq!(kinds, [(full, "failed", 2), (late, "unknown", 1), (late, "failed", 1)]);
        assert!(tally.told().contains("no room (2 records)"), "{}", tally.told());
    }
}
