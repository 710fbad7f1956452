//! The bytes of a record in the offsets topic.
//!
//! Key and value each begin with one byte of format version, 1, then the encoded
//! `weir.offsets.v1.OffsetKey` and `OffsetValue`. A record without a value deletes its key.
//! Another version is refused: a guess at it could forget what was committed.

use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::Message;
use weir_protocol::{
    ErrorCode, WireError,
    batch::NewRecord,
    ids::{LeaderEpoch, Offset, PartitionKey},
    pb::offsets::{CommittedOffset, OffsetKey, OffsetValue},
};

/// The version that this build writes and reads.
pub const FORMAT_VERSION: u8 = 1;
/// Bytes of a session's id.
pub const SESSION_BYTES: usize = 16;
/// What a record takes beside its consumer's name and its metadata, at most, in bytes.
pub const FIXED_BYTES: usize = 160;

/// What something is known of: one partition for one consumer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The consumer's name.
    pub consumer: Arc<str>,
    /// What it reads.
    pub partition: PartitionKey,
}

/// A consumer's session: drawn by the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionId(pub [u8; SESSION_BYTES]);

impl SessionId {
    /// From the wire; `None` unless it has [`SESSION_BYTES`] bytes.
    #[must_use]
    pub fn from_wire(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

/// What was committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The next offset to read.
    pub next_offset: Offset,
    /// Leader epoch of the last record read.
    pub leader_epoch: Option<LeaderEpoch>,
    /// The application's own.
    pub metadata: Arc<str>,
    /// When, by the coordinator's clock.
    pub at_unix_ms: i64,
}

impl Committed {
    /// For the wire.
    #[must_use]
    pub fn to_wire(&self, partition: PartitionKey) -> CommittedOffset {
        CommittedOffset {
            partition: Some(partition.to_wire()),
            next_offset: self.next_offset.get(),
            leader_epoch: self.leader_epoch.map(LeaderEpoch::get),
            metadata: self.metadata.as_ref().to_owned(),
            committed_at_unix_ms: self.at_unix_ms,
        }
    }
}

/// What holds for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// The session that claimed the partition last.
    pub session: SessionId,
    /// Of its last commit; 0 before its first.
    pub sequence: u64,
    /// Nothing is committed while there is none.
    pub committed: Option<Committed>,
}

impl Value {
    /// Bytes of the metadata.
    #[must_use]
    pub fn metadata_bytes(&self) -> usize {
        self.committed.as_ref().map_or(0, |committed| committed.metadata.len())
    }
}

/// One change: what holds from now on; without a value the key is deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Of what.
    pub key: Key,
    /// What holds.
    pub value: Option<Value>,
}

/// Why a record is none that this build can read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Written by another build.
    #[error(
        "a record has format version {found}, and this build reads version {FORMAT_VERSION} only; run the version of Weir that wrote it, or a newer one"
    )]
    Version {
        /// The one found.
        found: u8,
    },
    /// Not what a coordinator writes.
    #[error("a record is malformed: {0}")]
    Malformed(&'static str),
}

impl RecordError {
    /// The code of the wire.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Version { .. } => ErrorCode::UnsupportedVersion,
            Self::Malformed(_) => ErrorCode::ReplicaOffline,
        }
    }
}

impl From<RecordError> for WireError {
    fn from(error: RecordError) -> Self {
        Self::new(error.code(), format!("the offsets partition is not served: {error}"))
    }
}

impl Record {
    /// How many bytes it takes in a batch, at most.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        let metadata_bytes = self.value.as_ref().map_or(0, Value::metadata_bytes);
        FIXED_BYTES + self.key.consumer.len() + metadata_bytes
    }

    /// As it is written.
    #[must_use]
    pub fn encode(&self, timestamp_ms: i64) -> NewRecord {
        let key = OffsetKey {
            consumer: self.key.consumer.as_ref().to_owned(),
            partition: Some(self.key.partition.to_wire()),
        };
        let value = self.value.as_ref().map(|value| {
            let committed = value.committed.as_ref();
            versioned(&OffsetValue {
                session_id: Bytes::copy_from_slice(&value.session.0),
                sequence: value.sequence,
                next_offset: committed.map(|committed| committed.next_offset.get()),
                leader_epoch: committed.and_then(|c| c.leader_epoch).map(LeaderEpoch::get),
                metadata: committed.map(|c| c.metadata.as_ref().to_owned()).unwrap_or_default(),
                committed_at_unix_ms: committed.map_or(0, |committed| committed.at_unix_ms),
            })
        });
        NewRecord { timestamp_ms, key: Some(versioned(&key)), value, headers: Vec::new() }
    }

    /// From a record's key and value.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn decode(key: Option<&Bytes>, value: Option<&Bytes>) -> Result<Self, RecordError> {
        let key = key.ok_or(RecordError::Malformed("it has no key"))?;
        let key: OffsetKey = unversioned(key)?;
        let partition = key.partition.as_ref().and_then(PartitionKey::from_wire);
        let partition = partition.ok_or(RecordError::Malformed("its key names no partition"))?;
        let key = Key { consumer: key.consumer.into(), partition };
        let value = value.map(decode_value).transpose()?;
        Ok(Self { key, value })
    }
}

