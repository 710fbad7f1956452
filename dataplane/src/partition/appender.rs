//! The task that owns a replica: its state machine, its log, and the order of effects.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::sync::{mpsc, oneshot, watch};
use weir_protocol::{ErrorCode, WireError, batch, ids::Offset, topic_config::Flush};
use weir_runtime::{
    clock::{Clock, Monotonic},
    plant,
    task::{self, CancellationToken, JoinHandle},
};

use super::{
    follow::{Feed, Mail},
    queue::{Offer, Outlet, Queued, Respond},
    upkeep::{Moved, Upkeep},
    view::{Standing, View},
};
use crate::{
    log::{Assigned, Log, LogError},
    metrics::LogTimes,
    replica::{
        Action, Assignment, Event, Problem, Produce, Refusal, Replica, RequestId, Role, Stamp,
    },
    replication::Board,
};

/// What reaches the task from outside.
pub(super) struct Inbox {
    pub offers: Outlet,
    pub assignments: watch::Receiver<Assignment>,
    pub troubles: mpsc::Receiver<Problem>,
    pub starts: mpsc::Receiver<NewStart>,
    pub mail: mpsc::Receiver<Mail>,
    pub stop: CancellationToken,
}

/// A wish to forget what lies below an offset.
pub(super) struct NewStart {
    pub log_start: Offset,
    pub respond: oneshot::Sender<Result<(), WireError>>,
}

/// The task's own.
pub(super) struct Appender {
    pub(super) replica: Replica,
    /// `None`: it could not be opened, and the replica is offline.
    pub(super) log: Option<Log>,
    pub(super) waiting: HashMap<RequestId, Respond>,
    pub(super) feeding: HashMap<RequestId, Feed>,
    requests: u64,
    began: Monotonic,
    /// A task of its own: it holds a lock of the log that an append may come to wait for, so
    /// it must go on while this one waits.
    syncing: Option<JoinHandle<Result<Offset, LogError>>>,
    /// What the leader sent could not be written: when to ask for it again.
    pub(super) refetch_due: Option<Monotonic>,
    /// With `flush=interval`: when what was written is to be synced.
    sync_due: Option<Monotonic>,
    pub(super) upkeep: Upkeep,
    group_bytes_max: usize,
    view: watch::Sender<View>,
    pub(super) board: Arc<Board>,
    /// Counts changes that the control plane should hear of at once.
    transitions: Arc<watch::Sender<u64>>,
    times: LogTimes,
}

impl Appender {
    pub fn new(
        replica: Replica,
        log: Option<Log>,
        upkeep: Upkeep,
        group_bytes_max: usize,
        view: watch::Sender<View>,
        (transitions, board): (Arc<watch::Sender<u64>>, Arc<Board>),
        times: LogTimes,
    ) -> Self {
        Self {
            replica,
            log,
            waiting: HashMap::new(),
            feeding: HashMap::new(),
            requests: 0,
            began: Clock.now(),
            syncing: None,
            refetch_due: None,
            sync_due: None,
            upkeep,
            group_bytes_max,
            view,
            board,
            transitions,
            times,
        }
    }

    /// Runs until it is told to stop; then syncs, acknowledges, and closes the log.
    pub async fn run(mut self, mut inbox: Inbox) {
        let first = inbox.assignments.borrow_and_update().clone();
        self.assign(first).await;
        let mut group = Vec::new();
        loop {
            self.begin_sync(false);
            let time_due = self.time_due();
            tokio::select! {
                biased;
                () = inbox.stop.cancelled() => break,
                Ok(()) = inbox.assignments.changed() => {
                    let latest = inbox.assignments.borrow_and_update().clone();
                    self.assign(latest).await;
                }
                synced = joined(&mut self.syncing) => self.synced(synced).await,
                Some(mail) = inbox.mail.recv() => self.take_mail(mail).await,
                () = reached(time_due) => {
                    let now_ms = self.now_ms();
                    self.happened(Event::Tick { now_ms }).await;
                }
                () = reached(self.refetch_due) => self.fetch_again(),
                () = reached(self.sync_due), if self.syncing.is_none() => {}
                () = reached(self.upkeep.checkpoint_due()) => {
                    self.upkeep.checkpoint(self.log.as_ref(), &self.replica);
                }
                () = reached(self.upkeep.retention_due()) => self.retain(),
                moved = self.upkeep.moved() => self.start_moved(moved).await,
                Some(problem) = inbox.troubles.recv() => self.damaged(problem).await,
                Some(wish) = inbox.starts.recv(), if !self.upkeep.moves() => {
                    self.move_start(wish);
                }
                () = inbox.offers.take(&mut group, self.group_bytes_max) => {
                    if group.is_empty() {
                        break;
                    }
                    self.append(&mut group).await;
                }
            }
        }
        // A replica that is removed was told just before that it leads no more: whoever waits for
        // it has to hear that, and asks the next leader.
        if inbox.assignments.has_changed().unwrap_or(false) {
            let last = inbox.assignments.borrow_and_update().clone();
            self.assign(last).await;
        }
        inbox.offers.close().await;
        self.close().await;
    }

