//! One session of one SPU: a registration in time, `Registered`, the metadata snapshot, and
//! from then on every change as it is committed, and an answer to every heartbeat.
//!
//! Bounded throughout: the wait for the registration, the silence between heartbeats, the
//! messages that wait for a slow SPU and how long they wait. Whatever ends the session, the
//! board knows; whether the SPU counts as offline is the reconciler's to say, once the lease
//! is over.

use std::time::Duration;

use secrecy::SecretString;
use tokio::sync::{mpsc, watch};
use tonic::{Status, Streaming};
use weir_protocol::{
    ErrorCode, WireError,
    ids::{Incarnation, PartitionEpoch, PartitionKey, Revision},
    pb::{
        metadata::MetadataUpdate,
        session::{
            ControlMessage, Heartbeat, HeartbeatAck, Registered, ReplicaRemoved, SpuMessage,
            control_message, spu_message,
        },
    },
};
use weir_runtime::clock::{Clock, Monotonic};

use super::{
    PAUSE, SpuApi, TRIES,
    live::Seat,
    register::{self, History, Outcome, Request},
    removals::{self, Removals},
    worth_repeating,
};
use crate::{
    app::{self, App, AppError},
    auth::pepper::Purpose,
    store::{DbError, DbResult, spus},
};

/// How long a peer may take to register.
const REGISTER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a message may wait for room before a slow SPU is disconnected.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// Signals are a hint: so often the database is looked at without one.
const LOOK_PERIOD: Duration = Duration::from_secs(5);

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

    async fn send(&self, clock: Clock, message: control_message::Message) -> Result<(), End> {
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
enum End {
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
struct Session<'a> {
    app: &'a App,
    request: Request,
    incarnation: Incarnation,
    seat: Seat,
    /// The revision that the SPU was told last.
    told: Revision,
    looked: Monotonic,
    heard: Monotonic,
    removals: Removals,
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
        End::Replaced => {
            WireError::new(ErrorCode::StaleLaunch, "a newer session of this SPU took its place")
        }
        End::Database(_) => WireError::new(ErrorCode::Overloaded, "the database did not answer"),
        // Not a word to a process that reconnected: it would take it for its own end, should
        // its older registration have come here last. It finds the stream closed instead.
        End::Reconnected | End::Closed | End::Broken(_) | End::Slow | End::Silent => return,
    };
    let message = control_message::Message::Refused(refusal.into());
    // It may be gone already.
    let _ = outgoing.send(api.app.clock, message).await;
}

/// Takes the registration and answers it.
async fn admit<'a>(
    api: &'a SpuApi,
    incoming: &mut Streaming<SpuMessage>,
    outgoing: &Outgoing,
) -> Result<Session<'a>, End> {
    let app = api.app.as_ref();
    let first = tokio::select! {
        biased;
        () = api.shutdown.cancelled() => return Err(End::ShuttingDown),
        first = app.clock.timeout(REGISTER_TIMEOUT, incoming.message()) => first,
    };
    let message = match first {
        Ok(Ok(Some(SpuMessage { message: Some(spu_message::Message::Register(message)) }))) => {
            message
        }
        Ok(Ok(Some(_))) => {
            let error = "a session begins with a registration";
            return Err(End::Refused(WireError::new(ErrorCode::InvalidRequest, error)));
        }
        Ok(Ok(None)) => return Err(End::Closed),
        Ok(Err(status)) => return Err(End::Broken(status)),
        Err(_) => return Err(End::Silent),
    };
    let secret = SecretString::from(message.launch_secret.clone());
    let mut request = register::parse(message).map_err(End::Refused)?;
    let (incarnation, revision) = match store(app, &request, &secret).await? {
        Outcome::Accepted { incarnation, new_incarnation, revision } => {
            tracing::info!(cluster = %request.cluster, spu = %request.spu, launch = %request.asked.launch_id, %incarnation, new_incarnation, "SPU registered");
            (incarnation, revision)
        }
        Outcome::Refused { error, known, proven, revision } => {
            tracing::warn!(cluster = %request.cluster, spu = %request.spu, launch = %request.asked.launch_id, %error, "SPU registration refused");
            if known {
                let reason = proven.then(|| error.message());
                app.board.refused(request.cluster, request.spu, reason);
            }
            if proven {
                announce(app, &request, revision);
            }
            return Err(End::Refused(error));
        }
    };
    let now = app.clock.now();
    let key = (request.cluster, request.spu);
    let seat = api
        .live
        .enter(&app.board, key, request.asked.launch_id, incarnation, now)
        .ok_or(End::Replaced)?;
    app.board.heartbeat(
        request.cluster,
        request.spu,
        seat.id,
        request.asked.highest_revision,
        std::mem::take(&mut request.replicas),
        now,
    );
    announce(app, &request, revision);
    let defaults = &app.defaults;
    let registered = Registered {
        incarnation: incarnation.get(),
        lease_ms: millis(defaults.lease),
        heartbeat_interval_ms: millis(defaults.heartbeat_interval),
        database: Some(app.database_ref()),
        token_keys: Some(app.signer.token_keys()),
        batch_bytes_max: defaults.batch_bytes_max,
    };
    outgoing.send(app.clock, control_message::Message::Registered(registered)).await?;
    Ok(Session {
        app,
        request,
        incarnation,
        seat,
        told: Revision(0),
        looked: now,
        heard: now,
        removals: Removals::default(),
    })
}

