//! The fixed 61 bytes at the start of a batch.

use super::{BatchError, Compression};
use crate::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};

/// The whole header: base offset up to and including the record count.
pub const HEADER_BYTES: usize = 61;

/// The epoch of a batch that no leader has appended yet (−1 on the wire).
pub const NO_LEADER_EPOCH: LeaderEpoch = LeaderEpoch(u32::MAX);

pub(super) const MAGIC: u8 = 2;
/// Base offset and batch length: what the length field does not count.
pub(super) const LENGTH_END: usize = 12;
pub(super) const EPOCH_AT: usize = 12;
pub(super) const MAGIC_AT: usize = 16;
pub(super) const CRC_AT: usize = 17;
/// Where the bytes that the CRC covers begin.
pub(super) const CRC_FROM: usize = 21;

const CODEC_BITS: u16 = 0b111;
const APPEND_TIME: u16 = 1 << 3;
const TRANSACTIONAL: u16 = 1 << 4;
const CONTROL: u16 = 1 << 5;
/// All bits that a plain batch of records may have; the delete horizon (6) is not among them.
pub(super) const KNOWN_BITS: u16 = CODEC_BITS | APPEND_TIME | TRANSACTIONAL | CONTROL;

/// What the timestamps of a batch mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    /// When the producer made the record.
    CreateTime,
    /// When the server appended the batch.
    LogAppendTime,
}

/// Which producer sent a batch, and its place in that producer's sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerStamp {
    /// Who.
    pub id: ProducerId,
    /// Which instance; the wire holds 0 ..= `i16::MAX`.
    pub epoch: ProducerEpoch,
    /// Sequence number of the first record, 0 ..= `i32::MAX`.
    pub base_sequence: u32,
}

/// The sequence number `records` after `sequence`: after `i32::MAX` comes 0, as in Kafka.
#[must_use]
pub const fn advance_sequence(sequence: u32, records: u32) -> u32 {
    sequence.wrapping_add(records) & i32::MAX as u32
}

/// What a header says. Made only by [`BatchHeader::parse`], so its counts are not negative,
/// its codec is known, its offsets fit, its producer is whole or absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchHeader {
    /// Offset of the first record.
    pub base_offset: Offset,
    /// Bytes of the whole batch, this header included.
    pub batch_bytes: usize,
    /// Of the leader that appended it; [`NO_LEADER_EPOCH`] before.
    pub partition_leader_epoch: LeaderEpoch,
    /// CRC-32C of everything from the attributes on, as stored; not checked by parsing.
    pub crc: u32,
    /// Bits as stored; see the accessors.
    attributes: u16,
    compression: Compression,
    /// Offset of the last record, from the base offset.
    pub last_offset_delta: u32,
    /// Timestamp of the first record, Unix ms.
    pub base_timestamp_ms: i64,
    /// Largest timestamp of any record, Unix ms; with append time, that of all of them.
    pub max_timestamp_ms: i64,
    /// Of an idempotent producer.
    pub producer: Option<ProducerStamp>,
    /// How many records the body holds.
    pub record_count: u32,
}

impl BatchHeader {
    /// Reads the header at the start of `bytes`, of which there must be [`HEADER_BYTES`]; what
    /// follows is not looked at. Structure only: [`verify`](super::verify()) also checks that
    /// the batch is all there and undamaged.
    ///
    /// # Errors
    /// Too few bytes, another magic, or a field with a value that the format does not allow.
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        let batch_bytes = frame(bytes)?;
        let raw = Raw::read(bytes)?;
        let base_offset = Offset(unsigned_64("base offset", raw.base_offset)?);
        let last_offset_delta = unsigned_32("last offset delta", raw.last_offset_delta)?;
        if base_offset.checked_add(u64::from(last_offset_delta) + 1).is_none() {
            return Err(BatchError::Field { field: "base offset", value: raw.base_offset });
        }
        let codec = (raw.attributes & CODEC_BITS) as u8;
        Ok(Self {
            base_offset,
            batch_bytes,
            partition_leader_epoch: LeaderEpoch(raw.leader_epoch),
            crc: raw.crc,
            attributes: raw.attributes,
            compression: Compression::from_number(codec).ok_or(BatchError::UnknownCodec(codec))?,
            last_offset_delta,
            base_timestamp_ms: raw.base_timestamp_ms,
            max_timestamp_ms: raw.max_timestamp_ms,
            producer: stamp(raw.producer_id, raw.producer_epoch, raw.base_sequence)?,
            record_count: unsigned_32("record count", raw.record_count)?,
        })
    }

    /// Offset of the last record.
    #[must_use]
    pub const fn last_offset(&self) -> Offset {
        Offset(self.base_offset.0 + self.last_offset_delta as u64)
    }

    /// Offset that follows the batch.
    #[must_use]
    pub const fn next_offset(&self) -> Offset {
        self.last_offset().next()
    }

    /// Sequence number of the last record; wraps at `i32::MAX` as in Kafka.
    #[must_use]
    pub fn last_sequence(&self) -> Option<u32> {
        self.producer.map(|p| advance_sequence(p.base_sequence, self.last_offset_delta))
    }

    /// The raw bits.
    #[must_use]
    pub const fn attributes(&self) -> u16 {
        self.attributes
    }

    /// The codec of the body.
    #[must_use]
    pub const fn compression(&self) -> Compression {
        self.compression
    }

    /// What the timestamps mean.
    #[must_use]
    pub const fn timestamp_type(&self) -> TimestampType {
        if self.attributes & APPEND_TIME == 0 {
            TimestampType::CreateTime
        } else {
            TimestampType::LogAppendTime
        }
    }

    /// Whether it belongs to a transaction.
    #[must_use]
    pub const fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    /// Whether its records are markers of the server's, not data.
    #[must_use]
    pub const fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }
}