    async fn assign(&mut self, assignment: Assignment) {
        let before = self.replica.role().clone();
        let mut actions = Vec::new();
        self.upkeep.configure(assignment.serving, &assignment.config, self.log.as_ref());
        self.replica.handle(Event::Assign(assignment), &mut actions);
        if let (Role::Leader { epoch, .. }, Some(log)) = (self.replica.role(), &self.log)
            && before != *self.replica.role()
        {
            // On the disk before the first batch: a later process must know that the epoch
            // was used, even if it writes nothing. If there is no room now, the first append
            // tries again.
            let epoch = *epoch;
            match log.begin_epoch(epoch).await {
                Ok(()) => {}
                Err(LogError::StorageFull(reason)) => {
                    tracing::warn!(partition = %self.replica.key(), %epoch, reason, "cannot note the leader epoch yet");
                }
                Err(error) => self.replica.handle(broken(&error), &mut actions),
            }
        }
        self.settle(actions).await;
    }

    /// Writes one group, with one vectored write.
    async fn append(&mut self, group: &mut Vec<Queued>) {
        let mut actions = Vec::with_capacity(group.len());
        let mut batches = Vec::with_capacity(group.len());
        let mut rooms = Vec::with_capacity(group.len());
        for Queued { offer, respond, room } in group.drain(..) {
            let request = self.next_request();
            self.waiting.insert(request, respond);
            let first = actions.len();
            self.replica.handle(Event::Produce(describe(request, &offer)), &mut actions);
            if let Some(Action::Append { base_offset, epoch, .. }) = actions.get(first) {
                let Offer { mut header, batch, .. } = offer;
                self.upkeep.wrote(batch.len());
                header.base_offset = *base_offset;
                header.partition_leader_epoch = *epoch;
                batches
                    .push(Assigned { header, parts: batch::assign(&batch, *base_offset, *epoch) });
                rooms.push(room);
            }
        }
        if !batches.is_empty() {
            let began = Clock.now();
            let written = match &self.log {
                Some(log) => log.append(batches).await.map(drop),
                None => Err(LogError::Closed),
            };
            let event = match written {
                Ok(()) => {
                    self.times.appended(Clock.now().since(began));
                    self.sync_within_interval();
                    Event::Appended
                }
                Err(LogError::StorageFull(reason)) => {
                    tracing::debug!(partition = %self.replica.key(), reason, "no room to append");
                    Event::AppendRefused(Refusal::StorageFull)
                }
                // The log is as it was, and usable: no descriptor was left, say.
                Err(error @ LogError::Io { .. }) if self.usable() => {
                    tracing::warn!(partition = %self.replica.key(), %error, "cannot append now");
                    Event::AppendRefused(Refusal::StorageBusy(error.to_string().into()))
                }
                Err(error) => Event::AppendFailed(problem(&error)),
            };
            let appended = event == Event::Appended;
            self.replica.handle(event, &mut actions);
            if appended && plant::active("ack_before_fsync") {
                let durable_end = self.replica.log_end();
                self.replica.handle(Event::Synced { durable_end }, &mut actions);
            }
        }
        // The batches are in the page cache (or refused): their memory is free again.
        drop(rooms);
        self.settle(actions).await;
    }

    /// Forgets what lies below an offset, which is committed.
    fn move_start(&mut self, wish: NewStart) {
        let NewStart { log_start, respond } = wish;
        if log_start > self.replica.readable().high_watermark {
            let text = "the log start cannot lie above the high watermark";
            // Whoever asked may be gone.
            let _ = respond.send(Err(WireError::new(ErrorCode::OffsetOutOfRange, text)));
            return;
        }
        self.upkeep.move_start(self.log.as_ref(), log_start, Some(respond));
    }

