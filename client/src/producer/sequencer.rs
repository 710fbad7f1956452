//! The batches of one partition on their way: order, sequence numbers, retries, outcomes.
//! Pure: times are given, effects are returned.
//!
//! Invariants:
//! - Batches in flight are the oldest of the queue. After a failure nothing is sent until all
//!   in flight are answered; then sending begins again at the oldest.
//! - A batch keeps its bytes and its sequence for ever. A stamped batch that fails takes the
//!   producer id along: what was stamped behind it fails too, what was not gets a new id.
//!   (The SPU cannot tell whether the missing sequence numbers will ever come.)
//! - An error says `NotDone` only if no attempt can have been appended.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use weir_protocol::{
    ErrorCode, Outcome,
    batch::{BatchBuilder, ProducerStamp, advance_sequence},
    ids::{Offset, PartitionKey, ProducerEpoch, ProducerId},
};

use super::{
    ProduceError, ProducerConfig,
    accumulator::{Patience, Sealed},
    delivery::{Acked, BatchState},
    departure::Departure,
};
use crate::{
    error::outcome,
    retry::{Backoff, BackoffConfig},
};

/// So many batches under way keep a partition busy: more are worth sending only when they have
/// collected something.
const CROWD: usize = 2;

/// A failed attempt.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub code: ErrorCode,
    pub message: String,
    /// The request may have reached the SPU.
    pub may_have_arrived: bool,
}

/// One attempt to be made.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub batch_id: u64,
    pub number: u32,
    pub bytes: Bytes,
    /// How long until the batch's deadline.
    pub left: Duration,
    /// Asked before it is written.
    pub departure: Departure,
}

/// A batch's outcome.
#[derive(Debug)]
pub(crate) struct Resolution {
    pub state: Arc<BatchState>,
    pub queued_bytes: usize,
    pub outcome: Result<Acked, ProduceError>,
}

#[derive(Debug)]
enum Body {
    /// Not sent yet: without producer id and sequence.
    Plain(BatchBuilder),
    /// As it is sent, each time.
    Encoded(Bytes),
}

#[derive(Debug)]
struct Entry {
    state: Arc<BatchState>,
    body: Body,
    deadline: Duration,
    queued_bytes: usize,
    attempts: u32,
    in_flight: bool,
    /// Of the last attempt.
    departure: Departure,
    /// An attempt with an unknown outcome was made.
    maybe_appended: bool,
}

impl Entry {
    /// It is given up while an attempt may be under way.
    fn give_up(&mut self) {
        self.maybe_appended |= self.in_flight && !self.departure.call_off();
    }

    fn encoded(&self) -> bool {
        matches!(self.body, Body::Encoded(_))
    }
}

/// The batches of one partition.
#[derive(Debug)]
pub(crate) struct Sequencer {
    key: PartitionKey,
    topic: Arc<str>,
    config: ProducerConfig,
    queue: VecDeque<Entry>,
    stamp: Option<(ProducerId, ProducerEpoch)>,
    next_sequence: u32,
    /// The producer id that must not be used here again.
    retired: Option<ProducerId>,
    /// A stamped batch failed: nothing is sent until no stamped batch is left.
    broken: bool,
    /// An attempt failed: nothing is sent until all are answered and this moment came.
    resend_at: Option<Duration>,
    backoff: Backoff,
    /// The generation is gone: everything fails with this.
    doom: Option<(ErrorCode, Arc<str>)>,
    /// The last thing that went wrong, for the message of a timeout.
    last: Option<(ErrorCode, String)>,
}

impl Sequencer {
    pub(crate) fn new(
        key: PartitionKey,
        topic: Arc<str>,
        config: ProducerConfig,
        backoff: BackoffConfig,
    ) -> Self {
        Self {
            key,
            topic,
            config,
            queue: VecDeque::new(),
            stamp: None,
            next_sequence: 0,
            retired: None,
            broken: false,
            resend_at: None,
            backoff: Backoff::new(backoff),
            doom: None,
            last: None,
        }
    }

