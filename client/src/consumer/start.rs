//! Where reading a partition begins, and where it began.

use weir_protocol::{
    ids::{Offset, PartitionIndex},
    pb::data,
};

/// Where reading a partition begins; for a named consumer, where nothing is committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// At the oldest kept record.
    #[default]
    Beginning,
    /// Behind the newest committed record: only what comes later.
    End,
    /// At this offset. Outside log start and high watermark the [`ResetPolicy`] decides.
    Absolute(Offset),
    /// So many offsets behind the oldest kept record, at most at the high watermark.
    FromBeginning(u64),
    /// So many offsets before the high watermark, at least at the log start.
    FromEnd(u64),
    /// At the first record whose timestamp, in milliseconds since 1970, is not below this; at the
    /// high watermark where there is none. Timestamps are the producers': one that comes later
    /// may be below it.
    Timestamp(i64),
}

/// What to do where the offset to begin at lies outside log start and high watermark. It is
/// about the beginning only: a partition whose next record is removed while it is read stops
/// with [`super::ConsumeError::OutOfRange`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResetPolicy {
    /// The partition stops with [`super::ConsumeError::OutOfRange`].
    #[default]
    Error,
    /// Begin at the log start.
    Earliest,
    /// Begin at the high watermark.
    Latest,
    /// Begin at that end of the range that is nearer: no record that is there is passed over.
    Nearest,
}

/// How a start was resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// At [`Start`].
    AsAsked,
    /// At the committed offset.
    Committed,
    /// That was out of range: the [`ResetPolicy`] chose.
    Reset,
}

/// Where reading a partition began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun {
    /// The partition.
    pub partition: PartitionIndex,
    /// The first offset that is read.
    pub offset: Offset,
    /// How it was found.
    pub resolution: Resolution,
    /// What was committed, where something was.
    pub committed: Option<Offset>,
    /// The oldest kept offset at that moment.
    pub log_start: Offset,
    /// The first offset that was not committed to the log at that moment.
    pub high_watermark: Offset,
}

/// All that decides where a partition begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Opening {
    /// Goes before `start`.
    pub committed: Option<Offset>,
    pub start: Start,
    pub reset: ResetPolicy,
}

impl Opening {
    /// At this very offset or not at all.
    pub(super) const fn at(offset: Offset) -> Self {
        Self { committed: None, start: Start::Absolute(offset), reset: ResetPolicy::Error }
    }

    /// The offset that is asked for, where it is one.
    pub(super) const fn offset(&self) -> Option<Offset> {
        match (self.committed, self.start) {
            (Some(offset), _) | (None, Start::Absolute(offset)) => Some(offset),
            _ => None,
        }
    }

    pub(super) const fn to_wire(self) -> data::Start {
        use data::start::Position;
        let reset = match self.reset {
            ResetPolicy::Error => data::ResetPolicy::Error,
            ResetPolicy::Earliest => data::ResetPolicy::Earliest,
            ResetPolicy::Latest => data::ResetPolicy::Latest,
            ResetPolicy::Nearest => data::ResetPolicy::Nearest,
        };
        data::Start {
            position: Some(match self.start {
                Start::Beginning => Position::Beginning(true),
                Start::End => Position::End(true),
                Start::Absolute(offset) => Position::Absolute(offset.0),
                Start::FromBeginning(count) => Position::FromBeginning(count),
                Start::FromEnd(count) => Position::FromEnd(count),
                Start::Timestamp(ms) => Position::TimestampMs(ms),
            }),
            committed: match self.committed {
                Some(offset) => Some(offset.0),
                None => None,
            },
            reset_policy: reset as i32,
        }
    }
}

impl Resolution {
    /// From the wire. What is not known is read as if nothing had been changed.
    pub(crate) const fn from_wire(resolution: data::Resolution) -> Self {
        match resolution {
            data::Resolution::Unspecified | data::Resolution::AsAsked => Self::AsAsked,
            data::Resolution::Committed => Self::Committed,
            data::Resolution::Reset => Self::Reset,
        }
    }
}
