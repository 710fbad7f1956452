//! Another number of SPUs: what is wanted changes here, the reconciler makes it so.
//!
//! Those that are added get their rows at once, and with them their share of what the others hold.
//! Those that go are only marked, and what they hold is to be held by others: they are removed by
//! the reconciler, in a transaction that checks once more that they are empty.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;
use weir_protocol::ids::{PartitionKey, SpuId, TopicGenerationId};

use super::{
    App, AppError, Principal, act, candidates, cluster_create, holdings,
    idempotency::{self, Answer, Repeatable},
    lookup,
    reassign::{self, Change as Asked},
    reassign_view::MoveView,
    view,
};
use crate::{
    plan::{
        drain::DrainError,
        names::{INTERNAL_PREFIX, OFFSETS_REPLICATION, OFFSETS_TOPIC},
        reassign as goals, rereplicate,
        scale::{self, Holdings, Plan},
        spread,
    },
    store::{
        Scoped,
        changes::{self, Change},
        clusters::{self, ClusterRow, ClusterSpec},
        operations::{self, Target},
        partitions::{self, PartitionRow},
        reassignments, removals,
        spus::{self, SpuRow},
        topics::TopicRow,
        types::{KeyScope, OperationKind, OperationState, TopicState},
    },
};

/// What scaling would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ScalePreview)]
pub struct ScalePreview {
    /// How many SPUs there are.
    pub from: u32,
    /// How many there would be.
    pub to: u32,
    /// How many would be added.
    pub add: u32,
    /// Which would be removed.
    #[schema(value_type = Vec<u32>)]
    pub remove: Vec<SpuId>,
    /// Which are about to be removed, and would stay.
    #[schema(value_type = Vec<u32>)]
    pub keep: Vec<SpuId>,
    /// Which partitions would come to be held by others.
    pub moves: Vec<MoveView>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scaled {
    /// It was ordered.
    Ordered(Answer<view::ClusterView>),
    /// It was only asked what would be done.
    Preview(ScalePreview),
}

/// Gives a running cluster another number of SPUs; with `dry_run` only says how. Safe to
/// repeat.
///
/// # Errors
/// [`AppError::ScaleRefused`] when too few SPUs can be emptied, [`AppError::DrainRefused`] when
/// what they hold is just being moved, [`AppError::ClusterShutDown`], [`AppError::ClusterDeleting`],
/// [`AppError::Invalid`], and as the store.
pub async fn cluster_scale(
    app: &App,
    principal: &Principal,
    cluster: &str,
    spus: u32,
    dry_run: bool,
    request: Option<&Repeatable>,
) -> Result<Scaled, AppError> {
    principal.require(KeyScope::Admin)?;
    let now = app.now_unix_ms();
    let mut tx = app.store.write().await?;
    let mut org = tx.scoped(principal.org);
    if let Some(answer) = idempotency::before(&mut org, principal, request).await? {
        return Ok(Scaled::Ordered(answer));
    }
    let row = lookup::decidable(lookup::running_cluster(&mut org, cluster).await?)?;
    let spec = ClusterSpec { spus, ..row.spec.clone() };
    // Not to none: nobody would be left to hold what consumers have committed.
    cluster_create::check(app, &spec, 1)?;
    let mut preview = ScalePreview { from: row.spec.spus, to: spus, ..ScalePreview::default() };
    // One that failed is begun anew by a repetition: what it came to is no answer to that.
    let newest = operations::newest(&mut org, row.id).await?;
    let failed = newest.is_some_and(|last| last.account.state == OperationState::Failed);
    let plan = decide(&mut org, &row, spus).await?;
    if plan != Plan::Same || failed {
        let (target, moved) = order(app, &mut org, &row, &spec, plan).await?;
        preview.add = u32::try_from(target.add.len()).unwrap_or(u32::MAX);
        (preview.remove, preview.keep) = (target.remove.clone(), target.keep.clone());
        let (changes, topics) = (&moved.changes, &moved.topics);
        let stored = reassign::store(app, principal, &mut org, &row, topics, changes, dry_run);
        preview.moves = stored.await?.0.moves;
        let detail = json!(target);
        act::operation(app, &mut org, principal, &row, OperationKind::Scale, target).await?;
        act::audit(app, &mut org, principal, "cluster.scale", row.id, &row.name, detail).await?;
    }
    if dry_run {
        // Nothing of it is kept: the transaction ends here.
        return Ok(Scaled::Preview(preview));
    }
    let row = lookup::cluster(&mut org, &row.id.to_string()).await?;
    let view = view::cluster(app, &mut org, &row).await?;
    idempotency::remember(&mut org, principal, request, 202, &view, now).await?;
    tx.commit().await?;
    tracing::info!(cluster = %row.id, name = row.name, spus, "cluster scaled");
    app.signals.metadata(row.id, row.revision);
    app.signals.reconcile();
    Ok(Scaled::Ordered(Answer::Fresh(view)))
}

/// What to do; an error when it cannot be done.
async fn decide(org: &mut Scoped<'_>, row: &ClusterRow, wanted: u32) -> Result<Plan, AppError> {
    let rows = spus::list(org, row.id).await?;
    let (mut stay, mut leaving) = told_apart(&rows);
    // Those that somebody else runs are taken away by name only.
    let external: BTreeSet<_> = rows.iter().filter(|spu| spu.external).map(|spu| spu.id).collect();
    let there = stay.len();
    stay.retain(|spu| !external.contains(spu));
    let elsewhere = u32::try_from(there - stay.len()).unwrap_or(u32::MAX);
    let Some(here) = wanted.checked_sub(elsewhere) else {
        return Err(AppError::invalid(
            "spus",
            format!("{elsewhere} of its SPUs run elsewhere, and are not for this to end"),
            "Take one of them away by name: weir cluster spu unregister N.",
        ));
    };
    // One of them that is about to go stays only where all stay that are: it was sent away by name.
    let more = usize::try_from(here).unwrap_or(usize::MAX).saturating_sub(stay.len());
    if more > 0 && more != leaving.len() {
        leaving.retain(|spu| !external.contains(spu));
    }
    let holdings = holdings::load(org, row.id).await?;
    match scale::plan(&stay, &leaving, &holdings, here) {
        Plan::Refuse { lacking, blocking } => {
            let cluster = row.name.clone();
            Err(AppError::ScaleRefused { cluster, wanted, lacking, blocking })
        }
        plan => Ok(plan),
    }
}

/// Those that stay, and those that are about to go.
pub(super) fn told_apart(rows: &[SpuRow]) -> (Vec<SpuId>, Vec<SpuId>) {
    let (stay, go): (Vec<_>, Vec<_>) =
        rows.iter().filter(|spu| !spu.removed).partition(|spu| spu.stays());
    let ids = |spus: Vec<&SpuRow>| spus.into_iter().map(|spu| spu.id).collect();
    (ids(stay), ids(go))
}

/// Which partitions come to be held by others.
#[derive(Default)]
pub(super) struct Moved {
    pub(super) changes: Vec<Asked>,
    pub(super) topics: BTreeMap<TopicGenerationId, TopicRow>,
}

/// Writes what is wanted now, but for what is moved: that is answered.
pub(super) async fn order(
    app: &App,
    org: &mut Scoped<'_>,
    row: &ClusterRow,
    spec: &ClusterSpec,
    plan: Plan,
) -> Result<(Target, Moved), AppError> {
    let now = app.now_unix_ms();
    let mut target = Target { from: row.spec.spus, to: spec.spus, ..Target::default() };
    let mut moved =
        Moved { topics: candidates::by_generation(org, row.id).await?, ..Moved::default() };
    match plan {
        Plan::Up { keep, add } => {
            for spu in &keep {
                spus::set_leaving(org, row.id, *spu, false, now).await?;
            }
            for _ in 0..add {
                let spu = spus::add(org, row.id, now).await?;
                changes::record(org, row.id, &Change::Spu(spu), now).await?;
                target.add.push(spu);
            }
            let taken = spread_to(org, row, &target.add, &moved.topics).await?;
            target.moves = u32::try_from(taken.len()).unwrap_or(u32::MAX);
            moved.changes = kept(org, row, &keep).await?;
            moved.changes.extend(taken);
            moved.changes.extend(more_offsets(org, row, &target.add, &moved.topics).await?);
            target.keep = keep;
        }
        Plan::Down { remove } => {
            for spu in &remove {
                spus::set_leaving(org, row.id, *spu, true, now).await?;
            }
            (moved.changes, target.moves) = drained(org, row, spec.spus, &moved.topics).await?;
            // With those that an earlier order takes away, the highest first.
            target.remove = told_apart(&spus::list(org, row.id).await?).1;
            target.remove.reverse();
        }
        Plan::Same | Plan::Refuse { .. } => {}
    }
    clusters::set_spec(org, row.id, spec, now).await?;
    changes::record(org, row.id, &Change::Cluster, now).await?;
    Ok((target, moved))
}

/// What those that are about to go hold, as it is to be held by others; and how much of it there
/// is, with what is on its way already.
async fn drained(
    org: &mut Scoped<'_>,
    row: &ClusterRow,
    wanted: u32,
    topics: &BTreeMap<TopicGenerationId, TopicRow>,
) -> Result<(Vec<Asked>, u32), AppError> {
    let spus = spus::list(org, row.id).await?;
    let leaving = told_apart(&spus).1;
    let holdings = holdings::load(org, row.id).await?;
    let keys = scale::partitions_in_the_way(&leaving, &holdings).movable;
    let mut rows = BTreeMap::new();
    for spu in &leaving {
        let concerned = reassign::concerned(org, row, topics, *spu).await?;
        rows.extend(concerned.into_iter().map(|row| (row.key, row)));
    }
    rows.retain(|key, _| keys.contains(key));
    let rows: Vec<_> = rows.into_values().collect();
    let from: BTreeSet<_> = leaving.iter().copied().collect();
    let there = |spu: &SpuRow| spu.stays() && candidates::there(spu);
    // What is only on its way there goes back.
    let (back, rows): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| {
        let goal = row.reassignment.as_ref();
        goal.is_some_and(|goal| !goal.original.iter().any(|spu| from.contains(spu)))
    });
    let mut drained = reassign::emptied(org, row, &spus, &from, there, (topics, &rows)).await?;
    if !drained.stuck.is_empty() {
        // One that is away comes back, and is waited for.
        let stuck: BTreeSet<_> = drained.stuck.iter().map(|(key, _)| *key).collect();
        let rows: Vec<_> = rows.iter().filter(|row| stuck.contains(&row.key)).cloned().collect();
        let wider =
            reassign::emptied(org, row, &spus, &from, SpuRow::takes, (topics, &rows)).await?;
        drained.moves.extend(wider.moves);
        drained.stuck = wider.stuck;
    }
    if !drained.stuck.is_empty() {
        return Err(refusal(row, wanted, &leaving, &holdings, topics, (&rows, drained.stuck)));
    }
    let count = u32::try_from(keys.len()).unwrap_or(u32::MAX);
    let mut changes = reassign::asked(&rows, drained.moves);
    changes.extend(
        back.into_iter()
            .filter_map(|row| Some((goals::cancel(&row)?, row)))
            .map(|(change, row)| (row, change)),
    );
    Ok((changes, count))
}

