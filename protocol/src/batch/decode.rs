//! A batch to records.

use std::ops::Range;

use bytes::Bytes;

use super::{
    BatchError, BatchHeader, Compression, HEADER_BYTES, HEADERS_MAX, Header, HeaderKey, Record,
    TimestampType, codec, varint,
};
use crate::ids::Offset;

/// Length, attributes, two deltas, two lengths, header count: one byte each at least.
const RECORD_BYTES_MIN: usize = 7;
/// A key length and a value length.
const RECORD_HEADER_BYTES_MIN: usize = 2;

/// What a reader is ready to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Largest body after decompression, bytes.
    pub uncompressed_bytes_max: usize,
}

impl Default for DecodeLimits {
    /// 64 MiB.
    fn default() -> Self {
        Self { uncompressed_bytes_max: 64 << 20 }
    }
}

/// The records of exactly one batch, in order. Keys, values and header keys share the batch's
/// bytes, or one decompressed buffer.
///
/// The CRC is not looked at: call [`verify`](super::verify()) first on bytes that travelled.
/// Control batches are read as any other; see [`BatchHeader::is_control`].
///
/// # Errors
/// The header's, a body that is not all there or too much, more records claimed than the body
/// has room for, and what the codec finds. The iterator's own: see [`Records`].
pub fn records(batch: &Bytes, limits: &DecodeLimits) -> Result<Records, BatchError> {
    let header = BatchHeader::parse(batch)?;
    let needed = header.batch_bytes;
    if batch.len() < needed {
        return Err(BatchError::Truncated { needed, available: batch.len() });
    }
    if batch.len() > needed {
        return Err(BatchError::TrailingBytes { extra: batch.len() - needed });
    }
    let max = limits.uncompressed_bytes_max;
    let stored = batch.slice(HEADER_BYTES..);
    let body = match header.compression() {
        Compression::None if stored.len() > max => {
            return Err(BatchError::UncompressedTooLarge { max });
        }
        Compression::None => stored,
        compression => Bytes::from(codec::decompress(compression, &stored, max)?),
    };
    if header.record_count as usize > body.len() / RECORD_BYTES_MIN {
        let index = (body.len() / RECORD_BYTES_MIN) as u32;
        return Err(BatchError::Record { index, reason: "missing" });
    }
    Ok(Records { header, body, at: 0, index: 0, over: false })
}

/// Iterator over the records of a batch.
///
/// Every length is checked, that the i-th record has offset delta i, and after the last that
/// the body ends. The first error is the last item; records before it are sound.
#[derive(Clone, Debug)]
pub struct Records {
    header: BatchHeader,
    body: Bytes,
    at: usize,
    index: u32,
    over: bool,
}

impl Records {
    /// Of the batch.
    #[must_use]
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    fn read(&mut self) -> Result<Record, &'static str> {
        let mut at = self.at;
        let length = varint::read_32(&self.body, &mut at).ok_or("its length is malformed")?;
        let end = usize::try_from(length)
            .ok()
            .and_then(|length| at.checked_add(length))
            .filter(|&end| end <= self.body.len())
            .ok_or("it does not fit the batch")?;
        let bytes = &self.body[..end];
        // The attributes of a record are unused; as in Kafka, whatever they hold is passed by.
        at += 1;
        let timestamp_delta =
            varint::read_64(bytes, &mut at).ok_or("its timestamp delta is malformed")?;
        let offset_delta =
            varint::read_32(bytes, &mut at).ok_or("its offset delta is malformed")?;
        if i64::from(offset_delta) != i64::from(self.index) {
            return Err("its offset delta is not its place in the batch");
        }
        let key = field(bytes, &mut at).ok_or("its key is malformed")?;
        let value = field(bytes, &mut at).ok_or("its value is malformed")?;
        let headers = self.read_headers(bytes, &mut at)?;
        if at != end {
            return Err("its parts do not fill its length");
        }
        let timestamp_ms = match self.header.timestamp_type() {
            TimestampType::LogAppendTime => self.header.max_timestamp_ms,
            TimestampType::CreateTime => self
                .header
                .base_timestamp_ms
                .checked_add(timestamp_delta)
                .filter(|&timestamp_ms| timestamp_ms >= 0)
                .ok_or("its timestamp is out of range")?,
        };
        let record = Record {
            offset: Offset(self.header.base_offset.0 + u64::from(self.index)),
            timestamp_ms,
            key: key.map(|range| self.body.slice(range)),
            value: value.map(|range| self.body.slice(range)),
            headers,
        };
        self.at = end;
        Ok(record)
    }

    fn read_headers(&self, bytes: &[u8], at: &mut usize) -> Result<Vec<Header>, &'static str> {
        let count = varint::read_32(bytes, at)
            .and_then(|count| usize::try_from(count).ok())
            .ok_or("its header count is malformed")?;
        // Held against what is there before anything is allocated for it.
        if count > bytes.len().saturating_sub(*at) / RECORD_HEADER_BYTES_MIN {
            return Err("it has fewer headers than it says");
        }
        if count > HEADERS_MAX {
            return Err("more headers than a record may have");
        }
        let mut headers = Vec::with_capacity(count);
        for _ in 0..count {
            let key = field(bytes, at).flatten().ok_or("a header's key is malformed")?;
            let key = HeaderKey::try_from(self.body.slice(key))
                .map_err(|_| "a header's key is not UTF-8")?;
            let value = field(bytes, at).ok_or("a header's value is malformed")?;
            headers.push(Header { key, value: value.map(|range| self.body.slice(range)) });
        }
        Ok(headers)
    }
}

/// A length and as many bytes; `Some(None)` when the length says that it is absent.
fn field(bytes: &[u8], at: &mut usize) -> Option<Option<Range<usize>>> {
    let length = varint::read_32(bytes, at)?;
    if length == -1 {
        return Some(None);
    }
    let from = *at;
    let end = from.checked_add(usize::try_from(length).ok()?)?;
    if end > bytes.len() {
        return None;
    }
    *at = end;
    Some(Some(from..end))
}

impl Iterator for Records {
    type Item = Result<Record, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let index = self.index;
        let result = if index < self.header.record_count {
            let record = self.read();
            self.index += 1;
            self.over = record.is_err();
            record
        } else {
            self.over = true;
            if self.at == self.body.len() {
                return None;
            }
            Err("bytes follow the last record")
        };
        Some(result.map_err(|reason| BatchError::Record { index, reason }))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = (self.header.record_count - self.index) as usize;
        (0, if self.over { Some(0) } else { left.checked_add(1) })
    }
}

impl std::iter::FusedIterator for Records {}
