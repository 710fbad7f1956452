//! The checkpoint file: what is known to be durable, where the log starts, which leader
//! epoch starts where, and which segments there are.
//!
//! `checkpoint`, all integers big-endian:
//!
//! | Bytes | Holds |
//! |---|---|
//! | 0–7 | `WEIRCKPT` |
//! | 8–11 | version, 2 |
//! | 12–19 | recovery point: everything below it was fsynced |
//! | 20–27 | log start: the oldest offset that is served |
//! | 28–31 | n, the number of epochs |
//! | 32–35 | m, the number of segments |
//! | n × 12 | each epoch: epoch (4 bytes), offset of its first record (8 bytes); both rise |
//! | m × 32 | each segment that begins below the recovery point: base offset (8 bytes), how many bytes of it lie below the recovery point (8 bytes), the largest timestamp in it (8 bytes, signed, ms since 1970), when it was begun (8 bytes, signed, ms since 1970); bases rise |
//! | last 4 | CRC-32C of all before |
//!
//! With the segments' lengths an open knows what must be there without reading it: what is
//! missing or shorter is damage, and only what lies above needs to be looked at. Version 1
//! had no segments, and no m: bytes 32 on held the epochs. It is read, never written.
//!
//! It is replaced as a whole (temporary file, fsync, rename, fsync of the folder), so that
//! after a crash the old one or the new one stands. A damaged one is therefore the disk's
//! doing and is refused: without it corruption could not be told from a torn tail.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use weir_protocol::{
    batch::crc32c,
    ids::{LeaderEpoch, Offset},
};

use super::epochs::{EpochStart, Epochs};

/// The file's name within the replica's folder.
pub const CHECKPOINT_FILE: &str = "checkpoint";
/// Room for half a million segments.
pub(crate) const CHECKPOINT_BYTES_MAX: usize = 16 << 20;

const MAGIC: &[u8; 8] = b"WEIRCKPT";
const VERSION: u32 = 2;
const VERSION_WITHOUT_SEGMENTS: u32 = 1;
const FIXED_BYTES: usize = 32;
const EPOCH_BYTES: usize = 12;
const SEGMENT_BYTES: usize = 32;
const CRC_BYTES: usize = 4;

/// What is known of a segment, or of that part of it that lies below the recovery point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentMark {
    /// Offset of its first record.
    pub base: Offset,
    /// How many bytes of it lie below the recovery point: at least one batch.
    pub bytes: u64,
    /// The largest timestamp in it, in milliseconds since 1970.
    pub largest_ms: i64,
    /// When it was begun, in milliseconds since 1970.
    pub begun_ms: i64,
}

/// What the file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// Everything below this was fsynced when the file was written.
    pub recovery_point: Offset,
    /// Oldest offset that is served.
    pub log_start: Offset,
    /// Leader epochs and their first offsets.
    pub epochs: Epochs,
    /// The segments below the recovery point; `None` in a file of version 1.
    pub segments: Option<Vec<SegmentMark>>,
}

/// Why a checkpoint file is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCheckpoint {
    /// Too short, too long, or another kind of file.
    #[error("not a checkpoint file")]
    Shape,
    /// A version that this build does not know.
    #[error("checkpoint version {0}; this build reads versions 1 and 2")]
    Version(u32),
    /// The checksum does not match.
    #[error("checksum mismatch")]
    Checksum,
    /// The checksum matches and the content makes no sense.
    #[error("offsets or epochs out of order")]
    Order,
}

