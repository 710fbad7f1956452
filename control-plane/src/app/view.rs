//! What people and tools are shown: rows of the database joined with what is seen right now.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use weir_protocol::{
    ids::{
        ClusterId, DatabaseId, FolderId, LaunchId, OperationId, OrgId, PartitionKey, SpuId,
        TopicGenerationId,
    },
    pb::session::{ReplicaState, ReplicaStatus},
    topic_config::TopicConfig,
};

use super::{
    App,
    cut_view::CutView,
    ends::AllEnds,
    reassign_view::ReassignmentView,
    replica_view::{self, ReplicaView},
    status_board::SpuSeen,
    waiting_view::{self, WaitingView},
};
use crate::{
    plan::topic_config::{self, FlushMode},
    store::{
        DbResult, Scoped,
        clusters::{ClusterRow, ClusterSpec},
        operations,
        partitions::{PartitionRow, ReplicaRow},
        spus::{self, SpuRow},
        topics::TopicRow,
        types::{ClusterState, Desired, SpuState, TopicState},
    },
};

/// A cluster: what is wanted and what is so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Cluster)]
pub struct ClusterView {
    /// Its id.
    #[schema(value_type = String, example = "cl_0192f0c17a6e7c0e8a1b5d2f3c4e5a6b")]
    pub id: ClusterId,
    /// Whose it is.
    #[schema(value_type = String)]
    pub org_id: OrgId,
    /// Unique within the org.
    #[schema(example = "demo")]
    pub name: String,
    /// What its owner wants.
    pub desired: Desired,
    /// What is so.
    pub state: ClusterState,
    /// Why, when that needs saying.
    pub reason: Option<String>,
    /// Why nothing is decided about it, if so: its database went back, and it is to be recovered.
    pub frozen: Option<FrozenView>,
    /// What is wanted in detail.
    pub spec: ClusterSpec,
    /// How many SPUs of the spec serve: registered, and a probe passed since.
    pub spus_ready: u32,
    /// Its SPUs, by id, without the removed ones.
    pub spus: Vec<SpuView>,
    /// Which history revisions belong to.
    #[schema(value_type = String)]
    pub database_id: DatabaseId,
    /// How often that history was restored.
    pub restore_number: u32,
    /// The version of the cluster's metadata.
    pub revision: u64,
    /// The newest operation on it: the one that an order began, or that brought it here.
    #[schema(value_type = Option<String>, example = "op_0192f0c17a6e7c0e8a1b5d2f3c4e5a6b")]
    pub operation_id: Option<OperationId>,
    /// Milliseconds since 1970.
    pub created_at_unix_ms: i64,
}

/// That a cluster is frozen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Frozen)]
pub struct FrozenView {
    /// What was noticed.
    pub reason: String,
    /// Milliseconds since 1970.
    pub since_unix_ms: i64,
}

/// An SPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Spu)]
pub struct SpuView {
    /// Its id within the cluster.
    pub spu_id: u32,
    /// What is so.
    pub state: SpuState,
    /// Whether it serves.
    pub ready: bool,
    /// Whether it is on its way out: the spec does not count it any more.
    pub leaving: bool,
    /// Whether somebody runs it elsewhere: nothing here starts or stops it.
    pub external: bool,
    /// `host:port` of its data plane, once it registered.
    pub endpoint: Option<String>,
    /// What fails together with it, as it said when it registered.
    pub rack: Option<String>,
    /// Which of its lives this is; 0 before the first registration.
    pub incarnation: u64,
    /// Its current launch.
    #[schema(value_type = Option<String>)]
    pub launch_id: Option<LaunchId>,
    /// Its data folder.
    #[schema(value_type = Option<String>)]
    pub folder_id: Option<FolderId>,
    /// The build that it runs, as it said when it registered last.
    #[schema(example = "0.1.0")]
    pub version: Option<String>,
    /// Launches after the first that nobody ordered.
    pub restarts: u32,
    /// Why the state is what it is, when that needs saying.
    pub reason: Option<String>,
}

/// A topic generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Topic)]
pub struct TopicView {
    /// What its data belongs to.
    #[schema(value_type = String, example = "tg_0192f0c17a6e7c0e8a1b5d2f3c4e5a6b")]
    pub generation_id: TopicGenerationId,
    /// How many generations the name has had, counting this one.
    pub generation_number: u32,
    /// Its name.
    #[schema(example = "orders")]
    pub name: String,
    /// What is so.
    pub state: TopicState,
    /// Weir's own, not for clients.
    pub internal: bool,
    /// Milliseconds since 1970.
    pub created_at_unix_ms: i64,
    /// Milliseconds since 1970, once it was deleted.
    pub deleted_at_unix_ms: Option<i64>,
    /// Whether every partition is served by its leader right now.
    pub ready: bool,
    /// Replicas per partition.
    pub replication: u32,
    /// Fewer replicas in sync than this commit nothing.
    pub min_insync_replicas: u32,
    /// How its records are kept.
    pub config: TopicConfigView,
    /// By index.
    pub partitions: Vec<PartitionView>,
}

