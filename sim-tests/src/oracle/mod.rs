//! The judge: invariants over a [`History`](crate::history::History), one per file. It
//! knows only what clients did and saw, and nothing of the servers' code.
//!
//! **Not verified here**: how long things take (scenarios bound that), and anything that
//! no client can see.

pub mod acknowledged_is_readable;
pub mod committed_is_kept;
pub mod committed_was_processed;
pub mod every_record_is_resolved;
pub mod fenced_stays_fenced;
pub mod generations_are_apart;
pub mod kept_is_readable;
pub mod nothing_is_skipped;
pub mod one_offset_one_value;
pub mod order_without_duplicates;
pub mod running_is_true;
pub mod start_is_as_asked;
#[cfg(test)]
mod testing;
pub mod told_is_current;

use crate::history::Event;

/// What an invariant found wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The invariant's name.
    pub invariant: &'static str,
    /// What was seen, with the ids that it concerns.
    pub detail: String,
}

/// A check of the whole history.
pub type Check = fn(&[Event]) -> Result<(), String>;

/// Every invariant, by name.
pub const INVARIANTS: [(&str, Check); 13] = [
    ("acknowledged_is_readable", acknowledged_is_readable::check),
    ("kept_is_readable", kept_is_readable::check),
    ("one_offset_one_value", one_offset_one_value::check),
    ("order_without_duplicates", order_without_duplicates::check),
    ("generations_are_apart", generations_are_apart::check),
    ("every_record_is_resolved", every_record_is_resolved::check),
    ("running_is_true", running_is_true::check),
    ("nothing_is_skipped", nothing_is_skipped::check),
    ("committed_is_kept", committed_is_kept::check),
    ("committed_was_processed", committed_was_processed::check),
    ("fenced_stays_fenced", fenced_stays_fenced::check),
    ("start_is_as_asked", start_is_as_asked::check),
    ("told_is_current", told_is_current::check),
];

/// Judges a history by every invariant.
#[must_use]
pub fn judge(events: &[Event]) -> Vec<Violation> {
    INVARIANTS
        .iter()
        .filter_map(|(invariant, check)| {
            check(events).err().map(|detail| Violation { invariant, detail })
        })
        .collect()
}
