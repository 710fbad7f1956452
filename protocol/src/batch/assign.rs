//! An append's offset and epoch, without copying the body.

use bytes::Bytes;

use super::header::{EPOCH_AT, HEADER_BYTES};
use crate::ids::{LeaderEpoch, Offset};

/// The batch with `base_offset` and `epoch` in its header, as two parts to be written one after
/// the other: a patched copy of the header, and the untouched rest, shared with `bytes`. Both
/// fields lie outside the CRC, which stays valid.
///
/// `bytes` must have passed [`verify`](super::verify()) and `base_offset` be such that the last
/// record's offset is below [`Offset::MAX`]. Bytes too short to be a batch come back as they are.
#[must_use]
pub fn assign(bytes: &Bytes, base_offset: Offset, epoch: LeaderEpoch) -> [Bytes; 2] {
    let Some(head) = bytes.first_chunk::<HEADER_BYTES>() else {
        return [bytes.clone(), Bytes::new()];
    };
    let mut head = *head;
    head[..8].copy_from_slice(&base_offset.get().to_be_bytes());
    head[EPOCH_AT..EPOCH_AT + 4].copy_from_slice(&epoch.get().to_be_bytes());
    [Bytes::copy_from_slice(&head), bytes.slice(HEADER_BYTES..)]
}