/// Why what is to go cannot be emptied.
fn refusal(
    row: &ClusterRow,
    wanted: u32,
    leaving: &[SpuId],
    holdings: &Holdings,
    topics: &BTreeMap<TopicGenerationId, TopicRow>,
    (rows, stuck): (&[PartitionRow], Vec<(PartitionKey, DrainError)>),
) -> AppError {
    let nowhere =
        |(key, error): &(PartitionKey, DrainError)| (*error == DrainError::Nowhere).then_some(*key);
    let keys: BTreeSet<_> = stuck.iter().filter_map(nowhere).collect();
    let on_its_way = stuck.into_iter().find(|(_, error)| *error != DrainError::Nowhere);
    if let Some((key, error)) = on_its_way {
        let topic = reassign::named(topics, &key);
        let destined = rows.iter().find(|row| row.key == key).map(PartitionRow::destined);
        let on = |spu: &&SpuId| destined.as_ref().is_some_and(|on| on.contains(spu));
        let spu = leaving.iter().find(on).or(leaving.first()).copied().unwrap_or(SpuId(0));
        return AppError::DrainRefused { spu, topic, key, error };
    }
    let blocking = scale::blocking_only(leaving, holdings, &keys);
    let lacking = u32::try_from(blocking.len()).unwrap_or(u32::MAX);
    AppError::ScaleRefused { cluster: row.name.clone(), wanted, lacking, blocking }
}