/// How a topic's records are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = TopicConfig)]
pub struct TopicConfigView {
    /// When a batch is acknowledged.
    pub flush: FlushMode,
    /// With `interval`: from the first unsynced write to the fsync, in milliseconds.
    pub flush_interval_ms: Option<u32>,
    /// Records older than this may be removed, in milliseconds; `null`: they are kept for ever.
    #[schema(example = 604_800_000)]
    pub retention_ms: Option<u64>,
    /// The oldest segments of a partition go while the rest holds at least so many bytes;
    /// `null`: size removes nothing.
    pub retention_bytes: Option<u64>,
    /// A segment is closed before it outgrows this, in bytes.
    #[schema(example = 1_073_741_824)]
    pub segment_bytes: u64,
    /// A segment is closed when its first record is older than this, in milliseconds; `null`:
    /// age closes none.
    pub segment_ms: Option<u64>,
    /// Whether a replica may lead that lacks what is committed, where no other is left.
    #[serde(default)]
    pub unclean_election: bool,
}

impl From<&TopicConfig> for TopicConfigView {
    fn from(config: &TopicConfig) -> Self {
        let (flush, flush_interval_ms) = topic_config::parts(config.flush);
        Self {
            flush,
            flush_interval_ms,
            retention_ms: config.retention_ms,
            retention_bytes: config.retention_bytes,
            segment_bytes: config.segment_bytes,
            segment_ms: config.segment_ms,
            unclean_election: config.unclean_election,
        }
    }
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Partition)]
pub struct PartitionView {
    /// From 0 without gaps.
    pub index: u32,
    /// Its own name, if it has one.
    pub label: Option<String>,
    /// Who leads, if anybody.
    pub leader_spu_id: Option<u32>,
    /// Version of the leadership.
    pub leader_epoch: u32,
    /// Version of leader, in-sync replicas and replicas.
    pub partition_epoch: u32,
    /// Who holds replicas, in the order of preference.
    pub replica_spu_ids: Vec<u32>,
    /// Who is in sync.
    pub isr_spu_ids: Vec<u32>,
    /// Who may lead without being in sync: they left the in-sync replicas when these became
    /// fewer than commit, so they hold all that is committed.
    pub eligible_spu_ids: Vec<u32>,
    /// Whether a replica is not in sync that is not just being added.
    pub under_replicated: bool,
    /// How it comes to be held by others, while it does.
    pub reassignment: Option<ReassignmentView>,
    /// Why nobody leads it right now, and for whom it waits; `null`: it is led.
    #[serde(default)]
    pub waiting: Option<WaitingView>,
    /// The elections of leaders that may have lacked what was committed, the newest first: where
    /// one topic is shown.
    #[serde(default)]
    pub cuts: Vec<CutView>,
    /// The replicas themselves, in the order of preference.
    pub replicas: Vec<ReplicaView>,
    /// Oldest kept offset, as the leader says: where one topic is shown right now, if it can
    /// be asked in time, else as it reported last; unknown while it is away.
    pub log_start: Option<u64>,
    /// First offset that is not committed yet, likewise.
    pub high_watermark: Option<u64>,
    /// Next offset to write, as last reported; at least the one before.
    pub log_end: Option<u64>,
}

/// What is seen of a cluster's SPUs.
pub type Seen = BTreeMap<SpuId, SpuSeen>;

/// Shows an SPU.
#[must_use]
pub fn spu(row: &SpuRow, seen: Option<&SpuSeen>) -> SpuView {
    let standing = seen
        .and_then(SpuSeen::standing)
        .is_some_and(|session| Some(session.launch) == row.launch_id);
    let refused = seen.and_then(|seen| seen.refused.clone());
    let (state, reason) = match (row.state, standing, refused) {
        (SpuState::Removed, ..) => (SpuState::Removed, row.reason.clone()),
        (SpuState::Starting | SpuState::Online | SpuState::Offline, true, _) => {
            (SpuState::Online, None)
        }
        (SpuState::Starting | SpuState::Offline, false, Some(refused)) => {
            (SpuState::Refused, Some(refused))
        }
        // The row is of before the control plane's last start, or the lease has just ended.
        (SpuState::Online, false, _) => (
            SpuState::Offline,
            row.reason.clone().or_else(|| Some("it has no session right now".to_owned())),
        ),
        (state, ..) => (state, row.reason.clone()),
    };
    SpuView {
        spu_id: row.id.0,
        state,
        ready: !row.removed && seen.is_some_and(|seen| seen.ready(row.launch_id)),
        leaving: row.leaving,
        external: row.external,
        endpoint: row.endpoint.clone(),
        rack: row.rack.clone(),
        incarnation: row.incarnation.0,
        launch_id: row.launch_id,
        folder_id: row.folder_id,
        version: seen.and_then(SpuSeen::standing).map(|session| session.version.clone()),
        restarts: row.restarts,
        reason,
    }
}

