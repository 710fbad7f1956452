//! `Replication.Replicate`: any number of partitions of one follower on one stream, served in
//! turn, so that one that is far behind does not hold up the others.
//!
//! A fetch is *judged* by its replica's task, which counts what the follower holds; then it is
//! *ready*, or *waits* for something to be appended, committed or asked.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    future::{Future, ready},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::StreamExt as _;
use futures_buffered::FuturesUnordered;
use http::{Request, Response};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, body::Body, metadata::MetadataMap, server::NamedService};
use tower::Service;
use weir_protocol::{
    ErrorCode, WireError,
    ids::{LeaderEpoch, Offset, PartitionKey, SpuId},
    pb::replication::{
        Diverged, Fetch, Ping, ReplicateMessage, ReplicateResponse, StartAnew,
        replicate_message::Message, replicate_response::Event, replication_server::SERVICE_NAME,
    },
    streams::{REPLICATE_PATH, encode_replicated},
    token::{Claims, Scope},
};
use weir_runtime::{
    clock::Clock,
    rpc::stream::Incoming,
    task,
    trace::{self, Kind},
};

use super::{
    Responses, Shared, auth, data_plane::stream, status, throttle::Throttle, turns::Turns,
};
use crate::{
    partition::{Feeding, Partition, Standing, View},
    replica::followers::Verdict,
    replication::wire,
    token,
};

/// How long a follower that has everything waits at most to hear that more of it is committed.
const WATERMARK_DELAY: Duration = Duration::from_millis(50);
/// In place of a fetch's number: nothing is to be sent for it.
const REPORT: u64 = u64::MAX;
/// Partitions of one stream.
const PARTITIONS_MAX: usize = 100_000;

/// The service.
#[derive(Clone)]
pub(super) struct Replication(pub Arc<Shared>);

impl NamedService for Replication {
    const NAME: &'static str = SERVICE_NAME;
}

impl Service<Request<Body>> for Replication {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let shared = self.0.clone();
        if request.uri().path() == REPLICATE_PATH {
            return stream(request, encode_replicated, |metadata, messages| {
                open(shared, metadata, messages)
            });
        }
        let status = Status::unimplemented(format!("there is no {}", request.uri().path()));
        Box::pin(ready(Ok(status.into_http())))
    }
}

fn open(
    shared: Arc<Shared>,
    metadata: &MetadataMap,
    messages: Incoming,
) -> Result<Responses<ReplicateResponse>, WireError> {
    let claims = auth::bearer(&shared.tokens, metadata)?;
    token::require(&claims, Scope::Replicate)?;
    let follower = claims
        .spu()
        .ok_or_else(|| WireError::new(ErrorCode::Forbidden, "the token was not given to an SPU"))?;
    let (out, responses) = mpsc::channel(shared.limits.replica_responses_ahead.max(1));
    let stream = Replicate {
        shared,
        claims,
        follower,
        fetches: BTreeMap::new(),
        ids: BTreeMap::new(),
        judging: FuturesUnordered::new(),
        turns: Turns::default(),
    };
    task::spawn(stream.run(messages, out));
    Ok(ReceiverStream::new(responses))
}

/// What a follower wants of one partition.
struct Wanted {
    /// None: this SPU has no replica.
    partition: Option<Arc<Partition>>,
    epoch: LeaderEpoch,
    /// Counts fetches: a verdict on an older one is of no use.
    nth: u64,
    from: Offset,
    max_bytes: usize,
    /// Nobody waits for it yet: it is fed no faster than that is allowed.
    catches_up: bool,
    state: State,
    told: Told,
}

/// How far a fetch has come.
enum State {
    Judging,
    /// To be told that.
    Verdict(Feeding),
    Refused(WireError),
    Feeding,
    /// It waited, and something has happened.
    Waited,
    /// It got batches: nothing more before its next fetch.
    Fed,
}

/// What the follower heard last beside batches.
#[derive(Clone, Copy, Default)]
struct Told {
    high_watermark: Offset,
    log_start: Offset,
    ping: u64,
}