/// What goes back to those that stay after all.
async fn kept(
    org: &mut Scoped<'_>,
    row: &ClusterRow,
    keep: &[SpuId],
) -> Result<Vec<Asked>, AppError> {
    let (_, leaving) = told_apart(&spus::list(org, row.id).await?);
    Ok(going_back(org, row, keep, &leaving).await?)
}

/// Reassignments that take something off `keep` and can be taken back: who held it before are none
/// of those that are `leaving`.
pub(crate) async fn going_back(
    org: &mut Scoped<'_>,
    row: &ClusterRow,
    keep: &[SpuId],
    leaving: &[SpuId],
) -> crate::store::DbResult<Vec<Asked>> {
    let running = reassignments::page(org, row.id, None, u32::MAX).await?;
    let back = running.into_iter().filter_map(|row| {
        let goal = row.reassignment.as_ref()?;
        let loses = |spu: &SpuId| goal.original.contains(spu) && !goal.target.contains(spu);
        let stands = goal.original.iter().all(|spu| !leaving.contains(spu));
        let change = (keep.iter().any(loses) && stands).then(|| goals::cancel(&row))??;
        Some((row, change))
    });
    Ok(back.collect())
}

/// What the new SPUs take over.
async fn spread_to(
    org: &mut Scoped<'_>,
    row: &ClusterRow,
    added: &[SpuId],
    topics: &BTreeMap<TopicGenerationId, TopicRow>,
) -> Result<Vec<Asked>, AppError> {
    if added.is_empty() {
        return Ok(Vec::new());
    }
    let spus = spus::list(org, row.id).await?;
    let takers = candidates::load(org, row.id, &spus, SpuRow::takes).await?;
    let removing = removals::of_cluster(org, row.id).await?;
    let mut rows = Vec::new();
    let users = |topic: &&TopicRow| {
        topic.state == TopicState::Active && !topic.name.starts_with(INTERNAL_PREFIX)
    };
    for topic in topics.values().filter(users) {
        rows.extend(partitions::of_generation(org, row.id, topic.generation).await?);
    }
    let takers = (&takers[..], &candidates::racks(&spus));
    let moves = spread::plan(&rows, &added.iter().copied().collect(), takers, &removing);
    Ok(reassign::asked(&rows, moves))
}

