//! What people are shown of partitions that come to be held by other SPUs.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use weir_protocol::ids::{PartitionKey, SpuId, TopicGenerationId};

use super::{App, AppError, Principal, candidates, leadership, lookup, page};
use crate::{
    plan::{
        reassign::{self, Step, Wait},
        scale::Blocking,
    },
    store::{
        partitions::PartitionRow,
        reassignments::{self, Reassignment},
        spus,
        topics::TopicRow,
        types::{KeyScope, TopicState},
    },
};

/// What is to be done, or would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReassignmentPlan {
    /// Nothing was stored: this is what would be.
    pub dry_run: bool,
    /// Which partitions come to be held by others; none: all is so, or on its way already.
    pub moves: Vec<MoveView>,
    /// What stays where it is although its SPU is to hold nothing: of deleted topics. They have
    /// to be undeleted first, or purged.
    pub stays: Vec<Blocking>,
}

/// A partition that comes to be held by others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = ReassignmentMove)]
pub struct MoveView {
    /// The topic's name.
    pub topic: String,
    /// What its data belongs to.
    #[schema(value_type = String)]
    pub generation_id: TopicGenerationId,
    /// Which partition.
    pub partition: u32,
    /// Who holds it, in the order of preference.
    pub from_spu_ids: Vec<u32>,
    /// Who is to hold it, likewise.
    pub to_spu_ids: Vec<u32>,
}

impl MoveView {
    /// Shows what is to be stored; `None`: it stays with who holds it.
    pub(super) fn of(topic: &TopicRow, row: &PartitionRow, wanted: Option<&Reassignment>) -> Self {
        let to = wanted.map_or_else(|| row.holders(), |wanted| wanted.target.clone());
        Self {
            topic: topic.name.clone(),
            generation_id: topic.generation,
            partition: row.key.partition.0,
            from_spu_ids: ids(&row.holders()),
            to_spu_ids: ids(&to),
        }
    }
}

fn ids(spus: &[SpuId]) -> Vec<u32> {
    spus.iter().map(|spu| spu.0).collect()
}

/// How a partition comes to be held by others, as far as it has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Reassignment)]
pub struct ReassignmentView {
    /// Who is to hold it in the end, in the order of preference.
    pub target_spu_ids: Vec<u32>,
    /// Who of them did not hold it before.
    pub adding_spu_ids: Vec<u32>,
    /// Who is to hold it no more.
    pub removing_spu_ids: Vec<u32>,
    /// Whether those of the target are among its replicas by now; if not, it waits for its turn.
    pub moving: bool,
    /// Whether it goes back to who held it before.
    pub cancelled: bool,
}

impl ReassignmentView {
    /// Shows the one of a partition, if there is one.
    pub(super) fn of(row: &PartitionRow) -> Option<Self> {
        let goal = row.reassignment.as_ref()?;
        let besides = |some: &[SpuId], others: &[SpuId]| {
            let some = some.iter().filter(|spu| !others.contains(spu));
            some.map(|spu| spu.0).collect::<Vec<_>>()
        };
        Some(Self {
            target_spu_ids: ids(&goal.target),
            adding_spu_ids: besides(&goal.target, &goal.original),
            removing_spu_ids: besides(&row.holders(), &goal.target),
            moving: goal.moving,
            cancelled: goal.is_cancelled(),
        })
    }
}

/// A partition that is being reassigned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunningReassignment {
    /// The topic's name.
    pub topic: String,
    /// What its data belongs to.
    #[schema(value_type = String)]
    pub generation_id: TopicGenerationId,
    /// Which partition.
    pub partition: u32,
    /// Who holds it, in the order of preference.
    pub replica_spu_ids: Vec<u32>,
    /// Who of them is in sync.
    pub isr_spu_ids: Vec<u32>,
    /// Where it goes.
    pub reassignment: ReassignmentView,
    /// What it waits for, in one sentence; `null`: it is about to go on.
    #[schema(example = "SPU 4 is not in sync yet")]
    pub waits_for: Option<String>,
}

/// The partitions of a cluster that are being reassigned, after `after`. Answers the partition to
/// go on after, if there are more.
///
/// # Errors
/// [`AppError::ClusterNotFound`], and as the store.
pub async fn reassignment_list(
    app: &App,
    principal: &Principal,
    cluster: &str,
    after: Option<PartitionKey>,
    limit: u32,
) -> Result<(Vec<RunningReassignment>, Option<PartitionKey>), AppError> {
    principal.require(KeyScope::Read)?;
    let mut tx = app.store.read().await?;
    let mut org = tx.scoped(principal.org);
    let cluster = lookup::cluster(&mut org, cluster).await?;
    let rows = reassignments::page(&mut org, cluster.id, after, limit.saturating_add(1)).await?;
    let (rows, next) = page::cut(rows, limit, |row| row.key);
    let topics = candidates::by_generation(&mut org, cluster.id).await?;
    let spus = spus::list(&mut org, cluster.id).await?;
    let online = leadership::online(&spus, &app.board.lives(cluster.id));
    let shown = rows.into_iter().filter_map(|row| {
        let topic = topics.get(&row.key.generation)?;
        let reassignment = ReassignmentView::of(&row)?;
        let waits_for = match reassign::step(&row, &online) {
            _ if topic.state != TopicState::Active => Some("its topic is deleted".to_owned()),
            Some(Step::Join(_)) => Some(Wait::Turn.to_string()),
            Some(Step::Wait(wait)) => Some(wait.to_string()),
            _ => None,
        };
        Some(RunningReassignment {
            topic: topic.name.clone(),
            generation_id: topic.generation,
            partition: row.key.partition.0,
            replica_spu_ids: ids(&row.holders()),
            isr_spu_ids: row.replicas.iter().filter(|r| r.in_isr).map(|r| r.spu.0).collect(),
            reassignment,
            waits_for,
        })
    });
    Ok((shown.collect(), next))
}
