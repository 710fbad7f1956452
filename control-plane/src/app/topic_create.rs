//! A new topic: a generation with its partitions, placed, in one transaction.

use serde_json::json;
use weir_protocol::{
    ids::{GenerationNumber, Incarnation, PartitionIndex, Revision, SpuId, TopicGenerationId},
    topic_config::TopicConfig,
};

use super::{
    App, AppError, Principal, act, candidates,
    idempotency::{self, Answer, Repeatable},
    lookup, view,
};
use crate::{
    plan::{
        names,
        placement::{self, REPLICATION_MAX, Racks},
        reassign,
        topic_config::ConfigChange,
    },
    store::{
        DbResult, Scoped,
        changes::{self, Change},
        clusters::ClusterRow,
        partitions::{self, NewPartition},
        spus::{self, SpuRow},
        topics::{self, NewTopic},
        types::{KeyScope, SpuState},
    },
};

/// Most partitions of one topic.
pub const PARTITIONS_MAX: u32 = names::PARTITIONS_MAX;

/// A topic to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicRequest {
    /// Its name.
    pub name: String,
    /// How many partitions.
    pub partitions: u32,
    /// Replicas per partition.
    pub replication: u32,
    /// Fewer replicas in sync than this commit nothing; none: two, where there are two.
    pub min_insync_replicas: Option<u32>,
    /// How its records are kept; what is not said is as [`TopicConfig::of_new_topic`] has it.
    pub config: ConfigChange,
    /// Who holds its replicas.
    pub place: Place,
}

/// Who holds a new topic's replicas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// Who carries least, on as many racks as there are.
    #[default]
    Racks,
    /// Who carries least, wherever it stands.
    IgnoreRacks,
    /// Of each partition these, the first preferred as its leader.
    Assigned(Vec<Vec<SpuId>>),
}

impl TopicRequest {
    /// A topic with one replica of each partition, kept as new topics are.
    #[must_use]
    pub fn new(name: impl Into<String>, partitions: u32) -> Self {
        let config = ConfigChange::default();
        let (replication, min_insync_replicas) = (1, None);
        let place = Place::default();
        Self { name: name.into(), partitions, replication, min_insync_replicas, config, place }
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
    check_min_insync(wanted.min_insync_replicas, wanted.replication)?;
    let config = wanted.config.apply(&TopicConfig::of_new_topic())?;
    let now = app.now_unix_ms();
    let new = NewTopic {
        generation: TopicGenerationId(app.uuid_v7()?),
        name: wanted.name.clone(),
        internal: false,
        replication: wanted.replication,
        min_insync: wanted.min_insync_replicas,
        config,
    };
    let mut tx = app.store.write().await?;
    let mut org = tx.scoped(principal.org);
    if let Some(answer) = idempotency::before(&mut org, principal, request).await? {
        return Ok(answer);
    }
    let cluster = lookup::decidable(lookup::running_cluster(&mut org, cluster).await?)?;
    if topics::by_name(&mut org, cluster.id, &wanted.name).await?.is_some() {
        return Err(AppError::TopicExists(wanted.name.clone()));
    }
    let placed = match &wanted.place {
        Place::Assigned(replicas) => {
            let spus = spus::list(&mut org, cluster.id).await?;
            check_assignment(&spus, wanted, replicas)?;
            partitions_of(&spus, 0, replicas.clone())
        }
        how => {
            let which = (0, wanted.partitions);
            place(&mut org, &cluster, which, wanted.replication, how).await?
        }
    };
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

/// Places partitions `first..first + count` on the cluster's SPUs by what these carry, and by the
/// racks that they stand on unless these are to be ignored. The
/// first replica that is online leads. Where none is, the first does, in the incarnation that
/// it has: when it registers, it gets the leadership under its incarnation of then. All
/// replicas are in sync, for they are empty; one whose SPU stays away is dropped by the
/// reconciler.
pub(super) async fn place(
    org: &mut Scoped<'_>,
    cluster: &ClusterRow,
    (first, count): (u32, u32),
    replication: u32,
    how: &Place,
) -> Result<Vec<NewPartition>, AppError> {
    let spus = spus::list(org, cluster.id).await?;
    let candidates = candidates::load(org, cluster.id, &spus, SpuRow::stays).await?;
    let candidates = candidates::settled(org, cluster.id, candidates, replication).await?;
    let racks = match how {
        Place::IgnoreRacks => Racks::new(),
        Place::Racks | Place::Assigned(_) => candidates::racks(&spus),
    };
    let placed = placement::place(&candidates, &racks, count, replication)?;
    Ok(partitions_of(&spus, first, placed))
}

fn partitions_of(spus: &[SpuRow], first: u32, placed: Vec<Vec<SpuId>>) -> Vec<NewPartition> {
    let partition = |(index, replicas): (u32, Vec<SpuId>)| NewPartition {
        index: PartitionIndex(index),
        label: String::new(),
        leader: first_to_lead(spus, &replicas),
        replicas,
    };
    (first..).zip(placed).map(partition).collect()
}

/// Whether these can hold a topic's partitions.
fn check_assignment(
    spus: &[SpuRow],
    wanted: &TopicRequest,
    replicas: &[Vec<SpuId>],
) -> Result<(), AppError> {
    let invalid = |reason| {
        let hint = "Name for each partition as many SPUs as it is to have replicas, each once: weir \
                    cluster spu list.";
        AppError::invalid("assignment", reason, hint)
    };
    if u32::try_from(replicas.len()) != Ok(wanted.partitions) {
        let (named, wanted) = (replicas.len(), wanted.partitions);
        let reason =
            format!("it names the SPUs of {named} partitions, and there are to be {wanted}");
        return Err(invalid(reason));
    }
    let stays = spus.iter().filter(|spu| spu.stays()).map(|spu| spu.id).collect();
    for (index, replicas) in replicas.iter().enumerate() {
        reassign::check_spus(replicas, wanted.replication, &stays)
            .map_err(|error| invalid(format!("partition {index}: {error}")))?;
    }
    Ok(())
}

/// The first that is online, else the first, in the life that it has.
pub(crate) fn first_to_lead(spus: &[SpuRow], replicas: &[SpuId]) -> Option<(SpuId, Incarnation)> {
    let mut rows = replicas.iter().filter_map(|id| spus.iter().find(|spu| spu.id == *id));
    let first = rows.clone().next()?;
    let online = rows.find(|spu| spu.state == SpuState::Online).unwrap_or(first);
    Some((online.id, online.incarnation))
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
    let spus = spus::list(org, cluster.id).await?;
    Ok(view::topic(&row, &partitions, &spus, &app.board.cluster(cluster.id)))
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

pub(super) fn check_replication(replication: u32) -> Result<(), AppError> {
    if (1..=REPLICATION_MAX).contains(&replication) {
        return Ok(());
    }
    Err(AppError::invalid(
        "replication",
        format!("{replication} is not possible"),
        format!("A partition has 1 to {REPLICATION_MAX} replicas, each on an SPU of its own."),
    ))
}

/// Whether so many replicas in sync can be demanded.
pub(super) fn check_min_insync(wanted: Option<u32>, replication: u32) -> Result<(), AppError> {
    match wanted {
        Some(wanted) if !(1..=replication).contains(&wanted) => Err(AppError::invalid(
            "min_insync_replicas",
            format!("{wanted} of {replication} replicas cannot be demanded"),
            format!(
                "Say 1 to {replication}: more than there are would never commit anything. With \
                 as many as there are, the loss of one stops all writes."
            ),
        )),
        _ => Ok(()),
    }
}
