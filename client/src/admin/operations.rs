//! What was ordered, and how far it has come.

use futures::{Stream, TryStreamExt};
use serde::{Deserialize, Serialize};
use weir_protocol::ids::{ClusterId, OperationId, PartitionIndex, SpuId, TopicGenerationId};

use super::{
    Admin, AdminError, Call, Cluster, OperationKind, OperationState, ReassignmentMove, StepState,
};

/// What was ordered of a cluster, and how far it has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Its id.
    pub id: OperationId,
    /// The cluster; it may be gone.
    pub cluster_id: ClusterId,
    /// What it is, or was, called.
    #[serde(default)]
    pub cluster_name: String,
    /// What was ordered.
    pub kind: OperationKind,
    /// What became of it so far.
    pub state: OperationState,
    /// What it is to come to, in numbers.
    #[serde(default)]
    pub target: OperationTarget,
    /// In their order.
    #[serde(default)]
    pub steps: Vec<OperationStep>,
    /// How much of it is done.
    #[serde(default)]
    pub progress: OperationProgress,
    /// Why it failed, if it did.
    #[serde(default)]
    pub error: Option<OperationFailure>,
    /// Who ordered it.
    #[serde(default)]
    pub actor: String,
    /// When it was ordered, in milliseconds since 1970.
    #[serde(default)]
    pub created_at_unix_ms: i64,
    /// When it last got on, in milliseconds since 1970.
    #[serde(default)]
    pub updated_at_unix_ms: i64,
    /// When it ended, in milliseconds since 1970.
    #[serde(default)]
    pub ended_at_unix_ms: Option<i64>,
}

/// What an operation is to come to, in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OperationTarget {
    /// How many SPUs there were.
    pub from: u32,
    /// How many there are to be.
    pub to: u32,
    /// The SPUs that are added.
    pub add: Vec<SpuId>,
    /// The SPUs that are removed.
    pub remove: Vec<SpuId>,
    /// The SPUs that were about to be removed, and stay.
    pub keep: Vec<SpuId>,
    /// How many partitions come to be held by others for it.
    pub moves: u32,
}

/// One step of an operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationStep {
    /// What is done in it.
    pub name: String,
    /// What is so of it.
    pub state: StepState,
    /// How far it is, or what it waits for.
    #[serde(default)]
    pub detail: Option<String>,
}

/// Units of work, of all steps together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationProgress {
    /// Done.
    pub done: u32,
    /// In all.
    pub total: u32,
}

/// Why an operation failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationFailure {
    /// The stable code, `UPPER_SNAKE_CASE`.
    pub code: String,
    /// What was wrong.
    #[serde(default)]
    pub detail: String,
    /// What to do next, for people.
    #[serde(default)]
    pub hint: String,
}

/// What keeps an SPU from being removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpuHolds {
    /// Which.
    pub spu_id: SpuId,
    /// What it holds.
    #[serde(default)]
    pub topics: Vec<SpuHoldsTopic>,
}

/// Partitions of one topic generation on one SPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpuHoldsTopic {
    /// The topic's name.
    pub name: String,
    /// What the data belongs to.
    pub generation_id: TopicGenerationId,
    /// Whether the topic was deleted and not purged yet.
    #[serde(default)]
    pub deleted: bool,
    /// Its partitions there.
    #[serde(default)]
    pub partitions: Vec<PartitionIndex>,
}

/// What scaling would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScalePreview {
    /// How many SPUs there are.
    pub from: u32,
    /// How many there would be.
    pub to: u32,
    /// How many would be added.
    pub add: u32,
    /// Which would be removed.
    pub remove: Vec<SpuId>,
    /// Which are about to be removed, and would stay.
    #[serde(default)]
    pub keep: Vec<SpuId>,
    /// Which partitions would come to be held by others.
    #[serde(default)]
    pub moves: Vec<ReassignmentMove>,
}

#[derive(Debug, Serialize)]
struct RestartRequest<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    spu_ids: Option<&'a [SpuId]>,
}

#[derive(Debug, Serialize)]
struct ScaleRequest {
    spus: u32,
    dry_run: bool,
}

impl Admin {
    /// Orders that a running cluster has another number of SPUs. Those that are new take over
    /// their share; what those hold that go is moved first: `SCALE_REFUSED` where it cannot be, and
    /// [`super::Problem::blocking`] says what.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn cluster_scale(&self, cluster: &str, spus: u32) -> Result<Cluster, AdminError> {
        self.execute_json(scale(cluster, spus, false)?).await
    }

    /// What [`Admin::cluster_scale`] would do.
    ///
    /// # Errors
    /// [`AdminError`], the refusal too.
    pub async fn cluster_scale_preview(
        &self,
        cluster: &str,
        spus: u32,
    ) -> Result<ScalePreview, AdminError> {
        self.execute_json(scale(cluster, spus, true)?).await
    }

    /// Orders that SPUs of a running cluster are started anew, one after the other, each once the
    /// one before is ready and every partition can spare it; `None`: all of them.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn cluster_restart(
        &self,
        cluster: &str,
        spus: Option<&[SpuId]>,
    ) -> Result<Cluster, AdminError> {
        let call = Call::post(["v1", "clusters", cluster])?.verb("restart");
        self.execute_json(call.json(&RestartRequest { spu_ids: spus })?).await
    }

    /// One operation, also of a cluster that is gone.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn operation(&self, operation: &str) -> Result<Operation, AdminError> {
        self.execute_json(Call::get(["v1", "operations", operation])).await
    }

    /// A cluster's operations, the newest first, page by page as they are asked for.
    pub fn operations(
        &self,
        cluster: &str,
    ) -> impl Stream<Item = Result<Operation, AdminError>> + Send + use<> {
        self.list(Call::get(["v1", "clusters", cluster, "operations"]))
    }

    /// All of a cluster's operations, the newest first.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn operation_list(&self, cluster: &str) -> Result<Vec<Operation>, AdminError> {
        self.operations(cluster).try_collect().await
    }
}

fn scale(cluster: &str, spus: u32, dry_run: bool) -> Result<Call, AdminError> {
    let call = Call::post(["v1", "clusters", cluster])?.verb("scale");
    call.json(&ScaleRequest { spus, dry_run })
}
