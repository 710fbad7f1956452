//! Starting, stopping and removing. Everything is written down before it is done: a launch
//! with its secret's hash before the start, so that nothing ever runs that no row knows.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::json;
use weir_protocol::ids::{LaunchId, OrgId, SpuId};
use weir_runtime::task::{self, JoinHandle};

use super::{Context, ports, snapshot::Snapshot};
use crate::{
    app::uuid_v4,
    auth::{launch_secret, pepper::Purpose},
    plan::operation,
    provision::{LaunchRecord, LaunchSpec, ProvisionError, spu_folder},
    store::{
        DbError, DbResult, audit,
        changes::{self, Change},
        clusters, launch_handles, launches, operations,
        spus::{self, SpuRow},
        types::{Desired, SpuState},
    },
};

/// Who audit entries of this module name.
const ACTOR: &str = "reconciler";

/// Why an SPU was not started.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error(transparent)]
    Database(#[from] DbError),
    #[error(transparent)]
    Provision(#[from] ProvisionError),
    #[error("there is no port left for it")]
    NoPort,
    #[error("no randomness for its secret: {0}")]
    Entropy(#[from] std::io::Error),
}

/// `host:port` that an SPU listens on; `None` while the ports are not settled, or past the
/// last port.
pub(super) fn listen(context: &Context, snapshot: &Snapshot, spu: &SpuRow) -> Option<String> {
    let port = ports::port_of(snapshot.ports_from?, spu)?;
    Some(format!("{}:{port}", context.config.spu_listen_host))
}

/// The folder that holds the clusters' folders.
pub(super) fn base_dir<'a>(context: &'a Context, snapshot: &'a Snapshot) -> &'a str {
    snapshot.cluster.spec.data_dir.as_deref().unwrap_or(&context.config.data_root)
}

/// Starts an SPU as a new launch.
pub(super) async fn start(
    context: &Context,
    snapshot: &Snapshot,
    row: &SpuRow,
) -> Result<(), StartError> {
    let (app, cluster) = (&context.app, &snapshot.cluster);
    let listen = listen(context, snapshot, row).ok_or(StartError::NoPort)?;
    let launch_id = LaunchId(uuid_v4()?);
    let secret = launch_secret::draw(&app.pepper, cluster.id, row.id, launch_id)?;
    let hash = app.pepper.hash(Purpose::Launch, &launch_id.to_string(), &secret);
    // A start that follows an order is none of its own accord.
    let unasked = row.launch_id.is_some() && row.state != SpuState::Stopped;
    let restarts = row.restarts.saturating_add(u32::from(unasked));
    let now = app.now_unix_ms();
    let mut tx = app.store.write().await?;
    let mut scoped = tx.scoped(cluster.org);
    launches::insert(&mut scoped, cluster.id, launch_id, row.id, &hash, now).await?;
    spus::set_launch(&mut scoped, cluster.id, row.id, launch_id, restarts, now).await?;
    let revision = changes::record(&mut scoped, cluster.id, &Change::Spu(row.id), now).await?;
    tx.commit().await?;
    app.signals.metadata(cluster.id, revision);
    tracing::info!(cluster = %cluster.id, spu = %row.id, launch = %launch_id, restarts, listen, "starting SPU");
    let spec = LaunchSpec {
        org_id: cluster.org,
        cluster_id: cluster.id,
        cluster_name: cluster.name.clone(),
        spu_id: row.id,
        launch_id,
        launch_secret: secret,
        data_dir: spu_folder(base_dir(context, snapshot), cluster.id, row.id),
        listen,
        control_plane_rpc: app.rpc_address.clone(),
    };
    let started = context.provisioner.start(&spec).await;
    let mut tx = app.store.write().await?;
    let mut scoped = tx.scoped(cluster.org);
    match started {
        // It may run, or come to run: the next look at it says so, or that it does not.
        Err(error @ ProvisionError::Silent { .. }) => Err(error.into()),
        Ok(handle) => {
            launch_handles::started(&mut scoped, cluster.id, launch_id, &handle.0).await?;
            Ok(tx.commit().await?)
        }
        Err(error) => {
            let reason = error.to_string();
            let now = app.now_unix_ms();
            launches::ended(&mut scoped, cluster.id, launch_id, &reason, now).await?;
            let (state, reason) = (SpuState::Offline, Some(reason.as_str()));
            spus::set_state(&mut scoped, cluster.id, row.id, state, reason, now).await?;
            let change = Change::Spu(row.id);
            let revision = changes::record(&mut scoped, cluster.id, &change, now).await?;
            tx.commit().await?;
            app.signals.metadata(cluster.id, revision);
            Err(error.into())
        }
    }
}

/// Stops under way. One that is slow holds up nobody else: neither those that stop with it, nor
/// whoever is to lead instead of an SPU that dies meanwhile. All of it may be lost: what still runs
/// is told again.
#[derive(Default)]
pub(super) struct Stops(BTreeMap<LaunchId, JoinHandle<()>>);

impl Stops {
    /// Whether the launch is being stopped: its end is this one's to store.
    pub(super) fn is_of(&self, launch: LaunchId) -> bool {
        self.0.get(&launch).is_some_and(|stop| !stop.is_finished())
    }

    /// Begins to stop all launches of these SPUs that are not being stopped already; each may take
    /// the grace. The end of each is stored, and signalled.
    pub(super) fn begin(&mut self, context: &Arc<Context>, snapshot: &Snapshot, which: &[SpuId]) {
        self.0.retain(|_, stop| !stop.is_finished());
        for launch in snapshot.launches.iter().filter(|launch| which.contains(&launch.spu)) {
            if self.0.contains_key(&launch.id) {
                continue;
            }
            let (context, org) = (Arc::clone(context), snapshot.cluster.org);
            let record = snapshot.record(launch);
            let stop = task::spawn(async move {
                match stop(&context, org, &record).await {
                    Ok(()) => context.app.signals.reconcile(),
                    // With the next pass, and not at once: whatever is in the way needs time.
                    Err(error) => {
                        let (id, spu) = (record.cluster_id, record.spu_id);
                        tracing::warn!(cluster = %id, %spu, %error, "an SPU could not be stopped; trying again");
                    }
                }
            });
            self.0.insert(launch.id, stop);
        }
    }
}

/// Why an SPU was not stopped, or nobody knows that it was.
#[derive(Debug, thiserror::Error)]
enum StopError {
    #[error(transparent)]
    Database(#[from] DbError),
    #[error(transparent)]
    Provision(#[from] ProvisionError),
}

async fn stop(context: &Context, org: OrgId, launch: &LaunchRecord) -> Result<(), StopError> {
    context.provisioner.stop(launch, context.config.stop_grace).await?;
    let (app, id, spu) = (&context.app, launch.cluster_id, launch.spu_id);
    tracing::info!(cluster = %id, %spu, launch = %launch.launch_id, "SPU stopped");
    let now = app.now_unix_ms();
    let mut tx = app.store.write().await?;
    let mut scoped = tx.scoped(org);
    launches::ended(&mut scoped, id, launch.launch_id, "stopped on order", now).await?;
    let row = spus::get(&mut scoped, id, spu).await?;
    let current = row.is_some_and(|row| row.launch_id == Some(launch.launch_id));
    let mut revision = None;
    if current && spus::set_state(&mut scoped, id, spu, SpuState::Stopped, None, now).await? {
        revision = Some(changes::record(&mut scoped, id, &Change::Spu(spu), now).await?);
    }
    tx.commit().await?;
    if let Some(revision) = revision {
        app.signals.metadata(id, revision);
    }
    Ok(())
}

/// Removes the cluster's data, then its rows; `true` when it is gone. The audit stays.
pub(super) async fn destroy(context: &Context, snapshot: &Snapshot) -> DbResult<bool> {
    let (app, cluster) = (&context.app, &snapshot.cluster);
    let base = base_dir(context, snapshot);
    let removed = async {
        for spu in snapshot.spus.iter().filter(|spu| !spu.external) {
            context.provisioner.destroy_spu(base, cluster.id, spu.id).await?;
        }
        context.provisioner.destroy_cluster(base, cluster.id).await
    };
    if let Err(error) = removed.await {
        tracing::warn!(cluster = %cluster.id, %error, "a cluster's data could not be removed; trying again");
        return Ok(false);
    }
    let id = app.uuid_v7().map_err(|error| DbError::Io { reason: error.to_string() })?;
    let now = app.now_unix_ms();
    let mut tx = app.store.write().await?;
    let mut scoped = tx.scoped(cluster.org);
    let still = clusters::by_id(&mut scoped, cluster.id).await?;
    if still.is_none_or(|row| row.desired != Desired::Deleted) {
        return Ok(false);
    }
    clusters::remove(&mut scoped, cluster.id).await?;
    if let Some(row) = &snapshot.operation {
        let done = operation::finished(&row.account);
        operations::account(&mut scoped, row.id, &done, now).await?;
    }
    let entry = audit::Entry {
        id,
        actor: ACTOR,
        action: "cluster.removed",
        cluster: Some(cluster.id),
        subject: &cluster.name,
        detail: json!({ "spus": snapshot.spus.len() }),
    };
    audit::record(&mut scoped, &entry, now).await?;
    tx.commit().await?;
    app.board.forget(cluster.id);
    tracing::info!(cluster = %cluster.id, name = cluster.name, "cluster removed");
    Ok(true)
}
