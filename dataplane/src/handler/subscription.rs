//! One subscription of a fetch stream: what comes next for it.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use tokio::sync::watch;
use weir_protocol::{
    ErrorCode, WireError,
    batch::{self, BatchError},
    ids::{LeaderEpoch, Offset},
    pb::data::{PartitionRef, Records, Started, Subscribe, fetch_response::Event},
    token::Claims,
};
use weir_runtime::plant;

use super::{
    Shared, at_time,
    reading::{self, Reading},
};
use crate::{
    config::Limits,
    log::LogError,
    metadata::resolve::resolve,
    metrics::Call,
    partition::{Partition, Standing, View},
    replica::start_offset::{self, Readable, StartError},
};

type News = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A reader of one partition.
pub struct Subscription {
    asked: Option<PartitionRef>,
    epoch: LeaderEpoch,
    max_bytes: usize,
    reading: Reading,
    end: End,
    position: Position,
    partition: Option<Arc<Partition>>,
}

#[derive(Clone, Copy)]
enum Position {
    /// Not resolved yet.
    Start(start_offset::Request),
    /// The next offset to send.
    Next(Offset),
}

/// What a reader wants to know of the end before it begins.
enum End {
    /// Nothing more than is known.
    Any,
    /// All that is committed by now.
    Settled,
    /// As well: the followers were asked whether this replica leads. (A leader that is cut off does
    /// not know what its successor has committed.)
    Asked(Arc<OnceLock<Result<(), WireError>>>),
}

/// What to do for a subscription now.
pub enum Step {
    /// Send this; an error is its end.
    Send(Event),
    /// Nothing before this is ready.
    Wait(News),
    /// Nothing before the client gives credit.
    Starve,
}

impl Subscription {
    /// What a client asked for.
    ///
    /// # Errors
    /// `INVALID_REQUEST`.
    pub fn new(asked: &Subscribe, limits: &Limits) -> Result<Self, WireError> {
        let start = start_offset::Request::from_wire(asked.start.as_ref()).ok_or_else(|| {
            WireError::new(ErrorCode::InvalidRequest, "the subscription names no start")
        })?;
        let max_bytes = match asked.max_bytes {
            0 => limits.fetch_bytes_default,
            bytes => usize::try_from(bytes).unwrap_or(usize::MAX),
        };
        Ok(Self {
            asked: asked.partition.clone(),
            epoch: LeaderEpoch(asked.leader_epoch),
            max_bytes: max_bytes.min(limits.fetch_bytes_max),
            reading: Reading::asked(asked, start)?,
            end: if asked.settled { End::Settled } else { End::Any },
            position: Position::Start(start),
            partition: None,
        })
    }

    /// What comes next. The generation, the leader and the token are looked at anew for each
    /// response.
    pub async fn step(&mut self, shared: &Shared, claims: &Claims, credit: i64) -> Step {
        match self.try_step(shared, claims, credit).await {
            Ok(step) => step,
            Err(error) => {
                shared.metrics.refused(Call::Fetch, error.code);
                Step::Send(Event::Error(error.into()))
            }
        }
    }

    async fn try_step(
        &mut self,
        shared: &Shared,
        claims: &Claims,
        credit: i64,
    ) -> Result<Step, WireError> {
        shared.tokens.still_good(claims)?;
        let cached = shared.cache.current();
        let key = resolve(&cached.map, self.asked.as_ref(), claims)?;
        let partition = match &self.partition {
            Some(partition) if partition.key() == key => partition.clone(),
            _ => self.partition.insert(shared.partition(&cached.map, key)?).clone(),
        };
        let mut changes = partition.view();
        let view = changes.borrow_and_update().clone();
        if changes.has_changed().is_err() && view.standing != Standing::Closed {
            // Its task ended without saying so: nothing would ever wake this reader.
            return Err(WireError::new(ErrorCode::ReplicaOffline, "the replica's task has ended"));
        }
        if view.standing == Standing::Opening {
            return Ok(wait(changes, view, self.reading));
        }
        let in_sync = cached.map.in_sync(key, partition.me());
        let served = reading::served(&view, self.reading, self.epoch, in_sync)?;
        let (readable, end) = (served.starts, served.end);
        let next = match self.position {
            Position::Next(next) => next,
            Position::Start(start) => {
                let start = at_time::locate(&partition, start, readable).await?;
                // The planted bug: any end that is known serves for the end.
                if !plant::active("any_end_will_do")
                    && let Some(news) = self.end.ask(&partition, readable)?
                {
                    return Ok(Step::Wait(news));
                }
                let started = started(start, readable)?;
                self.position = Position::Next(Offset(started.offset));
                return Ok(Step::Send(Event::Started(started)));
            }
        };
        if next >= end {
            return Ok(wait(changes, view, self.reading));
        }
        if credit <= 0 {
            return Ok(Step::Starve);
        }
        let budget = self.max_bytes.min(usize::try_from(credit).unwrap_or(usize::MAX));
        let began = shared.clock.now();
        let batches = read(&partition, next, end, budget).await?;
        if batches.is_empty() {
            return Ok(wait(changes, view, self.reading));
        }
        let (after, records) = end_of(&batches).map_err(|error| {
            WireError::new(ErrorCode::ReplicaOffline, format!("the log holds no batch: {error}"))
        })?;
        self.position = Position::Next(after);
        shared.metrics.fetched(records, batches.len(), shared.clock.now().since(began));
        Ok(Step::Send(Event::Records(Records {
            batches,
            high_watermark: end.get(),
            log_start: readable.log_start.get(),
        })))
    }

