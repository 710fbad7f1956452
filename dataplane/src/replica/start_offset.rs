//! Where a reader begins: one pure, total function.

use weir_protocol::{
    ErrorCode, WireError,
    ids::Offset,
    pb::data::{Start, start::Position},
};

/// Where a reader wants to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// At the oldest kept record.
    Beginning,
    /// After the last committed record.
    End,
    /// At this very offset.
    Absolute(Offset),
}

impl StartAt {
    /// From the wire; `None` when no position is set.
    #[must_use]
    pub fn from_wire(start: Option<&Start>) -> Option<Self> {
        Some(match start?.position? {
            Position::Beginning(_) => Self::Beginning,
            Position::End(_) => Self::End,
            Position::Absolute(offset) => Self::Absolute(Offset(offset)),
        })
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

/// The offset to begin at.
///
/// # Errors
/// An absolute offset outside the range; `End`, or such an offset, before the range is
/// settled.
pub fn resolve(start: StartAt, readable: Readable) -> Result<Offset, StartError> {
    let Readable { log_start, high_watermark, settled } = readable;
    match start {
        StartAt::Beginning => Ok(log_start),
        StartAt::Absolute(offset) if log_start <= offset && offset <= high_watermark => Ok(offset),
        _ if !settled => Err(StartError::NotYetAvailable),
        StartAt::End => Ok(high_watermark),
        StartAt::Absolute(offset) => {
            Err(StartError::OutOfRange { offset, log_start, high_watermark })
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn readable(log_start: u64, high_watermark: u64, settled: bool) -> Readable {
        Readable { log_start: Offset(log_start), high_watermark: Offset(high_watermark), settled }
    }

    #[test]
    fn beginning_end_and_both_borders() {
        let range = readable(3, 8, true);
        assert_eq!(resolve(StartAt::Beginning, range), Ok(Offset(3)));
        assert_eq!(resolve(StartAt::End, range), Ok(Offset(8)));
        assert_eq!(resolve(StartAt::Absolute(Offset(3)), range), Ok(Offset(3)));
        assert_eq!(resolve(StartAt::Absolute(Offset(8)), range), Ok(Offset(8)));
        for offset in [Offset(2), Offset(9)] {
            let error = resolve(StartAt::Absolute(offset), range);
            let (log_start, high_watermark) = (Offset(3), Offset(8));
            assert_eq!(error, Err(StartError::OutOfRange { offset, log_start, high_watermark }));
        }
    }

    #[test]
    fn a_new_leader_says_only_what_it_knows() {
        let range = readable(3, 8, false);
        assert_eq!(resolve(StartAt::Absolute(Offset(5)), range), Ok(Offset(5)));
        assert_eq!(resolve(StartAt::Beginning, range), Ok(Offset(3)));
        assert_eq!(resolve(StartAt::End, range), Err(StartError::NotYetAvailable));
        assert_eq!(resolve(StartAt::Absolute(Offset(9)), range), Err(StartError::NotYetAvailable));
    }

    proptest! {
        #[test]
        fn total_and_within_the_range(
            start: u64, span: u64, settled: bool, which in 0..3_u8, offset: u64,
        ) {
            let range = readable(start, start.saturating_add(span), settled);
            let at = match which {
                0 => StartAt::Beginning,
                1 => StartAt::End,
                _ => StartAt::Absolute(Offset(offset)),
            };
            if let Ok(found) = resolve(at, range) {
                prop_assert!(range.log_start <= found && found <= range.high_watermark);
                if let StartAt::Absolute(asked) = at {
                    prop_assert_eq!(found, asked, "an absolute offset is taken as it is or refused");
                }
            }
        }
    }
}
