//! One leadership of one offsets partition: requests in groups, one batch for each group.
//!
//! While a group is on its way to the disk the next one gathers in the inbox. A group is
//! folded in, and answered, once it is committed.

use std::collections::BTreeSet;

use tokio::sync::{mpsc, watch};
use weir_protocol::{
    ErrorCode, Outcome, WireError,
    ids::{Offset, TopicGenerationId},
};
use weir_runtime::{clock::Clock, task::CancellationToken};

use super::{
    decide::{Bounds, decide},
    flush::{Flush, Step, Uploaded},
    fold::Fold,
    journal::{Journal, batches_of},
    record::Record,
    request::{Ask, Verb},
    shorten,
    staged::Staged,
};
use crate::{
    config::Limits,
    metadata::{Cache, ClusterMap},
    partition::{Standing, View},
};

/// Requests of one group.
const GROUP_REQUESTS_MAX: usize = 256;
/// Bytes of one group's records, about, and one request more. What does not fit in one batch
/// then is written as several.
const GROUP_BYTES_MAX: usize = 4 << 20;

/// Why a leadership's service ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The SPU is going down.
    Stopped,
    /// The state may not be what the log says any more: leadership ended, or the outcome of
    /// a write is not known.
    Stale,
}

/// Whether records say what was not said before.
#[derive(Clone, Copy)]
enum News {
    Yes,
    No,
}

/// The state of one leadership.
pub struct Serving<'a> {
    journal: &'a Journal,
    cache: &'a Cache,
    limits: &'a Limits,
    clock: Clock,
    fold: Fold,
    flush: Flush,
    log_start: Offset,
    /// The log start that the log should have, and has not yet.
    start_wanted: Option<Offset>,
    /// Generations that the map does not know and that the control plane was asked about.
    doubted: BTreeSet<TopicGenerationId>,
    /// The log holds records that this coordinator has not written.
    intruded: bool,
}

impl<'a> Serving<'a> {
    /// From what the log says, whose start is at `log_start`.
    #[must_use]
    pub fn new(
        journal: &'a Journal,
        (cache, limits, clock): (&'a Cache, &'a Limits, Clock),
        (fold, log_start): (Fold, Offset),
        flush: Flush,
    ) -> Self {
        Self {
            journal,
            cache,
            limits,
            clock,
            fold,
            flush,
            log_start,
            start_wanted: None,
            doubted: BTreeSet::new(),
            intruded: false,
        }
    }

    /// Serves until the leadership ends, or `stop`.
    pub async fn run(
        mut self,
        inbox: &mut mpsc::Receiver<Ask>,
        view: &mut watch::Receiver<View>,
        stop: &CancellationToken,
    ) -> End {
        let mut maps = self.cache.watch();
        let cached = maps.borrow_and_update().clone();
        self.doubt(&cached.map);
        loop {
            let served = tokio::select! {
                biased;
                () = stop.cancelled() => {
                    let limit = self.limits.offsets_flush_timeout;
                    // What is not told now is told after the next start.
                    let _ = self.clock.timeout(limit, self.flush.finish(&mut self.fold)).await;
                    return End::Stopped;
                }
                changed = view.changed() => match changed {
                    Ok(()) if self.leads(&view.borrow_and_update()) => Ok(()),
                    _ => Err(End::Stale),
                },
                Ok(()) = maps.changed() => {
                    let cached = maps.borrow_and_update().clone();
                    self.doubt(&cached.map);
                    Ok(())
                }
                step = self.flush.step() => match step {
                    Step::Due => {
                        self.flush.begin(&self.fold);
                        Ok(())
                    }
                    Step::Ended(uploaded) => self.uploaded(uploaded).await,
                },
                Some(first) = inbox.recv() => self.group(first, inbox).await,
            };
            let served = match served {
                Ok(()) => self.shorten().await,
                end => end,
            };
            if let Err(end) = served {
                return end;
            }
        }
    }

    fn leads(&self, view: &View) -> bool {
        view.standing == Standing::Leader(self.journal.epoch)
    }

    /// Decides everything that waits, writes it as one batch, answers.
    async fn group(&mut self, first: Ask, inbox: &mut mpsc::Receiver<Ask>) -> Result<(), End> {
        let cached = self.cache.current();
        let now_ms = self.clock.unix_ms();
        let bounds = Bounds {
            keys_max: self.limits.consumer_keys_max,
            metadata_bytes_max: self.limits.consumer_metadata_bytes_max,
        };
        let mut staged = Staged::on(&self.fold);
        let mut decided = Vec::new();
        let mut next = Some(first);
        while let Some(ask) = next {
            let answer = self
                .may_tell(&ask.request.verb)
                .and_then(|()| decide(&mut staged, &cached.map, bounds, now_ms, &ask.request));
            decided.push((ask, answer));
            let full = decided.len() >= GROUP_REQUESTS_MAX || staged.bytes() >= GROUP_BYTES_MAX;
            next = if full { None } else { inbox.try_recv().ok() };
        }
        let records = staged.into_records();
        // What is written proves by its commit that this coordinator still leads; without that
        // it is asked.
        let written = match records.is_empty() {
            true => self.journal.confirm().await,
            false => self.write(records, News::Yes).await,
        };
        for (ask, answer) in decided {
            // What was decided on top of what failed does not hold either.
            ask.answer(written.as_ref().map_err(Clone::clone).and(answer));
        }
        self.after(&written)
    }

