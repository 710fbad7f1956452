//! One partition of a consumer: where it stands and how it is doing.

use std::time::Duration;

use tokio::sync::mpsc;
use weir_protocol::{
    WireError,
    ids::{LeaderEpoch, Offset, PartitionIndex, SpuId},
};

use super::{ConsumeError, position::Position, start::Opening};
use crate::{
    pool::FetchCommand,
    retry::{Backoff, BackoffConfig},
};

/// A subscription that was made.
pub(super) struct Subscribed {
    pub id: u64,
    pub spu: SpuId,
    pub epoch: LeaderEpoch,
    /// The SPU answered.
    pub started: bool,
    /// When it was made, since the consumer began.
    pub since: Duration,
    pub link: mpsc::UnboundedSender<FetchCommand>,
}

impl Drop for Subscribed {
    fn drop(&mut self) {
        // One that is over, or whose stream is gone, is passed by.
        let _ = self.link.send(FetchCommand::Unsubscribe(self.id));
    }
}

pub(super) enum Phase {
    /// To be claimed for the named consumer first.
    Claiming,
    /// To be subscribed, not before this.
    Waiting {
        until: Duration,
        paused: bool,
    },
    Subscribed(Subscribed),
    /// An error was reported: until the application says where to go on.
    Halted,
    /// Came to its end.
    Done,
}

pub(super) struct Part {
    pub index: PartitionIndex,
    pub position: Position,
    pub phase: Phase,
    pub session: u32,
    /// This follower would not serve it: the leader does, until the map changes.
    pub avoids: Option<SpuId>,
    backoff: Backoff,
    /// Since when it cannot be read, and what went wrong last.
    down: Option<(Duration, WireError)>,
    reported: bool,
}

impl Part {
    pub(super) fn new(
        index: PartitionIndex,
        opening: Opening,
        until_end: bool,
        phase: Phase,
        backoff: BackoffConfig,
    ) -> Self {
        Self {
            index,
            position: Position::new(index, opening, until_end),
            phase,
            session: 0,
            avoids: None,
            backoff: Backoff::new(backoff),
            down: None,
            reported: false,
        }
    }

    pub(super) fn subscription(&self) -> Option<u64> {
        match &self.phase {
            Phase::Subscribed(subscribed) => Some(subscribed.id),
            _ => None,
        }
    }

    /// It is being served.
    pub(super) fn up(&mut self) {
        self.backoff.reset();
        self.down = None;
        self.reported = false;
    }

    /// It cannot be read just now.
    pub(super) fn down(&mut self, error: WireError, now: Duration) {
        let since = self.down.take().map_or(now, |(since, _)| since);
        self.down = Some((since, error));
    }

    /// An attempt failed: again after a wait.
    pub(super) fn again(&mut self, error: WireError, now: Duration) {
        self.down(error, now);
        self.phase = Phase::Waiting { until: now + self.backoff.next_wait(), paused: false };
    }

    /// The error of an outage that lasts long enough, once.
    pub(super) fn overdue(&mut self, now: Duration, after: Duration) -> Option<ConsumeError> {
        let (since, error) = self.down.as_ref().filter(|_| !self.reported)?;
        let lasted = now.saturating_sub(*since);
        if lasted < after {
            return None;
        }
        self.reported = true;
        let (partition, code) = (self.index, error.code);
        let reason = error.message().to_owned();
        Some(ConsumeError::Unavailable { partition, code, reason, lasted })
    }

    /// When [`Part::overdue`] will have something to say.
    pub(super) fn overdue_at(&self, after: Duration) -> Option<Duration> {
        self.down.as_ref().filter(|_| !self.reported).map(|(since, _)| since.saturating_add(after))
    }

    /// The range of an `OFFSET_OUT_OF_RANGE`.
    pub(super) fn out_of_range(&self, error: &WireError) -> ConsumeError {
        ConsumeError::OutOfRange {
            partition: self.index,
            requested: self.position.offset(),
            log_start: Offset(error.wire.log_start.unwrap_or_default()),
            high_watermark: Offset(error.wire.high_watermark.unwrap_or_default()),
        }
    }
}
