//! The checkpoint file: what is known to be durable, where the log starts, and which
//! leader epoch starts where.
//!
//! `checkpoint`, all integers big-endian:
//!
//! | Bytes | Holds |
//! |---|---|
//! | 0–7 | `WEIRCKPT` |
//! | 8–11 | version, 1 |
//! | 12–19 | recovery point: everything below it was fsynced |
//! | 20–27 | log start: the oldest offset that is served |
//! | 28–31 | n, the number of epochs |
//! | 32+12i… | epoch i: epoch (4 bytes), offset of its first record (8 bytes); both rise |
//! | last 4 | CRC-32C of all before |
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
/// Room for over a million epochs.
pub(crate) const CHECKPOINT_BYTES_MAX: usize = 16 << 20;

const MAGIC: &[u8; 8] = b"WEIRCKPT";
const VERSION: u32 = 1;
const FIXED_BYTES: usize = 32;
const EPOCH_BYTES: usize = 12;
const CRC_BYTES: usize = 4;

/// What the file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// Everything below this was fsynced when the file was written.
    pub recovery_point: Offset,
    /// Oldest offset that is served.
    pub log_start: Offset,
    /// Leader epochs and their first offsets.
    pub epochs: Epochs,
}

/// Why a checkpoint file is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCheckpoint {
    /// Too short, too long, or another kind of file.
    #[error("not a checkpoint file")]
    Shape,
    /// A version that this build does not know.
    #[error("checkpoint version {0}; this build reads only version 1")]
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
        let mut out = BytesMut::with_capacity(FIXED_BYTES + starts.len() * EPOCH_BYTES + CRC_BYTES);
        out.put_slice(MAGIC);
        out.put_u32(VERSION);
        out.put_u64(self.recovery_point.0);
        out.put_u64(self.log_start.0);
        out.put_u32(u32::try_from(starts.len()).unwrap_or(u32::MAX));
        for entry in starts {
            out.put_u32(entry.epoch.0);
            out.put_u64(entry.start.0);
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
        at.advance(MAGIC.len());
        let version = at.get_u32();
        if version != VERSION {
            return Err(BadCheckpoint::Version(version));
        }
        let (content, mut crc) = bytes.split_at(bytes.len() - CRC_BYTES);
        if crc.get_u32() != crc32c(content) {
            return Err(BadCheckpoint::Checksum);
        }
        let recovery_point = Offset(at.get_u64());
        let log_start = Offset(at.get_u64());
        let count = at.get_u32() as usize;
        if at.len() != count.saturating_mul(EPOCH_BYTES).saturating_add(CRC_BYTES) {
            return Err(BadCheckpoint::Shape);
        }
        let starts = (0..count)
            .map(|_| EpochStart { epoch: LeaderEpoch(at.get_u32()), start: Offset(at.get_u64()) })
            .collect();
        let epochs = Epochs::from_starts(starts).ok_or(BadCheckpoint::Order)?;
        if recovery_point > Offset::MAX || log_start > recovery_point {
            return Err(BadCheckpoint::Order);
        }
        Ok(Self { recovery_point, log_start, epochs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Checkpoint {
        let s = |epoch, start| EpochStart { epoch: LeaderEpoch(epoch), start: Offset(start) };
        Checkpoint {
            recovery_point: Offset(0x0102),
            log_start: Offset(7),
            epochs: Epochs::from_starts(vec![s(1, 7), s(4, 0xff)]).unwrap(),
        }
    }

    #[test]
    fn golden_bytes() {
        let mut expected = b"WEIRCKPT\0\0\0\x01\
            \0\0\0\0\0\0\x01\x02\
            \0\0\0\0\0\0\0\x07\
            \0\0\0\x02\
            \0\0\0\x01\0\0\0\0\0\0\0\x07\
            \0\0\0\x04\0\0\0\0\0\0\0\xff"
            .to_vec();
        let crc = crc32c(&expected);
        expected.extend(crc.to_be_bytes());
        assert_eq!(sample().encode(), expected);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283, "CRC-32C's check value");
    }

    #[test]
    fn round_trips() {
        for checkpoint in [sample(), Checkpoint::default()] {
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
        bytes[11] = 2;
        assert_eq!(Checkpoint::decode(&bytes), Err(BadCheckpoint::Version(2)));
    }
}
