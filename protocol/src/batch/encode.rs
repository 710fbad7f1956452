//! Records to a batch.

use bytes::Bytes;

use super::{
    BatchError, Compression, HEADER_BYTES, HEADERS_MAX, NO_LEADER_EPOCH, NewRecord, ProducerStamp,
    codec, crc32c,
    header::{CRC_AT, CRC_FROM, LENGTH_END, MAGIC},
    varint,
};

/// The format's lengths are `i32`.
const BATCH_BYTES_MAX: usize = i32::MAX as usize;
/// Length, attributes, timestamp delta, offset delta and key length at their longest: 26.
const RECORD_HEAD_BYTES_MAX: usize = 32;

/// How batches are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchConfig {
    /// The codec. A batch that it would not make smaller is left uncompressed.
    pub compression: Compression,
    /// Bytes to allocate at the start; the buffer grows as needed.
    pub capacity_bytes: usize,
}

impl Default for BatchConfig {
    /// Uncompressed, 4 KiB.
    fn default() -> Self {
        Self { compression: Compression::None, capacity_bytes: 4096 }
    }
}

/// Collects the records of one batch in one buffer, encoded as they come.
///
/// The batch has base offset 0 and no leader epoch; the server assigns both.
#[derive(Debug)]
pub struct BatchBuilder {
    compression: Compression,
    /// The header's place, then the records.
    buffer: Vec<u8>,
    base_timestamp_ms: i64,
    max_timestamp_ms: i64,
    record_count: u32,
}

impl BatchBuilder {
    /// An empty batch.
    #[must_use]
    pub fn new(config: BatchConfig) -> Self {
        let mut buffer = Vec::with_capacity(config.capacity_bytes.max(HEADER_BYTES));
        buffer.resize(HEADER_BYTES, 0);
        Self {
            compression: config.compression,
            buffer,
            base_timestamp_ms: 0,
            max_timestamp_ms: 0,
            record_count: 0,
        }
    }

    /// Adds a record. After an error the batch is as it was before.
    ///
    /// # Errors
    /// A negative timestamp, more than [`HEADERS_MAX`] headers, or a batch past the format's
    /// 2 GiB. Smaller limits are the caller's: see [`BatchBuilder::estimated_bytes_with`].
    pub fn push(&mut self, record: NewRecord) -> Result<(), BatchError> {
        let layout = self.layout(&record);
        let total_bytes = self.buffer.len() + layout.bytes();
        self.check(&record, total_bytes)?;
        let Layout { body_bytes, timestamp_delta } = layout;

        self.buffer.reserve(layout.bytes());
        let mut head = [0; RECORD_HEAD_BYTES_MAX];
        let at = varint::write(&mut head, 0, body_bytes as i64);
        // The attributes of a record are unused: one zero byte.
        let at = varint::write(&mut head, at + 1, timestamp_delta);
        let at = varint::write(&mut head, at, i64::from(self.record_count));
        let at = varint::write(&mut head, at, length(record.key.as_ref()));
        self.buffer.extend_from_slice(&head[..at]);
        self.buffer.extend_from_slice(record.key.as_deref().unwrap_or_default());
        self.put_field(record.value.as_ref());
        self.put_varint(record.headers.len() as i64);
        for header in &record.headers {
            self.put_varint(header.key.len() as i64);
            self.buffer.extend_from_slice(header.key.as_bytes());
            self.put_field(header.value.as_ref());
        }
        debug_assert_eq!(self.buffer.len(), total_bytes, "the layout is what was written");

        if self.record_count == 0 {
            self.base_timestamp_ms = record.timestamp_ms;
        }
        self.max_timestamp_ms = self.max_timestamp_ms.max(record.timestamp_ms);
        self.record_count += 1;
        Ok(())
    }

    /// Bytes of the batch as it is now, uncompressed. What [`BatchBuilder::finish`] returns is
    /// never larger: exactly this without compression, at most this with it.
    #[must_use]
    pub fn estimated_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// What [`BatchBuilder::estimated_bytes`] would be after `record` was pushed, exactly.
    #[must_use]
    pub fn estimated_bytes_with(&self, record: &NewRecord) -> usize {
        self.buffer.len() + self.layout(record).bytes()
    }

    /// Bytes of a batch of only this record, uncompressed. In any other batch the record takes
    /// fewer.
    #[must_use]
    pub fn bytes_alone(record: &NewRecord) -> usize {
        HEADER_BYTES + Layout::of(record, 0, 0).bytes()
    }

