//! The control plane as a whole: opens, migrates, bootstraps, serves, reconciles, until told
//! to stop.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use secrecy::SecretString;
use tokio::sync::oneshot;
use weir_protocol::ids::{DatabaseId, OrgId};
use weir_runtime::{
    clock::Clock, http as http_server, net::Listener, rpc, task::CancellationToken,
};

use crate::{
    app::{self, App, AppError, Signals, StatusBoard, bootstrap::AdminKey},
    config::Config,
    http,
    metrics::Metrics,
    provision::Provisioner,
    reconcile,
    spu_api::SpuApi,
    store::{Database, DbError, Store, migrate::MigrateError},
};

/// Tries at each step of the start while the database is busy or its answer is lost.
const START_TRIES_MAX: u32 = 20;
const START_PAUSE: Duration = Duration::from_millis(100);

/// What the control plane works with.
pub struct Deps {
    /// The database; [`run`] migrates it.
    pub database: Arc<dyn Database>,
    /// Starts and stops SPUs.
    pub provisioner: Arc<dyn Provisioner>,
    /// The node's clock.
    pub clock: Clock,
    /// Told once everything listens.
    pub started: Option<oneshot::Sender<Started>>,
}

/// What is known once everything listens.
#[derive(Clone, Debug)]
pub struct Started {
    /// Where the HTTP API listens.
    pub http: SocketAddr,
    /// Where the gRPC server listens.
    pub rpc: SocketAddr,
    /// Which history the database is.
    pub database_id: DatabaseId,
    /// The default org.
    pub org_id: OrgId,
    /// An admin key that was made just now, at the first start without a given one. Shown
    /// once: the database keeps only its hash.
    pub fresh_admin_key: Option<SecretString>,
}

/// Why the control plane could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlPlaneError {
    /// The database cannot be brought to this build's version.
    #[error("the database cannot be used: {0}")]
    Migrate(#[from] MigrateError),
    /// What every database must hold could not be made or read.
    #[error("the control plane could not be set up: {0}")]
    Bootstrap(#[from] AppError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which.
        address: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Runs a control plane until `shutdown`, then drains. SPUs go on running.
///
/// # Errors
/// [`ControlPlaneError`], only before everything listens.
pub async fn run(
    config: Config,
    deps: Deps,
    shutdown: CancellationToken,
) -> Result<(), ControlPlaneError> {
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
) -> Result<(), ControlPlaneError> {
    let Deps { database, provisioner, clock, started } = deps;
    let applied = database.migrate().await?;
    let store = Store::new(database).measured(metrics.sql_times());
    // Drawn once, so that a repetition after a lost answer finds its own key.
    let admin_key = AdminKey::new(config.admin_key.as_ref(), &config.environment)?;
    let ready = patiently(clock, || app::bootstrap(&store, clock.unix_ms(), &admin_key)).await?;
    let (http_listener, http_address) = listen(&config.http_listen).await?;
    let (rpc_listener, rpc_bound) = listen(&config.rpc_listen).await?;
    let rpc_address =
        config.rpc_advertise.clone().unwrap_or_else(|| reachable(rpc_bound).to_string());
    let board = StatusBoard::default();
    metrics.watch(board.clone());
    let app = Arc::new(App {
        store,
        clock,
        ids: app::UuidSource::default(),
        board,
        metrics,
        signals: Signals::default(),
        pepper: ready.pepper,
        signer: ready.signer,
        database_id: ready.meta.database_id,
        restore_number: ready.meta.restore_number,
        defaults: config.cluster.clone(),
        rpc_address,
        build: config.build.clone(),
    });
    if config.from_backup {
        patiently(clock, || app::freeze_all(&app)).await?;
    }
    patiently(clock, || app::call_all(&app)).await?;
    tracing::info!(http = %http_address, rpc = %rpc_bound, migrations = applied, "control plane started");
    if let Some(started) = started {
        // Nobody waiting is fine.
        let _ = started.send(Started {
            http: http_address,
            rpc: rpc_bound,
            database_id: app.database_id,
            org_id: ready.org,
            fresh_admin_key: ready.fresh_admin_key,
        });
    }
    let router = http::router(Arc::clone(&app), config.request_timeout);
    let spu_api = SpuApi::new(Arc::clone(&app), shutdown.clone()).into_service();
    let routes = tonic::service::Routes::new(spu_api);
    tokio::join!(
        http_server::serve(
            http_listener,
            router,
            http_server::ServerConfig::default(),
            shutdown.clone()
        ),
        rpc::serve(rpc_listener, routes, rpc::ServerConfig::default(), shutdown.clone()),
        Box::pin(reconcile::run(Arc::clone(&app), provisioner, config.reconcile, shutdown.clone())),
        app::housekeeping(&app, shutdown.clone()),
        app::watch_lag(&app, shutdown.clone()),
    );
    tracing::info!("control plane stopped");
    Ok(())
}

/// Tries a step of the start again while its database is busy or its answer is lost. Each step
/// can be repeated.
async fn patiently<T, F>(clock: Clock, step: impl Fn() -> F) -> Result<T, AppError>
where
    F: Future<Output = Result<T, AppError>>,
{
    let mut tries = 1;
    loop {
        match step().await {
            Err(AppError::Store(error))
                if (error.retriable() || matches!(error, DbError::CommitUnknown { .. }))
                    && tries < START_TRIES_MAX =>
            {
                tries += 1;
                clock.sleep(START_PAUSE).await;
            }
            other => return other,
        }
    }
}

async fn listen(address: &str) -> Result<(Listener, SocketAddr), ControlPlaneError> {
    let failed = |source| ControlPlaneError::Listen { address: address.to_owned(), source };
    let listener = Listener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// Where a process of this machine reaches what listens at `bound`.
fn reachable(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, bound.port())
}
