//! How a topic's records are kept, how many replicas there are and how many commit, chosen anew.
//! SPUs hear of it by the map and follow it while the topic is in use; replicas come and go by
//! reassignment.

use serde_json::json;

use super::{
    App, AppError, Principal, act, candidates,
    idempotency::{self, Answer, Repeatable},
    lookup, reassign, replication, topic_create,
    view::{self, TopicConfigView},
};
use crate::{
    plan::{rereplicate, topic_config::ConfigChange},
    store::{
        Scoped,
        changes::{self, Change},
        clusters::ClusterRow,
        partitions, reassignments, removals,
        spus::{self, SpuRow},
        topics::{self, TopicRow},
        types::{Desired, KeyScope, TopicState},
    },
};

/// What should be otherwise with a topic; what is not said stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopicChange {
    /// How its records are kept.
    pub config: ConfigChange,
    /// Fewer replicas in sync than this commit nothing; `Some(None)`: two, where there are two.
    pub min_insync_replicas: Option<Option<u32>>,
    /// How many replicas there are of each partition.
    pub replication: Option<u32>,
}

impl From<ConfigChange> for TopicChange {
    fn from(config: ConfigChange) -> Self {
        Self { config, ..Self::default() }
    }
}

/// Changes how a topic's records are kept, how many replicas there are and how many commit; what
/// is not said stays. Where that is so already, nothing is changed and nobody is told.
///
/// # Errors
/// [`AppError::Invalid`], [`AppError::TopicNotFound`], [`AppError::TopicInternal`],
/// [`AppError::TopicDeleted`], [`AppError::TopicPurging`], [`AppError::Reassign`],
/// [`AppError::Placement`], and as the store.
pub async fn topic_update(
    app: &App,
    principal: &Principal,
    cluster: &str,
    topic: &str,
    change: &TopicChange,
    request: Option<&Repeatable>,
) -> Result<Answer<view::TopicView>, AppError> {
    principal.require(KeyScope::Admin)?;
    let now = app.now_unix_ms();
    let mut tx = app.store.write().await?;
    let mut org = tx.scoped(principal.org);
    if let Some(answer) = idempotency::before(&mut org, principal, request).await? {
        return Ok(answer);
    }
    let cluster = lookup::decidable(lookup::cluster(&mut org, cluster).await?)?;
    if cluster.desired == Desired::Deleted {
        return Err(AppError::ClusterDeleting(cluster.name));
    }
    let row = lookup::topic(&mut org, &cluster, topic).await?;
    if row.internal {
        return Err(AppError::TopicInternal(row.name));
    }
    match row.state {
        TopicState::Active => {}
        TopicState::Tombstone => return Err(AppError::TopicDeleted(row.name)),
        TopicState::Purging => return Err(AppError::TopicPurging(row.name)),
    }
    let wanted = change.config.apply(&row.config)?;
    let min_insync = change.min_insync_replicas.unwrap_or(row.min_insync);
    let replicas = change.replication.unwrap_or(row.replication);
    topic_create::check_replication(replicas)?;
    topic_create::check_min_insync(min_insync, replicas)?;
    let moves = match change.replication {
        Some(replicas) => rereplicate(&mut org, &cluster, &row, replicas).await?,
        None => 0,
    };
    let mut revision = None;
    if wanted != row.config || min_insync != row.min_insync || moves > 0 {
        topics::set_config(&mut org, cluster.id, row.generation, &wanted).await?;
        // More are demanded once all are there, fewer from now on.
        let replication = row.replication.min(replicas);
        let after = TopicRow { config: wanted, min_insync, replication, ..row.clone() };
        replication::set(&mut org, cluster.id, &after).await?;
        let change = Change::Topic(row.generation);
        revision = Some(changes::record(&mut org, cluster.id, &change, now).await?);
        let [from, to] = [&row.config, &wanted].map(TopicConfigView::from);
        let [was, is] = [&row, &after].map(TopicRow::min_insync_replicas);
        let detail = json!({ "generation": row.generation, "from": from, "to": to,
            "min_insync_replicas": { "from": was, "to": is },
            "replication": { "from": row.replication, "to": replicas } });
        act::audit(app, &mut org, principal, "topic.update", cluster.id, &row.name, detail).await?;
    }
    let view = topic_create::show(app, &mut org, &cluster, row.generation).await?;
    // Remembered where nothing was to do as well: repeated late, it must not undo what came after.
    idempotency::remember(&mut org, principal, request, 200, &view, now).await?;
    tx.commit().await?;
    if let Some(revision) = revision {
        tracing::info!(cluster = %cluster.id, topic = row.name, generation = %row.generation, config = ?wanted, "topic updated");
        app.signals.metadata(cluster.id, revision);
    }
    if moves > 0 {
        app.signals.reconcile();
    }
    Ok(Answer::Fresh(view))
}

/// Asks that each partition of a topic has so many replicas; answers for how many that is new.
async fn rereplicate(
    org: &mut Scoped<'_>,
    cluster: &ClusterRow,
    topic: &TopicRow,
    replicas: u32,
) -> Result<usize, AppError> {
    let rows = partitions::of_generation(org, cluster.id, topic.generation).await?;
    let spus = spus::list(org, cluster.id).await?;
    // One that is away would keep the topic waiting: only where there are too few others.
    let there = |spu: &SpuRow| spu.stays() && candidates::there(spu);
    let mut takers = candidates::load(org, cluster.id, &spus, there).await?;
    if takers.len() < usize::try_from(replicas).unwrap_or(usize::MAX) {
        takers = candidates::load(org, cluster.id, &spus, SpuRow::stays).await?;
    }
    let takers = candidates::settled(org, cluster.id, takers, replicas).await?;
    let removing = removals::of_cluster(org, cluster.id).await?;
    let takers = (&takers[..], &candidates::racks(&spus));
    let moves = rereplicate::plan(&rows, replicas, takers, &removing);
    let moves = moves.map_err(|(key, error)| match error {
        rereplicate::RereplicateError::Reassign(error) => {
            AppError::Reassign { topic: topic.name.clone(), key, error }
        }
        rereplicate::RereplicateError::Placement(error) => AppError::Placement(error),
    })?;
    let changes = reassign::asked(&rows, moves);
    for (row, wanted) in &changes {
        reassignments::set(org, cluster.id, row, wanted.as_ref()).await?;
    }
    Ok(changes.len())
}
