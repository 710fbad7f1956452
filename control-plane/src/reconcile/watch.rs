//! What has become of what was started: launches that ended, SPUs that stayed away. Both are
//! transitions, so both are stored and told to watchers.

use std::collections::{BTreeMap, BTreeSet};

use futures::future;
use weir_protocol::ids::{LaunchId, SpuId};
use weir_runtime::clock::Monotonic;

use super::{Context, launch::Stops, lose, snapshot::Snapshot};
use crate::{
    app::status_board::SpuSeen,
    provision::Observed,
    store::{
        DbResult,
        changes::{self, Change},
        launch_handles::{self, LiveLaunch},
        launches, spus,
        types::{Desired, SpuState},
    },
};

/// A launch that was found to have ended.
pub(super) struct Ended {
    pub(super) spu: SpuId,
    pub(super) launch: LaunchId,
    pub(super) reason: String,
}

/// Looks at every launch that should run and is not being stopped; stores new handles. Those that
/// ended are returned and stored with [`store_ended`].
pub(super) async fn observe(
    context: &Context,
    snapshot: &Snapshot,
    stops: &Stops,
) -> DbResult<Vec<Ended>> {
    let mut ended = Vec::new();
    let looks = snapshot.launches.iter().filter(|launch| !stops.is_of(launch.id));
    let looks = looks
        .map(async |launch| (launch, context.provisioner.observe(&snapshot.record(launch)).await));
    for (launch, seen) in future::join_all(looks).await {
        match seen {
            Ok(Observed::Running { handle }) if launch.handle.is_none() => {
                tracing::info!(cluster = %snapshot.cluster.id, spu = %launch.spu, launch = %launch.id, "running launch found again");
                store_handle(context, snapshot, launch, &handle.0).await?;
            }
            Ok(Observed::Running { .. }) => {}
            Ok(Observed::Gone { reason }) => ended.push(Ended {
                spu: launch.spu,
                launch: launch.id,
                reason: because(snapshot, launch, reason),
            }),
            // Unknown is not gone: a second SPU on the same folder would be worse.
            Err(error) => {
                tracing::warn!(cluster = %snapshot.cluster.id, spu = %launch.spu, %error, "a launch could not be observed");
            }
        }
    }
    Ok(ended)
}

/// An SPU that was refused ends because of that; the exit code alone would tell little.
fn because(snapshot: &Snapshot, launch: &LiveLaunch, reason: String) -> String {
    let refused = snapshot
        .spus
        .iter()
        .find(|row| row.id == launch.spu && row.state == SpuState::Refused)
        .and_then(|row| row.reason.as_deref());
    match refused {
        Some(refusal) => format!("its registration was refused: {refusal}"),
        None => reason,
    }
}

async fn store_handle(
    context: &Context,
    snapshot: &Snapshot,
    launch: &LiveLaunch,
    handle: &serde_json::Value,
) -> DbResult<()> {
    let mut tx = context.app.store.write().await?;
    let mut scoped = tx.scoped(snapshot.cluster.org);
    launch_handles::started(&mut scoped, snapshot.cluster.id, launch.id, handle).await?;
    tx.commit().await
}

/// Stores that a launch ended; its SPU is offline, and others lead what it led, or stopped where
/// that was wanted. `false`, and nothing changed, when its end was stored meanwhile: it was stopped.
pub(super) async fn store_ended(
    context: &Context,
    snapshot: &Snapshot,
    ended: &Ended,
) -> DbResult<bool> {
    let (app, id, now) = (&context.app, snapshot.cluster.id, context.app.now_unix_ms());
    let mut tx = app.store.write().await?;
    let mut scoped = tx.scoped(snapshot.cluster.org);
    if !launches::ended(&mut scoped, id, ended.launch, &ended.reason, now).await? {
        return Ok(false);
    }
    let mut revision = None;
    if snapshot.is_current(ended.spu, ended.launch) {
        let (state, reason) = match snapshot.cluster.desired {
            Desired::Running => (SpuState::Offline, Some(ended.reason.as_str())),
            Desired::Shutdown | Desired::Deleted => (SpuState::Stopped, None),
        };
        if spus::set_state(&mut scoped, id, ended.spu, state, reason, now).await? {
            // That its process has ended is certain: nobody waits for a lease.
            lose::store(app, &mut scoped, id, &BTreeSet::from([ended.spu])).await?;
            let change = Change::Spu(ended.spu);
            revision = Some(changes::record(&mut scoped, id, &change, now).await?);
        }
    }
    tx.commit().await?;
    if let Some(revision) = revision {
        app.signals.metadata(id, revision);
    }
    Ok(true)
}

/// SPUs that the database has online and that nobody has heard of for a lease: they are
/// offline, and in the same transaction others lead what they led. A control plane that has just
/// begun gives each a whole lease to come back.
pub(super) async fn store_presence(
    context: &Context,
    snapshot: &Snapshot,
    seen: &BTreeMap<SpuId, SpuSeen>,
    began: Monotonic,
) -> DbResult<()> {
    let (app, id) = (&context.app, snapshot.cluster.id);
    let now = app.clock.now();
    for row in &snapshot.spus {
        let session = seen.get(&row.id).and_then(|seen| seen.session.as_ref());
        // The connection of a process that has ended may take a moment to break.
        let live = |launch| snapshot.may_live(row.id, launch);
        let up = session.is_some_and(|s| s.up && Some(s.launch) == row.launch_id && live(s.launch));
        let heard = session.map_or(began, |session| session.heard.max(began));
        let (state, reason) = match row.state {
            SpuState::Online if !up && now.since(heard) >= app.defaults.lease => {
                (SpuState::Offline, Some("it has no session and its lease is over"))
            }
            // It registered while the row was being set to offline.
            SpuState::Offline if up => (SpuState::Online, None),
            _ => continue,
        };
        let unix_ms = app.now_unix_ms();
        let mut tx = app.store.write().await?;
        // It may have come back while the database was busy.
        if state == SpuState::Offline && app.board.spu(id, row.id).standing().is_some() {
            continue;
        }
        let mut scoped = tx.scoped(snapshot.cluster.org);
        if spus::set_state(&mut scoped, id, row.id, state, reason, unix_ms).await? {
            if state == SpuState::Offline {
                lose::store(app, &mut scoped, id, &BTreeSet::from([row.id])).await?;
            }
            let revision = changes::record(&mut scoped, id, &Change::Spu(row.id), unix_ms).await?;
            tx.commit().await?;
            tracing::info!(cluster = %id, spu = %row.id, %state, "SPU changed");
            app.signals.metadata(id, revision);
        }
    }
    Ok(())
}