impl Told {
    /// Whether watermarks have moved since.
    fn is_old(&self, now: &View) -> bool {
        now.readable.high_watermark > self.high_watermark || now.readable.log_start > self.log_start
    }
}

type Judged = Pin<Box<dyn Future<Output = (u64, u64, Result<Feeding, WireError>)> + Send>>;

/// One stream.
struct Replicate {
    shared: Arc<Shared>,
    claims: Claims,
    follower: SpuId,
    fetches: BTreeMap<u64, (PartitionKey, Wanted)>,
    ids: BTreeMap<PartitionKey, u64>,
    judging: FuturesUnordered<Judged>,
    turns: Turns,
}

/// What to do for a partition now.
enum Step {
    Send(Event),
    StartAnew(Offset, StartAnew),
    Wait(View, watch::Receiver<View>),
    Pause(Duration),
    Nothing,
}

impl Replicate {
    async fn run(
        mut self,
        mut inbound: Incoming,
        out: mpsc::Sender<Result<ReplicateResponse, Status>>,
    ) {
        let closing = self.shared.closing.clone();
        loop {
            tokio::select! {
                biased;
                () = closing.cancelled() => return,
                Some((id, nth, verdict)) = self.judging.next() => self.judged(id, nth, verdict),
                message = inbound.message::<ReplicateMessage>() => match message {
                    Ok(Some(ReplicateMessage { message: Some(message) })) => {
                        if let Err(error) = self.take(message) {
                            // The stream is over either way.
                            let _ = out.send(Err(status::of(error))).await;
                            return;
                        }
                    }
                    Ok(Some(ReplicateMessage { message: None })) => {}
                    Ok(None) => return,
                    Err(broken) => {
                        tracing::debug!(follower = %self.follower, %broken, "a replication stream broke");
                        return;
                    }
                },
                () = self.turns.news() => {}
                permit = out.reserve(), if self.turns.any_ready() => {
                    let Ok(permit) = permit else { return };
                    if let Some(response) = self.serve_next().await {
                        permit.send(Ok(response));
                    }
                }
            }
        }
    }

    /// # Errors
    /// What ends the stream.
    fn take(&mut self, message: Message) -> Result<(), WireError> {
        let fetch = match message {
            Message::Authenticate(fresh) => {
                let (tokens, claims) = (&self.shared.tokens, &mut self.claims);
                auth::refresh(tokens, claims, &fresh.token, Scope::Replicate);
                return Ok(());
            }
            Message::Fetch(fetch) => fetch,
        };
        self.shared.tokens.still_good(&self.claims)?;
        if self.claims.spu() != Some(self.follower) {
            let text = "the fresh token was given to another SPU";
            return Err(WireError::new(ErrorCode::Forbidden, text));
        }
        let key = fetch.partition.as_ref().and_then(PartitionKey::from_wire).ok_or_else(|| {
            WireError::new(ErrorCode::InvalidRequest, "a fetch names no partition")
        })?;
        if self.ids.len() >= PARTITIONS_MAX && !self.ids.contains_key(&key) {
            let text = "the stream has as many partitions as it may have";
            return Err(WireError::new(ErrorCode::Overloaded, text));
        }
        let next = self.ids.len() as u64;
        let id = *self.ids.entry(key).or_insert(next);
        if fetch.max_bytes == 0 {
            self.reports(id, &fetch);
        } else {
            self.wants(id, key, &fetch);
        }
        Ok(())
    }

    /// It asked for batches before, and that stands.
    fn reports(&mut self, id: u64, fetch: &Fetch) {
        let Some((_, Wanted { partition: Some(partition), .. })) = self.fetches.get(&id) else {
            return;
        };
        let (partition, asked) = (partition.clone(), wire::follower_fetch(self.follower, fetch));
        self.judging.push(Box::pin(async move { (id, REPORT, partition.fetch(asked).await) }));
    }

