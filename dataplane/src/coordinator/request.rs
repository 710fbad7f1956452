//! What is asked of a coordinator, checked at the edge, and what it answers.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, oneshot};
use weir_protocol::{
    WireError,
    ids::{LeaderEpoch, PartitionKey},
};

use super::{
    describe::Part,
    record::{Committed, FIXED_BYTES, SessionId},
};

/// A request of one consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The consumer's name.
    pub consumer: Arc<str>,
    /// What is asked.
    pub verb: Verb,
}

impl Request {
    /// How many bytes it takes, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let partitions = match &self.verb {
            Verb::OpenSession { partitions, .. } | Verb::Delete { partitions } => {
                partitions.len() * FIXED_BYTES
            }
            Verb::Commit { offsets, .. } | Verb::Reset { offsets, .. } => {
                offsets.iter().map(|(_, committed)| FIXED_BYTES + committed.metadata.len()).sum()
            }
            Verb::Describe { .. } => 0,
        };
        FIXED_BYTES + self.consumer.len() + partitions
    }
}

/// What can be asked. No partition is named twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Claim partitions, and read what is committed for them.
    OpenSession {
        /// For whom.
        session: SessionId,
        /// Which.
        partitions: Vec<PartitionKey>,
    },
    /// Commit offsets of claimed partitions.
    Commit {
        /// Who claimed them.
        session: SessionId,
        /// Counts up from 1 with the session's commits.
        sequence: u64,
        /// What to commit; the time is the coordinator's to fill in.
        offsets: Vec<(PartitionKey, Committed)>,
    },
    /// Claim partitions for nobody and set their offsets.
    Reset {
        /// A session of nobody.
        session: SessionId,
        /// What to set; the time is the coordinator's to fill in.
        offsets: Vec<(PartitionKey, Committed)>,
    },
    /// Forget partitions.
    Delete {
        /// Which; empty for all that is known of the consumer.
        partitions: Vec<PartitionKey>,
    },
    /// Tell a part of what is known; changes nothing.
    Describe {
        /// The oldest epoch of the offsets partition whose leader may tell.
        least_epoch: LeaderEpoch,
        /// Go on behind this one; none: from the first.
        after: Option<PartitionKey>,
        /// At most so many; 0: as many as one answer takes.
        limit: usize,
    },
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The partitions are claimed; these have an offset.
    Opened(Vec<(PartitionKey, Committed)>),
    /// Committed, now or before.
    Committed,
    /// Reset; these had an offset, this one.
    Reset(Vec<(PartitionKey, Committed)>),
    /// So many partitions were forgotten.
    Deleted(u32),
    /// What is known.
    Described(Part),
}

/// A request on its way, and where its answer goes.
#[derive(Debug)]
pub struct Ask {
    /// What is asked.
    pub request: Request,
    /// Where the answer goes.
    pub respond: oneshot::Sender<Result<Answer, WireError>>,
    /// What it takes of the inbox's bytes.
    pub room: OwnedSemaphorePermit,
}

impl Ask {
    /// Answers. Whoever asked may be gone, or past his deadline.
    pub fn answer(self, answer: Result<Answer, WireError>) {
        let _ = self.respond.send(answer);
    }
}