/// The parts of a header that lie outside the CRC and say where the batch ends: returns the
/// bytes of the whole batch. For checking the CRC before anything that it covers is read.
pub(super) fn frame(bytes: &[u8]) -> Result<usize, BatchError> {
    let truncated = BatchError::Truncated { needed: HEADER_BYTES, available: bytes.len() };
    if bytes.len() < HEADER_BYTES {
        return Err(truncated);
    }
    let mut length = &bytes[8..LENGTH_END];
    let length = i32::from_be_bytes(take(&mut length).ok_or(truncated)?);
    if bytes[MAGIC_AT] != MAGIC {
        return Err(BatchError::Magic { magic: bytes[MAGIC_AT].cast_signed() });
    }
    let bad = BatchError::Field { field: "batch length", value: i64::from(length) };
    match usize::try_from(length) {
        Ok(length) if length >= HEADER_BYTES - LENGTH_END => Ok(length + LENGTH_END),
        _ => Err(bad),
    }
}

/// The fields as they are stored.
struct Raw {
    base_offset: i64,
    leader_epoch: u32,
    crc: u32,
    attributes: u16,
    last_offset_delta: i32,
    base_timestamp_ms: i64,
    max_timestamp_ms: i64,
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
    record_count: i32,
}

impl Raw {
    fn read(bytes: &[u8]) -> Result<Self, BatchError> {
        let cursor = &mut &*bytes;
        let read = |cursor: &mut &[u8]| {
            let base_offset = i64::from_be_bytes(take(cursor)?);
            let _length: [u8; 4] = take(cursor)?;
            let leader_epoch = u32::from_be_bytes(take(cursor)?);
            let _magic: [u8; 1] = take(cursor)?;
            Some(Self {
                base_offset,
                leader_epoch,
                crc: u32::from_be_bytes(take(cursor)?),
                attributes: u16::from_be_bytes(take(cursor)?),
                last_offset_delta: i32::from_be_bytes(take(cursor)?),
                base_timestamp_ms: i64::from_be_bytes(take(cursor)?),
                max_timestamp_ms: i64::from_be_bytes(take(cursor)?),
                producer_id: i64::from_be_bytes(take(cursor)?),
                producer_epoch: i16::from_be_bytes(take(cursor)?),
                base_sequence: i32::from_be_bytes(take(cursor)?),
                record_count: i32::from_be_bytes(take(cursor)?),
            })
        };
        read(cursor).ok_or(BatchError::Truncated { needed: HEADER_BYTES, available: bytes.len() })
    }
}

/// The next `N` bytes, which it takes off `cursor`.
fn take<const N: usize>(cursor: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = cursor.split_first_chunk::<N>()?;
    *cursor = rest;
    Some(*first)
}

fn unsigned_64(field: &'static str, value: i64) -> Result<u64, BatchError> {
    u64::try_from(value).map_err(|_| BatchError::Field { field, value })
}

fn unsigned_32(field: &'static str, value: i32) -> Result<u32, BatchError> {
    u32::try_from(value).map_err(|_| BatchError::Field { field, value: i64::from(value) })
}

/// All of the three, or −1 three times for none.
fn stamp(id: i64, epoch: i16, sequence: i32) -> Result<Option<ProducerStamp>, BatchError> {
    if (id, epoch, sequence) == (-1, -1, -1) {
        return Ok(None);
    }
    match (u64::try_from(id), u16::try_from(epoch), u32::try_from(sequence)) {
        (Ok(id), Ok(epoch), Ok(base_sequence)) => Ok(Some(ProducerStamp {
            id: ProducerId(id),
            epoch: ProducerEpoch(epoch),
            base_sequence,
        })),
        _ => Err(BatchError::Producer { id, epoch, sequence }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_wrap_after_the_largest_i32() {
        let last = i32::MAX as u32;
        assert_eq!(advance_sequence(5, 3), 8);
        assert_eq!(advance_sequence(last, 1), 0);
        assert_eq!(advance_sequence(last - 1, 4), 2);
    }

    #[test]
    fn a_producer_is_whole_or_absent() {
        assert_eq!(stamp(-1, -1, -1), Ok(None));
        assert!(matches!(stamp(0, 0, 0), Ok(Some(_))));
        for (id, epoch, sequence) in [(7, -1, -1), (7, 0, -1), (7, -1, 0), (-1, 0, 0), (-2, -1, -1)]
        {
            assert_eq!(
                stamp(id, epoch, sequence),
                Err(BatchError::Producer { id, epoch, sequence })
            );
        }
    }
}
