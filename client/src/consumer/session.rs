//! A named consumer's session: claims partitions and commits offsets at the coordinator, one
//! request at a time.

mod answers;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use tokio::sync::{mpsc, oneshot};
use weir_protocol::{
    ErrorCode, Outcome, WireError,
    ids::{Offset, PartitionIndex, PartitionKey, TopicGenerationId},
    pb::offsets::{CommitRequest, CommittedOffset, OpenSessionRequest},
};
use weir_runtime::clock::Monotonic;

use super::{
    Commit, CommitError, ConsumerConfig, config::COMMIT_INTERVAL_MIN, coordinator::Coordinator,
    job::Job, progress::Progress,
};
use crate::{config::DURATION_MAX, core::Core, retry::Backoff};

/// Most partitions claimed by one request: the largest metadata of all of them fits in its
/// answer, and in what the coordinator writes for it.
pub(super) const CLAIM_PARTITIONS_MAX: usize = 1_000;

/// A session that has nothing to say asks this often whether its partitions are still its own:
/// who took them need not write anything for it to hear.
const BEAT: Duration = Duration::from_secs(2);
/// Partitions that it asks about.
const BEAT_PARTITIONS_MAX: usize = 1_000;

/// What a named consumer's three parts share: the application's side, the reader, the session.
pub(super) struct Named {
    pub name: Arc<str>,
    pub id: [u8; 16],
    pub metadata: String,
    progress: Mutex<Progress>,
    fenced: OnceLock<String>,
}

impl Named {
    pub(super) fn new(name: &str, id: [u8; 16], metadata: String) -> Self {
        let (progress, fenced) = (Mutex::default(), OnceLock::new());
        Self { name: name.into(), id, metadata, progress, fenced }
    }

    pub(super) fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the coordinator said when it took the partitions away.
    pub(super) fn fenced(&self) -> Option<&str> {
        self.fenced.get().map(String::as_str)
    }
}

/// What the session is told. It ends when nobody is left to tell it anything.
pub(super) enum Command {
    /// At most [`CLAIM_PARTITIONS_MAX`]. Claims of other generations are given up.
    Claim(Claim),
    /// To commit what is due of the progress.
    Commit(Caller),
}

#[derive(Clone)]
pub(super) struct Claim {
    pub generation: TopicGenerationId,
    pub partitions: Vec<PartitionIndex>,
}

/// Waits for a commit.
pub(super) type Caller = oneshot::Sender<Result<(), CommitError>>;

/// What the reader hears.
pub(super) enum News {
    /// These are the session's, and this is committed for them.
    Claimed(Claim, BTreeMap<PartitionIndex, Offset>),
    /// They could not be claimed; it is tried again.
    NotClaimed(Claim, WireError),
    /// Nothing more is done for this generation.
    Refused(TopicGenerationId, WireError),
    /// Nothing could be committed for so long; it is tried again.
    NotCommitted(WireError, Duration),
}

type Answer = Result<Vec<CommittedOffset>, WireError>;

/// What a request is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Aim {
    Claim,
    Commit,
    /// Nothing is committed: only whether it could be.
    Beat,
}

/// The request under way.
struct Flight {
    aim: Aim,
    call: Pin<Box<dyn Future<Output = Answer> + Send>>,
}

/// What the coordinator will never commit, of the generation claimed last, and why.
struct Lost {
    partitions: BTreeSet<PartitionKey>,
    error: CommitError,
}

pub(super) struct Session {
    core: Arc<Core>,
    named: Arc<Named>,
    commit: Commit,
    /// How long one commit is tried.
    patience: Duration,
    follow_name: bool,
    commands: mpsc::UnboundedReceiver<Command>,
    news: mpsc::UnboundedSender<News>,
    began: Monotonic,
    coordinator: Coordinator,
    backoff: Backoff,
    /// When the next request may be made.
    not_before: Duration,
    flight: Option<Flight>,
    claims: VecDeque<Claim>,
    /// The last claim failed: a commit goes before the next attempt, so that claims which are
    /// refused for long hold up none.
    commit_first: bool,
    /// The generation claimed last.
    claimed: Option<TopicGenerationId>,
    /// Whoever commits hears of it until something newer is committed for the same partitions,
    /// or another generation is claimed.
    lost: Option<Lost>,
    /// Of the next request to commit.
    sequence: u64,
    job: Option<Job>,
    /// Wait for the next job, each until a moment.
    callers: VecDeque<(Caller, Duration)>,
    tick_at: Option<Duration>,
    /// When the coordinator is asked again where there is nothing else to ask.
    beat_at: Duration,
    /// An outage of the background commit was told.
    told: bool,
}

