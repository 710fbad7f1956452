//! SPUs that leave their cluster. One transaction checks once more that they hold nothing and
//! removes them; only then are they stopped, and last of all their data goes.

use weir_protocol::ids::SpuId;

use super::{Context, launch, probe::PROBE_TOPIC, snapshot::Snapshot};
use crate::{
    plan::{
        operation,
        scale::{self, Blocking},
    },
    store::{
        DbResult, Scoped,
        changes::{self, Change},
        clusters::{self, ClusterSpec},
        operations, partitions, purges, spus, topics,
        types::{Desired, OperationKind},
    },
};

/// Removes the SPUs that are to leave, or none of them where one holds a replica after all:
/// then all stay, the spec counts them again, and the operation says why. `true` when the
/// snapshot is out of date now.
pub(super) async fn remove_leaving(context: &Context, snapshot: &Snapshot) -> DbResult<bool> {
    let leaves = snapshot.spus.iter().any(|spu| spu.leaving && !spu.removed);
    if !leaves || snapshot.cluster.desired == Desired::Deleted {
        return Ok(false);
    }
    let (app, id, now) = (&context.app, snapshot.cluster.id, context.app.now_unix_ms());
    let mut tx = app.store.write().await?;
    let mut scoped = tx.scoped(snapshot.cluster.org);
    let rows = spus::list(&mut scoped, id).await?;
    let leaving = rows.iter().filter(|spu| spu.leaving && !spu.removed);
    let leaving: Vec<_> = leaving.map(|spu| spu.id).collect();
    let held = partitions::held(&mut scoped, id, PROBE_TOPIC).await?;
    let blocking = scale::in_the_way(&leaving, &held);
    if blocking.is_empty() {
        take_away(&mut scoped, snapshot, &leaving, now).await?;
    } else {
        keep(&mut scoped, snapshot, &leaving, &blocking, now).await?;
    }
    let revision = changes::record(&mut scoped, id, &Change::Cluster, now).await?;
    tx.commit().await?;
    if blocking.is_empty() {
        tracing::info!(cluster = %id, spus = ?leaving, "SPUs removed");
    } else {
        let why = scale::told(&blocking);
        tracing::warn!(cluster = %id, spus = ?leaving, why, "SPUs were not removed");
    }
    app.signals.metadata(id, revision);
    Ok(true)
}

/// They are gone for good. Their partitions of the probe topic have no replica any more.
async fn take_away(
    scoped: &mut Scoped<'_>,
    snapshot: &Snapshot,
    leaving: &[SpuId],
    now: i64,
) -> DbResult<()> {
    let id = snapshot.cluster.id;
    let probe = topics::by_name(scoped, id, PROBE_TOPIC).await?;
    for spu in leaving {
        if let Some(topic) = &probe {
            partitions::drop_replicas(scoped, id, topic.generation, *spu).await?;
        }
        spus::remove(scoped, id, *spu, now).await?;
        purges::holder_gone(scoped, id, *spu, now).await?;
        changes::record(scoped, id, &Change::Spu(*spu), now).await?;
    }
    if let Some(topic) = &probe {
        changes::record(scoped, id, &Change::Topic(topic.generation), now).await?;
    }
    Ok(())
}

/// They stay. The spec counts what is there.
async fn keep(
    scoped: &mut Scoped<'_>,
    snapshot: &Snapshot,
    leaving: &[SpuId],
    blocking: &[Blocking],
    now: i64,
) -> DbResult<()> {
    let id = snapshot.cluster.id;
    for spu in leaving {
        spus::set_leaving(scoped, id, *spu, false, now).await?;
    }
    if let Some(row) = clusters::by_id(scoped, id).await? {
        let more = u32::try_from(leaving.len()).unwrap_or(u32::MAX);
        let spec = ClusterSpec { spus: row.spec.spus.saturating_add(more), ..row.spec };
        clusters::set_spec(scoped, id, &spec, now).await?;
    }
    let newest = operations::newest(scoped, id).await?;
    if let Some(row) = newest.filter(|row| row.kind == OperationKind::Scale) {
        let refused = operation::refused(&row.account, blocking);
        operations::account(scoped, row.id, &refused, now).await?;
    }
    Ok(())
}

/// Removes a removed SPU's data folder; `true` when it is gone.
pub(super) async fn destroy(context: &Context, snapshot: &Snapshot, spu: SpuId) -> DbResult<bool> {
    let (app, cluster) = (&context.app, &snapshot.cluster);
    let base = launch::base_dir(context, snapshot);
    if let Err(error) = context.provisioner.destroy_spu(base, cluster.id, spu).await {
        tracing::warn!(cluster = %cluster.id, %spu, %error, "a removed SPU's data could not be removed; trying again");
        return Ok(false);
    }
    let mut tx = app.store.write().await?;
    let mut scoped = tx.scoped(cluster.org);
    spus::set_destroyed(&mut scoped, cluster.id, spu, app.now_unix_ms()).await?;
    tx.commit().await?;
    tracing::info!(cluster = %cluster.id, %spu, "removed SPU's data removed");
    Ok(true)
}
