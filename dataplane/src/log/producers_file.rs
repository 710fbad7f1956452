//! The snapshot of what producers wrote last, so that an open need not walk the whole log to
//! tell a retry from a new batch.
//!
//! `producers`, integers big-endian:
//!
//! | Bytes | Holds |
//! |---|---|
//! | 0–7 | `WEIRPROD` |
//! | 8–11 | version, 1 |
//! | 12–19 | the offset that it speaks for: all batches below it were looked at |
//! | 20–23 | n, the number of batches |
//! | 24+32i… | batch i, in log order: base offset (8 bytes), record count (4), leader epoch (4), producer id (8), producer epoch (4), base sequence (4) |
//! | last 4 | CRC-32C of all before |
//!
//! It is replaced as a whole. One that is missing or damaged, or that speaks for more than
//! the log holds, costs a walk over all batch headers and nothing else.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use weir_protocol::{
    batch::{ProducerStamp, crc32c},
    ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId},
};
use weir_runtime::disk::{self, Disk};

use super::recent::BatchSummary;

/// The file's name within the replica's folder.
pub const PRODUCERS_FILE: &str = "producers";
/// More than the largest number of producers needs.
const PRODUCERS_BYTES_MAX: usize = 64 << 20;

const MAGIC: &[u8; 8] = b"WEIRPROD";
const VERSION: u32 = 1;
const FIXED_BYTES: usize = 24;
const CRC_BYTES: usize = 4;
/// What one batch takes.
pub const BATCH_ENTRY_BYTES: usize = 32;

/// What producers wrote last, of all that lies below an offset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Producers {
    /// The offset.
    pub below: Offset,
    /// Their last batches, in log order.
    pub batches: Vec<BatchSummary>,
}

impl Producers {
    /// The file's bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let stamped = self.batches.iter().filter_map(|b| Some((b, b.producer?)));
        let bytes = FIXED_BYTES + self.batches.len() * BATCH_ENTRY_BYTES + CRC_BYTES;
        let mut out = BytesMut::with_capacity(bytes);
        out.put_slice(MAGIC);
        out.put_u32(VERSION);
        out.put_u64(self.below.0);
        out.put_u32(u32::try_from(stamped.clone().count()).unwrap_or(u32::MAX));
        for (batch, stamp) in stamped {
            out.put_u64(batch.base_offset.0);
            out.put_u32(batch.record_count);
            out.put_u32(batch.epoch.0);
            out.put_u64(stamp.id.0);
            out.put_u32(stamp.epoch.0.into());
            out.put_u32(stamp.base_sequence);
        }
        let crc = crc32c(&out);
        out.put_u32(crc);
        out.freeze()
    }

    /// From the file's bytes; `None` for anything that [`Producers::encode`] does not write.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (content, mut crc) = bytes.split_at_checked(bytes.len().checked_sub(CRC_BYTES)?)?;
        let mut at = content.strip_prefix(MAGIC)?;
        if content.len() < FIXED_BYTES || crc.get_u32() != crc32c(content) {
            return None;
        }
        if at.get_u32() != VERSION {
            return None;
        }
        let below = Offset(at.get_u64());
        let count = at.get_u32() as usize;
        if at.len() != count.checked_mul(BATCH_ENTRY_BYTES)? {
            return None;
        }
        let batches: Option<Vec<_>> = (0..count).map(|_| batch(&mut at, below)).collect();
        Some(Self { below, batches: batches? })
    }
}

fn batch(at: &mut &[u8], below: Offset) -> Option<BatchSummary> {
    let base_offset = Offset(at.get_u64());
    let record_count = at.get_u32();
    let epoch = LeaderEpoch(at.get_u32());
    let id = ProducerId(at.get_u64());
    let producer_epoch = ProducerEpoch(at.get_u32().try_into().ok()?);
    let base_sequence = at.get_u32();
    let last_offset = base_offset.0.checked_add(record_count.checked_sub(1)?.into())?;
    let stamp = ProducerStamp { id, epoch: producer_epoch, base_sequence };
    let fits = last_offset < below.0 && base_sequence <= i32::MAX as u32;
    fits.then_some(BatchSummary {
        base_offset,
        last_offset: Offset(last_offset),
        epoch,
        producer: Some(stamp),
        record_count,
    })
}

/// Reads the snapshot of a folder; `None` if there is none that is whole.
pub(super) async fn read(disk: &dyn Disk, folder: &str) -> Option<Producers> {
    let path = format!("{folder}/{PRODUCERS_FILE}");
    match disk::read_all(disk, &path, PRODUCERS_BYTES_MAX).await {
        Ok(bytes) => {
            let found = Producers::decode(&bytes);
            if found.is_none() {
                tracing::warn!(
                    path,
                    "the snapshot of producers is damaged; reading the log instead"
                );
            }
            found
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            tracing::warn!(path, %error, "no snapshot of producers; reading the log instead");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Producers {
        let batch = |base: u64, records: u32, id| BatchSummary {
            base_offset: Offset(base),
            last_offset: Offset(base + u64::from(records) - 1),
            epoch: LeaderEpoch(3),
            producer: Some(ProducerStamp {
                id: ProducerId(id),
                epoch: ProducerEpoch(2),
                base_sequence: 0x0a0b,
            }),
            record_count: records,
        };
        Producers { below: Offset(0x100), batches: vec![batch(5, 2, 9), batch(7, 1, 8)] }
    }

    #[test]
    fn golden_bytes() {
        let mut expected = b"WEIRPROD\0\0\0\x01\
            \0\0\0\0\0\0\x01\0\
            \0\0\0\x02\
            \0\0\0\0\0\0\0\x05\0\0\0\x02\0\0\0\x03\0\0\0\0\0\0\0\x09\0\0\0\x02\0\0\x0a\x0b\
            \0\0\0\0\0\0\0\x07\0\0\0\x01\0\0\0\x03\0\0\0\0\0\0\0\x08\0\0\0\x02\0\0\x0a\x0b"
            .to_vec();
        let crc = crc32c(&expected);
        expected.extend(crc.to_be_bytes());
        assert_eq!(sample().encode(), expected);
        assert_eq!(Producers::decode(&expected), Some(sample()));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let bytes = sample().encode();
        for at in 0..bytes.len() {
            assert_eq!(Producers::decode(&bytes[..at]), None, "cut to {at}");
            for bit in 0..8 {
                let mut bad = bytes.to_vec();
                bad[at] ^= 1 << bit;
                assert_eq!(Producers::decode(&bad), None, "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn batches_that_cannot_be_are_refused() {
        for wrong in [Offset(0x100), Offset(u64::MAX)] {
            let mut bad = sample();
            bad.batches[1].base_offset = wrong;
            assert_eq!(Producers::decode(&bad.encode()), None);
        }
        let mut none = sample();
        none.batches[0].record_count = 0;
        assert_eq!(Producers::decode(&none.encode()), None);
    }
}
