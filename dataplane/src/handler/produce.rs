//! `DataPlane.Produce`: checks each request, queues it at its partition, answers when the
//! replica has.
//!
//! Requests are queued in the order in which they came, one after another, so those of one
//! partition keep their order. A partition whose queue is full holds back the stream, and so
//! the client, until there is room or the request's deadline passes.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use futures::StreamExt as _;
use futures_buffered::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};
use tonic::{Status, metadata::MetadataMap};
use weir_protocol::{
    ErrorCode, WireError,
    batch::{self, ProduceLimits},
    ids::PartitionKey,
    pb::data::{
        self, ProduceAck, ProduceMessage, ProduceRequest, ProduceResponse,
        produce_message::Message, produce_response::Result as Outcome,
    },
    token::{Claims, Scope},
};
use weir_runtime::{
    clock::Monotonic,
    rpc::stream::Incoming,
    trace::{self, Kind},
};

use super::{
    Shared, auth,
    driven::Driven,
    promises::{Promise, shutting_down},
    status,
};
use crate::{
    metadata::resolve::resolve,
    metrics::{Call, OpenStream},
    partition::{Offer, Partition},
    replica::{Ack, Acks},
    token,
};

/// Answers that are ready at once. While the reader's window is full the stream is not read at all.
const ANSWERS_AHEAD: usize = 64;

pub(super) fn open(
    shared: Arc<Shared>,
    metadata: &MetadataMap,
    messages: Incoming,
) -> Result<Driven<ProduceResponse>, WireError> {
    let claims = auth::bearer(&shared.tokens, metadata)?;
    token::require(&claims, Scope::Produce)?;
    let promise = shared.promises.promise()?;
    let (out, responses) = mpsc::channel(ANSWERS_AHEAD);
    let counted = shared.metrics.stream(Call::Produce);
    let stream = Produce {
        shared,
        claims,
        out,
        answers: FuturesUnordered::new(),
        admitting: None,
        bytes: 0,
        _counted: counted,
        _promise: promise,
    };
    Ok(Driven::new(stream.run(messages), responses))
}

/// A request on its way to its answer.
struct Waiter {
    correlation_id: u64,
    key: Option<PartitionKey>,
    bytes: usize,
    records: u64,
    arrived: Monotonic,
    deadline: Monotonic,
    partition: Option<Arc<Partition>>,
}

type Answer = Pin<Box<dyn Future<Output = (Waiter, Result<Ack, WireError>)> + Send>>;
type Admitted = Result<oneshot::Receiver<Result<Ack, WireError>>, WireError>;
type Admitting = Pin<Box<dyn Future<Output = (Waiter, Admitted)> + Send>>;

/// One stream.
struct Produce {
    shared: Arc<Shared>,
    claims: Claims,
    out: mpsc::Sender<Result<ProduceResponse, Status>>,
    answers: FuturesUnordered<Answer>,
    /// The request that waits for room in its partition's queue: only one, for the order.
    admitting: Option<Admitting>,
    /// Of the requests that are not answered.
    bytes: usize,
    _counted: OpenStream,
    _promise: Promise,
}

impl Produce {
    async fn run(mut self, mut inbound: Incoming) {
        let over = self.shared.promises.over().clone();
        let mut open = true;
        while open || self.admitting.is_some() || !self.answers.is_empty() {
            let reads = open && self.admitting.is_none() && self.has_room();
            tokio::select! {
                biased;
                Some((waiter, answer)) = self.answers.next() => {
                    if self.respond(waiter, answer).await.is_err() {
                        return;
                    }
                }
                (waiter, admitted) = ready(&mut self.admitting) => self.admitted(waiter, admitted),
                // What was read is answered, then the stream ends.
                () = over.cancelled(), if open => open = false,
                message = inbound.message(), if reads => match message {
                    Ok(Some(ProduceMessage { message: Some(Message::Produce(request)) })) => {
                        self.take(request);
                    }
                    Ok(Some(ProduceMessage { message: Some(Message::Authenticate(fresh)) })) => {
                        let tokens = &self.shared.tokens;
                        auth::refresh(tokens, &mut self.claims, &fresh.token, Scope::Produce);
                    }
                    Ok(Some(ProduceMessage { message: None })) => {
                        let error = WireError::new(ErrorCode::InvalidRequest, "an empty message");
                        // The stream is over either way, here and below.
                        let _ = self.out.send(Err(status::of(error))).await;
                        return;
                    }
                    Ok(None) => open = false,
                    Err(broken) => {
                        tracing::debug!(%broken, "a produce stream broke");
                        let _ = self.out.send(Err(broken)).await;
                        return;
                    }
                },
            }
        }
        if over.is_cancelled() {
            // Behind every answer: what has none was not read.
            let _ = self.out.send(Err(status::of(shutting_down()))).await;
        }
    }

    fn has_room(&self) -> bool {
        let limits = &self.shared.limits;
        self.bytes < limits.stream_bytes_max && self.answers.len() < limits.stream_requests_max
    }

