//! What the database holds of a cluster, in one consistent read.

use weir_protocol::ids::{ClusterId, LaunchId, OrgId, SpuId, TopicGenerationId};

use super::probe::PROBE_TOPIC;
use crate::{
    app::{App, leadership},
    plan::{
        names::OFFSETS_TOPIC,
        operation::Moving,
        reassign::{self, Step},
    },
    provision::{LaunchHandle, LaunchRecord},
    store::{
        DbResult, Scoped,
        clusters::{self, ClusterRow},
        launch_handles::{self, LiveLaunch},
        operations::{self, OperationRow, Target},
        partitions::{self, PartitionRow},
        reassignments,
        spus::{self, SpuRow},
        topics::{self, TopicRow},
        types::OperationState,
    },
};

/// A cluster's rows.
pub(super) struct Snapshot {
    pub(super) cluster: ClusterRow,
    /// All that it ever had, by id.
    pub(super) spus: Vec<SpuRow>,
    /// Not ended, the oldest first, without those of SPUs that run elsewhere.
    pub(super) launches: Vec<LiveLaunch>,
    /// First port of its SPUs, once that is settled.
    pub(super) ports_from: Option<u16>,
    pub(super) probe_topic: Option<(TopicRow, Vec<PartitionRow>)>,
    /// Whether there is one.
    pub(super) offsets_topic: bool,
    /// What was ordered last, while it is being carried out.
    pub(super) operation: Option<OperationRow>,
    /// What is still moved for it.
    pub(super) moving: Moving,
}

impl Snapshot {
    /// `None` when the cluster is gone.
    pub(super) async fn load(app: &App, org: OrgId, id: ClusterId) -> DbResult<Option<Self>> {
        let mut tx = app.store.read().await?;
        let mut scoped = tx.scoped(org);
        let Some(cluster) = clusters::by_id(&mut scoped, id).await? else { return Ok(None) };
        let chosen = launch_handles::ports_from(&mut scoped, id).await?;
        let probe_topic = match topics::by_name(&mut scoped, id, PROBE_TOPIC).await? {
            Some(topic) => {
                let rows = partitions::of_generation(&mut scoped, id, topic.generation).await?;
                Some((topic, rows))
            }
            None => None,
        };
        let offsets_topic = topics::by_name(&mut scoped, id, OFFSETS_TOPIC).await?;
        let operation = operations::newest(&mut scoped, id).await?;
        let operation = operation.filter(|row| row.account.state == OperationState::Running);
        let spus = spus::list(&mut scoped, id).await?;
        let moving = match &operation {
            Some(operation) if operation.target.moves > 0 => {
                let grows = offsets_topic.as_ref().filter(|_| !operation.target.add.is_empty());
                let besides = grows.map(|topic| topic.generation);
                moving(app, &mut scoped, id, &spus, &operation.target, besides).await?
            }
            _ => Moving::default(),
        };
        Ok(Some(Self {
            offsets_topic: offsets_topic.is_some(),
            operation,
            moving,
            ports_from: cluster.spec.port_base.or(chosen),
            spus,
            launches: launch_handles::live(&mut scoped, id).await?,
            cluster,
            probe_topic,
        }))
    }

    /// The SPUs that the spec asks for: as many as it says, the lowest ids first.
    pub(super) fn in_spec(&self) -> impl Iterator<Item = &SpuRow> {
        let wanted = usize::try_from(self.cluster.spec.spus).unwrap_or(usize::MAX);
        self.spus.iter().filter(|spu| spu.stays()).take(wanted)
    }

    /// Those of them that are started and stopped here.
    pub(super) fn in_spec_here(&self) -> impl Iterator<Item = &SpuRow> {
        self.in_spec().filter(|spu| !spu.external)
    }

    /// Whether a launch may be alive whose session stands: where the provisioner has seen its
    /// process end it is not. Of one that runs elsewhere the session is all that is seen.
    pub(super) fn may_live(&self, spu: SpuId, launch: LaunchId) -> bool {
        let external = || self.spus.iter().any(|row| row.id == spu && row.external);
        self.launches.iter().any(|live| live.id == launch) || external()
    }

    /// A launch as the provisioner needs it.
    pub(super) fn record(&self, launch: &LiveLaunch) -> LaunchRecord {
        LaunchRecord {
            cluster_id: self.cluster.id,
            spu_id: launch.spu,
            launch_id: launch.id,
            handle: launch.handle.clone().map(LaunchHandle),
        }
    }

    /// Whether this is the launch that the SPU may register with.
    pub(super) fn is_current(&self, spu: SpuId, launch: LaunchId) -> bool {
        self.spus.iter().any(|row| row.id == spu && row.launch_id == Some(launch))
    }
}

/// What is still to be held by others for an operation, `besides` a topic whose copies grow in
/// number by the way.
async fn moving(
    app: &App,
    scoped: &mut Scoped<'_>,
    id: ClusterId,
    spus: &[SpuRow],
    target: &Target,
    besides: Option<TopicGenerationId>,
) -> DbResult<Moving> {
    // Of deleted topics nothing moves.
    let mut rows = reassignments::running(scoped, id, true, u32::MAX).await?;
    rows.extend(reassignments::running(scoped, id, false, u32::MAX).await?);
    rows.retain(|row| Some(row.key.generation) != besides);
    let online = leadership::online(spus, &app.board.lives(id));
    let waits_for = |row: &PartitionRow| match reassign::step(row, &online)? {
        Step::Wait(wait) => Some(format!("partition {}: {wait}", row.key)),
        Step::Join(_) | Step::Lead(_) | Step::Finish(_) => None,
    };
    Ok(Moving::of(target, &rows, waits_for))
}
