//! From a configuration to a running SPU, and to its orderly end.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::sync::watch;
use weir_protocol::ids::ProcessId;
use weir_runtime::{
    boot,
    clock::Clock,
    disk::Disk,
    net::Listener,
    plant, rpc,
    task::{self, CancellationToken, JoinHandle},
};

use crate::{
    config::Config,
    coordinator::{Coordinator, Parts, Uploader},
    data_folder::{DataFolder, FolderError, Owner, random_uuid},
    error::SpuError,
    handler::{self, Shared, promises::Promises, throttle::Throttle},
    metadata::Cache,
    metrics::Metrics,
    partition::Registry,
    producer_ids::{ProducerIds, Source},
    replication::{Ending, Links},
    seen::Seen,
    session::{self, Identity, Leave, Session, SessionView},
    token::Tokens,
};

/// How long a part may take to notice that it should end, beyond its own bounds.
const END_SLACK: Duration = Duration::from_secs(1);

/// How long an SPU that stops waits for others to lead what it led.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(2);

/// How long an SPU that stops together with all others waits for them: for their copies of what it
/// is to acknowledge, and until they have its copies of what they are to.
const TOGETHER_TIMEOUT: Duration = Duration::from_secs(5);

/// What an SPU does not bring along.
pub struct Deps {
    /// The data folder.
    pub disk: Arc<dyn Disk>,
    /// Time.
    pub clock: Clock,
}

/// Runs an SPU until `shutdown`, or until the control plane refuses it for good.
///
/// The end is orderly: others lead what this SPU led, where others stay; no new work is taken, open
/// calls end, everything written is synced, acknowledged and checkpointed, the logs are closed. Where
/// the whole cluster stops nobody takes over: then this SPU follows the others until each has
/// acknowledged what it took.
///
/// # Errors
/// [`SpuError`]: what kept it from starting, or why it cannot go on.
pub async fn run(config: Config, deps: Deps, shutdown: CancellationToken) -> Result<(), SpuError> {
    // Boxed: it is large, and callers hold it.
    Box::pin(run_measured(config, deps, Metrics::default(), shutdown)).await
}

