//! From batch header to batch header, without reading bodies.

use std::{io, ops::ControlFlow};

use bytes::BytesMut;
use weir_protocol::{
    batch::{BatchHeader, HEADER_BYTES},
    ids::Offset,
};
use weir_runtime::disk::File;

use super::{error::LogError, index::Entry, log::BATCH_BYTES_MAX};

/// Batches smaller than this are worth reading many at a time.
const SMALL_BATCH_BYTES: usize = 4096;
const CHUNK_BYTES: usize = 64 << 10;

/// What is at a place in a segment.
#[derive(Debug)]
pub(super) enum Step {
    /// Exactly its end.
    End,
    /// A batch.
    Batch(BatchHeader),
    /// Something else, and what is wrong with it.
    Bad(String),
}

/// The header at the start of `bytes`, if it can be that of the batch at `expected` with
/// `remaining` bytes of its segment left.
pub(super) fn check_next(
    bytes: &[u8],
    expected: Offset,
    remaining: u64,
) -> Result<BatchHeader, String> {
    if remaining < HEADER_BYTES as u64 {
        return Err(format!("{remaining} bytes are left, less than a batch header"));
    }
    let header = BatchHeader::parse(bytes).map_err(|error| error.to_string())?;
    if header.base_offset != expected {
        return Err(format!("the batch there begins at offset {}", header.base_offset));
    }
    if header.batch_bytes > BATCH_BYTES_MAX || header.batch_bytes as u64 > remaining {
        return Err(format!(
            "the batch there claims {} bytes, {remaining} are left",
            header.batch_bytes
        ));
    }
    Ok(header)
}

/// Walks the headers of a segment.
pub(super) struct HeaderWalk<'a> {
    file: &'a dyn File,
    /// Where the segment ends, in bytes.
    end: u64,
    position: u64,
    chunk: BytesMut,
    chunk_at: u64,
    chunk_bytes: usize,
}

impl<'a> HeaderWalk<'a> {
    /// From the batch at `position` to `end`.
    pub fn new(file: &'a dyn File, position: u64, end: u64) -> Self {
        let chunk_bytes = SMALL_BATCH_BYTES;
        Self { file, end, position, chunk: BytesMut::new(), chunk_at: 0, chunk_bytes }
    }

    /// Where the next batch begins, in bytes.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// What is at the position, where a batch at offset `expected` should be (or the end).
    /// Stays there: [`HeaderWalk::skip`] moves on.
    pub async fn peek(&mut self, expected: Offset) -> io::Result<Step> {
        if self.position >= self.end {
            return Ok(Step::End);
        }
        let remaining = self.end - self.position;
        let wanted = usize::try_from(remaining).unwrap_or(HEADER_BYTES).min(HEADER_BYTES);
        if self.in_chunk().is_none_or(|bytes| bytes.len() < wanted) {
            let mut chunk = std::mem::take(&mut self.chunk);
            chunk.clear();
            let room = usize::try_from(remaining).unwrap_or(usize::MAX).min(self.chunk_bytes);
            let chunk =
                if chunk.capacity() == room { chunk } else { BytesMut::with_capacity(room) };
            self.chunk = self.file.read_at(self.position, chunk).await?;
            self.chunk_at = self.position;
        }
        let bytes = self.in_chunk().unwrap_or_default();
        Ok(match check_next(bytes, expected, remaining) {
            Ok(header) => Step::Batch(header),
            Err(reason) => Step::Bad(reason),
        })
    }

    /// Over the batch that was just seen.
    pub fn skip(&mut self, header: &BatchHeader) {
        self.position += header.batch_bytes as u64;
        self.chunk_bytes =
            if header.batch_bytes < SMALL_BATCH_BYTES { CHUNK_BYTES } else { HEADER_BYTES };
    }

    fn in_chunk(&self) -> Option<&[u8]> {
        let from = usize::try_from(self.position.checked_sub(self.chunk_at)?).ok()?;
        self.chunk.get(from..)
    }
}

/// Where a walk over headers met something else.
#[derive(Debug)]
pub(super) struct BadHeader {
    pub position: u64,
    pub offset: Offset,
    pub reason: String,
}

impl BadHeader {
    pub fn corrupt(self, file: String) -> LogError {
        let Self { position, offset, reason } = self;
        LogError::Corrupt { file, position, offset, reason }
    }
}

/// Walks a segment's batches up to `end` bytes from an indexed one, until `visit` has what it
/// wants. Where the index leads nowhere it begins anew at the segment's start: so `visit` may
/// be shown a batch twice.
pub(super) async fn seek<T>(
    file: &dyn File,
    base: Offset,
    indexed: Entry,
    end: u64,
    mut visit: impl FnMut(&BatchHeader, u64) -> ControlFlow<T>,
) -> io::Result<Result<Option<T>, BadHeader>> {
    let mut start = indexed;
    loop {
        let mut next = Offset(base.0 + u64::from(start.relative));
        let mut headers = HeaderWalk::new(file, u64::from(start.position), end);
        let bad = loop {
            let position = headers.position();
            match headers.peek(next).await? {
                Step::End => return Ok(Ok(None)),
                Step::Bad(reason) => break BadHeader { position, offset: next, reason },
                Step::Batch(header) => {
                    if let ControlFlow::Break(found) = visit(&header, position) {
                        return Ok(Ok(Some(found)));
                    }
                    headers.skip(&header);
                    next = header.next_offset();
                }
            }
        };
        if start == Entry::START {
            return Ok(Err(bad));
        }
        start = Entry::START;
    }
}

#[cfg(test)]
pub(super) mod tests {
    use weir_protocol::{
        batch::{BatchBuilder, BatchConfig, NewRecord, ProducerStamp, assign},
        ids::{LeaderEpoch, ProducerEpoch, ProducerId},
    };

    use super::*;
    use crate::log::Assigned;

    /// A batch of `records` records at `offset`.
    pub fn batch(offset: u64, epoch: u32, records: u32, producer: Option<u64>) -> Assigned {
        let mut builder = BatchBuilder::new(BatchConfig::default());
        for n in 0..records {
            let value = Some(format!("{offset:04}+{n}").into());
            builder.push(NewRecord { timestamp_ms: 1, value, ..NewRecord::default() }).unwrap();
        }
        let stamp = producer.map(|id| ProducerStamp {
            id: ProducerId(id),
            epoch: ProducerEpoch(0),
            base_sequence: 0,
        });
        let bytes = builder.finish(stamp).unwrap();
        let parts = assign(&bytes, Offset(offset), LeaderEpoch(epoch));
        let header = BatchHeader::parse(&parts[0]).unwrap();
        Assigned { header, parts }
    }

    pub fn header(offset: u64, producer: Option<u64>) -> BatchHeader {
        batch(offset, 0, 1, producer).header
    }

    #[test]
    fn nonsense_is_named_before_anything_is_allocated_for_it() {
        let batch = batch(7, 0, 1, None);
        let head = &batch.parts[0];
        let bytes = batch.header.batch_bytes as u64;
        assert!(check_next(head, Offset(7), bytes).is_ok());
        assert!(check_next(head, Offset(8), bytes).is_err(), "another offset");
        assert!(check_next(head, Offset(7), bytes - 1).is_err(), "beyond the file");
        assert!(check_next(head, Offset(7), 60).is_err());
        let mut huge = head.to_vec();
        huge[8..12].copy_from_slice(&i32::MAX.to_be_bytes());
        assert!(check_next(&huge, Offset(7), u64::MAX).is_err(), "no batch is that large");
        assert!(check_next(&[0; 61], Offset(0), 1000).is_err(), "zeros");
    }
}