/// Shows a cluster, as the transaction sees it.
///
/// # Errors
/// As the store.
pub async fn cluster(
    app: &App,
    scoped: &mut Scoped<'_>,
    row: &ClusterRow,
) -> DbResult<ClusterView> {
    let spus = spus::list(scoped, row.id).await?;
    let operation = operations::newest(scoped, row.id).await?;
    let seen = app.board.cluster(row.id);
    let spus: Vec<_> =
        spus.iter().filter(|row| !row.removed).map(|row| spu(row, seen.get(&row.id))).collect();
    Ok(ClusterView {
        id: row.id,
        org_id: row.org,
        name: row.name.clone(),
        desired: row.desired,
        state: row.state,
        reason: row.reason.clone(),
        frozen: row.frozen.as_ref().map(|frozen| FrozenView {
            reason: frozen.reason.clone(),
            since_unix_ms: frozen.since_unix_ms,
        }),
        spec: row.spec.clone(),
        spus_ready: spus.iter().map(|spu| u32::from(spu.ready && !spu.leaving)).sum(),
        spus,
        database_id: app.database_id,
        restore_number: app.restored(row.restore_number).0,
        revision: row.revision.0,
        operation_id: operation.map(|operation| operation.id),
        created_at_unix_ms: row.created_at_unix_ms,
    })
}

/// Shows a topic.
#[must_use]
pub fn topic(
    row: &TopicRow,
    partitions: &[PartitionRow],
    spus: &[SpuRow],
    seen: &Seen,
) -> TopicView {
    let mut shown: Vec<_> =
        partitions.iter().map(|partition| self::partition(partition, spus, seen)).collect();
    if row.state != TopicState::Active {
        shown.iter_mut().for_each(|partition| partition.waiting = None);
    }
    TopicView {
        generation_id: row.generation,
        generation_number: row.number.0,
        name: row.name.clone(),
        state: row.state,
        internal: row.internal,
        created_at_unix_ms: row.created_at_unix_ms,
        deleted_at_unix_ms: row.deleted_at_unix_ms,
        ready: row.state == TopicState::Active
            // One whose only holder was removed for good is nobody's to serve.
            && partitions.iter().all(|p| p.replicas.is_empty() || served(p, seen)),
        replication: row.replication,
        min_insync_replicas: row.min_insync_replicas(),
        config: TopicConfigView::from(&row.config),
        partitions: shown,
    }
}

/// Puts in where the logs begin and end, where it is known.
pub(super) fn put_ends(view: &mut TopicView, partitions: &[PartitionRow], ends: &AllEnds) {
    for (shown, row) in view.partitions.iter_mut().zip(partitions) {
        let Some(ends) = ends.get(&row.key) else { continue };
        let end = ends.end.get();
        (shown.log_start, shown.high_watermark) = (Some(ends.log_start.get()), Some(end));
        // The leader's log reaches at least as far.
        shown.log_end = shown.log_end.max(Some(end));
    }
}

/// What the partition's leader reported of it, while its session stands.
pub(super) fn reported(
    leader: Option<SpuId>,
    partition: PartitionKey,
    seen: &Seen,
) -> Option<&ReplicaStatus> {
    seen.get(&leader?)?.standing()?.replicas.get(&partition)
}

/// Whether the leader serves it, at the epoch that it was given.
fn served(row: &PartitionRow, seen: &Seen) -> bool {
    reported(row.leader, row.key, seen).is_some_and(|status| {
        status.state() == ReplicaState::Online && status.leader_epoch == row.leader_epoch.0
    })
}

fn partition(row: &PartitionRow, holders: &[SpuRow], seen: &Seen) -> PartitionView {
    let status = reported(row.leader, row.key, seen);
    let reassignment = ReassignmentView::of(row);
    let spus = |which: fn(&ReplicaRow) -> bool| {
        row.replicas.iter().filter(|replica| which(replica)).map(|replica| replica.spu.0).collect()
    };
    PartitionView {
        index: row.key.partition.0,
        label: Some(row.label.clone()).filter(|label| !label.is_empty()),
        leader_spu_id: row.leader.map(|spu| spu.0),
        leader_epoch: row.leader_epoch.0,
        partition_epoch: row.partition_epoch.0,
        replica_spu_ids: spus(|_| true),
        isr_spu_ids: spus(|replica| replica.in_isr),
        eligible_spu_ids: spus(|replica| replica.eligible),
        under_replicated: row.replicas.iter().any(|replica| {
            let added =
                reassignment.as_ref().is_some_and(|r| r.adding_spu_ids.contains(&replica.spu.0));
            !replica.in_isr && !added
        }),
        reassignment,
        waiting: waiting_view::waiting(row, holders, seen),
        cuts: Vec::new(),
        replicas: replica_view::replicas(row, holders, seen),
        log_start: status.map(|status| status.log_start),
        high_watermark: status.map(|status| status.high_watermark),
        log_end: status.map(|status| status.log_end),
    }
}
