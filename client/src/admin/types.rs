//! What the control plane's HTTP API sends and takes, as Rust types.
//!
//! Reading is tolerant: a field that a newer server adds is ignored, a state that this
//! build does not know is `Unknown`.

use std::fmt;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use weir_protocol::{
    ids::{
        ApiKeyId, ClusterId, FolderId, GenerationNumber, Incarnation, LaunchId, LeaderEpoch,
        Offset, OperationId, OrgId, PartitionEpoch, PartitionIndex, RestoreNumber, Revision, SpuId,
        TopicGenerationId,
    },
    token::Scope,
};

use super::{
    reassignments::PartitionReassignment,
    recovery::Frozen,
    replica::{Cut, TopicReplica, Waiting},
    topic_config::{TopicConfig, TopicConfigChange},
};

macro_rules! states {
    ($(#[$doc:meta])* $name:ident { $( $(#[$variant_doc:meta])* $variant:ident = $text:literal, )* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum $name {
            $( $(#[$variant_doc])* #[serde(rename = $text)] $variant, )*
            /// A state that this build does not know.
            #[serde(other, rename = "unknown")]
            Unknown,
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(match self { $(Self::$variant => $text,)* Self::Unknown => "unknown" })
            }
        }
    };
}

states!(
    /// What is wanted of a cluster.
    DesiredState {
        /// All its SPUs run.
        Running = "running",
        /// No SPU runs; data and spec are kept.
        Shutdown = "shutdown",
        /// Nothing of it is kept.
        Deleted = "deleted",
    }
);
states!(
    /// What is so of a cluster.
    ClusterState {
        /// Its SPUs are being started.
        Provisioning = "provisioning",
        /// A produce and a fetch succeeded on every SPU of the spec.
        Running = "running",
        /// It serves in part; the reason says what is missing.
        Degraded = "degraded",
        /// Its SPUs are being stopped.
        Stopping = "stopping",
        /// No SPU runs; data and spec are kept.
        Shutdown = "shutdown",
        /// Everything of it is being removed.
        Deleting = "deleting",
        /// It could not be brought up; the reason says why.
        Failed = "failed",
    }
);
states!(
    /// What is so of an SPU.
    SpuState {
        /// Started, not registered yet.
        Starting = "starting",
        /// Its session with the control plane is up.
        Online = "online",
        /// Its session is down.
        Offline = "offline",
        /// Ended in order, with its cluster.
        Stopped = "stopped",
        /// Removed from the cluster for good.
        Removed = "removed",
        /// The control plane refused its registration; the reason says why.
        Refused = "refused",
    }
);
states!(
    /// Whether a topic generation is served.
    TopicState {
        /// Served.
        Active = "active",
        /// Deleted; its name is free, its data kept until it is purged.
        Tombstone = "tombstone",
        /// Its data is being removed for good.
        Purging = "purging",
    }
);
states!(
    /// When a batch is acknowledged.
    FlushMode {
        /// Once it is fsynced.
        BeforeAck = "before_ack",
        /// Once it is in the page cache: a loss of power can take what was acknowledged within
        /// the interval.
        Interval = "interval",
    }
);
states!(
    /// What was ordered of a cluster.
    OperationKind {
        /// That it is there and runs.
        Create = "create",
        /// That its SPUs stop.
        Shutdown = "shutdown",
        /// That they run again.
        Resume = "resume",
        /// That it has another number of SPUs.
        Scale = "scale",
        /// That its SPUs are started anew, one after the other.
        Restart = "restart",
        /// That nothing of it is left.
        Delete = "delete",
    }
);
states!(
    /// What became of an order.
    OperationState {
        /// It is being carried out.
        Running = "running",
        /// It is so.
        Done = "done",
        /// It ended without; the error says why.
        Failed = "failed",
        /// A newer order took its place.
        Superseded = "superseded",
    }
);
states!(
    /// What is so of one step of an operation.
    StepState {
        /// Its turn has not come.
        Pending = "pending",
        /// It is under way.
        Running = "running",
        /// It is done.
        Done = "done",
        /// The operation ended in it.
        Failed = "failed",
    }
);

/// Who an API key belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhoAmI {
    /// The tenant.
    pub org_id: OrgId,
    /// The key's public part.
    pub key_id: ApiKeyId,
}

/// What a cluster should be made of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClusterSpec {
    /// How many SPUs.
    pub spus: u32,
    /// First port of the SPUs' listeners; none: the control plane chooses.
    pub port_base: Option<u16>,
    /// Where the SPUs' data folders go; none: the control plane chooses.
    pub data_dir: Option<String>,
}

