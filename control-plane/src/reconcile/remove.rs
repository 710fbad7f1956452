//! SPUs that leave their cluster. Once all that they held is held by others, one transaction checks
//! again that they hold nothing and removes them; only then are they stopped, and last of all their
//! data goes.

use std::collections::{BTreeMap, BTreeSet};

use weir_protocol::ids::{ClusterId, SpuId};
use weir_runtime::plant;

use super::{Context, launch, probe::PROBE_TOPIC, snapshot::Snapshot};
use crate::{
    app::{self, App, holdings, leadership, replication},
    plan::{
        election, operation,
        scale::{self, Blocking, Holdings},
    },
    store::{
        DbResult, Scoped,
        changes::{self, Change},
        clusters::{self, ClusterSpec},
        operations,
        partition_state::{self, PartitionState},
        partitions::PartitionRow,
        purges, reassignments, recovery,
        spus::{self, SpuRow},
        topics,
        types::{Desired, OperationKind},
    },
};

/// Most partitions that are looked at while their leaders are being found out.
const RECOVERING_MAX: u32 = 100_000;

/// What is to become of the SPUs that are to leave.
enum Verdict {
    /// They hold nothing that is needed.
    Go(Holdings),
    /// What they hold is on its way to others.
    Wait,
    /// This stands in the way, and always will.
    Stay(Vec<Blocking>),
}

/// Removes the SPUs that are to leave once they hold nothing. Where one holds a replica that
/// nobody moves, none of them goes: all stay, the spec counts them again, and the operation says
/// why. `true` when the snapshot is out of date now.
pub(super) async fn remove_leaving(context: &Context, snapshot: &Snapshot) -> DbResult<bool> {
    let leaves = snapshot.spus.iter().any(|spu| spu.leaving && !spu.removed);
    if !leaves || snapshot.cluster.desired == Desired::Deleted {
        return Ok(false);
    }
    let (app, id, now) = (&context.app, snapshot.cluster.id, context.app.now_unix_ms());
    let waits = {
        let mut tx = app.store.read().await?;
        let mut scoped = tx.scoped(snapshot.cluster.org);
        let (_, leaving) = leaving(&mut scoped, id).await?;
        matches!(judge(&mut scoped, id, &leaving).await?, Verdict::Wait)
    };
    if waits {
        return Ok(false);
    }
    let mut tx = app.store.write().await?;
    let mut scoped = tx.scoped(snapshot.cluster.org);
    let (rows, leaving) = leaving(&mut scoped, id).await?;
    let stay = match judge(&mut scoped, id, &leaving).await? {
        Verdict::Wait => return Ok(false),
        Verdict::Go(holdings) => {
            keep_offsets(app, &mut scoped, &rows, &holdings, id, &leaving).await?;
            take_away(&mut scoped, snapshot, &leaving, now).await?;
            None
        }
        Verdict::Stay(blocking) => {
            keep(&mut scoped, snapshot, &leaving, &blocking, now).await?;
            Some(blocking)
        }
    };
    let revision = changes::record(&mut scoped, id, &Change::Cluster, now).await?;
    tx.commit().await?;
    match stay {
        None => tracing::info!(cluster = %id, spus = ?leaving, "SPUs removed"),
        Some(blocking) => {
            let why = scale::told(&blocking);
            tracing::warn!(cluster = %id, spus = ?leaving, why, "SPUs were not removed");
        }
    }
    app.signals.metadata(id, revision);
    Ok(true)
}

/// All SPUs, and those that are to leave.
async fn leaving(scoped: &mut Scoped<'_>, id: ClusterId) -> DbResult<(Vec<SpuRow>, Vec<SpuId>)> {
    let rows = spus::list(scoped, id).await?;
    let leaving = rows.iter().filter(|spu| spu.leaving && !spu.removed);
    let leaving = leaving.map(|spu| spu.id).collect();
    Ok((rows, leaving))
}

