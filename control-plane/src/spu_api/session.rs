//! One session of one SPU: a registration in time, `Registered`, the metadata snapshot, and
//! from then on every change as it is committed, and an answer to every heartbeat.
//!
//! Bounded throughout: the wait for the registration, the silence between heartbeats, the
//! messages that wait for a slow SPU and how long they wait. Whatever ends the session, the
//! board knows; whether the SPU counts as offline is the reconciler's to say, once the lease
//! is over.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tonic::{Status, Streaming};
use weir_protocol::{
    ErrorCode, WireError,
    ids::{Incarnation, PartitionEpoch, PartitionKey, RestoreNumber, Revision},
    pb::{
        metadata::MetadataUpdate,
        session::{
            ControlMessage, End as EndOrder, Heartbeat, HeartbeatAck, Leaving, Left, ProposeIsr,
            ReplicaRemoved, ReplicaState, SpuMessage, control_message, spu_message,
        },
    },
};
use weir_runtime::clock::{Clock, Monotonic};

use super::{
    PAUSE, SpuApi, TRIES,
    admit::{admit, note_refusal, replication_token},
    live::Seat,
    register::Request,
    removals::{self, Removals},
    replication::{self, Asker},
    worth_repeating,
};
use crate::{
    app::{self, App, AppError},
    store::{
        DbError,
        clusters::{self, ClusterRow},
        spus,
        types::Desired,
    },
};

/// How long a message may wait for room before a slow SPU is disconnected.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// Signals are a hint: so often the database is looked at without one.
const LOOK_PERIOD: Duration = Duration::from_secs(5);

/// How long an SPU that runs elsewhere may take to end with its cluster before it is given up.
const END_TIMEOUT: Duration = Duration::from_secs(30);

/// The sending half of a session.
#[derive(Debug)]
pub struct Outgoing {
    sender: mpsc::Sender<Result<ControlMessage, Status>>,
}

impl Outgoing {
    /// Over the stream that the SPU reads.
    #[must_use]
    pub const fn new(sender: mpsc::Sender<Result<ControlMessage, Status>>) -> Self {
        Self { sender }
    }

    pub(super) async fn send(
        &self,
        clock: Clock,
        message: control_message::Message,
    ) -> Result<(), End> {
        let message = Ok(ControlMessage { message: Some(message) });
        match clock.timeout(SEND_TIMEOUT, self.sender.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Closed),
            Err(_) => Err(End::Slow),
        }
    }
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    #[error("the SPU closed it")]
    Closed,
    #[error("the connection broke: {}", .0.message())]
    Broken(Status),
    #[error("the SPU did not take its messages in time")]
    Slow,
    #[error("no heartbeat came in time")]
    Silent,
    #[error("a newer session took its place")]
    Replaced,
    #[error("its process registered again")]
    Reconnected,
    #[error("the control plane is going down")]
    ShuttingDown,
    #[error("refused: {0}")]
    Refused(WireError),
    #[error("the database failed: {0}")]
    Database(#[from] DbError),
}

/// What a standing session knows of itself.
pub(super) struct Session<'a> {
    pub(super) app: &'a App,
    pub(super) request: Request,
    pub(super) incarnation: Incarnation,
    /// Of the history that it was told.
    pub(super) restore_number: RestoreNumber,
    pub(super) seat: Seat,
    /// The revision that the SPU was told last.
    pub(super) told: Revision,
    pub(super) looked: Monotonic,
    pub(super) heard: Monotonic,
    /// When it was given the token that it fetches from others with.
    pub(super) token_given: Monotonic,
    pub(super) removals: Removals,
    /// When it was told to end, if it was: nobody else tells an SPU that runs elsewhere.
    pub(super) told_to_end: Option<Monotonic>,
}

