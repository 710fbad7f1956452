//! What a replica's task does as a follower, and, as a leader, for followers.

use std::time::Duration;

use tokio::sync::oneshot;
use weir_protocol::{WireError, ids::PartitionEpoch};
use weir_runtime::clock::Clock;

use super::{
    appender::{Appender, broken, problem},
    queue::Respond,
};
use crate::{
    log::{Assigned, LogError},
    replica::{
        Action, Event, Refusal, RequestId,
        follower::{Cut, FromLeader, Taken},
        followers::{FollowerFetch, Verdict},
        producer_state::LastBatch,
    },
};

/// How long a follower whose disk took nothing waits before it asks again.
const REFETCH_PAUSE: Duration = Duration::from_millis(500);

/// What reaches the task beside batches of clients.
pub(super) enum Mail {
    /// A follower's fetch.
    Fetch(FollowerFetch, oneshot::Sender<Result<Feeding, WireError>>),
    /// What the leader said, and the batches of it.
    FromLeader(FromLeader, Vec<Assigned>),
    /// The control plane's answer to a proposal.
    IsrRefused(PartitionEpoch),
    /// Somebody must know whether this process leads.
    Confirm(Respond),
}

/// What to do for a follower.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feeding {
    /// That.
    pub verdict: Verdict,
    /// For one that begins anew: what producers wrote last below the log start.
    pub producers: Vec<LastBatch>,
}

/// Who waits for that.
pub(super) type Feed = oneshot::Sender<Result<Feeding, WireError>>;

impl Appender {
    pub(super) async fn take_mail(&mut self, mail: Mail) {
        match mail {
            Mail::Fetch(fetch, respond) => {
                let request = self.next_request();
                self.feeding.insert(request, respond);
                let now_ms = self.now_ms();
                self.happened(Event::Fetch(FollowerFetch { request, now_ms, ..fetch })).await;
            }
            Mail::FromLeader(said, batches) => self.follow(said, batches).await,
            Mail::IsrRefused(on) => self.happened(Event::IsrRefused(on)).await,
            Mail::Confirm(respond) => {
                let request = self.next_request();
                self.waiting.insert(request, respond);
                self.happened(Event::Confirm(request)).await;
            }
        }
    }

    async fn follow(&mut self, said: FromLeader, batches: Vec<Assigned>) {
        let mut actions = Vec::new();
        self.replica.handle(Event::FromLeader(said), &mut actions);
        // At most one of them changes the log.
        let change = actions.iter().position(|a| matches!(a, Action::Take(_) | Action::Cut(_)));
        match change.map(|at| actions.remove(at)) {
            Some(Action::Take(taken)) => {
                let event = self.write(taken, batches).await;
                if matches!(event, Event::AppendRefused(_)) {
                    self.refetch_due = Some(Clock.now().plus(REFETCH_PAUSE));
                }
                self.replica.handle(event, &mut actions);
            }
            Some(Action::Cut(cut)) => match self.cut(cut).await {
                Some(event) => self.replica.handle(event, &mut actions),
                None => self.refetch_due = Some(Clock.now().plus(REFETCH_PAUSE)),
            },
            _ => {}
        }
        let start = self.replica.leader_log_start().min(self.replica.readable().high_watermark);
        let start = start.min(self.replica.durable_end());
        if start > self.replica.readable().log_start && !self.upkeep.moves() {
            self.upkeep.move_start(self.log.as_ref(), start, None);
        }
        self.settle(actions).await;
    }

    async fn write(&mut self, taken: Taken, batches: Vec<Assigned>) -> Event {
        let bytes: usize = batches.iter().map(|batch| batch.header.batch_bytes).sum();
        let written = match &self.log {
            Some(log) => log.follow(batches).await,
            None => Err(LogError::Closed),
        };
        match written {
            Ok(_) => {
                self.upkeep.wrote(bytes);
                self.sync_within_interval();
                Event::Taken(taken)
            }
            Err(LogError::StorageFull(reason)) => {
                tracing::debug!(partition = %self.replica.key(), reason, "no room to follow");
                Event::AppendRefused(Refusal::StorageFull)
            }
            Err(error @ LogError::Io { .. }) if self.usable() => {
                tracing::warn!(partition = %self.replica.key(), %error, "cannot follow now");
                Event::AppendRefused(Refusal::StorageBusy(error.to_string().into()))
            }
            Err(error) => Event::AppendFailed(problem(&error)),
        }
    }

    pub(super) fn fetch_again(&mut self) {
        self.refetch_due = None;
        if let Some(following) = self.replica.following() {
            self.board.again(following.leader, self.replica.key());
        }
    }

    /// `None`: there was no room for it now, and nothing was done.
    async fn cut(&mut self, cut: Cut) -> Option<Event> {
        let partition = self.replica.key();
        // What an fsync or a snapshot that is under way will say of the log would be believed
        // after the log has grown past the cut again.
        self.quiet().await;
        let Some(log) = self.log.clone() else { return Some(broken(&LogError::Closed)) };
        let done = match cut {
            Cut::From(offset) => log.truncate_to(offset).await,
            Cut::Anew { at, .. } => log.restart_at(at).await.map(|()| at),
        };
        match done {
            Ok(log_end) => {
                tracing::info!(%partition, %log_end, "cut what its leader does not have");
                Some(Event::WasCut { cut, log_end })
            }
            Err(error) if self.usable() => {
                tracing::warn!(%partition, %error, "cannot cut what its leader does not have; will try again");
                None
            }
            Err(error) => Some(broken(&error)),
        }
    }

    /// Answers a fetch.
    pub(super) fn feed(&mut self, request: RequestId, verdict: Result<Verdict, Refusal>) {
        let Some(respond) = self.feeding.remove(&request) else { return };
        let feeding = verdict.map(|verdict| {
            let below = match verdict {
                Verdict::StartAnew { log_start } => log_start,
                Verdict::Feed | Verdict::Diverged { .. } => {
                    return Feeding { verdict, producers: vec![] };
                }
            };
            let mut producers = self.replica.last_batches();
            producers.retain(|batch| batch.base_offset < below);
            Feeding { verdict, producers }
        });
        // The follower's stream may be gone.
        let _ = respond.send(feeding.map_err(WireError::from));
    }
}