async fn judge(scoped: &mut Scoped<'_>, id: ClusterId, leaving: &[SpuId]) -> DbResult<Verdict> {
    let recovering = recovery::recovering(scoped, id, None, RECOVERING_MAX).await?;
    if recovering.iter().any(|row| row.holders().iter().any(|spu| !leaving.contains(spu))) {
        // Who is in sync is not known yet. (What only they hold stands in their way below.)
        return Ok(Verdict::Wait);
    }
    let holdings = holdings::load(scoped, id).await?;
    let blocking = scale::in_the_way(leaving, &holdings);
    if blocking.is_empty() || plant::active("removed_unchecked") {
        return Ok(Verdict::Go(holdings));
    }
    let mut stuck = scale::partitions_in_the_way(leaving, &holdings);
    for row in reassignments::page(scoped, id, None, u32::MAX).await? {
        if row.destined().iter().all(|spu| !leaving.contains(spu)) {
            stuck.movable.remove(&row.key);
        }
    }
    // Who stays holds them too, and has only fallen behind.
    let stays = |spu: &SpuId| !leaving.contains(spu);
    for row in holdings.offsets.iter().filter(|row| row.holders().iter().any(stays)) {
        stuck.movable.remove(&row.key);
    }
    stuck.deleted.extend(stuck.movable);
    Ok(match stuck.deleted.is_empty() {
        true => Verdict::Wait,
        false => Verdict::Stay(scale::blocking_only(leaving, &holdings, &stuck.deleted)),
    })
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
            partition_state::drop_replicas(scoped, id, topic.generation, *spu).await?;
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

/// The offsets topic goes on without the replicas of those that leave, led by one that stays and
/// is in sync. It has as many replicas now as its partition with the fewest.
async fn keep_offsets(
    app: &App,
    scoped: &mut Scoped<'_>,
    spus: &[SpuRow],
    holdings: &Holdings,
    id: ClusterId,
    leaving: &[SpuId],
) -> DbResult<()> {
    let leaving: BTreeSet<_> = leaving.iter().copied().collect();
    let stay = |row: &PartitionRow| {
        row.replicas.iter().filter(|replica| !leaving.contains(&replica.spu)).count()
    };
    let goes = |row: &PartitionRow| stay(row) < row.replicas.len();
    let Some(first) = holdings.offsets.first() else { return Ok(()) };
    if !holdings.offsets.iter().any(goes) {
        return Ok(());
    }
    let generation = first.key.generation;
    let fewest = holdings.offsets.iter().map(stay).min().unwrap_or_default();
    let replication = u32::try_from(fewest).unwrap_or(u32::MAX).max(1);
    let lives: BTreeMap<_, _> = spus.iter().map(|spu| (spu.id, spu.incarnation)).collect();
    let online = leadership::online(spus, &app.board.lives(id));
    topics::set_replication(scoped, id, generation, replication, None).await?;
    for row in &holdings.offsets {
        // With fewer replicas fewer commit.
        let before =
            PartitionRow { min_insync: topics::min_insync(replication, None), ..row.clone() };
        let after = election::without(&before, &leaving, &lives, |spu| online.contains_key(&spu));
        // It was checked that one that stays is in sync.
        let Some(after) = after else { continue };
        if goes(row) || after != PartitionState::from(row) {
            partition_state::set_state(scoped, id, &before, &after).await?;
        }
        for spu in leaving.iter().filter(|spu| row.is_held_by(**spu)) {
            partition_state::drop_replica(scoped, id, row.key, *spu).await?;
        }
    }
    changes::record(scoped, id, &Change::Topic(generation), app.now_unix_ms()).await?;
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
    if let Some(row) = clusters::by_id(scoped, id).await? {
        for (row, change) in app::going_back(scoped, &row, leaving, &[]).await? {
            reassignments::set(scoped, id, &row, change.as_ref()).await?;
            replication::settle(scoped, id, row.key.generation).await?;
        }
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
    // What runs elsewhere keeps its folder: it is its owner's to remove.
    let external = snapshot.spus.iter().any(|row| row.id == spu && row.external);
    if !external && let Err(error) = context.provisioner.destroy_spu(base, cluster.id, spu).await {
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