/// Runs a session to its end.
pub async fn run(api: &SpuApi, mut incoming: Streaming<SpuMessage>, outgoing: Outgoing) {
    let end = match admit(api, &mut incoming, &outgoing).await {
        Ok(mut session) => {
            let (cluster, spu) = (session.request.cluster, session.request.spu);
            let end = match session.serve(api, &mut incoming, &outgoing).await {
                Err(end) => end,
                Ok(never) => match never {},
            };
            tracing::info!(%cluster, %spu, incarnation = %session.incarnation, reason = %end, "SPU session ended");
            match &end {
                End::Refused(error) => note_refusal(&api.app, &session.request, error, true),
                End::Replaced => note_refusal(&api.app, &session.request, &replaced(), true),
                _ => {}
            }
            // The board first, then whoever looks at it.
            drop(session);
            api.app.signals.reconcile();
            end
        }
        Err(end) => {
            tracing::info!(reason = %end, "SPU session was not admitted");
            end
        }
    };
    let refusal = match end {
        End::Refused(error) => error,
        End::ShuttingDown => {
            WireError::new(ErrorCode::ShuttingDown, "the control plane is going down")
        }
        End::Replaced => replaced(),
        End::Database(_) => WireError::new(ErrorCode::Overloaded, "the database did not answer"),
        // Not a word to a process that reconnected: it would take it for its own end, should
        // its older registration have come here last. It finds the stream closed instead.
        End::Reconnected | End::Closed | End::Broken(_) | End::Slow | End::Silent => return,
    };
    let message = control_message::Message::Refused(refusal.into());
    // It may be gone already.
    let _ = outgoing.send(api.app.clock, message).await;
}

fn replaced() -> WireError {
    let why = "another process that proved the same launch registered later and took its place";
    WireError::new(ErrorCode::StaleLaunch, why)
}

/// There is no good end: every session ends with a reason.
enum Never {}

/// What the database holds for a session's SPU.
struct Looked {
    update: MetadataUpdate,
    /// Replicas that it is to remove.
    due: Vec<(PartitionKey, PartitionEpoch)>,
    /// Whether it is to end, with its cluster.
    ends: bool,
}

