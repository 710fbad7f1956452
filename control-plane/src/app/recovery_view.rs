//! What whoever recovers a cluster is shown.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use weir_protocol::ids::{
    ClusterId, DatabaseId, PartitionKey, RestoreNumber, SpuId, TopicGenerationId,
};

use crate::{
    plan::history::Before,
    store::{
        clusters::ClusterRow,
        history::{Counters, Recovery},
        recovery::ReportRow,
    },
};

/// The names of topics.
pub(super) type Names = BTreeMap<TopicGenerationId, String>;

/// What recovering a cluster comes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Recovery)]
pub struct RecoveryView {
    /// Which cluster.
    #[schema(value_type = String)]
    pub cluster_id: ClusterId,
    /// Whether it was frozen when this was asked for.
    pub frozen: bool,
    /// Why, if so.
    pub reason: Option<String>,
    /// Whether it was only asked what would be done.
    pub dry_run: bool,
    /// Whether something was done.
    pub recovered: bool,
    /// What its SPUs said since it was frozen, and who said nothing.
    pub spus: Vec<SpuHeard>,
    /// Its counters as the database has them, while it is frozen.
    pub before: Option<RecoveryCounters>,
    /// What they become.
    pub after: Option<RecoveryCounters>,
    /// Replicas that lie where the database does not know of any: they are used again.
    pub rejoining: Vec<HeldPartition>,
    /// What lies on SPUs and belongs to nothing that the database knows: it is kept, and not used.
    pub unknown: Vec<HeldPartition>,
    /// Partitions that nobody leads before the logs on these SPUs were seen.
    pub waiting: Vec<HeldPartition>,
}

/// What an SPU has seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SpuHeard {
    /// Which.
    pub spu_id: u32,
    /// Whether anything was heard of it since the cluster was frozen.
    pub heard: bool,
    /// Whether the database does not know it.
    pub new: bool,
    /// The database that it heard of last.
    #[schema(value_type = Option<String>)]
    pub database_id: Option<DatabaseId>,
    /// That one's restore number.
    pub restore_number: Option<u32>,
    /// That one's highest revision.
    pub revision: u64,
    /// The highest producer id given to it.
    pub producer_id: u64,
    /// The highest leader epoch of any partition.
    pub leader_epoch: u32,
    /// The highest partition epoch of any partition.
    pub partition_epoch: u32,
    /// The highest incarnation of any SPU.
    pub incarnation: u64,
    /// How many replicas lie in its folder.
    pub replicas: u32,
    /// Milliseconds since 1970.
    pub heard_at_unix_ms: Option<i64>,
}

/// What fences the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RecoveryCounters {
    /// How often the history was restored.
    pub restore_number: u32,
    /// The metadata's last revision.
    pub revision: u64,
    /// The first producer id that was not given out.
    pub next_producer_id: u64,
    /// The highest leader epoch.
    pub leader_epoch: u32,
    /// The highest partition epoch.
    pub partition_epoch: u32,
    /// The highest incarnation.
    pub incarnation: u64,
}

/// A partition, and SPUs that it is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HeldPartition {
    /// The topic's name, where the database knows it.
    pub topic: Option<String>,
    /// The generation.
    #[schema(value_type = String)]
    pub generation_id: TopicGenerationId,
    /// Which of its partitions.
    pub partition: u32,
    /// The SPUs.
    pub spu_ids: Vec<u32>,
}

impl RecoveryView {
    /// Of a cluster, before anything was found out.
    pub(super) fn new(row: &ClusterRow, dry_run: bool) -> Self {
        Self {
            cluster_id: row.id,
            frozen: row.frozen.is_some(),
            reason: row.frozen.as_ref().map(|frozen| frozen.reason.clone()),
            dry_run,
            recovered: false,
            spus: Vec::new(),
            before: None,
            after: None,
            rejoining: Vec::new(),
            unknown: Vec::new(),
            waiting: Vec::new(),
        }
    }

    /// Puts in what was heard, and what it comes to. `base`: the database's own restore number.
    pub(super) fn put(
        &mut self,
        base: RestoreNumber,
        before: &Before,
        recovery: &Recovery,
        reports: &[ReportRow],
        names: &Names,
    ) {
        let heard = reports.iter().map(|row| SpuHeard::of(row, recovery));
        let unheard = recovery.unheard.iter().map(|spu| SpuHeard::nothing(*spu));
        self.spus = heard.chain(unheard).collect();
        self.spus.sort_by_key(|spu| spu.spu_id);
        self.before = Some(RecoveryCounters::of(base, &before.counters));
        self.after = Some(RecoveryCounters::of(base, &recovery.counters));
        let mut joins: BTreeMap<PartitionKey, BTreeSet<SpuId>> = BTreeMap::new();
        joins.extend(recovery.regrown.clone());
        for (key, spu) in &recovery.joins {
            joins.entry(*key).or_default().insert(*spu);
        }
        self.rejoining = held(&joins, names);
        self.unknown = held(&recovery.unknown, names);
    }

    /// Puts in who is waited for.
    pub(super) fn put_waiting(
        &mut self,
        waiting: &BTreeMap<PartitionKey, BTreeSet<SpuId>>,
        names: &Names,
    ) {
        self.waiting = held(waiting, names);
    }
}

impl SpuHeard {
    fn nothing(spu: SpuId) -> Self {
        Self {
            spu_id: spu.0,
            heard: false,
            new: false,
            database_id: None,
            restore_number: None,
            revision: 0,
            producer_id: 0,
            leader_epoch: 0,
            partition_epoch: 0,
            incarnation: 0,
            replicas: 0,
            heard_at_unix_ms: None,
        }
    }

    fn of(row: &ReportRow, recovery: &Recovery) -> Self {
        let heard = &row.heard;
        Self {
            heard: true,
            new: recovery.new_spus.contains(&heard.spu),
            database_id: heard.database.map(|(id, _)| id),
            restore_number: heard.database.map(|(_, restored)| restored.0),
            revision: heard.revision.0,
            producer_id: heard.producer_id.0,
            leader_epoch: heard.leader_epoch.0,
            partition_epoch: heard.partition_epoch.0,
            incarnation: heard.incarnation.0,
            replicas: u32::try_from(heard.held.len()).unwrap_or(u32::MAX),
            heard_at_unix_ms: Some(row.heard_at_unix_ms),
            ..Self::nothing(heard.spu)
        }
    }
}

impl RecoveryCounters {
    fn of(base: RestoreNumber, counters: &Counters) -> Self {
        Self {
            restore_number: base.0.saturating_add(counters.restore_number.0),
            revision: counters.revision.0,
            next_producer_id: counters.next_producer_id.0,
            leader_epoch: counters.leader_epoch.0,
            partition_epoch: counters.partition_epoch.0,
            incarnation: counters.incarnation.0,
        }
    }
}

fn held(of: &BTreeMap<PartitionKey, BTreeSet<SpuId>>, names: &Names) -> Vec<HeldPartition> {
    of.iter()
        .map(|(key, spus)| HeldPartition {
            topic: names.get(&key.generation).cloned(),
            generation_id: key.generation,
            partition: key.partition.0,
            spu_ids: spus.iter().map(|spu| spu.0).collect(),
        })
        .collect()
}
