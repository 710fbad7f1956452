//! What producers wrote last: the snapshot, and every batch header after it.

use weir_protocol::ids::Offset;
use weir_runtime::disk::{Disk, OpenMode};

use super::{
    error::{LogError, OnPath},
    index_file::{self, BadHeader},
    log::LogConfig,
    producers_file::Producers,
    recent::{BatchSummary, RecentBatches},
    segment,
    state::State,
    walk::{HeaderWalk, Step},
};

/// The last batches of each producer, in log order, of a log that was just opened.
///
/// # Errors
/// [`LogError::Corrupt`]: a batch that the log must have is damaged.
pub(super) async fn producers(
    disk: &dyn Disk,
    folder: &str,
    state: &State,
    config: &LogConfig,
    snapshot: Option<Producers>,
) -> Result<Vec<BatchSummary>, LogError> {
    let mut recent = RecentBatches::new(config.producers_max);
    let snapshot = snapshot.filter(|producers| producers.below <= state.log_end);
    let mut from = match snapshot {
        Some(Producers { below, batches }) => {
            batches.into_iter().for_each(|batch| recent.push(batch));
            below.max(state.log_start)
        }
        None => state.log_start,
    };
    let first = state.segments.partition_point(|s| s.end <= from);
    for segment in &state.segments[first..] {
        let path = format!("{folder}/{}", segment::log_name(segment.base));
        let file = disk.open(&path, OpenMode::Read).await.on("open", &path)?;
        // From the index' place first; if that leads nowhere, from the segment's start.
        let mut starts = vec![(0, segment.base)];
        let relative = segment.relative(from.max(segment.base));
        let entry = index_file::floor_of(disk, folder, segment, |e| e.relative <= relative).await;
        if entry.position > 0 {
            let offset = Offset(segment.base.0 + u64::from(entry.relative));
            starts.push((u64::from(entry.position), offset));
        }
        let mut walked = Ok(());
        while let Some((position, mut next)) = starts.pop() {
            let mut headers = HeaderWalk::new(&*file, position, segment.bytes);
            walked = loop {
                match headers.peek(next).await.on("read", &path)? {
                    Step::End => break Ok(()),
                    Step::Bad(reason) => {
                        let position = headers.position();
                        break Err(BadHeader { position, offset: next, reason });
                    }
                    Step::Batch(header) => {
                        headers.skip(&header);
                        next = header.next_offset();
                        if header.base_offset >= from {
                            recent.push(BatchSummary::from(&header));
                            from = next;
                        }
                    }
                }
            };
            if walked.is_ok() {
                break;
            }
        }
        walked.map_err(|bad| bad.corrupt(path))?;
    }
    Ok(recent.finish())
}