    /// Whether this leadership is not known to be over by whoever asks what is committed:
    /// nothing is written for the answer, and so nothing else would tell a deposed leader.
    fn may_tell(&self, verb: &Verb) -> Result<(), WireError> {
        match verb {
            Verb::Describe { least_epoch, .. } if *least_epoch > self.journal.epoch => {
                let text = "this SPU has not heard yet who coordinates the consumer now";
                let mut error = WireError::new(ErrorCode::UnknownLeaderEpoch, text);
                error.wire.leader_epoch = Some(self.journal.epoch.get());
                Err(error)
            }
            _ => Ok(()),
        }
    }

    /// Commits records, folds them in, and notes them for the upload.
    async fn write(&mut self, records: Vec<Record>, news: News) -> Result<(), WireError> {
        for (nth, batch) in batches_of(records).into_iter().enumerate() {
            self.flush.planted(&self.fold, &batch);
            let appended = self.journal.append(&batch, self.clock.unix_ms()).await;
            let base = appended.map_err(|error| if nth == 0 { error } else { partial(&error) })?;
            self.intruded |= base != self.fold.end();
            let positions = (base.get()..).map(Offset);
            for (position, record) in positions.zip(batch) {
                let key = record.key.clone();
                let former = self.fold.apply(position, record);
                match news {
                    News::Yes => self.flush.mark(former, position, key),
                    News::No => self.flush.moved(former, position, key),
                }
            }
        }
        Ok(())
    }

    /// Whether the state is still what the log says.
    fn after(&self, written: &Result<(), WireError>) -> Result<(), End> {
        match written {
            // Somebody who may write to internal topics did: the log says more than the state.
            Ok(()) if self.intruded => Err(End::Stale),
            Ok(()) => Ok(()),
            Err(error) => {
                let partition = self.journal.key();
                tracing::warn!(%partition, %error, "commits were not written");
                let kept = error.code.outcome() == Outcome::NotDone
                    && !matches!(error.code, ErrorCode::NotLeader | ErrorCode::NotYetAvailable);
                if kept { Ok(()) } else { Err(End::Stale) }
            }
        }
    }

    /// Has the control plane asked about generations that the map does not know (any more).
    /// That a map does not name them deletes nothing; the answer may.
    fn doubt(&mut self, map: &ClusterMap) {
        let unknown: BTreeSet<_> = self.fold.generations().filter(|id| !keeps(map, *id)).collect();
        self.doubted.retain(|id| unknown.contains(id));
        let fresh: BTreeSet<_> = unknown.difference(&self.doubted).copied().collect();
        for (key, position) in self.fold.of_generations(&fresh) {
            self.flush.doubt(position, key);
        }
        self.doubted.extend(fresh);
    }

    /// Takes how an upload ended: what belongs to purged generations is forgotten.
    async fn uploaded(&mut self, uploaded: Uploaded) -> Result<(), End> {
        let mut gone = self.flush.ended(uploaded, &mut self.fold);
        // The map and the answer are of one mind, or the map lags, and doubts arise later.
        let cached = self.cache.current();
        gone.retain(|id| !keeps(&cached.map, *id));
        let keys = self.fold.of_generations(&gone);
        if keys.is_empty() {
            return Ok(());
        }
        tracing::info!(partition = %self.journal.key(), keys = keys.len(), "forgetting offsets of purged topics");
        let records = keys.iter().map(|(key, _)| Record { key: key.clone(), value: None });
        let written = self.write(records.collect(), News::Yes).await;
        if written.is_err() {
            for (key, position) in keys {
                self.flush.doubt(position, key);
            }
        }
        self.after(&written)
    }

    /// Writes the log anew where little of it counts, and forgets what was before.
    async fn shorten(&mut self) -> Result<(), End> {
        if let Some(start) = self.start_wanted {
            return self.move_start(start).await;
        }
        let records = self.fold.end().records_since(self.log_start);
        if !shorten::is_due(records, self.fold.keys() + self.fold.graves().len()) {
            return Ok(());
        }
        let first = self.fold.end();
        let written = self.write(self.fold.to_records(), News::No).await;
        if written.is_ok() {
            self.start_wanted = Some(first);
        }
        self.after(&written)?;
        if written.is_ok() { self.move_start(first).await } else { Ok(()) }
    }

    async fn move_start(&mut self, start: Offset) -> Result<(), End> {
        match self.journal.partition.move_log_start(start).await {
            Ok(()) => {
                tracing::debug!(partition = %self.journal.key(), log_start = %start, "offsets log shortened");
                (self.log_start, self.start_wanted) = (start, None);
            }
            // It is tried again after the next group.
            Err(error) => {
                tracing::warn!(partition = %self.journal.key(), %error, "the offsets log could not be shortened yet");
            }
        }
        Ok(())
    }
}

/// A part of the records is in the log: whoever asked cannot know which.
fn partial(error: &WireError) -> WireError {
    WireError::new(ErrorCode::TimedOut, format!("a part of it was written, then: {error}"))
}

/// Whether the map knows the generation, and not as one whose data is being removed.
fn keeps(map: &ClusterMap, generation: TopicGenerationId) -> bool {
    map.generation(generation).is_some_and(|known| !known.purged)
}