fn decode_value(value: &Bytes) -> Result<Value, RecordError> {
    let value: OffsetValue = unversioned(value)?;
    let session = SessionId::from_wire(&value.session_id)
        .ok_or(RecordError::Malformed("its session id has not 16 bytes"))?;
    let committed = value.next_offset.map(|next_offset| Committed {
        next_offset: Offset(next_offset),
        leader_epoch: value.leader_epoch.map(LeaderEpoch),
        metadata: value.metadata.into(),
        at_unix_ms: value.committed_at_unix_ms,
    });
    Ok(Value { session, sequence: value.sequence, committed })
}

fn versioned(message: &impl Message) -> Bytes {
    let mut bytes = BytesMut::with_capacity(1 + message.encoded_len());
    bytes.put_u8(FORMAT_VERSION);
    bytes.put_slice(&message.encode_to_vec());
    bytes.freeze()
}

fn unversioned<M: Message + Default>(bytes: &Bytes) -> Result<M, RecordError> {
    match bytes.split_first() {
        Some((&FORMAT_VERSION, message)) => {
            M::decode(message).map_err(|_| RecordError::Malformed("it does not decode"))
        }
        Some((&found, _)) => Err(RecordError::Version { found }),
        None => Err(RecordError::Malformed("it has no format version")),
    }
}

#[cfg(test)]
mod tests {
    use weir_protocol::{
        batch::{BatchBuilder, BatchConfig},
        ids::{PartitionIndex, TopicGenerationId},
    };

    use super::*;

    fn key() -> Key {
        let generation = TopicGenerationId::from_wire(b"generation-id-16").unwrap();
        let partition = PartitionKey { generation, partition: PartitionIndex(12) };
        Key { consumer: "billing".into(), partition }
    }

    type Sample = (Record, &'static [u8], Option<&'static [u8]>);

    fn samples() -> [Sample; 3] {
        let key_bytes: &[u8] = b"\x01\x0a\x07billing\x12\x14\x0a\x10generation-id-16\x10\x0c";
        let value = |sequence, committed| Value {
            session: SessionId(*b"session-id-of-16"),
            sequence,
            committed,
        };
        let committed = Committed {
            next_offset: Offset(300),
            leader_epoch: Some(LeaderEpoch(5)),
            metadata: "m".into(),
            at_unix_ms: 1_000,
        };
        let record = |value| Record { key: key(), value };
        [
            (record(None), key_bytes, None),
            (record(Some(value(0, None))), key_bytes, Some(b"\x01\x0a\x10session-id-of-16")),
            (
                record(Some(value(7, Some(committed)))),
                key_bytes,
                Some(b"\x01\x0a\x10session-id-of-16\x10\x07\x18\xac\x02\x20\x05\x2a\x01m\x30\xe8\x07"),
            ),
        ]
    }

    #[test]
    fn golden_bytes() {
        for (record, key, value) in samples() {
            let encoded = record.encode(9);
            assert_eq!(encoded.key.as_deref(), Some(key));
            assert_eq!(encoded.value.as_deref(), value);
            assert_eq!(encoded.timestamp_ms, 9);
            let value = value.map(Bytes::from_static);
            let decoded = Record::decode(Some(&Bytes::from_static(key)), value.as_ref());
            assert_eq!(decoded, Ok(record));
        }
    }

    #[test]
    fn another_version_is_refused_and_named() {
        let (_, key, value) = &samples()[1];
        let other = |bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            bytes[0] = 2;
            Bytes::from(bytes)
        };
        let (good, bad) = (Bytes::from_static(key), other(key));
        let refused = Record::decode(Some(&bad), None).unwrap_err();
        assert_eq!(refused, RecordError::Version { found: 2 });
        assert_eq!(refused.code(), ErrorCode::UnsupportedVersion);
        assert!(refused.to_string().contains("version 2"), "{refused}");
        let bad = other(value.unwrap());
        let refused = Record::decode(Some(&good), Some(&bad)).unwrap_err();
        assert_eq!(refused, RecordError::Version { found: 2 });
    }

    #[test]
    fn what_no_coordinator_wrote_is_malformed() {
        let (_, key, _) = &samples()[0];
        let good = Bytes::from_static(key);
        let bytes = Bytes::from_static;
        for (key, value) in [
            (None, None),
            (Some(bytes(b"")), None),
            (Some(bytes(b"\x01")), None),
            (Some(bytes(b"\x01\xff\xff")), None),
            (Some(good.clone()), Some(bytes(b""))),
            (Some(good.clone()), Some(bytes(b"\x01"))),
            (Some(good), Some(bytes(b"\x01\x0a\x02xx"))),
        ] {
            let decoded = Record::decode(key.as_ref(), value.as_ref());
            assert!(matches!(decoded, Err(RecordError::Malformed(_))), "{decoded:?}");
        }
    }

    #[test]
    fn the_bound_of_its_bytes_holds() {
        let committed = Committed {
            next_offset: Offset::MAX,
            leader_epoch: Some(LeaderEpoch(u32::MAX)),
            metadata: "x".repeat(4096).into(),
            at_unix_ms: i64::MAX,
        };
        let mut key = key();
        key.consumer = "c".repeat(249).into();
        key.partition.partition = PartitionIndex(u32::MAX);
        let session = SessionId([255; SESSION_BYTES]);
        let value = Some(Value { session, sequence: u64::MAX, committed: Some(committed) });
        let record = Record { key, value };
        let builder = BatchBuilder::new(BatchConfig::default());
        let grown = builder.estimated_bytes_with(&record.encode(1)) - builder.estimated_bytes();
        assert!(grown <= record.bytes_max(), "{grown} bytes");
    }
}