/// A cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// Its id.
    pub id: ClusterId,
    /// Its tenant.
    pub org_id: OrgId,
    /// Its name, unique within the org.
    pub name: String,
    /// What is wanted.
    pub desired: DesiredState,
    /// What is so.
    pub state: ClusterState,
    /// Why the state is what it is, where that needs a reason.
    #[serde(default)]
    pub reason: Option<String>,
    /// Why nothing is decided about it, if so: its database went back.
    #[serde(default)]
    pub frozen: Option<Frozen>,
    /// What it should be made of.
    pub spec: ClusterSpec,
    /// How many SPUs of the spec passed the probe.
    #[serde(default)]
    pub spus_ready: u32,
    /// Its SPUs.
    #[serde(default)]
    pub spus: Vec<Spu>,
    /// Which database its revisions are counted by.
    #[serde(default)]
    pub database_id: Option<String>,
    /// How often that history was restored.
    #[serde(default)]
    pub restore_number: RestoreNumber,
    /// Version of its metadata.
    #[serde(default)]
    pub revision: Revision,
    /// The newest operation on it: the one that an order began, or that brought it here.
    #[serde(default)]
    pub operation_id: Option<OperationId>,
    /// When it was created, in milliseconds since 1970.
    #[serde(default)]
    pub created_at_unix_ms: i64,
}

/// An SPU of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spu {
    /// Its id within the cluster.
    pub spu_id: SpuId,
    /// What is so of it.
    pub state: SpuState,
    /// Whether it passed the probe since it registered.
    #[serde(default)]
    pub ready: bool,
    /// Whether it is on its way out: the spec does not count it any more.
    #[serde(default)]
    pub leaving: bool,
    /// Whether it is run elsewhere: its control plane neither starts nor stops it.
    #[serde(default)]
    pub external: bool,
    /// Where clients reach it, `host:port`; none before it registered.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// What fails together with it, if it says.
    #[serde(default)]
    pub rack: Option<String>,
    /// Which life of its process this is.
    #[serde(default)]
    pub incarnation: Option<Incarnation>,
    /// What the provisioner started.
    #[serde(default)]
    pub launch_id: Option<LaunchId>,
    /// Its data folder.
    #[serde(default)]
    pub folder_id: Option<FolderId>,
    /// The build that it runs, as it says, while it is there.
    #[serde(default)]
    pub version: Option<String>,
    /// How often it was started again.
    #[serde(default)]
    pub restarts: u32,
    /// Why the state is what it is, where that needs a reason.
    #[serde(default)]
    pub reason: Option<String>,
}

/// One that asked to be an SPU of a cluster, or was one, and was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The SPU that it said it is.
    pub spu_id: SpuId,
    /// The launch that it said it is of.
    pub launch_id: LaunchId,
    /// Why, for programs.
    pub code: String,
    /// Why, for people.
    pub reason: String,
    /// Whether it proved to be a launch of that SPU, be it an earlier one.
    #[serde(default)]
    pub proven: bool,
    /// How often, since the control plane began.
    pub count: u64,
    /// When last, milliseconds since 1970.
    pub last_at_unix_ms: i64,
}

/// An SPU that was registered, and what it is started with.
#[derive(Clone, Serialize, Deserialize)]
pub struct SpuRegistered {
    /// As it is now.
    pub spu: Spu,
    /// What to start it with, a secret among it: `weir run spu --credentials` takes it. Told once.
    pub credentials: serde_json::Value,
}

impl std::fmt::Debug for SpuRegistered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SpuRegistered").field("spu", &self.spu).finish_non_exhaustive()
    }
}

/// What a control plane runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Its build: a version of SemVer 2.0.0.
    pub version: String,
    /// The version of its database.
    pub database_version: i64,
}

/// A topic generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topic {
    /// What the data belongs to.
    pub generation_id: TopicGenerationId,
    /// How many generations the name has had, counting this one.
    pub generation_number: GenerationNumber,
    /// The label.
    pub name: String,
    /// Whether it is served.
    pub state: TopicState,
    /// Whether it is one of Weir's own.
    #[serde(default)]
    pub internal: bool,
    /// When it was created, in milliseconds since 1970.
    #[serde(default)]
    pub created_at_unix_ms: i64,
    /// When it was deleted, in milliseconds since 1970.
    #[serde(default)]
    pub deleted_at_unix_ms: Option<i64>,
    /// Whether every partition has a leader that reported it online.
    #[serde(default)]
    pub ready: bool,
    /// Copies per partition.
    #[serde(default)]
    pub replication: u32,
    /// Fewer copies in sync than this commit nothing; 0: the control plane does not say.
    #[serde(default)]
    pub min_insync_replicas: u32,
    /// How its records are kept; a control plane of before there was a choice does not say.
    #[serde(default)]
    pub config: Option<TopicConfig>,
    /// Its partitions, by index.
    #[serde(default)]
    pub partitions: Vec<TopicPartition>,
}

