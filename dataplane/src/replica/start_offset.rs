//! Where a reader begins: one pure, total function.

use weir_protocol::{
    ErrorCode, WireError,
    ids::Offset,
    pb::data::{self, Start, start::Position},
};
use weir_runtime::plant;

/// Where a reader wants to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// At the oldest kept record.
    Beginning,
    /// After the last committed record.
    End,
    /// At this very offset.
    Absolute(Offset),
    /// So many offsets behind the oldest kept record.
    FromBeginning(u64),
    /// So many offsets before the high watermark.
    FromEnd(u64),
    /// At the first record whose timestamp is not below this.
    Timestamp {
        /// In milliseconds since 1970.
        ms: i64,
        /// Where that record is, as the log has it; `None`: there is none, so the high
        /// watermark is meant.
        at: Option<Offset>,
    },
}

/// What to do where the offset lies outside `log_start ..= high_watermark`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResetPolicy {
    /// Refuse.
    #[default]
    Error,
    /// Begin at the log start.
    Earliest,
    /// Begin at the high watermark.
    Latest,
    /// Begin at that end of the range that is nearer: nothing that is there is passed over.
    Nearest,
}

/// The whole of a reader's wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The consumer's committed offset, which goes first.
    pub committed: Option<Offset>,
    /// Where to begin without one.
    pub at: StartAt,
    /// What to do out of range.
    pub policy: ResetPolicy,
}

impl Request {
    /// A place, with neither a committed offset nor a policy.
    #[must_use]
    pub const fn at(at: StartAt) -> Self {
        Self { committed: None, at, policy: ResetPolicy::Error }
    }

    /// From the wire; `None` when no position is set, or a policy that is not known.
    #[must_use]
    pub fn from_wire(start: Option<&Start>) -> Option<Self> {
        let start = start?;
        let at = match start.position? {
            Position::Beginning(_) => StartAt::Beginning,
            Position::End(_) => StartAt::End,
            Position::Absolute(offset) => StartAt::Absolute(Offset(offset)),
            Position::FromBeginning(count) => StartAt::FromBeginning(count),
            Position::FromEnd(count) => StartAt::FromEnd(count),
            Position::TimestampMs(ms) => StartAt::Timestamp { ms, at: None },
        };
        let policy = match data::ResetPolicy::try_from(start.reset_policy).ok()? {
            data::ResetPolicy::Unspecified | data::ResetPolicy::Error => ResetPolicy::Error,
            data::ResetPolicy::Earliest => ResetPolicy::Earliest,
            data::ResetPolicy::Latest => ResetPolicy::Latest,
            data::ResetPolicy::Nearest => ResetPolicy::Nearest,
        };
        Some(Self { committed: start.committed.map(Offset), at, policy })
    }
}

/// How a start was resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// The place, which lies in the range.
    AsAsked,
    /// The committed offset, which lies in the range.
    Committed,
    /// Out of range: the policy chose.
    Reset,
}

impl Resolution {
    /// For the wire.
    #[must_use]
    pub const fn to_wire(self) -> data::Resolution {
        match self {
            Self::AsAsked => data::Resolution::AsAsked,
            Self::Committed => data::Resolution::Committed,
            Self::Reset => data::Resolution::Reset,
        }
    }
}

/// What of a log can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readable {
    /// Oldest kept offset.
    pub log_start: Offset,
    /// First offset not yet committed.
    pub high_watermark: Offset,
    /// Whether the high watermark has reached the log end at which this leader began.
    /// Before that, its predecessor may have committed more than is known here.
    pub settled: bool,
}

/// Why there is no offset to begin at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// Outside `log_start ..= high_watermark`.
    #[error("offset {offset} is outside the readable range {log_start}..={high_watermark}")]
    OutOfRange {
        /// The one asked for.
        offset: Offset,
        /// Oldest kept offset.
        log_start: Offset,
        /// First offset not yet committed.
        high_watermark: Offset,
    },
    /// The leader is new and does not know yet what is committed.
    #[error("the leader does not know yet what is committed")]
    NotYetAvailable,
}

impl From<StartError> for WireError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::OutOfRange { log_start, high_watermark, .. } => {
                let mut wire = Self::new(ErrorCode::OffsetOutOfRange, error.to_string());
                wire.wire.log_start = Some(log_start.get());
                wire.wire.high_watermark = Some(high_watermark.get());
                wire
            }
            StartError::NotYetAvailable => Self::new(ErrorCode::NotYetAvailable, error.to_string()),
        }
    }
}