/// As [`run`], counting into `metrics`, which the caller serves.
///
/// # Errors
/// As [`run`].
pub async fn run_measured(
    config: Config,
    deps: Deps,
    metrics: Metrics,
    shutdown: CancellationToken,
) -> Result<(), SpuError> {
    let Deps { disk, clock } = deps;
    let owner =
        Owner { org_id: config.org_id, cluster_id: config.cluster_id, spu_id: config.spu_id };
    let folder = DataFolder::open(&disk, owner).await?;
    let listener = Listener::bind(&config.listen)
        .await
        .map_err(|source| SpuError::Listen { address: config.listen.clone(), source })?;
    let identity = Identity {
        org_id: config.org_id,
        cluster_id: config.cluster_id,
        spu_id: config.spu_id,
        launch_id: config.launch_id,
        launch_secret: config.launch_secret.clone(),
        folder_id: folder.id,
        process_id: ProcessId(random_uuid().map_err(SpuError::Randomness)?),
        endpoint: endpoint(&config, &listener)?,
        rack: config.rack.clone().unwrap_or_default(),
        boot_id: boot::id().and_then(|id| id.parse().ok()),
        build: config.build.clone(),
    };
    tracing::info!(
        spu_id = %config.spu_id, cluster_id = %config.cluster_id, listen = config.listen,
        endpoint = identity.endpoint, folder_id = %folder.id, "SPU starting"
    );

    let (closing, background) = (CancellationToken::new(), CancellationToken::new());
    let taking_ends = CancellationToken::new();
    let limits = config.limits.clone();
    let (seen, seen_task) = Seen::open(disk.clone(), clock, background.clone())
        .await
        .map_err(|source| FolderError::Io { action: "read", path: "seen", source })?;
    let (view, session_view) = watch::channel(SessionView::default());
    let channel = session::channel(&config.control_plane);
    let cache = Cache::new(limits.metadata_deltas_kept);
    let registry = Registry::new(config.spu_id, disk, limits.clone(), config.log.clone())
        .measured(metrics.log_times());
    registry.keep_reserve().await;
    metrics.watch(registry.clone(), session_view.clone());
    let tokens = Tokens::new(
        (config.org_id, config.cluster_id),
        clock,
        (limits.token_leeway, limits.token_grace),
        session_view.clone(),
    );
    let source = Source {
        identity: identity.clone(),
        channel: channel.clone(),
        session: session_view.clone(),
        seen: seen.clone(),
    };
    let (producer_ids, ids_task) =
        ProducerIds::start(source, clock, limits.producer_id_timeout, background.clone());
    let uploader = Uploader {
        identity: identity.clone(),
        channel: channel.clone(),
        session: session_view.clone(),
        clock,
        timeout: limits.offsets_flush_timeout,
    };
    let (replication_token, token) = watch::channel(String::new());
    let links = Links::new(registry.clone(), cache.clone(), limits.clone(), clock, token);
    let following = Ending::default();
    let mut links_task = task::spawn(links.run(following.clone()));
    let leave = Leave::default();
    let ordered_to_end = CancellationToken::new();
    let coordinating = CancellationToken::new();
    let parts = Parts {
        cache: cache.clone(),
        limits: limits.clone(),
        clock,
        uploader: Arc::new(uploader),
        stop: coordinating.clone(),
    };
    let (coordinator, mut coordinator_task) =
        Coordinator::start(config.spu_id, registry.clone(), parts);
    let session_up = session_view.clone();
    let shared = Arc::new(Shared {
        catch_up: Throttle::new(limits.catch_up_bytes_per_s),
        cluster_id: config.cluster_id,
        limits: limits.clone(),
        clock,
        tokens: tokens.clone(),
        cache: cache.clone(),
        registry: registry.clone(),
        producer_ids,
        coordinator,
        session: session_view,
        metrics,
        promises: Promises::new(taking_ends.clone()),
        closing: closing.clone(),
    });
    let server = rpc::ServerConfig { drain_timeout: limits.drain_timeout, ..Default::default() };
    let serving =
        task::spawn(rpc::serve(listener, handler::routes(shared.clone()), server, closing.clone()));
    let session = Session {
        identity,
        channel,
        clock,
        limits: limits.clone(),
        cache,
        registry: registry.clone(),
        tokens,
        seen,
        view,
        replication_token,
        leave: leave.clone(),
        ordered_to_end: ordered_to_end.clone(),
    };
    let mut session_task = task::spawn(session.run(background.clone()));

    let mut session_ended = false;
    let mut drain = limits.drain_timeout;
    let outcome = tokio::select! {
        biased;
        () = shutdown.cancelled() => Ok(()),
        () = ordered_to_end.cancelled() => Ok(()),
        ended = &mut session_task => {
            session_ended = true;
            ended.unwrap_or(Err(SpuError::Bug("the session")))
        }
    };
    match &outcome {
        Ok(()) => {
            tracing::info!("SPU shutting down");
            if registry.replicates() {
                leave.wanted.cancel();
                hand_over(clock, &leave, session_up).await;
            }
            // The planted bug: each for itself.
            if leave.together.is_cancelled() && !plant::active("stops_alone") {
                let together = async {
                    taking_ends.cancel();
                    shared.promises.kept().await;
                    // What coordinators write of their own accord is acknowledged to them, too.
                    coordinating.cancel();
                    // Of both a panic, if any, changes nothing of what is to be done.
                    let _ = (&mut coordinator_task).await;
                    // Followers hear by it that no acknowledgement waits for them.
                    closing.cancel();
                    following.with_leaders.cancel();
                    let _ = (&mut links_task).await;
                };
                if clock.timeout(TOGETHER_TIMEOUT, together).await.is_err() {
                    tracing::warn!("an SPU or a client was too slow to end together; going on");
                    // Who has not answered by now does not.
                    drain = Duration::ZERO;
                }
            }
        }
        Err(error) => tracing::error!(%error, "SPU shutting down"),
    }
    taking_ends.cancel();
    closing.cancel();
    following.now.cancel();
    within(clock, drain, "open calls", serving).await;
    coordinating.cancel();
    if !coordinator_task.is_finished() {
        within(clock, limits.offsets_flush_timeout, "coordinators", coordinator_task).await;
    }
    within(clock, limits.drain_timeout, "logs", registry.close_all()).await;
    background.cancel();
    if !session_ended {
        within(clock, Duration::ZERO, "session", session_task).await;
    }
    end(clock, [ids_task, seen_task]).await;
    if !links_task.is_finished() {
        end(clock, [links_task]).await;
    }
    drop(folder);
    tracing::info!("SPU ended");
    outcome
}

/// Waits until others lead what this SPU led, as far as they can; not without a session.
async fn hand_over(clock: Clock, leave: &Leave, mut session: watch::Receiver<SessionView>) {
    let handed_over = async {
        tokio::select! {
            biased;
            () = leave.done.cancelled() => {}
            _ = session.wait_for(|session| !session.up) => {}
        }
    };
    if clock.timeout(HAND_OVER_TIMEOUT, handed_over).await.is_err() {
        tracing::warn!("the control plane did not say that others lead what this SPU led");
    }
}

async fn within<F: Future>(clock: Clock, limit: Duration, what: &str, part: F) {
    if clock.timeout(limit + END_SLACK, part).await.is_err() {
        tracing::warn!(what, "did not end in time; going on");
    }
}

async fn end(clock: Clock, tasks: impl IntoIterator<Item = JoinHandle<()>>) {
    for task in tasks {
        within(clock, Duration::ZERO, "background work", task).await;
    }
}

/// Where clients reach this SPU.
fn endpoint(config: &Config, listener: &Listener) -> Result<String, SpuError> {
    if let Some(advertise) = &config.advertise {
        return Ok(advertise.clone());
    }
    let address = config.listen.clone();
    match listener.local_addr() {
        Ok(bound) if bound.ip().is_unspecified() => Err(SpuError::NoEndpoint { address }),
        Ok(bound) => Ok(bound.to_string()),
        Err(source) => Err(SpuError::Listen { address, source }),
    }
}
