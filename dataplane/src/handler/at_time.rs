//! A start by time, as an offset: the one place where an SPU looks into a batch.

use weir_protocol::{
    ErrorCode, WireError,
    batch::{self, DecodeLimits},
    ids::Offset,
};

use crate::{
    log::Log,
    partition::Partition,
    replica::start_offset::{Readable, Request, StartAt},
};

/// A batch that reaches the time is followed by another only where the log start cuts off the
/// records that do.
const BATCHES_MAX: usize = 4;

/// The same wish, with the offset of the first record that reaches its time, if it is by time.
///
/// # Errors
/// What the log says: see [`Log::find_time`].
pub(super) async fn locate(
    partition: &Partition,
    start: Request,
    readable: Readable,
) -> Result<Request, WireError> {
    let (None, StartAt::Timestamp { ms, .. }) = (start.committed, start.at) else {
        return Ok(start);
    };
    let log = partition.log().ok_or_else(|| {
        WireError::new(ErrorCode::NotYetAvailable, "the replica's log is not open")
    })?;
    let at = find(partition, log, ms, readable).await?;
    Ok(Request { at: StartAt::Timestamp { ms, at }, ..start })
}

async fn find(
    partition: &Partition,
    log: &Log,
    ms: i64,
    readable: Readable,
) -> Result<Option<Offset>, WireError> {
    let failed = |error| {
        partition.read_failed(&error);
        WireError::new(error.code(), error.to_string())
    };
    let (mut from, below) = (readable.log_start, readable.high_watermark);
    for _ in 0..BATCHES_MAX {
        let Some(base) = log.find_time(ms, from, below).await.map_err(failed)? else {
            return Ok(None);
        };
        from = from.max(base);
        // One batch, whatever its size. None: it is not committed as a whole.
        let bytes = log.read(from, below, 1).await.map_err(failed)?;
        let Ok(Some((header, _, _))) = batch::split_first(&bytes) else { return Ok(None) };
        let Ok(records) = batch::records(&bytes, &DecodeLimits::default()) else { break };
        for record in records {
            match record {
                Ok(record) if record.offset >= from && record.timestamp_ms >= ms => {
                    return Ok(Some(record.offset));
                }
                Ok(_) => {}
                // A body that no producer should have sent: the reader will meet it there.
                Err(_) => return Ok(Some(from)),
            }
        }
        from = header.next_offset();
    }
    Ok(Some(from))
}
