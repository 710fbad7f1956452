//! The beginning of a session: a registration in time, decided and stored, and its answer.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use tonic::Streaming;
use weir_protocol::{
    ErrorCode, WireError,
    ids::Revision,
    pb::{
        metadata::DatabaseRef,
        session::{End as EndOrder, Registered, SpuMessage, control_message, spu_message},
    },
};

use super::{
    PAUSE, SpuApi, TRIES,
    register::{self, Around, History, Outcome, Request, Shown},
    removals::Removals,
    session::{End, Outgoing, Session},
    worth_repeating,
};
use crate::{
    app::{self, App, AppError, refusals::Refusal},
    auth::{launch_secret, pepper::Purpose},
    store::DbResult,
};

/// How long a peer may take to register.
const REGISTER_TIMEOUT: Duration = Duration::from_secs(5);

/// Takes the registration and answers it.
pub(super) async fn admit<'a>(
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
    let (incarnation, revision, restore_number) = match store(app, &request, &secret).await? {
        Outcome::Accepted { incarnation, new_incarnation, revision, restore_number } => {
            tracing::info!(cluster = %request.cluster, spu = %request.spu, launch = %request.asked.launch_id, %incarnation, new_incarnation, "SPU registered");
            (incarnation, revision, restore_number)
        }
        Outcome::Refused { error, known, clustered, proven, ends, revision } => {
            tracing::warn!(cluster = %request.cluster, spu = %request.spu, launch = %request.asked.launch_id, %error, "SPU registration refused");
            if known {
                let reason = proven.then(|| error.message());
                app.board.refused(request.cluster, request.spu, reason);
            }
            if clustered {
                note_refusal(app, &request, &error, proven);
            }
            if proven {
                announce(app, &request, revision);
            }
            if ends {
                // It was not connected when its cluster was shut down, and runs on since.
                let order = control_message::Message::End(EndOrder {});
                outgoing.send(app.clock, order).await?;
                return Err(End::Closed);
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
    app.board.runs(key.0, key.1, seat.id, request.version.clone());
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
        database: Some(DatabaseRef {
            database_id: app.database_id.to_string(),
            restore_number: restore_number.0,
        }),
        token_keys: Some(app.signer.token_keys()),
        batch_bytes_max: defaults.batch_bytes_max,
        replication_token: replication_token(app, &request)?,
    };
    outgoing.send(app.clock, control_message::Message::Registered(registered)).await?;
    Ok(Session {
        app,
        request,
        incarnation,
        restore_number,
        seat,
        told: Revision(0),
        looked: now,
        heard: now,
        token_given: now,
        removals: Removals::default(),
        told_to_end: None,
    })
}

/// Notes for people that one was refused who asked, or who was there.
pub(super) fn note_refusal(app: &App, request: &Request, error: &WireError, proven: bool) {
    let refusal = Refusal {
        spu: request.spu,
        launch: request.asked.launch_id,
        code: error.code,
        reason: error.message().to_owned(),
        proven,
        count: 1,
        at_unix_ms: app.now_unix_ms(),
    };
    app.board.note_refusal(request.cluster, refusal);
}

fn announce(app: &App, request: &Request, revision: Option<Revision>) {
    if let Some(revision) = revision {
        app.signals.metadata(request.cluster, revision);
    }
    app.signals.reconcile();
}

/// What it fetches from the other SPUs with.
pub(super) fn replication_token(app: &App, request: &Request) -> Result<String, End> {
    let token = app::token_replicate(app, request.org, request.cluster, request.spu);
    let internal = |error: AppError| WireError::new(ErrorCode::Internal, error.to_string());
    Ok(token.map_err(|error| End::Refused(internal(error)))?.expose_secret().to_owned())
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

/// The registration's transaction, again where that is safe and may help.
async fn store(app: &App, request: &Request, secret: &SecretString) -> DbResult<Outcome> {
    let history = History { database_id: app.database_id, restore_number: app.restore_number };
    let damage = app.board.damage(request.cluster);
    let launch = request.asked.launch_id.to_string();
    let (cluster, spu) = (request.cluster, request.spu);
    let matches = |hash: &str| app.pepper.verify(Purpose::Launch, &launch, secret, hash);
    let shown = Shown {
        matches: &matches,
        origin: launch_secret::is_ours(&app.pepper, cluster, spu, request.asked.launch_id, secret),
        hash: app.pepper.hash(Purpose::Launch, &launch, secret),
    };
    let alone = || app.board.heard(cluster, spu, app.clock.now());
    let mut tries = 0;
    loop {
        tries += 1;
        let attempt = async {
            let mut tx = app.store.write().await?;
            let mut scoped = tx.scoped(request.org);
            let (lives, now) = (app.board.lives(cluster), app.now_unix_ms());
            let stands = app.board.spu(cluster, spu).standing().map(|session| session.launch);
            let around =
                Around { history, damage: &damage, standing: &lives, stands, alone: &alone };
            let deciding = register::apply(&mut scoped, &around, request, &shown, now);
            // Large, and most of a session never needs it.
            let outcome = Box::pin(deciding).await?;
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