/// The copies that what consumers have committed could not have before. Nobody waits for them.
async fn more_offsets(
    org: &mut Scoped<'_>,
    row: &ClusterRow,
    added: &[SpuId],
    topics: &BTreeMap<TopicGenerationId, TopicRow>,
) -> Result<Vec<Asked>, AppError> {
    let topic = topics.values().find(|topic| topic.name == OFFSETS_TOPIC);
    let Some(topic) = topic.filter(|_| !added.is_empty()) else { return Ok(Vec::new()) };
    let spus = spus::list(org, row.id).await?;
    let takers = candidates::load(org, row.id, &spus, SpuRow::takes).await?;
    let removing = removals::of_cluster(org, row.id).await?;
    let takers = (&takers[..], &candidates::racks(&spus));
    let copies = u32::try_from(takers.0.len()).unwrap_or(u32::MAX).min(OFFSETS_REPLICATION);
    let mut rows = partitions::of_generation(org, row.id, topic.generation).await?;
    rows.retain(|row| {
        row.reassignment.is_none() && row.holders().len() < usize::try_from(copies).unwrap_or(0)
    });
    // Where one cannot have more, none has: the next order tries again.
    let moves = rereplicate::plan(&rows, copies, takers, &removing).unwrap_or_default();
    Ok(reassign::asked(&rows, moves))
}