    /// Checks a request and sends it on its way.
    fn take(&mut self, request: ProduceRequest) {
        let shared = &self.shared;
        let limit = match request.timeout_ms {
            0 => shared.limits.produce_timeout_default,
            ms => Duration::from_millis(ms.into()).min(shared.limits.produce_timeout_max),
        };
        let arrived = shared.clock.now();
        let mut waiter = Waiter {
            correlation_id: request.correlation_id,
            key: request.partition.as_ref().and_then(PartitionKey::from_wire),
            bytes: request.batch.len(),
            records: 0,
            arrived,
            deadline: arrived.plus(limit),
            partition: None,
        };
        self.bytes += waiter.bytes;
        match check(shared, &self.claims, request) {
            Err(refusal) => self.answers.push(Box::pin(std::future::ready((waiter, Err(refusal))))),
            Ok((partition, offer)) => {
                waiter.partition = Some(partition.clone());
                waiter.records = offer.header.record_count.into();
                let clock = shared.clock;
                self.admitting = Some(Box::pin(async move {
                    let offered = clock.timeout(limit, partition.queue().offer(offer)).await;
                    let admitted = offered.unwrap_or_else(|_| {
                        let text =
                            "the partition had no room until the deadline; nothing was appended";
                        Err(WireError::new(ErrorCode::Overloaded, text))
                    });
                    (waiter, admitted)
                }));
            }
        }
    }

    /// The batch is queued (or refused): wait for the replica's answer.
    fn admitted(&mut self, waiter: Waiter, admitted: Admitted) {
        let clock = self.shared.clock;
        self.answers.push(Box::pin(async move {
            let receiver = match admitted {
                Ok(receiver) => receiver,
                Err(refusal) => return (waiter, Err(refusal)),
            };
            let left = waiter.deadline.since(clock.now());
            let answer = match clock.timeout(left, receiver).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => {
                    let text = "the replica ended without an answer";
                    Err(WireError::new(ErrorCode::Internal, text))
                }
                Err(_) => Err(too_late(waiter.partition.as_deref())),
            };
            (waiter, answer)
        }));
    }

    async fn respond(&mut self, waiter: Waiter, answer: Result<Ack, WireError>) -> Result<(), ()> {
        self.bytes = self.bytes.saturating_sub(waiter.bytes);
        let Waiter { correlation_id, key, partition, arrived, .. } = waiter;
        let metrics = &self.shared.metrics;
        trace::line(Kind::Rpc, || {
            let key = key.map_or_else(String::new, |key| key.to_string());
            match &answer {
                Ok(ack) => format!(
                    "produce {correlation_id} {key} at {} duplicate {}",
                    ack.base_offset, ack.duplicate
                ),
                Err(error) => format!("produce {correlation_id} {key} {}", error.code),
            }
        });
        let outcome = match answer {
            Ok(ack) => {
                let took = self.shared.clock.now().since(arrived);
                metrics.produced(waiter.records, waiter.bytes, took);
                let log_start = partition.and_then(|partition| Some(partition.log()?.log_start()));
                Outcome::Ack(ProduceAck {
                    base_offset: ack.base_offset.get(),
                    duplicate: ack.duplicate,
                    log_start: log_start.map_or(0, |offset| offset.get()),
                })
            }
            Err(error) => {
                metrics.refused(Call::Produce, error.code);
                tracing::debug!(correlation_id, %error, "produce refused");
                Outcome::Error(error.into())
            }
        };
        let response = ProduceResponse { correlation_id, result: Some(outcome) };
        self.out.send(Ok(response)).await.map_err(drop)
    }
}

/// With what it waits for, where that is known.
fn too_late(partition: Option<&Partition>) -> WireError {
    let stall = partition.and_then(|partition| partition.view().borrow().stall);
    let text = "not committed within the deadline; it may yet be";
    let text = stall.map_or_else(|| text.to_owned(), |stall| format!("{text}: {stall}"));
    WireError::new(ErrorCode::TimedOut, text)
}

/// Waits for room; for ever, if nobody does.
async fn ready(admitting: &mut Option<Admitting>) -> (Waiter, Admitted) {
    let Some(future) = admitting else { return std::future::pending().await };
    let admitted = future.await;
    *admitting = None;
    admitted
}

/// Everything that can be said without the replica.
fn check(
    shared: &Shared,
    claims: &Claims,
    request: ProduceRequest,
) -> Result<(Arc<Partition>, Offer), WireError> {
    shared.tokens.still_good(claims)?;
    let acks = match data::Acks::try_from(request.acks) {
        Ok(data::Acks::Unspecified | data::Acks::All) => Acks::All,
        Ok(data::Acks::Leader) => Acks::Leader,
        Ok(data::Acks::None) => Acks::None,
        Err(_) => {
            let text = format!("acks {} is not known", request.acks);
            return Err(WireError::new(ErrorCode::InvalidRequest, text));
        }
    };
    let cached = shared.cache.current();
    let key = resolve(&cached.map, request.partition.as_ref(), claims)?;
    let limits = ProduceLimits {
        batch_bytes_max: shared.batch_bytes_max(),
        records_max: shared.limits.batch_records_max,
        timestamp_min_ms: 0,
        timestamp_max_ms: shared.clock.unix_ms().saturating_add(
            i64::try_from(shared.limits.timestamp_ahead_max.as_millis()).unwrap_or(i64::MAX),
        ),
    };
    let header = batch::verify_produced(&request.batch, &limits)
        .map_err(|error| WireError::new(error.code(), error.to_string()))?;
    let partition = shared.partition(&cached.map, key)?;
    let leader_epoch = request.leader_epoch.into();
    Ok((partition, Offer { header, batch: request.batch, leader_epoch, acks }))
}