    pub(crate) fn push(&mut self, sealed: Sealed) {
        let Sealed { state, builder, deadline, queued_bytes } = sealed;
        let body = Body::Plain(builder);
        let (attempts, in_flight, maybe_appended) = (0, false, false);
        self.queue.push_back(Entry {
            state,
            body,
            deadline,
            queued_bytes,
            attempts,
            in_flight,
            departure: Departure::default(),
            maybe_appended,
        });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// What a batch that still collects should do, seen from here.
    pub(crate) fn patience(&self) -> Patience {
        let full = self.queue.len() >= self.config.in_flight_per_partition_max;
        if full || self.resend_at.is_some() || self.broken {
            Patience::Endless
        } else if self.queue.len() >= CROWD {
            Patience::Some
        } else {
            Patience::None
        }
    }

    /// Whether there is something to send as soon as `now` allows.
    pub(crate) fn wants_to_send(&self, now: Duration) -> bool {
        let in_flight = self.in_flight();
        let resend_allowed = self.resend_at.is_none_or(|at| in_flight == 0 && at <= now);
        self.doom.is_none()
            && !self.broken
            && resend_allowed
            && in_flight < self.queue.len().min(self.config.in_flight_per_partition_max)
    }

    fn in_flight(&self) -> usize {
        self.queue.iter().filter(|entry| entry.in_flight).count()
    }

    /// Whether a producer id is needed first; with the one that will not do.
    pub(crate) fn wants_id(&self) -> Option<Option<ProducerId>> {
        (self.config.idempotent && self.stamp.is_none()).then_some(self.retired)
    }

    pub(crate) fn give_id(&mut self, id: ProducerId, epoch: ProducerEpoch) {
        if self.retired != Some(id) && self.stamp.is_none() {
            self.stamp = Some((id, epoch));
            self.next_sequence = 0;
        }
    }

    /// Notes why nothing can be sent just now.
    pub(crate) fn blocked(&mut self, code: ErrorCode, message: impl Into<String>) {
        self.last = Some((code, message.into()));
    }

    /// The next attempt, if one may be made. A batch that cannot be encoded is resolved
    /// instead.
    pub(crate) fn next(&mut self, now: Duration) -> Option<Result<Attempt, Resolution>> {
        if !self.wants_to_send(now) || self.wants_id().is_some() {
            return None;
        }
        self.resend_at = None;
        let index = self.in_flight();
        debug_assert!(self.queue.iter().take(index).all(|e| e.in_flight), "oldest first");
        if let Some(Entry { body: Body::Plain(_), .. }) = self.queue.get(index)
            && let Err(error) = self.encode(index)
        {
            let entry = self.queue.remove(index)?;
            return Some(Err(self.resolve(entry, ErrorCode::InvalidBatch, &error)));
        }
        let entry = self.queue.get_mut(index)?;
        let Body::Encoded(bytes) = &entry.body else { return None };
        entry.in_flight = true;
        entry.attempts = entry.attempts.saturating_add(1);
        entry.departure = Departure::default();
        Some(Ok(Attempt {
            batch_id: entry.state.id,
            number: entry.attempts,
            bytes: bytes.clone(),
            left: entry.deadline.saturating_sub(now),
            departure: entry.departure.clone(),
        }))
    }

    /// Gives a batch its place in the sequence.
    fn encode(&mut self, index: usize) -> Result<(), String> {
        let Some(entry) = self.queue.get_mut(index) else { return Ok(()) };
        let body = std::mem::replace(&mut entry.body, Body::Encoded(Bytes::new()));
        if let Body::Plain(builder) = body {
            let records = builder.record_count();
            let base_sequence = self.next_sequence;
            let stamp = self.stamp.map(|(id, epoch)| ProducerStamp { id, epoch, base_sequence });
            entry.body = Body::Encoded(builder.finish(stamp).map_err(|e| e.to_string())?);
            self.next_sequence = advance_sequence(self.next_sequence, records);
        }
        Ok(())
    }

    /// Takes in what became of an attempt. An answer that nobody waits for any more is
    /// passed by.
    pub(crate) fn answer(
        &mut self,
        batch_id: u64,
        attempt: u32,
        answer: Result<Acked, Failure>,
        now: Duration,
    ) -> Vec<Resolution> {
        let awaited = |e: &Entry| e.state.id == batch_id && e.in_flight && e.attempts == attempt;
        let Some(index) = self.queue.iter().position(awaited) else { return Vec::new() };
        let failure = match answer {
            Ok(acked) => {
                let entry = self.queue.remove(index);
                self.backoff.reset();
                let mut done: Vec<_> = entry
                    .map(|Entry { state, queued_bytes, .. }| Resolution {
                        state,
                        queued_bytes,
                        outcome: Ok(acked),
                    })
                    .into_iter()
                    .collect();
                done.extend(self.mend());
                return done;
            }
            Err(failure) => failure,
        };
        let Some(entry) = self.queue.get_mut(index) else { return Vec::new() };
        entry.in_flight = false;
        if outcome(failure.code, failure.may_have_arrived) == Outcome::Unknown {
            entry.maybe_appended = true;
        }
        let maybe_appended = entry.maybe_appended;
        self.last = Some((failure.code, failure.message.clone()));
        // Behind a batch that has to be sent again a gap in the sequence is no surprise.
        let waits_for_earlier = failure.code == ErrorCode::OutOfOrderSequence && index > 0;
        let again = (failure.code.retriable() || waits_for_earlier)
            && (self.config.idempotent || !maybe_appended)
            && !self.broken
            && self.doom.is_none()
            && now < self.queue.get(index).map_or(now, |entry| entry.deadline);
        if again {
            if self.resend_at.is_none() {
                self.resend_at = Some(now + self.backoff.next_wait());
            }
            return Vec::new();
        }
        let mut done = Vec::new();
        if let Some(entry) = self.queue.remove(index) {
            let (code, message) = match &self.doom {
                Some((code, message)) if failure.code.retriable() => (*code, message.to_string()),
                _ => (failure.code, failure.message),
            };
            done.push(self.fail(entry, code, &message));
        }
        done.extend(self.mend());
        done
    }

    /// Resolves what is past its deadline, in flight or not.
    pub(crate) fn expire(&mut self, now: Duration) -> Vec<Resolution> {
        let mut done = Vec::new();
        while let Some(index) = self.queue.iter().position(|entry| entry.deadline <= now) {
            let Some(mut entry) = self.queue.remove(index) else { break };
            entry.give_up();
            let limit = self.config.delivery_timeout;
            let cause = self.last.as_ref().map_or_else(
                || "the leader did not answer".to_owned(),
                |(code, message)| format!("last {code}: {message}"),
            );
            let message = format!("no acknowledgement within {limit:?}; {cause}");
            done.push(self.fail(entry, ErrorCode::TimedOut, &message));
        }
        done.extend(self.mend());
        done
    }

    /// The generation is gone: what is not in flight fails now, what is when it is answered.
    pub(crate) fn doom(&mut self, code: ErrorCode, message: &str) -> Vec<Resolution> {
        self.doom = Some((code, message.into()));
        self.refuse(code, message)
    }

    /// The generation is served after all: an older map, or a restored one, had said that it
    /// is gone.
    pub(crate) fn revive(&mut self) {
        self.doom = None;
    }

    /// Fails what is not in flight.
    pub(crate) fn refuse(&mut self, code: ErrorCode, message: &str) -> Vec<Resolution> {
        let (kept, refused) =
            std::mem::take(&mut self.queue).into_iter().partition(|entry| entry.in_flight);
        self.queue = kept;
        let refused: VecDeque<Entry> = refused;
        let mut done: Vec<_> =
            refused.into_iter().map(|entry| self.fail(entry, code, message)).collect();
        done.extend(self.mend());
        done
    }

    /// Gives everything up, for a producer that ends.
    pub(crate) fn abandon(&mut self, code: ErrorCode, message: &str) -> Vec<Resolution> {
        let abandoned = std::mem::take(&mut self.queue);
        let unknown = |mut entry: Entry| {
            entry.give_up();
            self.resolve(entry, code, message)
        };
        abandoned.into_iter().map(unknown).collect()
    }

    /// When to look again if nothing else happens.
    pub(crate) fn wake_at(&self, now: Duration) -> Option<Duration> {
        let deadline = self.queue.iter().map(|entry| entry.deadline).min();
        // What has come already waits for something else, for instance a leader.
        let resend_at = self.resend_at.filter(|at| *at > now && self.in_flight() == 0);
        [deadline, resend_at].into_iter().flatten().min()
    }

    fn fail(&mut self, entry: Entry, code: ErrorCode, message: &str) -> Resolution {
        self.broken |= self.config.idempotent && entry.encoded();
        self.resolve(entry, code, message)
    }

    fn resolve(&self, entry: Entry, code: ErrorCode, message: &str) -> Resolution {
        let error = ProduceError {
            code,
            outcome: if entry.maybe_appended { Outcome::Unknown } else { Outcome::NotDone },
            message: message.into(),
            topic: self.topic.clone(),
            key: self.key,
        };
        let Entry { state, queued_bytes, .. } = entry;
        Resolution { state, queued_bytes, outcome: Err(error) }
    }

    /// In a broken sequence: fails what was stamped and is not in flight, and once nothing
    /// stamped is left asks for a new producer id.
    fn mend(&mut self) -> Vec<Resolution> {
        if !self.broken {
            // Nothing left to resend: the wait is over, too.
            if self.queue.is_empty() {
                self.resend_at = None;
            }
            return Vec::new();
        }
        let (code, cause) = self.last.clone().unwrap_or((ErrorCode::TimedOut, String::new()));
        let message = format!("an earlier batch of the partition failed ({code}: {cause})");
        let mut done = Vec::new();
        let hopeless = |entry: &Entry| entry.encoded() && !entry.in_flight;
        while let Some(index) = self.queue.iter().position(hopeless) {
            let Some(entry) = self.queue.remove(index) else { break };
            done.push(self.resolve(entry, ErrorCode::OutOfOrderSequence, &message));
        }
        if !self.queue.iter().any(Entry::encoded) {
            self.broken = false;
            self.resend_at = None;
            self.retired = self.stamp.take().map(|(id, _)| id).or(self.retired);
        }
        done
    }
}

impl Acked {
    /// As it comes from the wire.
    pub(crate) fn from_wire(ack: &weir_protocol::pb::data::ProduceAck) -> Self {
        Self { base_offset: Offset(ack.base_offset), duplicate: ack.duplicate }
    }
}

#[cfg(test)]
#[path = "sequencer_tests.rs"]
mod tests;