impl Checkpoint {
    /// The file's bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let starts = self.epochs.starts();
        let segments = self.segments.as_deref().unwrap_or_default();
        let mut out = BytesMut::with_capacity(
            FIXED_BYTES + 8 + starts.len() * EPOCH_BYTES + segments.len() * SEGMENT_BYTES,
        );
        out.put_slice(MAGIC);
        out.put_u32(VERSION);
        out.put_u64(self.recovery_point.0);
        out.put_u64(self.log_start.0);
        out.put_u32(u32::try_from(starts.len()).unwrap_or(u32::MAX));
        out.put_u32(u32::try_from(segments.len()).unwrap_or(u32::MAX));
        for entry in starts {
            out.put_u32(entry.epoch.0);
            out.put_u64(entry.start.0);
        }
        for segment in segments {
            out.put_u64(segment.base.0);
            out.put_u64(segment.bytes);
            out.put_i64(segment.largest_ms);
            out.put_i64(segment.begun_ms);
        }
        let crc = crc32c(&out);
        out.put_u32(crc);
        out.freeze()
    }

    /// From the file's bytes.
    ///
    /// # Errors
    /// [`BadCheckpoint`] for anything that [`Checkpoint::encode`] does not write.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadCheckpoint> {
        let mut at = bytes;
        if bytes.len() < FIXED_BYTES + CRC_BYTES || !bytes.starts_with(MAGIC) {
            return Err(BadCheckpoint::Shape);
        }
        // In every version the checksum of what comes before it ends the file. It is looked at
        // first: a flipped bit must not pass for a version that this build is too old for.
        let (content, mut crc) = bytes.split_at(bytes.len() - CRC_BYTES);
        if crc.get_u32() != crc32c(content) {
            return Err(BadCheckpoint::Checksum);
        }
        at.advance(MAGIC.len());
        let version = at.get_u32();
        if version != VERSION && version != VERSION_WITHOUT_SEGMENTS {
            return Err(BadCheckpoint::Version(version));
        }
        let recovery_point = Offset(at.get_u64());
        let log_start = Offset(at.get_u64());
        let count = at.get_u32() as usize;
        // There are four more bytes at least: the checksum.
        let listed = (version == VERSION).then(|| at.get_u32() as usize);
        let rest = count
            .saturating_mul(EPOCH_BYTES)
            .saturating_add(listed.unwrap_or(0).saturating_mul(SEGMENT_BYTES))
            .saturating_add(CRC_BYTES);
        if at.len() != rest {
            return Err(BadCheckpoint::Shape);
        }
        let starts = (0..count)
            .map(|_| EpochStart { epoch: LeaderEpoch(at.get_u32()), start: Offset(at.get_u64()) })
            .collect();
        let epochs = Epochs::from_starts(starts).ok_or(BadCheckpoint::Order)?;
        let segments = listed.map(|listed| {
            let mark = |_| SegmentMark {
                base: Offset(at.get_u64()),
                bytes: at.get_u64(),
                largest_ms: at.get_i64(),
                begun_ms: at.get_i64(),
            };
            (0..listed).map(mark).collect::<Vec<_>>()
        });
        if recovery_point > Offset::MAX || log_start > recovery_point {
            return Err(BadCheckpoint::Order);
        }
        if segments.as_ref().is_some_and(|marks| !agree(marks, log_start, recovery_point)) {
            return Err(BadCheckpoint::Order);
        }
        Ok(Self { recovery_point, log_start, epochs, segments })
    }
}

