//! A new topic: a generation with its partitions, placed, in one transaction.

use serde_json::json;
use weir_protocol::{
    ids::{GenerationNumber, PartitionIndex, Revision, SpuId, TopicGenerationId},
    topic_config::TopicConfig,
};

use super::{
    App, AppError, Principal, act,
    idempotency::{self, Answer, Repeatable},
    lookup, view,
};
use crate::{
    plan::{
        names,
        placement::{self, Candidate},
        topic_config::ConfigChange,
    },
    store::{
        DbResult, Scoped,
        changes::{self, Change},
        clusters::ClusterRow,
        partitions::{self, NewPartition},
        spus,
        topics::{self, NewTopic},
        types::KeyScope,
    },
};

/// Most partitions of one topic.
pub const PARTITIONS_MAX: u32 = 10_000;

/// A topic to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicRequest {
    /// Its name.
    pub name: String,
    /// How many partitions.
    pub partitions: u32,
    /// Replicas per partition.
    pub replication: u32,
    /// How its records are kept; what is not said is as [`TopicConfig::of_new_topic`] has it.
    pub config: ConfigChange,
}

impl TopicRequest {
    /// A topic with one replica of each partition, kept as new topics are.
    #[must_use]
    pub fn new(name: impl Into<String>, partitions: u32) -> Self {
        let config = ConfigChange::default();
        Self { name: name.into(), partitions, replication: 1, config }
    }
}

/// Creates a topic. A name that was used before gets a new generation, which shares nothing
/// with the old one.
///
/// # Errors
/// [`AppError::TopicExists`], [`AppError::Invalid`], [`AppError::Placement`], and as the store.
pub async fn topic_create(
    app: &App,
    principal: &Principal,
    cluster: &str,
    wanted: &TopicRequest,
    request: Option<&Repeatable>,
) -> Result<Answer<view::TopicView>, AppError> {
    principal.require(KeyScope::Admin)?;
    names::topic_name(&wanted.name).map_err(|error| AppError::name("name", &error))?;
    check_partitions("partitions", wanted.partitions)?;
    check_replication(wanted.replication)?;
    let config = wanted.config.apply(&TopicConfig::of_new_topic())?;
    let now = app.now_unix_ms();
    let new = NewTopic {
        generation: TopicGenerationId(app.uuid_v7()?),
        name: wanted.name.clone(),
        internal: false,
        replication: wanted.replication,
        config,
    };
    let mut tx = app.store.write().await?;
    let mut org = tx.scoped(principal.org);
    if let Some(answer) = idempotency::before(&mut org, principal, request).await? {
        return Ok(answer);
    }
    let cluster = lookup::running_cluster(&mut org, cluster).await?;
    if topics::by_name(&mut org, cluster.id, &wanted.name).await?.is_some() {
        return Err(AppError::TopicExists(wanted.name.clone()));
    }
    let placed = place(&mut org, &cluster, 0, wanted.partitions, wanted.replication).await?;
    let (number, revision) = insert(&mut org, &cluster, &new, &placed, now).await?;
    let detail =
        json!({ "generation": new.generation, "number": number, "partitions": wanted.partitions });
    act::audit(app, &mut org, principal, "topic.create", cluster.id, &wanted.name, detail).await?;
    let view = show(app, &mut org, &cluster, new.generation).await?;
    idempotency::remember(&mut org, principal, request, 201, &view, now).await?;
    tx.commit().await?;
    tracing::info!(cluster = %cluster.id, topic = wanted.name, generation = %new.generation, %number, "topic created");
    app.signals.metadata(cluster.id, revision);
    app.signals.reconcile();
    Ok(Answer::Fresh(view))
}

/// Writes a generation with its partitions and the change that watchers hear of. For
/// internal topics too, whose placement the caller decides. The name is free, says the
/// caller, in this transaction.
///
/// # Errors
/// As the store.
pub async fn insert(
    org: &mut Scoped<'_>,
    cluster: &ClusterRow,
    new: &NewTopic,
    placed: &[NewPartition],
    now_unix_ms: i64,
) -> DbResult<(GenerationNumber, Revision)> {
    let number = topics::insert(org, cluster.id, new, now_unix_ms).await?;
    for partition in placed {
        partitions::insert(org, cluster.id, new.generation, partition).await?;
    }
    let change = Change::Topic(new.generation);
    let revision = changes::record(org, cluster.id, &change, now_unix_ms).await?;
    Ok((number, revision))
}

/// Places partitions `first..first + count` on the cluster's SPUs by what these carry. The
/// first replica leads, in the incarnation that it has: an SPU that has not registered yet
/// gets the leadership under its incarnation when it does.
pub(super) async fn place(
    org: &mut Scoped<'_>,
    cluster: &ClusterRow,
    first: u32,
    count: u32,
    replication: u32,
) -> Result<Vec<NewPartition>, AppError> {
    let load = partitions::load(org, cluster.id).await?;
    let spus = spus::list(org, cluster.id).await?;
    let candidates: Vec<_> = spus
        .iter()
        .filter(|spu| spu.stays())
        .map(|spu| {
            let carries = load.get(&spu.id).copied().unwrap_or_default();
            Candidate {
                spu: spu.id,
                replicas: carries.replicas,
                held: carries.held,
                preferred: carries.preferred,
            }
        })
        .collect();
    let incarnation = |id: SpuId| {
        spus.iter().find(|spu| spu.id == id).map(|spu| spu.incarnation).unwrap_or_default()
    };
    let placed = placement::place(&candidates, count, replication)?;
    Ok((first..)
        .zip(placed)
        .map(|(index, replicas)| NewPartition {
            index: PartitionIndex(index),
            label: String::new(),
            leader: replicas.first().map(|&leader| (leader, incarnation(leader))),
            replicas,
        })
        .collect())
}

/// The generation as it is shown.
pub(super) async fn show(
    app: &App,
    org: &mut Scoped<'_>,
    cluster: &ClusterRow,
    generation: TopicGenerationId,
) -> Result<view::TopicView, AppError> {
    let row = lookup::topic(org, cluster, &generation.to_string()).await?;
    let partitions = partitions::of_generation(org, cluster.id, generation).await?;
    Ok(view::topic(&row, &partitions, &app.board.cluster(cluster.id)))
}

pub(super) fn check_partitions(field: &'static str, count: u32) -> Result<(), AppError> {
    if (1..=PARTITIONS_MAX).contains(&count) {
        return Ok(());
    }
    Err(AppError::invalid(
        field,
        format!("{count} is not possible"),
        format!("A topic has 1 to {PARTITIONS_MAX} partitions."),
    ))
}

fn check_replication(replication: u32) -> Result<(), AppError> {
    if replication == 1 {
        return Ok(());
    }
    Err(AppError::invalid(
        "replication",
        format!("{replication} is not possible yet"),
        "This version keeps one replica of each partition: leave it out, or say 1.",
    ))
}
