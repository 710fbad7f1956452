//! One commit: what is sent, again and again under the same number, until it is known.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use weir_protocol::{
    ErrorCode, Outcome, WireError,
    ids::{PartitionKey, TopicGenerationId},
    pb::offsets::{CommitRequest, CommittedOffset},
};

use super::{
    CommitError,
    progress::Mark,
    session::{Caller, Named},
};

/// Most partitions in one request.
const PARTITIONS_MAX: usize = 10_000;
/// Largest request, in bytes, about: less than what a coordinator takes.
const REQUEST_BYTES_MAX: usize = 3 << 20;
/// What one partition takes of it beside its metadata, at most.
const OFFSET_BYTES: usize = 64;

type Marks = Vec<(PartitionKey, Mark)>;

/// One commit, in as many requests as it takes.
pub(super) struct Job {
    /// The first is sent until its outcome is known.
    requests: VecDeque<Marks>,
    /// The number of the first request, once it was sent.
    sequence: Option<u64>,
    pub callers: Vec<Caller>,
    /// When it is given up.
    pub until: Duration,
    /// An attempt of the first request may have been taken.
    unknown: bool,
    /// What went wrong last.
    pub last: WireError,
}

impl Job {
    /// Each of `due` is committed with so many bytes of metadata.
    pub(super) fn new(
        due: Marks,
        metadata_bytes: usize,
        callers: Vec<Caller>,
        until: Duration,
    ) -> Self {
        let fit = REQUEST_BYTES_MAX / OFFSET_BYTES.saturating_add(metadata_bytes);
        Self {
            requests: due.chunks(fit.clamp(1, PARTITIONS_MAX)).map(<[_]>::to_vec).collect(),
            sequence: None,
            callers,
            until,
            unknown: false,
            last: WireError::new(ErrorCode::TimedOut, "the coordinator has not answered"),
        }
    }

    pub(super) fn done(&self) -> bool {
        self.requests.is_empty()
    }

    pub(super) fn generation(&self) -> Option<TopicGenerationId> {
        Some(self.requests.front()?.first()?.0.generation)
    }

    /// The request to be sent now. Its number is drawn once.
    pub(super) fn request(&mut self, named: &Named, next: &mut u64) -> CommitRequest {
        let sequence = *self.sequence.get_or_insert_with(|| {
            let drawn = *next;
            *next += 1;
            drawn
        });
        let offset = |(key, mark): &(PartitionKey, Mark)| CommittedOffset {
            partition: Some(key.to_wire()),
            next_offset: mark.next.get(),
            leader_epoch: mark.leader_epoch.map(|epoch| epoch.get()),
            metadata: named.metadata.clone(),
            committed_at_unix_ms: 0,
        };
        CommitRequest {
            consumer: named.name.to_string(),
            session_id: named.id.to_vec().into(),
            sequence,
            offsets: self.requests.front().into_iter().flatten().map(offset).collect(),
        }
    }

    /// The outcome of the first request is known: these it was about.
    pub(super) fn taken(&mut self) -> Marks {
        (self.sequence, self.unknown) = (None, false);
        self.requests.pop_front().unwrap_or_default()
    }

    /// An attempt failed, and the next may not.
    pub(super) fn failed(&mut self, error: WireError) {
        self.unknown |= error.code.outcome() == Outcome::Unknown;
        self.last = error;
    }

    pub(super) fn not_in_time(&self, under_way: bool, waited: Duration) -> CommitError {
        let unknown = self.unknown || under_way;
        let outcome = if unknown { Outcome::Unknown } else { Outcome::NotDone };
        let (code, reason) = (self.last.code, self.last.message().to_owned());
        CommitError::NotInTime { waited, outcome, code, reason }
    }

    pub(super) fn answer(self, result: &Result<(), CommitError>) {
        for caller in self.callers {
            // One that waits no longer need not know.
            let _ = caller.send(result.clone());
        }
    }
}

impl CommitError {
    /// What the coordinator said of offsets of `generation`.
    pub(super) fn from_wire(
        consumer: &Arc<str>,
        generation: TopicGenerationId,
        error: &WireError,
    ) -> Self {
        let message = error.message().to_owned();
        match error.code {
            ErrorCode::ConsumerFenced => Self::Fenced { consumer: consumer.clone(), message },
            ErrorCode::TopicRecreated => {
                let successor = &error.wire.successor_generation_id;
                let successor = TopicGenerationId::from_wire(successor);
                Self::TopicRecreated { generation, successor }
            }
            ErrorCode::TopicDeleted => Self::TopicDeleted { generation },
            code => Self::Refused { code, message },
        }
    }
}