/// The offset to begin at, and how it was found. Total: it cannot panic, and answers every
/// wish with an offset in the range or with the reason why not.
///
/// # Errors
/// An offset out of range under [`ResetPolicy::Error`]; what depends on the high watermark
/// before the range is settled.
pub fn resolve(request: Request, readable: Readable) -> Result<(Offset, Resolution), StartError> {
    let Readable { log_start, high_watermark, settled } = readable;
    let (wanted, found) = match (request.committed, request.at) {
        (Some(committed), _) => (committed, Resolution::Committed),
        (None, StartAt::Beginning) => return Ok((log_start, Resolution::AsAsked)),
        (None, StartAt::End | StartAt::FromEnd(_)) if !settled => {
            return Err(StartError::NotYetAvailable);
        }
        (None, StartAt::End) => (high_watermark, Resolution::AsAsked),
        (None, StartAt::Absolute(offset)) => (offset, Resolution::AsAsked),
        (None, StartAt::Timestamp { at, .. }) => match at.filter(|at| *at < high_watermark) {
            // Retention may have moved the log start on since the log was asked.
            Some(at) => (at.max(log_start), Resolution::AsAsked),
            None if !settled => return Err(StartError::NotYetAvailable),
            None => (high_watermark, Resolution::AsAsked),
        },
        // Before the first or behind the last there is nothing to count: the border is meant.
        (None, StartAt::FromBeginning(count)) => {
            let offset = Offset(log_start.get().saturating_add(count));
            if offset > high_watermark && !settled {
                return Err(StartError::NotYetAvailable);
            }
            (offset.min(high_watermark), Resolution::AsAsked)
        }
        (None, StartAt::FromEnd(count)) => {
            let offset = Offset(high_watermark.get().saturating_sub(count));
            (offset.max(log_start), Resolution::AsAsked)
        }
    };
    if log_start <= wanted && wanted <= high_watermark {
        return Ok((wanted, found));
    }
    // The predecessor may have committed more than is known here.
    if wanted > high_watermark && !settled {
        return Err(StartError::NotYetAvailable);
    }
    let border = match request.policy {
        // The planted bug: what is out of range is quietly moved into it.
        ResetPolicy::Error if plant::active("start_clamped") => {
            wanted.clamp(log_start, high_watermark)
        }
        ResetPolicy::Error => {
            return Err(StartError::OutOfRange { offset: wanted, log_start, high_watermark });
        }
        ResetPolicy::Earliest => log_start,
        ResetPolicy::Latest if !settled => return Err(StartError::NotYetAvailable),
        ResetPolicy::Latest => high_watermark,
        ResetPolicy::Nearest if wanted < log_start => log_start,
        ResetPolicy::Nearest => high_watermark,
    };
    Ok((border, Resolution::Reset))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn readable(log_start: u64, high_watermark: u64, settled: bool) -> Readable {
        Readable { log_start: Offset(log_start), high_watermark: Offset(high_watermark), settled }
    }

    fn committed(offset: u64, at: StartAt, policy: ResetPolicy) -> Request {
        Request { committed: Some(Offset(offset)), at, policy }
    }

    fn place(at: StartAt, policy: ResetPolicy) -> Request {
        Request { committed: None, at, policy }
    }

    /// A name, the wish, and what comes of it: an offset and how, or the one out of range.
    type Case = (&'static str, Request, Result<(u64, Resolution), u64>);

    /// The table: a log of 3..8, settled.
    #[test]
    fn the_table_of_cases() {
        use {ResetPolicy::*, Resolution::*, StartAt::*};
        let absolute = |n| Absolute(Offset(n));
        let at_time = |at: Option<u64>| Timestamp { ms: 1, at: at.map(Offset) };
        let cases: [Case; 29] = [
            ("beginning", place(Beginning, Error), Ok((3, AsAsked))),
            ("end", place(End, Error), Ok((8, AsAsked))),
            ("first", place(absolute(3), Error), Ok((3, AsAsked))),
            ("within", place(absolute(5), Latest), Ok((5, AsAsked))),
            ("at the end", place(absolute(8), Earliest), Ok((8, AsAsked))),
            ("below", place(absolute(2), Error), Err(2)),
            ("above", place(absolute(9), Error), Err(9)),
            ("below, earliest", place(absolute(2), Earliest), Ok((3, Reset))),
            ("below, latest", place(absolute(2), Latest), Ok((8, Reset))),
            ("below, nearest", place(absolute(2), Nearest), Ok((3, Reset))),
            ("above, earliest", place(absolute(9), Earliest), Ok((3, Reset))),
            ("above, latest", place(absolute(u64::MAX), Latest), Ok((8, Reset))),
            ("above, nearest", place(absolute(9), Nearest), Ok((8, Reset))),
            ("none behind the first", place(FromBeginning(0), Error), Ok((3, AsAsked))),
            ("two behind the first", place(FromBeginning(2), Error), Ok((5, AsAsked))),
            ("too many", place(FromBeginning(u64::MAX), Error), Ok((8, AsAsked))),
            ("none before the end", place(FromEnd(0), Error), Ok((8, AsAsked))),
            ("two before the end", place(FromEnd(2), Error), Ok((6, AsAsked))),
            ("too many before it", place(FromEnd(99), Error), Ok((3, AsAsked))),
            ("at a time", place(at_time(Some(5)), Error), Ok((5, AsAsked))),
            ("at a time that was removed since", place(at_time(Some(1)), Error), Ok((3, AsAsked))),
            ("at a time not yet committed", place(at_time(Some(8)), Error), Ok((8, AsAsked))),
            ("at a time to come", place(at_time(None), Error), Ok((8, AsAsked))),
            ("committed goes first", committed(4, End, Error), Ok((4, Committed))),
            ("committed everything", committed(8, Beginning, Error), Ok((8, Committed))),
            ("committed nothing yet read", committed(3, End, Error), Ok((3, Committed))),
            ("committed and deleted since", committed(1, End, Nearest), Ok((3, Reset))),
            ("committed and deleted, error", committed(1, End, Error), Err(1)),
            ("committed beyond the log", committed(72, Beginning, Error), Err(72)),
        ];
        for (name, request, expected) in cases {
            let found = resolve(request, readable(3, 8, true));
            let expected = expected.map(|(offset, how)| (Offset(offset), how)).map_err(|offset| {
                StartError::OutOfRange {
                    offset: Offset(offset),
                    log_start: Offset(3),
                    high_watermark: Offset(8),
                }
            });
            assert_eq!(found, expected, "{name}");
        }
    }

    #[test]
    fn a_new_leader_says_only_what_it_knows() {
        use {ResetPolicy::*, StartAt::*};
        let range = readable(3, 8, false);
        let knows = [
            (place(Beginning, Error), 3),
            (place(Absolute(Offset(5)), Error), 5),
            (place(FromBeginning(5), Error), 8),
            (committed(8, End, Error), 8),
            (committed(2, End, Earliest), 3),
        ];
        for (request, offset) in knows {
            assert_eq!(resolve(request, range).map(|(at, _)| at), Ok(Offset(offset)));
        }
        let waits = [
            place(End, Error),
            place(FromEnd(1), Error),
            place(FromBeginning(6), Error),
            place(Absolute(Offset(9)), Earliest),
            place(Timestamp { ms: 1, at: None }, Error),
            place(Timestamp { ms: 1, at: Some(Offset(8)) }, Error),
            committed(9, Beginning, Nearest),
            committed(2, Beginning, Latest),
        ];
        for request in waits {
            assert_eq!(resolve(request, range), Err(StartError::NotYetAvailable), "{request:?}");
        }
    }

    proptest! {
        #[test]
        fn total_and_within_the_range(
            start: u64, span: u64, settled: bool, which in 0..7_u8, offset: u64,
            committed: Option<u64>, policy in 0..4_usize,
        ) {
            let range = readable(start, start.saturating_add(span), settled);
            let at = match which {
                0 => StartAt::Beginning,
                1 => StartAt::End,
                2 => StartAt::FromBeginning(offset),
                3 => StartAt::FromEnd(offset),
                4 => StartAt::Timestamp { ms: 1, at: None },
                5 => StartAt::Timestamp { ms: 1, at: Some(Offset(offset)) },
                _ => StartAt::Absolute(Offset(offset)),
            };
            let policies = [
                ResetPolicy::Error, ResetPolicy::Earliest, ResetPolicy::Latest, ResetPolicy::Nearest,
            ];
            let request =
                Request { committed: committed.map(Offset), at, policy: policies[policy] };
            if let Ok((found, how)) = resolve(request, range) {
                prop_assert!(range.log_start <= found && found <= range.high_watermark);
                let (asked, unmoved) = (request.committed, how != Resolution::Reset);
                prop_assert!(asked.is_none() || !unmoved || asked == Some(found));
                prop_assert!(how != Resolution::Reset || request.policy != ResetPolicy::Error);
            }
        }
    }
}
