//! What can be wrong with a batch.

use super::Compression;
use crate::ErrorCode;

/// Why bytes are not the batch they should be, or a batch could not be built.
///
/// None of them is cured by sending the same bytes again, save [`BatchError::Checksum`], which
/// a damaged transfer can cause.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// Fewer bytes than the batch needs.
    #[error("the batch is cut short: {available} bytes of {needed}")]
    Truncated {
        /// Bytes that the header, or the length in it, asks for.
        needed: usize,
        /// Bytes that are there.
        available: usize,
    },
    /// More bytes than one batch.
    #[error("{extra} bytes follow the batch")]
    TrailingBytes {
        /// Bytes after its end.
        extra: usize,
    },
    /// Another format version.
    #[error("magic {magic} is not 2")]
    Magic {
        /// The byte at position 16.
        magic: i8,
    },
    /// The bytes are not those that were written.
    #[error("CRC-32C {computed:#010x} does not match the stored {stored:#010x}")]
    Checksum {
        /// In the header.
        stored: u32,
        /// Of the bytes.
        computed: u32,
    },
    /// A header field holds a value that the format does not allow.
    #[error("{field} is {value}")]
    Field {
        /// Which one.
        field: &'static str,
        /// What it holds.
        value: i64,
    },
    /// A codec number that the format does not define.
    #[error("codec {0} is unknown")]
    UnknownCodec(u8),
    /// Only part of id, epoch and sequence is there.
    #[error("producer id {id}, epoch {epoch}, sequence {sequence} do not go together")]
    Producer {
        /// As stored.
        id: i64,
        /// As stored.
        epoch: i16,
        /// As stored.
        sequence: i32,
    },
    /// A batch without records.
    #[error("the batch has no records")]
    Empty,
    /// Offsets of the batch would not be dense.
    #[error("{record_count} records, but the last offset delta is {last_offset_delta}")]
    RecordCount {
        /// In the header.
        record_count: u32,
        /// In the header.
        last_offset_delta: u32,
    },
    /// Larger than the cluster, or the builder, takes.
    #[error("the batch is {bytes} bytes, the limit is {max}")]
    TooLarge {
        /// Its size; of a batch under construction, at least this.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// More records than allowed.
    #[error("the batch has {count} records, the limit is {max}")]
    TooManyRecords {
        /// In the header.
        count: u32,
        /// The limit.
        max: u32,
    },
    /// A timestamp that is negative, out of the allowed window, or a maximum below the base.
    #[error("the {which} timestamp {timestamp_ms} ms is outside {min_ms} ..= {max_ms} ms")]
    Timestamp {
        /// "base", "max" or "record".
        which: &'static str,
        /// What it is.
        timestamp_ms: i64,
        /// The earliest allowed.
        min_ms: i64,
        /// The latest allowed.
        max_ms: i64,
    },
    /// Something that only a server may write.
    #[error("a producer may not send a batch with {0}")]
    Forbidden(&'static str),
    /// The body would grow beyond the reader's limit.
    #[error("the records take more than {max} bytes uncompressed")]
    UncompressedTooLarge {
        /// The limit, bytes.
        max: usize,
    },
    /// The codec cannot read the body.
    #[error("{compression} cannot decompress the records: {reason}")]
    Decompress {
        /// Which codec.
        compression: Compression,
        /// What it says.
        reason: String,
    },
    /// The codec cannot write the body.
    #[error("{compression} cannot compress the records: {reason}")]
    Compress {
        /// Which codec.
        compression: Compression,
        /// What it says.
        reason: String,
    },
    /// A record breaks the format.
    #[error("record {index} of the batch: {reason}")]
    Record {
        /// From 0 within the batch.
        index: u32,
        /// What is wrong.
        reason: &'static str,
    },
}

impl BatchError {
    /// How the error travels.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Checksum { .. } => ErrorCode::CorruptBatch,
            Self::TooLarge { .. }
            | Self::TooManyRecords { .. }
            | Self::UncompressedTooLarge { .. } => ErrorCode::BatchTooLarge,
            Self::Compress { .. } => ErrorCode::Internal,
            Self::Truncated { .. }
            | Self::TrailingBytes { .. }
            | Self::Magic { .. }
            | Self::Field { .. }
            | Self::UnknownCodec(_)
            | Self::Producer { .. }
            | Self::Empty
            | Self::RecordCount { .. }
            | Self::Timestamp { .. }
            | Self::Forbidden(_)
            | Self::Decompress { .. }
            | Self::Record { .. } => ErrorCode::InvalidBatch,
        }
    }
}
