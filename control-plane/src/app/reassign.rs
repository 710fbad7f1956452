//! Who is to hold partitions instead, as it is asked for: one partition, or all of an SPU. What
//! is stored here is done by the reconciler, step by step (`plan::reassign`).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use weir_protocol::ids::{
    ClusterId, PartitionIndex, PartitionKey, Revision, SpuId, TopicGenerationId,
};

use super::{
    App, AppError, Principal, act, candidates,
    idempotency::{self, Answer, Repeatable},
    lookup,
    reassign_view::{MoveView, ReassignmentPlan},
    replication,
};
use crate::{
    plan::{
        drain::{self, Drained, Move, Removing},
        names::{OFFSETS_TOPIC, PROBE_TOPIC},
        reassign,
        scale::{self, Blocking, Holdings},
    },
    store::{
        Scoped, changes,
        clusters::ClusterRow,
        partitions::{self, Held, PartitionRow},
        reassignments::{self, Reassignment},
        removals,
        spus::{self, SpuRow},
        topics::TopicRow,
        types::{KeyScope, TopicState},
    },
};

/// A partition, and what is wanted of it now; `None`: that it stays with who holds it.
pub(crate) type Change = (PartitionRow, Option<Reassignment>);

/// What is wanted of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// These hold it, the first preferred as its leader.
    Replicas(Vec<SpuId>),
    /// Who held it before the reassignment that runs.
    Cancel,
}

/// What is wanted of an SPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Drain {
    /// It holds nothing any more; others do, `Some`: of these.
    Begin(Option<Vec<SpuId>>),
    /// What it held and still holds stays there.
    Cancel,
}

/// Asks that a partition is held by others, in that order of preference; or that it is not after
/// all. With `dry_run` only says what would be. Safe to repeat.
///
/// # Errors
/// [`AppError::Reassign`], [`AppError::PartitionNotFound`], [`AppError::TopicNotFound`],
/// [`AppError::TopicDeleted`], [`AppError::TopicInternal`], and as the store.
pub async fn partition_reassign(
    app: &App,
    principal: &Principal,
    cluster: &str,
    (topic, index): (&str, PartitionIndex),
    (wanted, dry_run): (&Wanted, bool),
    request: Option<&Repeatable>,
) -> Result<Answer<ReassignmentPlan>, AppError> {
    principal.require(KeyScope::Admin)?;
    let mut tx = app.store.write().await?;
    let mut org = tx.scoped(principal.org);
    if let Some(answer) = idempotency::before(&mut org, principal, request).await? {
        return Ok(answer);
    }
    let cluster = lookup::decidable(lookup::running_cluster(&mut org, cluster).await?)?;
    let topic = lookup::topic(&mut org, &cluster, topic).await?;
    if topic.name == PROBE_TOPIC {
        // Each SPU has its own partition of it.
        return Err(AppError::TopicInternal(topic.name));
    }
    movable(&topic)?;
    let key = PartitionKey { generation: topic.generation, partition: index };
    let row = partitions::get(&mut org, cluster.id, key).await?;
    let row = row.ok_or_else(|| AppError::PartitionNotFound {
        topic: topic.name.clone(),
        partition: index.0,
    })?;
    let named = |error| AppError::Reassign { topic: topic.name.clone(), key, error };
    let change = match wanted {
        Wanted::Cancel => reassign::cancel(&row),
        Wanted::Replicas(target) => {
            let rows = spus::list(&mut org, cluster.id).await?;
            let stays = rows.iter().filter(|spu| spu.stays()).map(|spu| spu.id).collect();
            let removing = removals::of_cluster(&mut org, cluster.id).await?;
            let removing = removing.get(&key).cloned().unwrap_or_default();
            let wanted = reassign::check(&row, target, topic.replication, &stays, &removing);
            wanted.map_err(named)?.map(Some)
        }
    };
    let changes: Vec<_> = change.into_iter().map(|change| (row.clone(), change)).collect();
    let topics = [(topic.generation, topic)].into();
    let (plan, revision) =
        store(app, principal, &mut org, &cluster, &topics, &changes, dry_run).await?;
    done(app, principal, tx, request, (cluster.id, revision), plan).await
}

