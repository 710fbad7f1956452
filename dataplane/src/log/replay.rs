//! What producers wrote last: the snapshot, and every batch header after it.

use std::ops::ControlFlow;

use weir_runtime::disk::{Disk, OpenMode};

use super::{
    error::{LogError, OnPath},
    index_file,
    log::LogConfig,
    producers_file::Producers,
    recent::{BatchSummary, RecentBatches},
    segment,
    state::State,
    walk::seek,
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
        let relative = segment.relative(from.max(segment.base));
        let entry = index_file::floor_of(disk, folder, segment, |e| e.relative <= relative).await;
        let walked = seek(&*file, segment.base, entry, segment.bytes, |header, _| {
            if header.base_offset >= from {
                recent.push(BatchSummary::from(header));
                from = header.next_offset();
            }
            ControlFlow::<()>::Continue(())
        });
        walked.await.on("read", &path)?.map_err(|bad| bad.corrupt(path))?;
    }
    Ok(recent.finish())
}