/// A partition of a topic, as the control plane sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicPartition {
    /// Which one.
    pub index: PartitionIndex,
    /// Its name, if it was given one.
    #[serde(default)]
    pub label: Option<String>,
    /// Who leads it.
    #[serde(default)]
    pub leader_spu_id: Option<SpuId>,
    /// Version of its leadership.
    #[serde(default)]
    pub leader_epoch: LeaderEpoch,
    /// Version of leader, in-sync replicas and replicas together.
    #[serde(default)]
    pub partition_epoch: PartitionEpoch,
    /// Who holds a copy.
    #[serde(default)]
    pub replica_spu_ids: Vec<SpuId>,
    /// Whose copy is in sync.
    #[serde(default)]
    pub isr_spu_ids: Vec<SpuId>,
    /// Whose copy may lead without being in sync: it holds all that is committed.
    #[serde(default)]
    pub eligible_spu_ids: Vec<SpuId>,
    /// Whether a copy is missing from those in sync.
    #[serde(default)]
    pub under_replicated: bool,
    /// How it comes to be held by others, while it does.
    #[serde(default)]
    pub reassignment: Option<PartitionReassignment>,
    /// Why nobody leads it right now; none: it is led.
    #[serde(default)]
    pub waiting: Option<Waiting>,
    /// The elections of leaders that may have lacked what was committed, the newest first: where one
    /// topic is asked for.
    #[serde(default)]
    pub cuts: Vec<Cut>,
    /// Its copies, in the order of preference for leadership.
    #[serde(default)]
    pub replicas: Vec<TopicReplica>,
    /// Oldest kept offset: of one topic as its leader says now, in a list as it reported last.
    #[serde(default)]
    pub log_start: Option<Offset>,
    /// First offset not committed, likewise.
    #[serde(default)]
    pub high_watermark: Option<Offset>,
    /// Next offset to write, as last reported.
    #[serde(default)]
    pub log_end: Option<Offset>,
}

/// What a new topic should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicCreate {
    /// 1 to 249 of `[A-Za-z0-9._-]`, not `.` or `..`, not beginning with `__`.
    pub name: String,
    /// How many partitions, 1 to 10,000.
    pub partitions: u32,
    /// Copies per partition.
    pub replication: u32,
    /// Fewer copies in sync than this commit nothing; none: two, where there are two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_insync_replicas: Option<u32>,
    /// How its records are kept; what is not said is the control plane's default.
    #[serde(default, skip_serializing_if = "TopicConfigChange::is_empty")]
    pub config: TopicConfigChange,
    /// Place its copies by load alone, whatever racks SPUs stand on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ignore_rack: bool,
    /// For each partition the SPUs that hold it, the first preferred as its leader; none: they are
    /// chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assignment: Option<Vec<Vec<SpuId>>>,
}

impl TopicCreate {
    /// A topic with one copy of each partition, kept as the control plane has it by default.
    #[must_use]
    pub fn new(name: impl Into<String>, partitions: u32) -> Self {
        let config = TopicConfigChange::default();
        let (replication, min_insync_replicas) = (1, None);
        let (ignore_rack, assignment) = (false, None);
        let name = name.into();
        Self { name, partitions, replication, min_insync_replicas, config, ignore_rack, assignment }
    }
}

/// A data-plane token, and where to use it.
#[derive(Clone, Debug, Deserialize)]
pub struct TokenGrant {
    /// The token.
    pub token: SecretString,
    /// When it expires, in milliseconds since 1970.
    pub expires_at_unix_ms: i64,
    /// The one cluster that it is good for.
    pub cluster_id: ClusterId,
    /// Where the cluster's SPUs listen, `host:port`.
    #[serde(default)]
    pub endpoints: Vec<String>,
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct TokenRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<Scope>>,
}

#[derive(Debug, Serialize)]
pub(crate) struct AddPartitions {
    pub add: u32,
}

/// One page of a list.
#[derive(Clone, Debug, Deserialize)]
#[serde(bound = "T: Deserialize<'de>")]
pub struct Page<T> {
    /// The entries.
    pub items: Vec<T>,
    /// Where the next page begins; none: this was the last.
    #[serde(default)]
    pub next_cursor: Option<String>,
}