/// Asks that an SPU holds nothing any more: each of its replicas goes to another one. Or that it
/// is not so after all. With `dry_run` only says what would be, which is what is done when asked
/// for on the same state. Safe to repeat.
///
/// # Errors
/// [`AppError::DrainRefused`], [`AppError::SpuNotFound`], and as the store.
pub async fn cluster_drain(
    app: &App,
    principal: &Principal,
    cluster: &str,
    from: SpuId,
    (wanted, dry_run): (&Drain, bool),
    request: Option<&Repeatable>,
) -> Result<Answer<ReassignmentPlan>, AppError> {
    principal.require(KeyScope::Admin)?;
    let mut tx = app.store.write().await?;
    let mut org = tx.scoped(principal.org);
    if let Some(answer) = idempotency::before(&mut org, principal, request).await? {
        return Ok(answer);
    }
    let cluster = lookup::decidable(lookup::running_cluster(&mut org, cluster).await?)?;
    let spus = spus::list(&mut org, cluster.id).await?;
    if !spus.iter().any(|spu| spu.id == from && !spu.removed) {
        return Err(AppError::SpuNotFound { cluster: cluster.name, spu: from });
    }
    let topics = candidates::by_generation(&mut org, cluster.id).await?;
    let mut rows = concerned(&mut org, &cluster, &topics, from).await?;
    let (changes, stays) = match wanted {
        Drain::Cancel => {
            rows.retain(|row| !row.destined().contains(&from));
            let back = rows.into_iter().filter_map(|row| Some((reassign::cancel(&row)?, row)));
            (back.map(|(change, row)| (row, change)).collect(), Vec::new())
        }
        Drain::Begin(to) => {
            let deleted = |row: &PartitionRow| {
                topics.get(&row.key.generation).is_none_or(|t| t.state != TopicState::Active)
            };
            let (stay, go): (Vec<_>, Vec<_>) = rows.into_iter().partition(deleted);
            let stay = stay.iter().filter(|row| row.is_held_by(from));
            let stays = kept(from, &topics, &stay.collect::<Vec<_>>());
            let moves =
                plan(&mut org, &cluster, &spus, from, to.as_deref(), (&topics, &go)).await?;
            (asked(&go, moves), stays)
        }
    };
    let (plan, revision) =
        store(app, principal, &mut org, &cluster, &topics, &changes, dry_run).await?;
    let plan = ReassignmentPlan { stays, ..plan };
    done(app, principal, tx, request, (cluster.id, revision), plan).await
}

/// What an SPU holds or is to hold or did before its reassignment, without the probe topic and
/// what is being purged: by topic and partition.
pub(super) async fn concerned(
    org: &mut Scoped<'_>,
    cluster: &ClusterRow,
    topics: &BTreeMap<TopicGenerationId, TopicRow>,
    spu: SpuId,
) -> Result<Vec<PartitionRow>, AppError> {
    let mut rows = partitions::of_spu(org, cluster.id, spu).await?;
    let running = reassignments::page(org, cluster.id, None, u32::MAX).await?;
    let comes = |row: &PartitionRow| !row.is_held_by(spu) && row.destined().contains(&spu);
    rows.extend(running.into_iter().filter(comes));
    let named = |row: &PartitionRow| topics.get(&row.key.generation);
    rows.retain(|row| {
        named(row).is_some_and(|t| t.name != PROBE_TOPIC && t.state != TopicState::Purging)
    });
    rows.sort_by_key(|row| {
        (named(row).map(|topic| (topic.name.clone(), topic.number)), row.key.partition)
    });
    Ok(rows)
}

async fn plan(
    org: &mut Scoped<'_>,
    cluster: &ClusterRow,
    spus: &[SpuRow],
    from: SpuId,
    to: Option<&[SpuId]>,
    (topics, rows): (&BTreeMap<TopicGenerationId, TopicRow>, &[PartitionRow]),
) -> Result<Vec<Move>, AppError> {
    let stays = |id: SpuId| spus.iter().any(|spu| spu.id == id && spu.stays());
    if let Some(unknown) = to.into_iter().flatten().find(|spu| !stays(**spu)) {
        return Err(AppError::SpuNotFound { cluster: cluster.name.clone(), spu: *unknown });
    }
    if to.is_some_and(|to| to.contains(&from)) {
        return Err(AppError::invalid(
            "to",
            format!("SPU {from} is the one that is to hold nothing"),
            "Name other SPUs, or none: then all others are meant.",
        ));
    }
    // One that is away would keep the others waiting: only where it is named.
    let may = |spu: &SpuRow| {
        spu.stays() && to.map_or_else(|| candidates::there(spu), |named| named.contains(&spu.id))
    };
    let drained = emptied(org, cluster, spus, &[from].into(), may, (topics, rows)).await?;
    match drained.stuck.into_iter().next() {
        None => Ok(drained.moves),
        Some((key, error)) => {
            let topic = named(topics, &key);
            Err(AppError::DrainRefused { spu: from, topic, key, error })
        }
    }
}

/// Who is to hold what those of `from` hold: those that `may`.
pub(super) async fn emptied(
    org: &mut Scoped<'_>,
    cluster: &ClusterRow,
    spus: &[SpuRow],
    from: &BTreeSet<SpuId>,
    may: impl Fn(&SpuRow) -> bool,
    (topics, rows): (&BTreeMap<TopicGenerationId, TopicRow>, &[PartitionRow]),
) -> Result<Drained, AppError> {
    let takers = candidates::load(org, cluster.id, spus, may).await?;
    let removing: Removing = removals::of_cluster(org, cluster.id).await?;
    let takers = (&takers[..], &candidates::racks(spus));
    let shrinks = |row: &PartitionRow| named(topics, &row.key) == OFFSETS_TOPIC;
    Ok(drain::plan(rows, from, takers, &removing, shrinks))
}

