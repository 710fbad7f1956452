//! The states that rows hold as text.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        RefOr,
        schema::{ObjectBuilder, Schema, Type},
    },
};

use super::driver::{FromValue, Value};

macro_rules! states {
    ($(#[$doc:meta])* $name:ident { $( $(#[$item_doc:meta])* $item:ident = $text:literal, )* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name {
            $( $(#[$item_doc])* #[serde(rename = $text)] $item, )*
        }

        impl $name {
            /// Every one.
            pub const ALL: &'static [Self] = &[$(Self::$item),*];

            /// As stored and shown.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$item => $text,)* }
            }
        }

        // Derived, it would show the names of this code: a macro's text hides the renames.
        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let texts = Self::ALL.iter().map(|one| one.as_str());
                ObjectBuilder::new().schema_type(Type::String).enum_values(Some(texts)).into()
            }
        }

        impl ToSchema for $name {}

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = ();

            fn from_str(text: &str) -> Result<Self, ()> {
                match text { $($text => Ok(Self::$item),)* _ => Err(()) }
            }
        }

        impl From<$name> for Value {
            fn from(value: $name) -> Self {
                Self::from(value.as_str())
            }
        }

        impl FromValue for $name {
            const EXPECTED: &'static str = stringify!($name);

            fn from_value(value: &Value) -> Option<Self> {
                match value {
                    Value::Text(text) => text.parse().ok(),
                    _ => None,
                }
            }
        }
    };
}

states!(
    /// What its owner wants of a cluster.
    Desired {
        /// Every SPU of the spec runs.
        Running = "running",
        /// No SPU runs; data and spec are kept.
        Shutdown = "shutdown",
        /// Nothing is left.
        Deleted = "deleted",
    }
);

states!(
    /// What is so of a cluster.
    ClusterState {
        /// On its way to running, for the first time or after a resume.
        Provisioning = "provisioning",
        /// A produce and a fetch succeeded on every SPU of the spec.
        Running = "running",
        /// It ran, and at least one SPU does not now.
        Degraded = "degraded",
        /// SPUs are being stopped.
        Stopping = "stopping",
        /// No SPU runs.
        Shutdown = "shutdown",
        /// SPUs and data are being removed.
        Deleting = "deleting",
        /// It cannot get on without a person; the reason says why.
        Failed = "failed",
    }
);

states!(
    /// What is so of an SPU. Only transitions are stored; heartbeats stay in memory.
    SpuState {
        /// Not registered since its last launch.
        Starting = "starting",
        /// Registered, and its session is up.
        Online = "online",
        /// It was online and is not now.
        Offline = "offline",
        /// Stopped on order.
        Stopped = "stopped",
        /// Its registration was refused; the reason says why.
        Refused = "refused",
        /// Gone for good; its id is never used again.
        Removed = "removed",
    }
);

states!(
    /// What is so of a launch.
    LaunchState {
        /// Recorded, so that it can be found again; perhaps not started yet.
        Planned = "planned",
        /// The provisioner started it.
        Started = "started",
        /// It ended, by itself or on order.
        Ended = "ended",
    }
);

states!(
    /// What is so of a topic generation.
    TopicState {
        /// Served.
        Active = "active",
        /// Deleted and not served; its data is kept until it is purged.
        Tombstone = "tombstone",
        /// Its data is being removed, and nothing brings it back.
        Purging = "purging",
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

states!(
    /// What an API key permits.
    KeyScope {
        /// Everything in its org.
        Admin = "admin",
        /// Reading what is there.
        Read = "read",
        /// Data-plane tokens that permit producing.
        Produce = "produce",
        /// Data-plane tokens that permit consuming.
        Consume = "consume",
    }
);

states!(
    /// What a change in a cluster was about.
    ChangeKind {
        /// The cluster's desired or observed state.
        Cluster = "cluster",
        /// An SPU: id, state, endpoint, incarnation.
        Spu = "spu",
        /// A topic generation with its partitions.
        Topic = "topic",
    }
);
