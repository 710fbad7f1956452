//! A cluster whose control plane's database went back.

use serde::{Deserialize, Serialize};
use weir_protocol::ids::{
    ClusterId, Incarnation, LeaderEpoch, PartitionEpoch, PartitionIndex, ProducerId, RestoreNumber,
    Revision, SpuId, TopicGenerationId,
};

use super::{Admin, AdminError, Call};

/// That a cluster is frozen: nothing is decided about it until it is recovered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frozen {
    /// What was noticed.
    pub reason: String,
    /// Milliseconds since 1970.
    pub since_unix_ms: i64,
}

/// What recovering a cluster comes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovery {
    /// Which cluster.
    pub cluster_id: ClusterId,
    /// Whether it was frozen when this was asked for.
    pub frozen: bool,
    /// Why, if so.
    #[serde(default)]
    pub reason: Option<String>,
    /// Whether it was only asked what would be done.
    pub dry_run: bool,
    /// Whether something was done.
    pub recovered: bool,
    /// What its SPUs said since it was frozen, and who said nothing.
    #[serde(default)]
    pub spus: Vec<SpuHeard>,
    /// Its counters as the database had them, while it was frozen.
    #[serde(default)]
    pub before: Option<RecoveryCounters>,
    /// What they become.
    #[serde(default)]
    pub after: Option<RecoveryCounters>,
    /// Replicas that lie where the database does not know of any: they are used again.
    #[serde(default)]
    pub rejoining: Vec<HeldPartition>,
    /// What lies on SPUs and belongs to nothing that the database knows: it is kept, and not used.
    #[serde(default)]
    pub unknown: Vec<HeldPartition>,
    /// Partitions that nobody leads before the logs on these SPUs were seen.
    #[serde(default)]
    pub waiting: Vec<HeldPartition>,
}

/// What an SPU has seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpuHeard {
    /// Which.
    pub spu_id: SpuId,
    /// Whether anything was heard of it since the cluster was frozen.
    pub heard: bool,
    /// Whether the database does not know it.
    #[serde(default)]
    pub new: bool,
    /// The database that it heard of last.
    #[serde(default)]
    pub database_id: Option<String>,
    /// That one's restore number.
    #[serde(default)]
    pub restore_number: Option<RestoreNumber>,
    /// That one's highest revision.
    #[serde(default)]
    pub revision: Revision,
    /// The highest producer id given to it.
    #[serde(default)]
    pub producer_id: ProducerId,
    /// The highest leader epoch of any partition.
    #[serde(default)]
    pub leader_epoch: LeaderEpoch,
    /// The highest partition epoch of any partition.
    #[serde(default)]
    pub partition_epoch: PartitionEpoch,
    /// The highest incarnation of any SPU.
    #[serde(default)]
    pub incarnation: Incarnation,
    /// How many replicas lie in its folder.
    #[serde(default)]
    pub replicas: u32,
    /// Milliseconds since 1970.
    #[serde(default)]
    pub heard_at_unix_ms: Option<i64>,
}

/// What fences the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryCounters {
    /// How often the history was restored.
    pub restore_number: RestoreNumber,
    /// The metadata's last revision.
    pub revision: Revision,
    /// The first producer id that was not given out.
    pub next_producer_id: ProducerId,
    /// The highest leader epoch.
    pub leader_epoch: LeaderEpoch,
    /// The highest partition epoch.
    pub partition_epoch: PartitionEpoch,
    /// The highest incarnation.
    pub incarnation: Incarnation,
}

/// A partition, and SPUs that it is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldPartition {
    /// The topic's name, where the database knows it.
    #[serde(default)]
    pub topic: Option<String>,
    /// The generation.
    pub generation_id: TopicGenerationId,
    /// Which of its partitions.
    pub partition: PartitionIndex,
    /// The SPUs.
    pub spu_ids: Vec<SpuId>,
}

#[derive(Serialize)]
struct RecoverRequest {
    dry_run: bool,
    without_unheard: bool,
}

impl Admin {
    /// Takes a cluster up again that is frozen because its database went back. Fails with
    /// `SPUS_UNHEARD` before every SPU of it was heard; with `without_unheard` it is done without
    /// those, and what was acknowledged and only they hold is lost. On a cluster that is not
    /// frozen it says which partitions still wait for logs.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn cluster_recover(
        &self,
        cluster: &str,
        without_unheard: bool,
    ) -> Result<Recovery, AdminError> {
        self.execute_json(recover(cluster, false, without_unheard)?).await
    }

    /// What [`Admin::cluster_recover`] would do, and what was heard.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn cluster_recover_preview(&self, cluster: &str) -> Result<Recovery, AdminError> {
        self.execute_json(recover(cluster, true, false)?).await
    }
}

fn recover(cluster: &str, dry_run: bool, without_unheard: bool) -> Result<Call, AdminError> {
    let call = Call::post(["v1", "clusters", cluster])?.verb("recover");
    call.json(&RecoverRequest { dry_run, without_unheard })
}
