//! Verifying what lies above the recovery point, and making sure that it is on the disk.
//!
//! What is read here may come from the page cache, and after a failed fsync the cache holds
//! clean pages that never reached the disk: a later fsync would succeed and mean nothing. So
//! each good batch is written again, where it is, which makes its pages dirty; the fsync
//! that follows then tells the truth.

use bytes::{Bytes, BytesMut};
use weir_protocol::{
    batch::{self, BatchHeader, HEADER_BYTES},
    ids::Offset,
};
use weir_runtime::disk::File;

use super::{
    epochs::Epochs,
    error::{LogError, OnPath},
    walk::check_next,
};

const CHUNK_BYTES: u64 = 1 << 20;

/// Where the good part of a segment ends.
#[derive(Debug)]
pub(super) struct TailEnd {
    /// In bytes.
    pub position: u64,
    /// The offset that follows it.
    pub next: Offset,
    /// What is wrong with what comes then; `None` at the end of the file.
    pub bad: Option<String>,
}

/// The epoch of a batch must be the one that the checkpoint has for its offset. Below the
/// log start epochs are forgotten.
pub(super) fn check_epoch(
    header: &BatchHeader,
    epochs: &Epochs,
    log_start: Offset,
) -> Result<(), String> {
    if header.next_offset() <= log_start {
        return Ok(());
    }
    let found = header.partition_leader_epoch;
    match epochs.at(header.base_offset.max(log_start)) {
        Some(epoch) if epoch == found => Ok(()),
        Some(epoch) => Err(format!("the batch has leader epoch {found}, not {epoch}")),
        None => Err(format!("the batch has leader epoch {found}, which is not known here")),
    }
}

/// Verifies batch after batch from `position` to `len`, rewrites the good ones, and stops
/// at the first that is not. The caller fsyncs.
pub(super) async fn verify_and_rewrite(
    file: &dyn File,
    path: &str,
    (mut position, len): (u64, u64),
    mut next: Offset,
    check: impl Fn(&BatchHeader) -> Result<(), String>,
    mut visit: impl FnMut(&BatchHeader, u64),
) -> Result<TailEnd, LogError> {
    let mut buffer = BytesMut::new();
    let mut good = Rewrite { position, buffers: Vec::new(), bytes: 0 };
    let bad = loop {
        let remaining = len - position;
        if remaining == 0 {
            break None;
        }
        if (buffer.len() as u64) < remaining.min(HEADER_BYTES as u64) {
            buffer = fill(file, path, position, remaining.min(CHUNK_BYTES)).await?;
        }
        let header = match check_next(&buffer, next, remaining) {
            Ok(header) => header,
            Err(reason) => break Some(reason),
        };
        if buffer.len() < header.batch_bytes {
            let wanted = remaining.min(CHUNK_BYTES.max(header.batch_bytes as u64));
            buffer = fill(file, path, position, wanted).await?;
        }
        let Some(bytes) = buffer.get(..header.batch_bytes) else {
            break Some("the file shrank while it was read".to_owned());
        };
        let header = match batch::verify(bytes) {
            Ok(header) => header,
            Err(error) => break Some(error.to_string()),
        };
        if let Err(reason) = check(&header) {
            break Some(reason);
        }
        visit(&header, position);
        good.push(buffer.split_to(header.batch_bytes).freeze());
        if good.bytes >= CHUNK_BYTES {
            good.flush(file, path).await?;
        }
        position += header.batch_bytes as u64;
        next = header.next_offset();
    };
    good.flush(file, path).await?;
    Ok(TailEnd { position, next, bad })
}

async fn fill(
    file: &dyn File,
    path: &str,
    position: u64,
    bytes: u64,
) -> Result<BytesMut, LogError> {
    let room = usize::try_from(bytes).unwrap_or(usize::MAX);
    file.read_at(position, BytesMut::with_capacity(room)).await.on("read", path)
}

struct Rewrite {
    position: u64,
    buffers: Vec<Bytes>,
    bytes: u64,
}

impl Rewrite {
    fn push(&mut self, batch: Bytes) {
        self.bytes += batch.len() as u64;
        self.buffers.push(batch);
    }

    async fn flush(&mut self, file: &dyn File, path: &str) -> Result<(), LogError> {
        if self.bytes > 0 {
            let buffers = std::mem::take(&mut self.buffers);
            file.write_at(self.position, buffers).await.on("rewrite", path)?;
            self.position += self.bytes;
            self.bytes = 0;
        }
        Ok(())
    }
}