    /// For the trace.
    #[must_use]
    pub fn describe(&self, event: &Event) -> String {
        let key = self.partition.as_ref().map(|partition| partition.key().to_string());
        let key = key.unwrap_or_default();
        match event {
            Event::Started(started) => format!("{key} started at {}", started.offset),
            Event::Records(records) => format!("{key} {} bytes", records.batches.len()),
            Event::Error(error) => format!("{key} {}", ErrorCode::from_number(error.code)),
        }
    }
}

impl End {
    /// Begins to ask, where that has to be done first.
    ///
    /// # Errors
    /// `NOT_YET_AVAILABLE`, and what the followers said.
    fn ask(
        &mut self,
        partition: &Arc<Partition>,
        readable: Readable,
    ) -> Result<Option<News>, WireError> {
        match self {
            Self::Any => Ok(None),
            _ if !readable.settled => Err(StartError::NotYetAvailable.into()),
            Self::Settled => {
                let (answer, partition) = (Arc::new(OnceLock::new()), partition.clone());
                *self = Self::Asked(answer.clone());
                Ok(Some(Box::pin(async move {
                    // Set once, here only.
                    let _ = answer.set(partition.confirm().await.map(drop));
                })))
            }
            Self::Asked(answer) => match answer.get() {
                // With too few in sync nobody can confirm it, and nothing is committed either.
                Some(Err(error)) if error.code != ErrorCode::NotEnoughReplicas => {
                    Err(error.clone())
                }
                Some(_) => Ok(None),
                None => Err(StartError::NotYetAvailable.into()),
            },
        }
    }
}

/// Where a reader begins, and what is readable.
pub(super) fn started(
    start: start_offset::Request,
    readable: Readable,
) -> Result<Started, WireError> {
    let (offset, resolution) = start_offset::resolve(start, readable)?;
    Ok(Started {
        offset: offset.get(),
        log_start: readable.log_start.get(),
        high_watermark: readable.high_watermark.get(),
        resolution: resolution.to_wire().into(),
    })
}

/// Until there is more to read, or the replica stands otherwise than when it was `seen`.
fn wait(mut changes: watch::Receiver<View>, seen: View, reading: Reading) -> Step {
    Step::Wait(Box::pin(async move {
        let news = |now: &View| {
            now.readable != seen.readable
                || now.standing != seen.standing
                || now.leader_epoch != seen.leader_epoch
                || (reading == Reading::Uncommitted && now.log_end != seen.log_end)
        };
        // An error means that the replica's task has ended: then there is something to say.
        let _ = changes.wait_for(news).await;
    }))
}

async fn read(
    partition: &Partition,
    next: Offset,
    end: Offset,
    budget: usize,
) -> Result<Bytes, WireError> {
    let log = partition.log().ok_or_else(|| {
        WireError::new(ErrorCode::NotYetAvailable, "the replica's log is not open")
    })?;
    log.read(next, end, budget).await.map_err(|error| {
        partition.read_failed(&error);
        let mut wire = WireError::new(error.code(), error.to_string());
        if matches!(error, LogError::OutOfRange { .. }) {
            wire.wire.log_start = Some(log.log_start().get());
            wire.wire.high_watermark = Some(end.get());
        }
        wire
    })
}

/// The offset after the last batch, and how many records there are.
fn end_of(batches: &Bytes) -> Result<(Offset, u64), BatchError> {
    let (mut rest, mut end, mut records) = (batches.clone(), Offset::ZERO, 0);
    while let Some((header, _, after)) = batch::split_first(&rest)? {
        end = header.next_offset();
        records += u64::from(header.record_count);
        rest = after;
    }
    Ok((end, records))
}