/// Whether segments can be those of a log with this start and recovery point.
fn agree(marks: &[SegmentMark], log_start: Offset, recovery_point: Offset) -> bool {
    let (Some(first), Some(last)) = (marks.first(), marks.last()) else {
        return log_start == recovery_point;
    };
    first.base <= log_start
        && last.base < recovery_point
        && marks.windows(2).all(|w| w[0].base < w[1].base)
        && marks.iter().all(|mark| mark.bytes > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Checkpoint {
        let s = |epoch, start| EpochStart { epoch: LeaderEpoch(epoch), start: Offset(start) };
        let mark = |base, bytes, largest_ms, begun_ms| SegmentMark {
            base: Offset(base),
            bytes,
            largest_ms,
            begun_ms,
        };
        Checkpoint {
            recovery_point: Offset(0x0102),
            log_start: Offset(7),
            epochs: Epochs::from_starts(vec![s(1, 7), s(4, 0xff)]).unwrap(),
            segments: Some(vec![mark(5, 900, -1, 10), mark(0x80, 70, 3, 11)]),
        }
    }

    #[test]
    fn golden_bytes() {
        let mut expected = b"WEIRCKPT\0\0\0\x02\
            \0\0\0\0\0\0\x01\x02\
            \0\0\0\0\0\0\0\x07\
            \0\0\0\x02\
            \0\0\0\x02\
            \0\0\0\x01\0\0\0\0\0\0\0\x07\
            \0\0\0\x04\0\0\0\0\0\0\0\xff\
            \0\0\0\0\0\0\0\x05\0\0\0\0\0\0\x03\x84\
            \xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0\0\0\0\x0a\
            \0\0\0\0\0\0\0\x80\0\0\0\0\0\0\0\x46\
            \0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x0b"
            .to_vec();
        let crc = crc32c(&expected);
        expected.extend(crc.to_be_bytes());
        assert_eq!(sample().encode(), expected);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283, "CRC-32C's check value");
    }

    #[test]
    fn version_1_is_read() {
        let mut old = b"WEIRCKPT\0\0\0\x01\
            \0\0\0\0\0\0\x01\x02\
            \0\0\0\0\0\0\0\x07\
            \0\0\0\x02\
            \0\0\0\x01\0\0\0\0\0\0\0\x07\
            \0\0\0\x04\0\0\0\0\0\0\0\xff"
            .to_vec();
        let crc = crc32c(&old);
        old.extend(crc.to_be_bytes());
        let read = Checkpoint::decode(&old).unwrap();
        assert_eq!(read, Checkpoint { segments: None, ..sample() });
        let empty = Checkpoint { segments: Some(vec![]), ..Checkpoint::default() };
        let mut shortest = b"WEIRCKPT\0\0\0\x01".to_vec();
        shortest.extend([0; 20]);
        shortest.extend(crc32c(&shortest).to_be_bytes());
        let read = Checkpoint::decode(&shortest).unwrap();
        assert_eq!(read, Checkpoint { segments: None, ..empty });
    }

    #[test]
    fn round_trips() {
        let empty = Checkpoint { segments: Some(vec![]), ..Checkpoint::default() };
        for checkpoint in [sample(), empty] {
            assert_eq!(Checkpoint::decode(&checkpoint.encode()), Ok(checkpoint));
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let bytes = sample().encode();
        for at in 0..bytes.len() {
            assert!(Checkpoint::decode(&bytes[..at]).is_err(), "cut to {at}");
            for bit in 0..8 {
                let mut bad = bytes.to_vec();
                bad[at] ^= 1 << bit;
                assert!(Checkpoint::decode(&bad).is_err(), "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn an_unknown_version_is_named() {
        let mut bytes = sample().encode().to_vec();
        bytes[11] = 3;
        // Nobody wrote that.
        assert_eq!(Checkpoint::decode(&bytes), Err(BadCheckpoint::Checksum));
        let content = bytes.len() - CRC_BYTES;
        let crc = crc32c(&bytes[..content]);
        bytes[content..].copy_from_slice(&crc.to_be_bytes());
        assert_eq!(Checkpoint::decode(&bytes), Err(BadCheckpoint::Version(3)));
    }

    #[test]
    fn segments_that_cannot_be_are_refused() {
        let change = |wrong: fn(&mut Vec<SegmentMark>)| {
            let mut bad = sample();
            wrong(bad.segments.as_mut().unwrap());
            assert_eq!(Checkpoint::decode(&bad.encode()), Err(BadCheckpoint::Order));
        };
        change(|marks| marks.clear());
        change(|marks| marks.reverse());
        change(|marks| marks[1].bytes = 0);
        change(|marks| marks[0].base = Offset(8));
        change(|marks| marks[1].base = Offset(0x0102));
    }
}
