//! Taking over a log of the version before: its checkpoint lists no segments, so they are
//! found by walking every batch header below the recovery point, once.

use weir_protocol::ids::Offset;
use weir_runtime::{
    clock::Clock,
    disk::{Disk, OpenMode},
};

use super::{
    checkpoint::{Checkpoint, SegmentMark},
    error::{LogError, OnPath},
    folder::{Listing, remove_file},
    index::NO_TIMESTAMP,
    listed, segment,
    tail::check_epoch,
    walk::{HeaderWalk, Step},
};

/// What the checkpoint should have listed. The old indexes go: they know no times.
///
/// # Errors
/// [`LogError::Corrupt`]: a bad header, or a gap, below the recovery point.
pub(super) async fn marks(
    disk: &dyn Disk,
    folder: &str,
    listing: &Listing,
    old: &Checkpoint,
) -> Result<Vec<SegmentMark>, LogError> {
    tracing::info!(folder, "the log has the layout of the version before; taking it over");
    let files = listed::segments(listing);
    // The last that begins at or below the log start is the first that is needed.
    let first = files.range(..=old.log_start).next_back().map(|(base, _)| *base);
    let mut next = first.unwrap_or(old.log_start);
    let mut marks = Vec::new();
    for (base, len) in files.range(next..) {
        if next >= old.recovery_point {
            break;
        }
        let path = format!("{folder}/{}", segment::log_name(*base));
        if *base != next {
            let reason = format!("a segment begins at {base} where {next} should follow");
            return Err(LogError::Corrupt { file: path, position: 0, offset: next, reason });
        }
        let (mark, end) = walk(disk, &path, *base, *len, old).await?;
        marks.extend(Some(mark).filter(|mark| mark.bytes > 0));
        next = end;
    }
    if next < old.recovery_point {
        let file = format!("{folder}/{}", segment::log_name(next));
        let reason = format!("the log ends before its recovery point {}", old.recovery_point);
        return Err(LogError::Corrupt { file, position: 0, offset: next, reason });
    }
    for base in listing.names().filter_map(|name| segment::parse_index_name(name)) {
        remove_file(disk, &format!("{folder}/{}", segment::index_name(base))).await?;
    }
    // Where the recovery point is the log start nothing is known to be durable.
    Ok(if old.recovery_point == old.log_start { Vec::new() } else { marks })
}

async fn walk(
    disk: &dyn Disk,
    path: &str,
    base: Offset,
    len: u64,
    old: &Checkpoint,
) -> Result<(SegmentMark, Offset), LogError> {
    let file = disk.open(path, OpenMode::Read).await.on("open", path)?;
    let mut headers = HeaderWalk::new(&*file, 0, len);
    let (mut next, mut largest_ms) = (base, NO_TIMESTAMP);
    while next < old.recovery_point {
        let position = headers.position();
        let checked = match headers.peek(next).await.on("read", path)? {
            Step::End => break,
            Step::Batch(header) => {
                check_epoch(&header, &old.epochs, old.log_start).map(|()| header)
            }
            Step::Bad(reason) => Err(reason),
        };
        let header = checked.map_err(|reason| LogError::Corrupt {
            file: path.to_owned(),
            position,
            offset: next,
            reason,
        })?;
        headers.skip(&header);
        largest_ms = largest_ms.max(header.max_timestamp_ms);
        next = header.next_offset();
    }
    let begun_ms = Clock.unix_ms();
    Ok((SegmentMark { base, bytes: headers.position(), largest_ms, begun_ms }, next))
}