    /// Whether there is no record yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.record_count == 0
    }

    /// How many records there are.
    #[must_use]
    pub fn record_count(&self) -> u32 {
        self.record_count
    }

    /// The batch, compressed and with its CRC.
    ///
    /// # Errors
    /// No records, a stamp that the format cannot hold, or a codec that fails.
    pub fn finish(self, producer: Option<ProducerStamp>) -> Result<Bytes, BatchError> {
        if self.is_empty() {
            return Err(BatchError::Empty);
        }
        let (id, epoch, sequence) = match producer {
            None => (-1, -1, -1),
            Some(stamp) => stored(stamp)?,
        };
        let Self { buffer, base_timestamp_ms, max_timestamp_ms, record_count, .. } = self;
        let (compression, mut bytes) = compressed(self.compression, buffer)?;

        // At most `BATCH_BYTES_MAX`, which `push` saw to and compression only lowers.
        let length = (bytes.len() - LENGTH_END) as u32;
        let mut at = 0;
        let mut put = |field: &[u8]| {
            bytes[at..at + field.len()].copy_from_slice(field);
            at += field.len();
        };
        put(&0i64.to_be_bytes());
        put(&length.to_be_bytes());
        put(&NO_LEADER_EPOCH.get().to_be_bytes());
        put(&[MAGIC]);
        put(&[0; CRC_FROM - CRC_AT]);
        put(&u16::from(compression.number()).to_be_bytes());
        put(&(record_count - 1).to_be_bytes());
        put(&base_timestamp_ms.to_be_bytes());
        put(&max_timestamp_ms.to_be_bytes());
        put(&id.to_be_bytes());
        put(&epoch.to_be_bytes());
        put(&sequence.to_be_bytes());
        put(&record_count.to_be_bytes());
        debug_assert_eq!(at, HEADER_BYTES, "every field is written");
        let crc = crc32c(&bytes[CRC_FROM..]);
        bytes[CRC_AT..CRC_FROM].copy_from_slice(&crc.to_be_bytes());
        Ok(Bytes::from(bytes))
    }

    fn layout(&self, record: &NewRecord) -> Layout {
        let timestamp_delta = match self.record_count {
            0 => 0,
            _ => record.timestamp_ms.saturating_sub(self.base_timestamp_ms),
        };
        Layout::of(record, timestamp_delta, self.record_count)
    }

    fn check(&self, record: &NewRecord, total_bytes: usize) -> Result<(), BatchError> {
        if record.timestamp_ms < 0 {
            return Err(BatchError::Timestamp {
                which: "record",
                timestamp_ms: record.timestamp_ms,
                min_ms: 0,
                max_ms: i64::MAX,
            });
        }
        if record.headers.len() > HEADERS_MAX {
            let reason = "more headers than a record may have";
            return Err(BatchError::Record { index: self.record_count, reason });
        }
        if total_bytes > BATCH_BYTES_MAX {
            return Err(BatchError::TooLarge { bytes: total_bytes, max: BATCH_BYTES_MAX });
        }
        Ok(())
    }

    fn put_varint(&mut self, value: i64) {
        let mut buffer = [0; varint::VARLONG_BYTES_MAX];
        let end = varint::write(&mut buffer, 0, value);
        self.buffer.extend_from_slice(&buffer[..end]);
    }

    fn put_field(&mut self, field: Option<&Bytes>) {
        self.put_varint(length(field));
        self.buffer.extend_from_slice(field.map(|bytes| &**bytes).unwrap_or_default());
    }
}

/// A record as it will be written.
struct Layout {
    /// Bytes of the record behind its length.
    body_bytes: usize,
    /// From the batch's first record, ms.
    timestamp_delta: i64,
}

impl Layout {
    fn of(record: &NewRecord, timestamp_delta: i64, offset_delta: u32) -> Self {
        let headers: usize = record
            .headers
            .iter()
            .map(|h| field_bytes(Some(h.key.len())) + field_bytes(h.value.as_ref().map(Bytes::len)))
            .sum();
        let body_bytes = 1
            + varint::size(timestamp_delta)
            + varint::size(i64::from(offset_delta))
            + field_bytes(record.key.as_ref().map(Bytes::len))
            + field_bytes(record.value.as_ref().map(Bytes::len))
            + varint::size(record.headers.len() as i64)
            + headers;
        Self { body_bytes, timestamp_delta }
    }

    /// Bytes of the record, its length included.
    fn bytes(&self) -> usize {
        varint::size(self.body_bytes as i64) + self.body_bytes
    }
}

/// The length field: −1 for what is absent.
fn length(field: Option<&Bytes>) -> i64 {
    field.map_or(-1, |bytes| bytes.len() as i64)
}

fn field_bytes(length: Option<usize>) -> usize {
    length.map_or(1, |length| varint::size(length as i64) + length)
}

/// The stamp in the wire's types.
fn stored(stamp: ProducerStamp) -> Result<(i64, i16, i32), BatchError> {
    let ProducerStamp { id, epoch, base_sequence } = stamp;
    match (i64::try_from(id.0), i16::try_from(epoch.0), i32::try_from(base_sequence)) {
        (Ok(id), Ok(epoch), Ok(sequence)) => Ok((id, epoch, sequence)),
        _ => Err(BatchError::Producer {
            id: id.0.cast_signed(),
            epoch: epoch.0.cast_signed(),
            sequence: base_sequence.cast_signed(),
        }),
    }
}

/// The batch with its records through the codec, or as it was where that saves nothing.
fn compressed(
    compression: Compression,
    plain: Vec<u8>,
) -> Result<(Compression, Vec<u8>), BatchError> {
    if compression == Compression::None {
        return Ok((compression, plain));
    }
    let (header, records) = plain.split_at(HEADER_BYTES);
    let mut out = Vec::with_capacity(plain.len() / 2 + HEADER_BYTES);
    out.extend_from_slice(header);
    codec::compress(compression, records, &mut out)?;
    if out.len() < plain.len() { Ok((compression, out)) } else { Ok((Compression::None, plain)) }
}