    /// Lets go of what the topic does not keep. Only the leader decides it.
    fn retain(&mut self) {
        let leads = matches!(self.replica.role(), Role::Leader { .. });
        let below = self.replica.readable().high_watermark.min(self.replica.durable_end());
        self.upkeep.retain(self.log.as_ref().filter(|_| leads), below);
    }

    async fn start_moved(&mut self, moved: Moved) {
        let Moved { log_start, result, respond } = moved;
        let answer = match result {
            Ok(()) => {
                self.happened(Event::StartMoved { log_start }).await;
                Ok(())
            }
            Err(error) => {
                let wire = WireError::new(error.code(), error.to_string());
                if !self.usable() {
                    self.happened(broken(&error)).await;
                } else if respond.is_none() {
                    tracing::warn!(partition = %self.replica.key(), %error, "cannot remove what is not kept any more; will try again");
                }
                Err(wire)
            }
        };
        if let Some(respond) = respond {
            // Whoever asked may be gone.
            let _ = respond.send(answer);
        }
    }

    pub(super) fn next_request(&mut self) -> RequestId {
        let request = RequestId(self.requests);
        self.requests += 1;
        request
    }

    /// On this task's own clock.
    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from(Clock.now().since(self.began).as_millis()).unwrap_or(u64::MAX)
    }

    fn time_due(&self) -> Option<Monotonic> {
        self.replica.time_due_ms().map(|ms| self.began.plus(Duration::from_millis(ms)))
    }

    /// With `flush=interval`: what was written is synced that late at the latest.
    pub(super) fn sync_within_interval(&mut self) {
        if let (Flush::Interval { ms }, None) = (self.upkeep.flush(), self.sync_due) {
            self.sync_due = Some(Clock.now().plus(Duration::from_millis(ms.into())));
        }
    }

    /// Waits until nothing is under way that will say something of the log as it is.
    pub(super) async fn quiet(&mut self) {
        if self.syncing.is_some() {
            let synced = joined(&mut self.syncing).await;
            let mut actions = Vec::new();
            match synced {
                Ok(durable_end) => {
                    self.replica.handle(Event::Synced { durable_end }, &mut actions);
                }
                Err(error) => self.replica.handle(broken(&error), &mut actions),
            }
            debug_assert!(actions.is_empty(), "a follower answers nobody");
        }
        self.upkeep.quiet().await;
    }

    /// Whether the log still takes writes.
    pub(super) fn usable(&self) -> bool {
        self.log.as_ref().is_some_and(|log| log.failure().is_none())
    }

    /// Begins an fsync if something was written since the last one began, none runs, and it is
    /// time: at once, unless the topic leaves it to an interval.
    fn begin_sync(&mut self, now: bool) {
        if self.syncing.is_some() || matches!(self.replica.role(), Role::Offline(_)) {
            return;
        }
        let Some(log) = &self.log else { return };
        let due = match self.upkeep.flush() {
            Flush::BeforeAck => true,
            Flush::Interval { .. } => now || self.sync_due.is_some_and(|due| due <= Clock.now()),
        };
        if due && log.durable_end() < log.log_end() {
            self.sync_due = None;
            let (log, times) = (log.clone(), self.times.clone());
            self.syncing = Some(task::spawn(async move {
                let began = Clock.now();
                let synced = log.sync().await;
                if synced.is_ok() {
                    times.synced(Clock.now().since(began));
                }
                synced
            }));
        }
    }

    /// A reader found the log damaged.
    async fn damaged(&mut self, problem: Problem) {
        // The last one there is serves what it still has, once its process starts again.
        if let Some(log) = &self.log
            && self.replica.others_are_in_sync()
            && let Err(error) = log.mark_damaged(&problem.reason).await
        {
            tracing::error!(partition = %self.replica.key(), %error, "cannot note that the log is damaged: after a restart it will be found again");
        }
        self.happened(Event::Broken(problem)).await;
    }

    async fn synced(&mut self, synced: Result<Offset, LogError>) {
        match synced {
            Ok(durable_end) => {
                self.happened(Event::Synced { durable_end }).await;
                self.upkeep.synced(self.log.as_ref(), &self.replica);
            }
            Err(error) => self.happened(broken(&error)).await,
        }
    }

    pub(super) async fn happened(&mut self, event: Event) {
        let mut actions = Vec::new();
        self.replica.handle(event, &mut actions);
        self.settle(actions).await;
    }

    /// Wakes who reads, then answers who asked.
    pub(super) async fn settle(&mut self, actions: Vec<Action>) {
        self.publish();
        let answers = actions.iter().any(|action| matches!(action, Action::Respond { .. }));
        if answers {
            // Without it the fsync's return and the acknowledgement were one step in
            // simulation, and no crash, no deposition could fall between them.
            task::fault_point().await;
        }
        for action in actions {
            match action {
                Action::Respond { request, answer } => {
                    if let Some(respond) = self.waiting.remove(&request) {
                        // Whoever asked may be gone, or past his deadline.
                        let _ = respond.send(answer.map_err(WireError::from));
                    }
                }
                Action::Feed { request, verdict } => self.feed(request, verdict),
                // Performed by who handled the event.
                Action::Append { .. } | Action::Take(_) | Action::Cut(_) => {}
            }
        }
    }

    fn publish(&self) {
        let view = View::of(&self.replica);
        let mut transition = false;
        let following = view.following;
        let mut follows = false;
        self.view.send_if_modified(|current| {
            let standing = current.standing != view.standing;
            transition = standing || current.proposal != view.proposal;
            follows = current.following != following;
            let changed = *current != view;
            if changed {
                if standing {
                    announce(&self.replica, &view.standing);
                }
                *current = view;
            }
            changed
        });
        if follows {
            self.board.set(self.replica.key(), following);
        }
        if transition {
            self.transitions.send_modify(|count| *count += 1);
        }
    }

    async fn close(&mut self) {
        loop {
            self.begin_sync(true);
            if self.syncing.is_none() {
                break;
            }
            let synced = joined(&mut self.syncing).await;
            self.synced(synced).await;
        }
        self.upkeep.close(self.log.as_ref(), &self.replica).await;
        if let Some(log) = &self.log
            && let Err(error) = log.close().await
        {
            tracing::warn!(partition = %self.replica.key(), %error, "the log could not be closed cleanly");
        }
        self.board.set(self.replica.key(), None);
        self.view.send_modify(|view| view.standing = Standing::Closed);
    }
}