impl Session<'_> {
    async fn serve(
        &mut self,
        api: &SpuApi,
        incoming: &mut Streaming<SpuMessage>,
        outgoing: &Outgoing,
    ) -> Result<Never, End> {
        // Subscribed before the snapshot is read, so that nothing falls in between.
        let mut revisions = self.app.signals.on_metadata(self.request.cluster);
        self.tell(outgoing).await?;
        self.app.signals.reconcile();
        loop {
            let silence = self.app.clock.now().since(self.heard);
            let patience = self.app.defaults.lease.saturating_sub(silence);
            tokio::select! {
                biased;
                () = api.shutdown.cancelled() => return Err(End::ShuttingDown),
                () = self.seat.replaced.cancelled() => return Err(self.replaced()),
                changed = next_revision(&mut revisions) => {
                    if changed > self.told {
                        self.tell(outgoing).await?;
                    }
                }
                message = incoming.message() => match message {
                    Ok(Some(message)) => self.hear(outgoing, message).await?,
                    Ok(None) => return Err(End::Closed),
                    Err(status) => return Err(End::Broken(status)),
                },
                () = self.app.clock.sleep(patience) => return Err(End::Silent),
            }
        }
    }

    async fn hear(&mut self, outgoing: &Outgoing, message: SpuMessage) -> Result<(), End> {
        use spu_message::Message;
        match message.message {
            Some(Message::Heartbeat(beat)) => self.heartbeat(outgoing, beat).await,
            Some(Message::ReplicaRemoved(removed)) => self.removed(outgoing, &removed).await,
            Some(Message::ProposeIsr(proposed)) => self.propose(outgoing, &proposed).await,
            Some(Message::Leaving(leaving)) => self.leave(outgoing, leaving).await,
            Some(Message::Register(_)) | None => {
                let error = "a registration only begins a session";
                Err(End::Refused(WireError::new(ErrorCode::InvalidRequest, error)))
            }
        }
    }

    /// Whoever it is that speaks here, it must be in the life that the session was given.
    fn check(&self, incarnation: u64, what: &str) -> Result<(), End> {
        if incarnation == self.incarnation.get() {
            return Ok(());
        }
        let error = format!("{what} of another incarnation");
        Err(End::Refused(WireError::new(ErrorCode::StaleLaunch, error)))
    }

    fn asker(&self) -> Asker {
        let Request { org, cluster, spu, .. } = self.request;
        let replaced = self.seat.replaced.clone();
        Asker { org, cluster, spu, incarnation: self.incarnation, replaced }
    }

    /// What is taken comes back with the map, for which this session waits as all do.
    async fn propose(&self, outgoing: &Outgoing, proposed: &ProposeIsr) -> Result<(), End> {
        let proposals = replication::parse(proposed).map_err(End::Refused)?;
        for refused in replication::propose(self.app, &self.asker(), &proposals).await? {
            outgoing.send(self.app.clock, control_message::Message::IsrRefused(refused)).await?;
        }
        Ok(())
    }

    async fn leave(&mut self, outgoing: &Outgoing, leaving: Leaving) -> Result<(), End> {
        self.check(leaving.incarnation, "a farewell")?;
        let Request { cluster, spu, .. } = self.request;
        if !self.app.board.stopping(cluster, spu, self.seat.id) {
            return Err(self.replaced());
        }
        let cluster_stops = replication::leave(self.app, &self.asker()).await?;
        self.tell(outgoing).await?;
        let left = Left { cluster_stops };
        outgoing.send(self.app.clock, control_message::Message::Left(left)).await
    }

    async fn heartbeat(&mut self, outgoing: &Outgoing, beat: Heartbeat) -> Result<(), End> {
        let now = self.app.clock.now();
        self.check(beat.incarnation, "a heartbeat")?;
        let (cluster, spu) = (self.request.cluster, self.request.spu);
        let applied = Revision(beat.applied_revision);
        let offline = beat.replicas.iter().any(|status| status.state() == ReplicaState::Offline);
        if !self.app.board.heartbeat(cluster, spu, self.seat.id, applied, beat.replicas, now) {
            return Err(self.replaced());
        }
        self.heard = now;
        if offline {
            self.app.signals.reconcile();
        }
        let mut token = String::new();
        if now.since(self.token_given) > app::REPLICATION_TOKEN_TTL / 2 {
            token = replication_token(self.app, &self.request)?;
            self.token_given = now;
        }
        let ack = HeartbeatAck {
            control_plane_unix_ms: self.app.now_unix_ms(),
            replication_token: token,
        };
        outgoing.send(self.app.clock, control_message::Message::HeartbeatAck(ack)).await?;
        if now.since(self.looked) >= LOOK_PERIOD {
            self.tell(outgoing).await?;
        }
        Ok(())
    }

    async fn removed(&mut self, outgoing: &Outgoing, message: &ReplicaRemoved) -> Result<(), End> {
        let Request { org, cluster, spu, .. } = self.request;
        match removals::confirm(self.app, org, cluster, spu, message).await? {
            Some(key) => {
                self.app.board.replica_removed(cluster, spu, self.seat.id, key);
                match self.removals.confirmed(key) {
                    true => self.tell(outgoing).await,
                    false => Ok(()),
                }
            }
            None => {
                let error = "a confirmation without a partition";
                Err(End::Refused(WireError::new(ErrorCode::InvalidRequest, error)))
            }
        }
    }

    fn replaced(&self) -> End {
        if self.seat.same_life_came() { End::Reconnected } else { End::Replaced }
    }

    /// Tells the SPU what it has not been told, and ends the session if it is not the SPU's
    /// any more.
    async fn tell(&mut self, outgoing: &Outgoing) -> Result<(), End> {
        let mut tries = 0;
        let Looked { update, due, ends } = loop {
            tries += 1;
            match self.look().await {
                Err(End::Database(error)) if worth_repeating(&error) && tries < TRIES => {
                    self.app.clock.sleep(PAUSE).await;
                }
                done => break done?,
            }
        };
        self.looked = self.app.clock.now();
        let revision = Revision(update.revision);
        if revision > self.told {
            outgoing.send(self.app.clock, control_message::Message::Metadata(update)).await?;
            self.told = revision;
        }
        // After the map that names the topics as purged: before it, they would be refused.
        for (key, epoch) in self.removals.send_now(&due, self.looked) {
            let order = removals::order(self.app, self.restore_number, key, epoch);
            outgoing.send(self.app.clock, control_message::Message::RemoveReplica(order)).await?;
        }
        match self.told_to_end.filter(|_| ends) {
            // It is not counted any more, whatever its process does.
            Some(told) if self.app.clock.now().since(told) > END_TIMEOUT => {
                let error = "the cluster is to stop, and this SPU did not end in time";
                Err(End::Refused(WireError::new(ErrorCode::ShuttingDown, error)))
            }
            None if ends => {
                tracing::info!(cluster = %self.request.cluster, spu = %self.request.spu, "SPU that runs elsewhere is told to end");
                self.told_to_end = Some(self.app.clock.now());
                outgoing.send(self.app.clock, control_message::Message::End(EndOrder {})).await
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Nothing more is told from a database that went back, nor from another history than the
    /// SPU was told when it registered.
    fn same_history(&self, row: ClusterRow) -> Result<(), End> {
        let other = "the cluster was taken up again in another history: register anew";
        let reason = match row.frozen {
            Some(frozen) => frozen.reason,
            None if self.app.restored(row.restore_number) != self.restore_number => {
                other.to_owned()
            }
            None => return Ok(()),
        };
        Err(End::Refused(WireError::new(ErrorCode::DatabaseWentBack, reason)))
    }

    async fn look(&self) -> Result<Looked, End> {
        let Request { org, cluster, spu, .. } = self.request;
        let (cluster_row, row, due) = {
            let mut tx = self.app.store.read().await?;
            let mut scoped = tx.scoped(org);
            let row = spus::get(&mut scoped, cluster, spu).await?;
            let due = removals::due(&mut scoped, cluster, spu).await?;
            (clusters::by_id(&mut scoped, cluster).await?, row, due)
        };
        let wanted = cluster_row.as_ref().is_some_and(|row| row.desired == Desired::Running);
        let ends = !wanted && row.as_ref().is_some_and(|row| row.external);
        if let Some(row) = cluster_row {
            self.same_history(row)?;
        }
        match row {
            Some(row) if row.removed => {
                let error = "this SPU was removed from its cluster for good";
                return Err(End::Refused(WireError::new(ErrorCode::SpuRemoved, error)));
            }
            Some(row) if row.launch_id != Some(self.request.asked.launch_id) => {
                let error = "another launch of this SPU is the current one";
                return Err(End::Refused(WireError::new(ErrorCode::StaleLaunch, error)));
            }
            Some(_) | None => {}
        }
        let update = app::metadata_since(self.app, org, cluster, self.told).await;
        let update = update.map_err(|error| match error {
            AppError::Store(error) => End::Database(error),
            AppError::ClusterNotFound(_) => {
                let error = "the cluster was deleted";
                End::Refused(WireError::new(ErrorCode::UnknownCluster, error))
            }
            other => End::Refused(WireError::new(ErrorCode::DatabaseWentBack, other.to_string())),
        })?;
        Ok(Looked { update, due, ends })
    }
}

/// The announced revision once it changed. Without an announcer (which lives as long as a
/// receiver does) it waits for ever: the look on a period remains.
async fn next_revision(revisions: &mut watch::Receiver<Revision>) -> Revision {
    match revisions.changed().await {
        Ok(()) => *revisions.borrow_and_update(),
        Err(_) => std::future::pending().await,
    }
}
