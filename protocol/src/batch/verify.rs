//! Is this exactly one sound batch, and may a producer send it?

use super::{
    BatchError, BatchHeader, TimestampType, crc32c,
    header::{CRC_FROM, KNOWN_BITS, frame},
};
use crate::ids::Offset;

/// What a server takes from producers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProduceLimits {
    /// Largest batch, bytes, header included.
    pub batch_bytes_max: usize,
    /// Most records in a batch.
    pub records_max: u32,
    /// Earliest timestamp allowed, Unix ms.
    pub timestamp_min_ms: i64,
    /// Latest timestamp allowed, Unix ms.
    pub timestamp_max_ms: i64,
}

impl Default for ProduceLimits {
    /// 1 MiB, a million records, any time from 1970 on.
    fn default() -> Self {
        Self {
            batch_bytes_max: 1 << 20,
            records_max: 1_000_000,
            timestamp_min_ms: 0,
            timestamp_max_ms: i64::MAX,
        }
    }
}

/// Checks that `bytes` are exactly one batch: magic, length, CRC (before anything that it
/// covers is believed), header fields, dense offsets (record count = last offset delta + 1), and
/// timestamps from 1970 on with the maximum not below the base. The body is not decoded.
///
/// Base offset, length and leader epoch lie outside the CRC: a reader of a log also checks
/// that offsets follow on.
///
/// # Errors
/// What is wrong first, in the order above.
pub fn verify(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
    let batch_bytes = frame(bytes)?;
    if bytes.len() < batch_bytes {
        return Err(BatchError::Truncated { needed: batch_bytes, available: bytes.len() });
    }
    if bytes.len() > batch_bytes {
        return Err(BatchError::TrailingBytes { extra: bytes.len() - batch_bytes });
    }
    let computed = crc32c(&bytes[CRC_FROM..]);
    let stored = &bytes[CRC_FROM - 4..CRC_FROM];
    let stored = stored.iter().fold(0, |crc, &byte| crc << 8 | u32::from(byte));
    if stored != computed {
        return Err(BatchError::Checksum { stored, computed });
    }
    let header = BatchHeader::parse(bytes)?;
    let BatchHeader { record_count, last_offset_delta, .. } = header;
    if record_count == 0 {
        return Err(BatchError::Empty);
    }
    if record_count - 1 != last_offset_delta {
        return Err(BatchError::RecordCount { record_count, last_offset_delta });
    }
    // With append time the maximum is the server's clock and the base the producer's.
    let max_from = match header.timestamp_type() {
        TimestampType::CreateTime => header.base_timestamp_ms,
        TimestampType::LogAppendTime => 0,
    };
    within("base", header.base_timestamp_ms, 0, i64::MAX)?;
    within("max", header.max_timestamp_ms, max_from, i64::MAX)?;
    Ok(header)
}

/// [`verify`], and what a server asks of a producer's batch: not above the limits; no control,
/// transactional, append-time, delete-horizon or unknown attribute bits; timestamps within the
/// window; producer id, epoch and sequence all there or none; **base offset 0**: the offset is
/// the server's to assign, and a client that fills one in expects something else than it gets.
/// (The leader epoch in the batch may be anything; [`assign`](super::assign()) writes it.)
///
/// Records are not decoded: see the module's "who checks what".
///
/// # Errors
/// What is wrong first. [`BatchError::code`] tells `BATCH_TOO_LARGE` and `CORRUPT_BATCH` from
/// `INVALID_BATCH`.
pub fn verify_produced(bytes: &[u8], limits: &ProduceLimits) -> Result<BatchHeader, BatchError> {
    // First, so that no CRC is computed over what is refused anyway.
    if bytes.len() > limits.batch_bytes_max {
        return Err(BatchError::TooLarge { bytes: bytes.len(), max: limits.batch_bytes_max });
    }
    let header = verify(bytes)?;
    if header.is_control() {
        return Err(BatchError::Forbidden("the control bit"));
    }
    if header.is_transactional() {
        return Err(BatchError::Forbidden("the transactional bit"));
    }
    if header.timestamp_type() == TimestampType::LogAppendTime {
        return Err(BatchError::Forbidden("the append-time bit"));
    }
    if header.attributes() & !KNOWN_BITS != 0 {
        return Err(BatchError::Forbidden("unknown attribute bits or a delete horizon"));
    }
    if header.base_offset != Offset::ZERO {
        return Err(BatchError::Forbidden("a base offset other than 0"));
    }
    if header.record_count > limits.records_max {
        return Err(BatchError::TooManyRecords {
            count: header.record_count,
            max: limits.records_max,
        });
    }
    let ProduceLimits { timestamp_min_ms, timestamp_max_ms, .. } = *limits;
    within("base", header.base_timestamp_ms, timestamp_min_ms, timestamp_max_ms)?;
    within("max", header.max_timestamp_ms, timestamp_min_ms, timestamp_max_ms)?;
    Ok(header)
}

fn within(
    which: &'static str,
    timestamp_ms: i64,
    min_ms: i64,
    max_ms: i64,
) -> Result<(), BatchError> {
    if (min_ms..=max_ms).contains(&timestamp_ms) {
        Ok(())
    } else {
        Err(BatchError::Timestamp { which, timestamp_ms, min_ms, max_ms })
    }
}
