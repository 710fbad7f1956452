//! From batch to batch.

use bytes::Bytes;

use super::{BatchError, BatchHeader};

/// The first of concatenated batches, and the bytes after it; `None` when there are none.
/// Shares the bytes. Reads the header only: [`verify`](super::verify()) the batch before
/// believing it.
///
/// # Errors
/// The header's, and [`BatchError::Truncated`] when the batch goes on past the end of `bytes`.
pub fn split_first(bytes: &Bytes) -> Result<Option<(BatchHeader, Bytes, Bytes)>, BatchError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let header = BatchHeader::parse(bytes)?;
    if header.batch_bytes > bytes.len() {
        return Err(BatchError::Truncated { needed: header.batch_bytes, available: bytes.len() });
    }
    Ok(Some((header, bytes.slice(..header.batch_bytes), bytes.slice(header.batch_bytes..))))
}