fn announce(app: &App, request: &Request, revision: Option<Revision>) {
    if let Some(revision) = revision {
        app.signals.metadata(request.cluster, revision);
    }
    app.signals.reconcile();
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

/// The registration's transaction, again where that is safe and may help.
async fn store(app: &App, request: &Request, secret: &SecretString) -> DbResult<Outcome> {
    let history = History { database_id: app.database_id, restore_number: app.restore_number };
    let launch = request.asked.launch_id.to_string();
    let matches = |hash: &str| app.pepper.verify(Purpose::Launch, &launch, secret, hash);
    let mut tries = 0;
    loop {
        tries += 1;
        let attempt = async {
            let mut tx = app.store.write().await?;
            let now = app.now_unix_ms();
            let outcome =
                register::apply(&mut tx.scoped(request.org), history, request, matches, now)
                    .await?;
            tx.commit().await?;
            Ok(outcome)
        };
        match attempt.await {
            Err(error) if worth_repeating(&error) && tries < TRIES => {
                app.clock.sleep(PAUSE).await;
            }
            done => return done,
        }
    }
}

/// There is no good end: every session ends with a reason.
enum Never {}

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
                    Ok(Some(SpuMessage { message: Some(spu_message::Message::Heartbeat(beat)) })) => {
                        self.heartbeat(outgoing, beat).await?;
                    }
                    Ok(Some(SpuMessage {
                        message: Some(spu_message::Message::ReplicaRemoved(removed)),
                    })) => self.removed(outgoing, &removed).await?,
                    Ok(Some(_)) => {
                        let error = "only heartbeats and confirmations follow a registration";
                        return Err(End::Refused(WireError::new(ErrorCode::InvalidRequest, error)));
                    }
                    Ok(None) => return Err(End::Closed),
                    Err(status) => return Err(End::Broken(status)),
                },
                () = self.app.clock.sleep(patience) => return Err(End::Silent),
            }
        }
    }

    async fn heartbeat(&mut self, outgoing: &Outgoing, beat: Heartbeat) -> Result<(), End> {
        let now = self.app.clock.now();
        if beat.incarnation != self.incarnation.get() {
            let error = "a heartbeat of another incarnation";
            return Err(End::Refused(WireError::new(ErrorCode::StaleLaunch, error)));
        }
        let (cluster, spu) = (self.request.cluster, self.request.spu);
        let applied = Revision(beat.applied_revision);
        if !self.app.board.heartbeat(cluster, spu, self.seat.id, applied, beat.replicas, now) {
            return Err(self.replaced());
        }
        self.heard = now;
        let ack = HeartbeatAck { control_plane_unix_ms: self.app.now_unix_ms() };
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
        let (update, due) = loop {
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
            let order = removals::order(self.app, key, epoch);
            outgoing.send(self.app.clock, control_message::Message::RemoveReplica(order)).await?;
        }
        Ok(())
    }

    async fn look(&self) -> Result<(MetadataUpdate, Vec<(PartitionKey, PartitionEpoch)>), End> {
        let Request { org, cluster, spu, .. } = self.request;
        let (row, due) = {
            let mut tx = self.app.store.read().await?;
            let mut scoped = tx.scoped(org);
            let row = spus::get(&mut scoped, cluster, spu).await?;
            (row, removals::due(&mut scoped, cluster, spu).await?)
        };
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
        Ok((update, due))
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
