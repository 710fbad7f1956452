//! One newtype per identity, epoch and offset, so that the compiler keeps them apart.
//!
//! Three families: counters ([`LeaderEpoch`], [`Revision`], …) that only go up, UUIDs
//! ([`FolderId`], [`LaunchId`], …), and the control plane's opaque prefixed ids
//! ([`OrgId`] is `org_…`, [`ClusterId`] is `cl_…`, [`TopicGenerationId`] is `tg_…`).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A text that is not the id it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a valid {kind} (expected {expected})")]
pub struct ParseIdError {
    kind: &'static str,
    expected: &'static str,
    text: String,
}

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl $name {
            /// The bare number, for wires and files.
            #[must_use]
            pub const fn get(self) -> $inner {
                self.0
            }

            /// The one after this; stays at the maximum.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<$inner> for $name {
            fn from(value: $inner) -> Self {
                Self(value)
            }
        }
    };
}

counter!(
    /// Position of a record in a partition: dense, from 0, at most `i64::MAX` as in Kafka.
    Offset(u64)
);
counter!(
    /// Index of a partition within its topic generation, from 0 without gaps.
    PartitionIndex(u32)
);
counter!(
    /// A broker of one cluster. Small, and never used again after removal.
    SpuId(u32)
);
counter!(
    /// How many generations a topic name has had in its cluster, counting this one.
    GenerationNumber(u32)
);
counter!(
    /// Version of a partition's leadership. Belongs to one (SPU, incarnation).
    LeaderEpoch(u32)
);
counter!(
    /// Version of a partition's leader, in-sync replicas and replicas together.
    PartitionEpoch(u32)
);
counter!(
    /// One life of an SPU process as the control plane counts them: issued at registration.
    Incarnation(u64)
);
counter!(
    /// Version of a cluster's metadata: one counter per cluster.
    Revision(u64)
);
counter!(
    /// Version of the control plane's own leadership.
    ControllerTerm(u64)
);
counter!(
    /// An idempotent producer's identity, allocated in blocks by the control plane.
    ProducerId(u64)
);
counter!(
    /// Fences an older instance of the same producer id.
    ProducerEpoch(u16)
);
counter!(
    /// How many times the control plane's database was restored from a backup.
    RestoreNumber(u32)
);

impl Offset {
    /// The first offset of every log.
    pub const ZERO: Self = Self(0);
    /// The largest offset that the record batch format can hold.
    pub const MAX: Self = Self(i64::MAX as u64);

    /// This offset moved on by `records`; `None` past [`Offset::MAX`].
    #[must_use]
    pub const fn checked_add(self, records: u64) -> Option<Self> {
        match self.0.checked_add(records) {
            Some(sum) if sum <= Self::MAX.0 => Some(Self(sum)),
            _ => None,
        }
    }

    /// Records between `earlier` and this; 0 when `earlier` is not earlier.
    #[must_use]
    pub const fn records_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                Uuid::parse_str(text).map(Self).map_err(|_| ParseIdError {
                    kind: stringify!($name),
                    expected: "a UUID",
                    text: text.to_owned(),
                })
            }
        }
    };
}

uuid_id!(
    /// A data folder. With the SPU id it names a replica's place.
    FolderId
);
uuid_id!(
    /// One start of an SPU by a provisioner.
    LaunchId
);
uuid_id!(
    /// Drawn by an SPU process at its start; tells a reconnect from a restart.
    ProcessId
);
uuid_id!(
    /// One boot of an SPU's machine: another one may have lost what was not fsynced.
    BootId
);
uuid_id!(
    /// The control plane's database: another id is another history.
    DatabaseId
);

macro_rules! prefixed_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Uuid);

        impl $name {
            /// What the text form begins with.
            pub const PREFIX: &'static str = $prefix;
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0.simple())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                text.strip_prefix($prefix)
                    .filter(|hex| hex.len() == 32)
                    .and_then(|hex| Uuid::try_parse(hex).ok())
                    .map(Self)
                    .ok_or_else(|| ParseIdError {
                        kind: stringify!($name),
                        expected: concat!($prefix, " and 32 hexadecimal digits"),
                        text: text.to_owned(),
                    })
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

prefixed_id!(
    /// A tenant: owns principals, keys and clusters.
    OrgId, "org_"
);
prefixed_id!(
    /// A cluster of one org.
    ClusterId, "cl_"
);
prefixed_id!(
    /// One incarnation of a topic (a UUIDv7). Delete and create under one name is another one.
    TopicGenerationId, "tg_"
);
prefixed_id!(
    /// An API key's public part.
    ApiKeyId, "key_"
);
prefixed_id!(
    /// What was ordered of a cluster (a UUIDv7: later orders sort later).
    OperationId, "op_"
);

impl TopicGenerationId {
    /// From the 16 bytes of the wire.
    #[must_use]
    pub fn from_wire(bytes: &[u8]) -> Option<Self> {
        Uuid::from_slice(bytes).ok().map(Self)
    }

    /// The 16 bytes of the wire.
    #[must_use]
    pub fn to_wire(self) -> bytes::Bytes {
        bytes::Bytes::copy_from_slice(self.0.as_bytes())
    }
}

/// One ordered log: a partition of a topic generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionKey {
    /// The topic generation that the data belongs to.
    pub generation: TopicGenerationId,
    /// Which of its partitions.
    pub partition: PartitionIndex,
}

impl PartitionKey {
    /// From the wire; `None` when the generation id is not 16 bytes.
    #[must_use]
    pub fn from_wire(wire: &crate::pb::data::PartitionRef) -> Option<Self> {
        Some(Self {
            generation: TopicGenerationId::from_wire(&wire.generation_id)?,
            partition: PartitionIndex(wire.partition),
        })
    }

    /// For the wire.
    #[must_use]
    pub fn to_wire(self) -> crate::pb::data::PartitionRef {
        crate::pb::data::PartitionRef {
            generation_id: self.generation.to_wire(),
            partition: self.partition.0,
        }
    }
}

impl fmt::Display for PartitionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.generation, self.partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixed_ids_round_trip_and_refuse_others() {
        let id = TopicGenerationId(Uuid::from_u128(7));
        assert_eq!(id.to_string(), "tg_00000000000000000000000000000007");
        assert_eq!(id.to_string().parse::<TopicGenerationId>(), Ok(id));
        for bad in [
            "",
            "tg_",
            "cl_00000000000000000000000000000007",
            "tg_0000",
            "tg_zz000000000000000000000000000007",
        ] {
            assert!(bad.parse::<TopicGenerationId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn offsets_stop_at_the_format_s_maximum() {
        assert_eq!(Offset(5).checked_add(2), Some(Offset(7)));
        assert_eq!(Offset::MAX.checked_add(1), None);
        assert_eq!(Offset(u64::MAX).checked_add(1), None);
        assert_eq!(Offset(3).records_since(Offset(5)), 0);
    }
}