impl Session {
    pub(super) fn new(
        core: Arc<Core>,
        named: Arc<Named>,
        config: &ConsumerConfig,
        commands: mpsc::UnboundedReceiver<Command>,
        news: mpsc::UnboundedSender<News>,
    ) -> Self {
        let tick_at = match config.commit {
            Commit::Auto { interval } => Some(interval.clamp(COMMIT_INTERVAL_MIN, DURATION_MAX)),
            Commit::Manual => None,
        };
        Self {
            began: core.clock.now(),
            backoff: Backoff::new(core.config.backoff),
            core,
            named,
            commit: config.commit,
            patience: config.unavailable_after.min(DURATION_MAX),
            follow_name: config.follow_name,
            commands,
            news,
            coordinator: Coordinator::default(),
            not_before: Duration::ZERO,
            flight: None,
            claims: VecDeque::new(),
            commit_first: false,
            claimed: None,
            lost: None,
            sequence: 1,
            job: None,
            callers: VecDeque::new(),
            tick_at,
            beat_at: BEAT,
            told: false,
        }
    }

    pub(super) async fn run(mut self) {
        let mut over = false;
        // Whoever called may be the last to care: what it waits for is done first.
        while !over || self.called() {
            let now = self.now();
            self.expire(now);
            self.begin_job(now);
            self.send(now);
            let nap = self.wake_at(now).map(|at| at.saturating_sub(now));
            let (clock, flight) = (self.core.clock, &mut self.flight);
            let answer = async {
                match flight {
                    Some(flight) => flight.call.as_mut().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! { biased;
                command = self.commands.recv(), if !over => match command {
                    Some(command) => self.command(command),
                    None => over = true,
                },
                answer = answer => self.answered(answer),
                () = clock.sleep(nap.unwrap_or_default()), if nap.is_some() => {}
            }
            if self.named.fenced().is_some() {
                return;
            }
        }
    }

    fn now(&self) -> Duration {
        self.core.clock.now().since(self.began)
    }

    fn called(&self) -> bool {
        let waiting = self.callers.iter().map(|(caller, _)| caller);
        let working = self.job.iter().flat_map(|job| &job.callers);
        waiting.chain(working).any(|caller| !caller.is_closed())
    }

    fn tell(&self, news: News) {
        // A reader that is gone has no use for it.
        let _ = self.news.send(news);
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Claim(claim) => {
                let others = |other: &Claim| other.generation != claim.generation;
                if self.claims.front().is_some_and(others) {
                    self.flight = self.flight.take().filter(|flight| flight.aim != Aim::Claim);
                }
                self.claims.retain(|other| !others(other));
                self.claims.push_back(claim);
            }
            Command::Commit(caller) => {
                self.callers.push_back((caller, self.now() + self.patience));
            }
        }
    }

    /// Gives up what was tried for long enough.
    fn expire(&mut self, now: Duration) {
        let under_way = self.flight.as_ref().is_some_and(|flight| flight.aim == Aim::Commit);
        if let Some(job) = self.job.take_if(|job| job.until <= now) {
            self.flight = self.flight.take().filter(|flight| flight.aim != Aim::Commit);
            // One whose callers have all gone is nobody's: nobody else would hear of it.
            if job.callers.iter().all(Caller::is_closed) && !self.told {
                self.told = true;
                self.tell(News::NotCommitted(job.last.clone(), self.patience));
            }
            let error = job.not_in_time(under_way, self.patience);
            job.answer(&Err(error));
        }
        // One that came while another commit was tried may be late before its own begins.
        while let Some((caller, _)) = self.callers.pop_front_if(|(_, until)| *until <= now) {
            let (outcome, waited) = (Outcome::Unknown, self.patience);
            let (code, reason) = (ErrorCode::TimedOut, "an earlier commit is not answered".into());
            // One that waits no longer need not know.
            let _ = caller.send(Err(CommitError::NotInTime { waited, outcome, code, reason }));
        }
    }

    /// Takes up what is due to be committed.
    fn begin_job(&mut self, now: Duration) {
        if self.job.is_some() {
            return;
        }
        let mut progress = self.named.progress();
        let ticks = self.tick_at.is_some_and(|at| at <= now);
        if let Commit::Auto { interval } = self.commit
            && ticks
        {
            progress.ask();
            self.tick_at = Some(now + interval.clamp(COMMIT_INTERVAL_MIN, DURATION_MAX));
        }
        if !ticks && self.callers.is_empty() {
            return;
        }
        let due = progress.due();
        drop(progress);
        let until = self.callers.iter().map(|(_, until)| *until).min();
        let callers = self.callers.drain(..).map(|(caller, _)| caller).collect();
        let job =
            Job::new(due, self.named.metadata.len(), callers, until.unwrap_or(now + self.patience));
        if job.done() {
            job.answer(&self.all_committed());
        } else {
            self.job = Some(job);
        }
    }

    /// What a caller is told when nothing is left to be committed.
    fn all_committed(&self) -> Result<(), CommitError> {
        self.lost.as_ref().map_or(Ok(()), |lost| Err(lost.error.clone()))
    }

    /// Makes the next request, if none is under way and one is wanted.
    fn send(&mut self, now: Duration) {
        let beats = !self.works() && self.claimed.is_some() && self.beat_at <= now;
        if self.flight.is_some() || now < self.not_before || !(self.works() || beats) {
            return;
        }
        let claim = self.claims.front().filter(|_| self.job.is_none() || !self.commit_first);
        let map = self.core.metadata.current();
        let Some(endpoint) = self.coordinator.endpoint(&map).map(str::to_owned) else {
            let error = WireError::new(ErrorCode::Unreachable, "no SPU of the cluster is known");
            let aim = match (claim, &self.job) {
                (Some(_), _) => Aim::Claim,
                (None, Some(_)) => Aim::Commit,
                (None, None) => Aim::Beat,
            };
            let call = Box::pin(std::future::ready(Err(error)));
            self.flight = Some(Flight { aim, call });
            return;
        };
        let pool = self.core.pool.clone();
        let (consumer, session_id) = (self.named.name.to_string(), self.named.id.to_vec().into());
        self.flight = Some(if let Some(claim) = claim {
            let key = |partition: &PartitionIndex| {
                let (generation, partition) = (claim.generation, *partition);
                PartitionKey { generation, partition }.to_wire()
            };
            let partitions = claim.partitions.iter().map(key).collect();
            let request = OpenSessionRequest { consumer, session_id, partitions };
            let call = Box::pin(async move { pool.open_session(&endpoint, request).await });
            Flight { aim: Aim::Claim, call }
        } else if let Some(job) = &mut self.job {
            let request = job.request(&self.named, &mut self.sequence);
            let call =
                Box::pin(async move { pool.commit(&endpoint, request).await.map(|()| Vec::new()) });
            Flight { aim: Aim::Commit, call }
        } else if let Some(request) = self.beat() {
            let call =
                Box::pin(async move { pool.commit(&endpoint, request).await.map(|()| Vec::new()) });
            Flight { aim: Aim::Beat, call }
        } else {
            self.beat_at = now + BEAT;
            return;
        });
    }

    /// A commit under number 0, which is taken for an old repetition: it changes nothing.
    fn beat(&self) -> Option<CommitRequest> {
        let held = self.named.progress().held(self.claimed?, BEAT_PARTITIONS_MAX);
        let offset = |key: &PartitionKey| CommittedOffset {
            partition: Some(key.to_wire()),
            ..CommittedOffset::default()
        };
        let offsets: Vec<_> = held.iter().map(offset).collect();
        (!offsets.is_empty()).then(|| CommitRequest {
            consumer: self.named.name.to_string(),
            session_id: self.named.id.to_vec().into(),
            sequence: 0,
            offsets,
        })
    }

    fn works(&self) -> bool {
        !self.claims.is_empty() || self.job.is_some()
    }

    fn wake_at(&self, now: Duration) -> Option<Duration> {
        let again =
            Some(self.not_before).filter(|at| self.flight.is_none() && self.works() && *at > now);
        let job = self.job.as_ref().map(|job| job.until);
        let tick = self.tick_at.filter(|_| self.job.is_none());
        let callers = self.callers.iter().map(|(_, until)| *until);
        let idle = self.flight.is_none() && !self.works() && self.claimed.is_some();
        let beat = Some(self.beat_at.max(self.not_before)).filter(|_| idle);
        [again, job, tick, beat].into_iter().flatten().chain(callers).min()
    }
}

/// The topic is no longer there.
pub(super) const fn is_gone(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::TopicRecreated | ErrorCode::TopicDeleted)
}