    fn wants(&mut self, id: u64, key: PartitionKey, fetch: &Fetch) {
        let cached = self.shared.cache.current();
        let before = self.fetches.remove(&id).map(|(_, before)| before);
        let (nth, told) =
            before.map_or((0, Told::default()), |before| (before.nth + 1, before.told));
        let mut wanted = Wanted {
            partition: None,
            epoch: LeaderEpoch(fetch.leader_epoch),
            nth,
            from: Offset(fetch.log_end),
            max_bytes: usize::try_from(fetch.max_bytes).unwrap_or(usize::MAX),
            catches_up: !cached.map.in_sync(key, self.follower),
            state: State::Judging,
            told,
        };
        self.turns.leave(id);
        match self.shared.partition(&cached.map, key) {
            Ok(partition) => {
                wanted.partition = Some(partition.clone());
                let asked = wire::follower_fetch(self.follower, fetch);
                self.judging.push(Box::pin(async move { (id, nth, partition.fetch(asked).await) }));
            }
            Err(error) => {
                wanted.state = State::Refused(error);
                self.turns.enter(id);
            }
        }
        self.fetches.insert(id, (key, wanted));
    }

    fn judged(&mut self, id: u64, nth: u64, verdict: Result<Feeding, WireError>) {
        let Some((_, wanted)) = self.fetches.get_mut(&id) else { return };
        if wanted.nth != nth {
            return;
        }
        wanted.state = match verdict {
            Ok(Feeding { verdict: Verdict::Feed, .. }) => State::Feeding,
            Ok(feeding) => State::Verdict(feeding),
            Err(error) => State::Refused(error),
        };
        self.turns.enter(id);
    }

    async fn serve_next(&mut self) -> Option<ReplicateResponse> {
        let id = self.turns.next()?;
        let (key, wanted) = self.fetches.get_mut(&id)?;
        let key = *key;
        let (catch_up, clock) = (&self.shared.catch_up, self.shared.clock);
        let step = match wanted.pause(self.follower, catch_up, clock) {
            Some(pause) => Step::Pause(pause),
            None => wanted.step().await,
        };
        if let (Step::Send(Event::Batches(batches)), true) = (&step, wanted.catches_up) {
            catch_up.sent(batches.len(), clock.now());
        }
        let view = wanted.partition.as_ref().map(|partition| partition.view().borrow().clone());
        let readable = view.map(|view| view.readable);
        let (high_watermark, mut log_start) =
            readable.map_or_else(Default::default, |now| (now.high_watermark, now.log_start));
        let event = match step {
            Step::Send(event) => event,
            Step::StartAnew(at, anew) => {
                log_start = at;
                Event::StartAnew(anew)
            }
            Step::Nothing => return None,
            Step::Pause(pause) => {
                self.turns.wait(id, async move { clock.sleep(pause).await });
                return None;
            }
            Step::Wait(seen, changes) => {
                let (from, told) = (wanted.from, wanted.told);
                self.turns.wait(id, news(seen, changes, from, told, clock));
                return None;
            }
        };
        wanted.told = Told { high_watermark, log_start, ..wanted.told };
        if matches!(wanted.state, State::Feeding) {
            self.turns.again(id);
        }
        trace::line(Kind::Rpc, || {
            format!("replicate {key} to {} {}", self.follower, describe(&event))
        });
        Some(ReplicateResponse {
            partition: Some(key.to_wire()),
            leader_epoch: wanted.epoch.get(),
            high_watermark: high_watermark.get(),
            log_start: log_start.get(),
            event: Some(event),
        })
    }
}

impl Wanted {
    /// How long it has to wait for more batches, because those who catch up have had so many.
    /// Who is proposed to be in sync is waited for already.
    fn pause(&self, follower: SpuId, catch_up: &Throttle, clock: Clock) -> Option<Duration> {
        let feeding = matches!(self.state, State::Feeding | State::Waited);
        let pause = catch_up.wait(clock.now()).filter(|_| feeding && self.catches_up)?;
        let view = self.partition.as_ref()?.view();
        let proposal = &view.borrow().proposal;
        let proposed = proposal.as_ref().is_some_and(|it| it.members.contains_key(&follower));
        (!proposed).then_some(pause)
    }

