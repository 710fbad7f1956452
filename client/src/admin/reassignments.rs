//! Partitions that come to be held by other SPUs, while they are in use.

use futures::{Stream, TryStreamExt};
use serde::{Deserialize, Serialize};
use weir_protocol::ids::{PartitionIndex, SpuId, TopicGenerationId};

use super::{Admin, AdminError, Call, SpuHolds};

/// What is to be done, or would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReassignmentPlan {
    /// Nothing was stored: this is what would be.
    #[serde(default)]
    pub dry_run: bool,
    /// Which partitions come to be held by others; none: all is so, or on its way already.
    #[serde(default)]
    pub moves: Vec<ReassignmentMove>,
    /// What of deleted topics stays where it is although its SPU is to hold nothing.
    #[serde(default)]
    pub stays: Vec<SpuHolds>,
}

/// A partition that comes to be held by others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReassignmentMove {
    /// The topic's name.
    pub topic: String,
    /// What the data belongs to.
    pub generation_id: TopicGenerationId,
    /// Which partition.
    pub partition: PartitionIndex,
    /// Who holds it, in the order of preference for leadership.
    pub from_spu_ids: Vec<SpuId>,
    /// Who is to hold it, likewise.
    pub to_spu_ids: Vec<SpuId>,
}

/// How a partition comes to be held by others, as far as it has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionReassignment {
    /// Who is to hold it in the end, in the order of preference for leadership.
    pub target_spu_ids: Vec<SpuId>,
    /// Who of them did not hold it before.
    #[serde(default)]
    pub adding_spu_ids: Vec<SpuId>,
    /// Who is to hold it no more.
    #[serde(default)]
    pub removing_spu_ids: Vec<SpuId>,
    /// Whether those of the target are among its copies by now; if not, it waits for its turn.
    #[serde(default)]
    pub moving: bool,
    /// Whether it goes back to who held it before.
    #[serde(default)]
    pub cancelled: bool,
}

/// A partition that is being reassigned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reassignment {
    /// The topic's name.
    pub topic: String,
    /// What the data belongs to.
    pub generation_id: TopicGenerationId,
    /// Which partition.
    pub partition: PartitionIndex,
    /// Who holds it.
    #[serde(default)]
    pub replica_spu_ids: Vec<SpuId>,
    /// Who of them is in sync.
    #[serde(default)]
    pub isr_spu_ids: Vec<SpuId>,
    /// Where it goes.
    pub reassignment: PartitionReassignment,
    /// What it waits for, in one sentence.
    #[serde(default)]
    pub waits_for: Option<String>,
}

#[derive(Debug, Serialize)]
struct ReassignRequest<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    replicas: Option<&'a [SpuId]>,
    cancel: bool,
    dry_run: bool,
}

#[derive(Debug, Serialize)]
struct DrainRequest<'a> {
    spu_id: SpuId,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<&'a [SpuId]>,
    cancel: bool,
    dry_run: bool,
}

impl Admin {
    /// Lets `replicas` hold a partition, the first preferred as its leader; `None`: who held it
    /// before the reassignment that runs. With `dry_run` only says what would be done.
    ///
    /// # Errors
    /// [`AdminError`]; `REASSIGNMENT_RUNNING` while another one of it does.
    pub async fn partition_reassign(
        &self,
        cluster: &str,
        (topic, partition): (&str, PartitionIndex),
        replicas: Option<&[SpuId]>,
        dry_run: bool,
    ) -> Result<ReassignmentPlan, AdminError> {
        let index = partition.to_string();
        let path = ["v1", "clusters", cluster, "topics", topic, "partitions", &index];
        let body = ReassignRequest { replicas, cancel: replicas.is_none(), dry_run };
        self.execute_json(Call::post(path)?.verb("reassign").json(&body)?).await
    }

    /// Lets other SPUs, those of `to` or all, hold what `spu` holds. With `dry_run` only says how,
    /// which is what is done when asked for on the same state.
    ///
    /// # Errors
    /// [`AdminError`]; `NOT_ENOUGH_SPUS` where nobody can take a replica.
    pub async fn cluster_drain(
        &self,
        cluster: &str,
        spu: SpuId,
        to: Option<&[SpuId]>,
        dry_run: bool,
    ) -> Result<ReassignmentPlan, AdminError> {
        let body = DrainRequest { spu_id: spu, to, cancel: false, dry_run };
        self.execute_json(Call::post(["v1", "clusters", cluster])?.verb("drain").json(&body)?).await
    }

    /// Ends what [`Admin::cluster_drain`] began and is not done: `spu` keeps what it still holds.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn cluster_drain_cancel(
        &self,
        cluster: &str,
        spu: SpuId,
        dry_run: bool,
    ) -> Result<ReassignmentPlan, AdminError> {
        let body = DrainRequest { spu_id: spu, to: None, cancel: true, dry_run };
        self.execute_json(Call::post(["v1", "clusters", cluster])?.verb("drain").json(&body)?).await
    }

    /// A cluster's partitions that are being reassigned, page by page as they are asked for.
    pub fn reassignments(
        &self,
        cluster: &str,
    ) -> impl Stream<Item = Result<Reassignment, AdminError>> + Send + use<> {
        self.list(Call::get(["v1", "clusters", cluster, "reassignments"]))
    }

    /// All of a cluster's partitions that are being reassigned.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn reassignment_list(&self, cluster: &str) -> Result<Vec<Reassignment>, AdminError> {
        self.reassignments(cluster).try_collect().await
    }
}
