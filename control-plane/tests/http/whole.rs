//! The control plane as a whole, over real sockets (simulated ones in simulation).

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use secrecy::ExposeSecret as _;
use weir_control_plane::{
    Config, ControlPlaneError, Deps, Started,
    provision::{LaunchHandle, LaunchRecord, LaunchSpec, Observed, ProvisionError, Provisioner},
    store::{FaultRates, SqlFaults},
};
use weir_protocol::ids::{ClusterId, SpuId};
use weir_runtime::{
    clock::Clock,
    http::transport,
    task::{self, CancellationToken, JoinHandle},
};

use crate::support::database::{is_postgres, open_with};

/// Starts nothing.
#[derive(Debug)]
struct Nothing;

#[async_trait]
impl Provisioner for Nothing {
    async fn start(&self, spec: &LaunchSpec) -> Result<LaunchHandle, ProvisionError> {
        Err(ProvisionError::StartFailed { spu_id: spec.spu_id, reason: "not here".to_owned() })
    }

    async fn observe(&self, _: &LaunchRecord) -> Result<Observed, ProvisionError> {
        Ok(Observed::Gone { reason: "nothing was ever started".to_owned() })
    }

    async fn stop(&self, _: &LaunchRecord, _: Duration) -> Result<(), ProvisionError> {
        Ok(())
    }

    async fn destroy_spu(&self, _: &str, _: ClusterId, _: SpuId) -> Result<(), ProvisionError> {
        Ok(())
    }

    async fn destroy_cluster(&self, _: &str, _: ClusterId) -> Result<(), ProvisionError> {
        Ok(())
    }

    async fn port_free(&self, _: &str) -> bool {
        true
    }
}

type Running = (Started, JoinHandle<Result<(), ControlPlaneError>>, CancellationToken);

async fn start(folder: &tempfile::TempDir, config: Config) -> Result<Running, ControlPlaneError> {
    start_on(folder, SqlFaults::default(), config).await
}

async fn start_on(
    folder: &tempfile::TempDir,
    faults: SqlFaults,
    config: Config,
) -> Result<Running, ControlPlaneError> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let deps = Deps {
        database: open_with(folder, faults).await,
        provisioner: Arc::new(Nothing),
        clock: Clock,
        started: Some(sender),
    };
    let shutdown = CancellationToken::new();
    let run = task::spawn(weir_control_plane::run(config, deps, shutdown.clone()));
    match receiver.await {
        Ok(started) => Ok((started, run, shutdown)),
        Err(_) => Err(run.await.unwrap().unwrap_err()),
    }
}

#[tokio::test]
async fn it_starts_serves_stops_and_starts_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut key = None;
    let mut database = None;
    for first in [true, false] {
        let (started, run, shutdown) = start(&folder, Config::default()).await.unwrap();
        assert_eq!(started.fresh_admin_key.is_some(), first);
        key = key.or(started.fresh_admin_key);
        assert_eq!(*database.get_or_insert(started.database_id), started.database_id);
        assert_ne!(started.http.port(), 0);
        assert_ne!(started.rpc.port(), started.http.port());
        let request = http::Request::get(format!("http://{}/v1/whoami", started.http))
            .header("authorization", format!("Bearer {}", key.as_ref().unwrap().expose_secret()))
            .body(Bytes::new())
            .unwrap();
        let answer = transport(1 << 20).send(request, Duration::from_secs(10)).await.unwrap();
        assert_eq!(answer.status(), 200);
        let who: serde_json::Value = serde_json::from_slice(answer.body()).unwrap();
        assert_eq!(who["org_id"], started.org_id.to_string());
        shutdown.cancel();
        run.await.unwrap().unwrap();
    }
}

/// Nobody starts it again, so what passes by itself must not end it.
#[tokio::test]
async fn a_database_that_is_busy_now_and_then_keeps_it_from_nothing() {
    let (folder, faults) = (tempfile::tempdir().unwrap(), SqlFaults::default());
    let rates = FaultRates {
        busy_per_million: 80_000,
        commit_unknown_per_million: 80_000,
        ..FaultRates::default()
    };
    faults.set(rates);
    for _ in 0..20 {
        let config = Config { from_backup: true, ..Config::default() };
        let started = start_on(&folder, faults.clone(), config).await;
        let (_, run, shutdown) = started.unwrap_or_else(|error| panic!("{error}"));
        shutdown.cancel();
        run.await.unwrap().unwrap();
    }
    assert!(is_postgres() || faults.fired() > 0);
}

#[tokio::test]
async fn what_keeps_it_from_starting_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let (started, run, shutdown) = start(&folder, Config::default()).await.unwrap();
    let other = tempfile::tempdir().unwrap();
    let taken = Config { rpc_listen: started.rpc.to_string(), ..Config::default() };
    let error = start(&other, taken).await.err().unwrap();
    let text = error.to_string();
    assert!(matches!(error, ControlPlaneError::Listen { .. }), "{text}");
    assert!(text.contains(&started.rpc.to_string()), "{text}");
    let typo = Config { admin_key: Some("weir_x".to_owned().into()), ..Config::default() };
    let error = start(&other, typo).await.err().unwrap();
    assert!(matches!(error, ControlPlaneError::Bootstrap(_)), "{error}");
    shutdown.cancel();
    run.await.unwrap().unwrap();
}