    async fn step(&mut self) -> Step {
        match std::mem::replace(&mut self.state, State::Fed) {
            State::Judging => {
                self.state = State::Judging;
                Step::Nothing
            }
            State::Fed => Step::Nothing,
            State::Refused(error) => Step::Send(Event::Error(error.into())),
            State::Verdict(Feeding { verdict, producers }) => match verdict {
                Verdict::Diverged { epoch, end, at } => {
                    let (epoch, end_offset, fetched_end) = (epoch.get(), end.get(), at.get());
                    Step::Send(Event::Diverged(Diverged { epoch, end_offset, fetched_end }))
                }
                Verdict::StartAnew { log_start } => {
                    Step::StartAnew(log_start, wire::start_anew(&producers))
                }
                Verdict::Feed => Step::Nothing,
            },
            state @ (State::Feeding | State::Waited) => {
                let waited = matches!(state, State::Waited);
                match self.feed(waited).await {
                    Ok(step) => step,
                    Err(error) => Step::Send(Event::Error(error.into())),
                }
            }
        }
    }

    async fn feed(&mut self, waited: bool) -> Result<Step, WireError> {
        let Some(partition) = &self.partition else { return Ok(Step::Nothing) };
        let mut changes = partition.view();
        let view = changes.borrow_and_update().clone();
        if view.standing != Standing::Leader(self.epoch) {
            view.serves(self.epoch)?;
            return Err(WireError::new(ErrorCode::NotLeader, "the leadership has changed"));
        }
        if view.ping.1 && view.ping.0 > self.told.ping {
            self.told.ping = view.ping.0;
            self.state = State::Feeding;
            return Ok(Step::Send(Event::Ping(Ping { round: view.ping.0 })));
        }
        let due = self.from < view.log_end && self.max_bytes > 0;
        if due {
            let log = partition.log().ok_or_else(|| {
                WireError::new(ErrorCode::NotYetAvailable, "the replica's log is not open")
            })?;
            let read = log.read(self.from, view.log_end, self.max_bytes).await;
            let batches = read.map_err(|error| {
                partition.read_failed(&error);
                WireError::new(error.code(), error.to_string())
            })?;
            if !batches.is_empty() {
                return Ok(Step::Send(Event::Batches(batches)));
            }
        }
        if waited && self.told.is_old(&view) {
            self.state = State::Feeding;
            return Ok(Step::Send(Event::Batches(Bytes::new())));
        }
        self.state = State::Waited;
        // A log that has failed gives nothing of what it has: its replica's task is about to say
        // so. News of the log's end would be told at once, for ever.
        if due {
            return Ok(Step::Pause(WATERMARK_DELAY));
        }
        Ok(Step::Wait(view, changes))
    }
}

/// Until there is something to send: at once for a batch or a ping, a little later where only
/// the watermarks have moved, which the next batch would tell as well.
async fn news(
    seen: View,
    mut changes: watch::Receiver<View>,
    from: Offset,
    told: Told,
    clock: Clock,
) {
    let urgent = |now: &View| {
        now.log_end > from
            || now.standing != seen.standing
            || (now.ping.1 && now.ping.0 > told.ping)
    };
    // An error means that the replica's task has ended: then there is something to say.
    if changes.wait_for(|now| urgent(now) || told.is_old(now)).await.is_ok_and(|now| !urgent(&now))
    {
        let _ = clock.timeout(WATERMARK_DELAY, changes.wait_for(urgent)).await;
    }
}

fn describe(event: &Event) -> String {
    match event {
        Event::Batches(batches) => format!("{} bytes", batches.len()),
        Event::Diverged(diverged) => format!("diverged at {}", diverged.end_offset),
        Event::StartAnew(_) => "start anew".to_owned(),
        Event::Ping(ping) => format!("ping {}", ping.round),
        Event::Error(error) => ErrorCode::from_number(error.code).to_string(),
    }
}