/// Waits until `due`; for ever, if nothing is.
async fn reached(due: Option<Monotonic>) {
    match due {
        Some(due) => Clock.sleep(due.since(Clock.now())).await,
        None => std::future::pending().await,
    }
}

/// Waits for the fsync that runs; for ever, if none does.
async fn joined(
    syncing: &mut Option<JoinHandle<Result<Offset, LogError>>>,
) -> Result<Offset, LogError> {
    let Some(handle) = syncing else { return std::future::pending().await };
    let joined = handle.await;
    *syncing = None;
    joined.unwrap_or_else(|_| Err(LogError::Failed("the fsync's task ended by a panic".to_owned())))
}

fn describe(request: RequestId, offer: &Offer) -> Produce {
    let header = &offer.header;
    Produce {
        request,
        leader_epoch: offer.leader_epoch,
        acks: offer.acks,
        record_count: header.record_count,
        stamp: header.producer.map(|producer| Stamp {
            id: producer.id,
            epoch: producer.epoch,
            first_sequence: producer.base_sequence,
            last_sequence: header.last_sequence().unwrap_or(producer.base_sequence),
        }),
    }
}

pub(super) fn problem(error: &LogError) -> Problem {
    let code = match error.code() {
        // Whatever it was, an append or an fsync did not end well.
        ErrorCode::ReplicaOffline => ErrorCode::ReplicaOffline,
        _ => ErrorCode::StorageFailed,
    };
    Problem::new(code, error.to_string())
}

pub(super) fn broken(error: &LogError) -> Event {
    Event::Broken(problem(error))
}

fn announce(replica: &Replica, standing: &Standing) {
    let key = replica.key();
    match standing {
        Standing::Leader(epoch) => tracing::info!(partition = %key, %epoch, "leading"),
        Standing::Offline(problem) => {
            tracing::error!(partition = %key, reason = %problem, "replica offline");
        }
        other => tracing::info!(partition = %key, standing = ?other, "not leading"),
    }
}