/// The name of a partition's topic.
pub(super) fn named(topics: &BTreeMap<TopicGenerationId, TopicRow>, key: &PartitionKey) -> String {
    topics.get(&key.generation).map(|topic| topic.name.clone()).unwrap_or_default()
}

/// What is planned, as it is to be stored.
pub(super) fn asked(rows: &[PartitionRow], moves: Vec<Move>) -> Vec<Change> {
    let mut moves: BTreeMap<_, _> = moves.into_iter().collect();
    let wanted = |row: &PartitionRow| {
        let (target, original) = (moves.remove(&row.key)?, row.holders());
        Some(Some(Reassignment { target, original, moving: false }))
    };
    let mut wanted = wanted;
    rows.iter().filter_map(|row| Some((row.clone(), wanted(row)?))).collect()
}

/// What of deleted topics stays on an SPU: it is not served, so nobody can fetch it.
fn kept(
    spu: SpuId,
    topics: &BTreeMap<TopicGenerationId, TopicRow>,
    rows: &[&PartitionRow],
) -> Vec<Blocking> {
    let held = rows.iter().filter_map(|row| {
        Some(Held {
            generation: row.key.generation,
            topic: topics.get(&row.key.generation)?.name.clone(),
            deleted: true,
            partition: row.key.partition,
        })
    });
    let held = BTreeMap::from([(spu, held.collect())]);
    scale::in_the_way(&[spu], &Holdings { held, offsets: Vec::new() })
}

fn movable(topic: &TopicRow) -> Result<(), AppError> {
    match topic.state {
        TopicState::Active => Ok(()),
        TopicState::Tombstone => Err(AppError::TopicDeleted(topic.name.clone())),
        TopicState::Purging => Err(AppError::TopicPurging(topic.name.clone())),
    }
}

/// Stores what was decided, with who asked for it; with `dry_run` only shows it. Answers the
/// revision too, where watchers have to hear of it already.
pub(super) async fn store(
    app: &App,
    principal: &Principal,
    org: &mut Scoped<'_>,
    cluster: &ClusterRow,
    topics: &BTreeMap<TopicGenerationId, TopicRow>,
    changes: &[Change],
    dry_run: bool,
) -> Result<(ReassignmentPlan, Option<Revision>), AppError> {
    let mut revision = None;
    let moves: Vec<_> = changes
        .iter()
        .filter_map(|(row, wanted)| {
            let topic = topics.get(&row.key.generation)?;
            Some(MoveView::of(topic, row, wanted.as_ref()))
        })
        .collect();
    if !dry_run {
        let mut generations: BTreeSet<TopicGenerationId> = BTreeSet::new();
        for (row, wanted) in changes {
            reassignments::set(org, cluster.id, row, wanted.as_ref()).await?;
            generations.insert(row.key.generation);
        }
        for topic in generations.iter().filter_map(|generation| topics.get(generation)) {
            let of = |shown: &&MoveView| shown.generation_id == topic.generation;
            let detail = json!({ "moves": moves.iter().filter(of).collect::<Vec<_>>() });
            let (action, name) = ("partition.reassign", &topic.name);
            act::audit(app, org, principal, action, cluster.id, name, detail).await?;
            // One that was to have fewer replicas, and has them all still, demands as many again.
            if replication::settle(org, cluster.id, topic.generation).await? {
                let (change, now) = (changes::Change::Topic(topic.generation), app.now_unix_ms());
                revision = Some(changes::record(org, cluster.id, &change, now).await?);
            }
        }
        tracing::info!(cluster = %cluster.id, partitions = changes.len(), "reassignment asked for");
    }
    Ok((ReassignmentPlan { dry_run, moves, stays: Vec::new() }, revision))
}

async fn done(
    app: &App,
    principal: &Principal,
    mut tx: crate::store::Tx,
    request: Option<&Repeatable>,
    (cluster, revision): (ClusterId, Option<Revision>),
    plan: ReassignmentPlan,
) -> Result<Answer<ReassignmentPlan>, AppError> {
    if !plan.dry_run {
        let mut org = tx.scoped(principal.org);
        idempotency::remember(&mut org, principal, request, 202, &plan, app.now_unix_ms()).await?;
        tx.commit().await?;
        if let Some(revision) = revision {
            app.signals.metadata(cluster, revision);
        }
        app.signals.reconcile();
    }
    Ok(Answer::Fresh(plan))
}
