//! From a timestamp to the first batch that reaches it.
//!
//! Timestamps come from producers and need not rise. Both the segments and the index know
//! the largest up to a place, which does: the first batch whose own largest timestamp reaches
//! the one asked for is the first place where that largest does.

use std::{io, ops::ControlFlow};

use weir_protocol::ids::Offset;

use super::{
    error::{LogError, OnPath},
    index_file, segment,
    state::Inner,
    walk::seek,
};

/// How often a search starts over because the log was cut under it.
const ATTEMPTS: usize = 8;

pub(super) async fn find_time(
    inner: &Inner,
    timestamp_ms: i64,
    from: Offset,
    below: Offset,
) -> Result<Option<Offset>, LogError> {
    for _ in 0..ATTEMPTS {
        let (cuts, candidates) = {
            let state = inner.state();
            let from = from.max(state.log_start);
            let below = below.min(state.served_end());
            let first = state.segments.partition_point(|s| s.end <= from);
            let candidates = state.segments[first..].iter().take_while(|s| s.base < below);
            let candidates = candidates.filter(|s| s.largest_ms >= timestamp_ms);
            (state.cuts, candidates.map(|s| (s.base, s.bytes)).collect::<Vec<_>>())
        };
        let mut found = Ok(None);
        for (base, bytes) in candidates {
            found = in_segment(inner, (base, bytes), timestamp_ms, from).await;
            if !matches!(found, Ok(None)) {
                break;
            }
        }
        if inner.state().cuts == cuts {
            return found.map(|found| found.filter(|offset| *offset < below));
        }
    }
    let changing = io::Error::new(io::ErrorKind::Interrupted, "the log is being cut");
    Err(LogError::io("search", &inner.folder, &changing))
}

/// In one segment: the base offset of the first batch that reaches the timestamp and does not
/// end before `from`.
async fn in_segment(
    inner: &Inner,
    (base, bytes): (Offset, u64),
    timestamp_ms: i64,
    from: Offset,
) -> Result<Option<Offset>, LogError> {
    let path = inner.path(&segment::log_name(base));
    let file = inner.segment_file(base).await?;
    let relative = segment::relative(base, from.max(base));
    // Both rise along the index, so their either-or does too.
    let entry = index_file::floor(inner, base, |entry| {
        entry.before_ms < timestamp_ms || entry.relative <= relative
    });
    let entry = entry.await;
    let found = seek(&*file, base, entry, bytes, |header, _| {
        match header.max_timestamp_ms >= timestamp_ms && header.next_offset() > from {
            true => ControlFlow::Break(header.base_offset),
            false => ControlFlow::Continue(()),
        }
    });
    found.await.on("read", &path)?.map_err(|bad| bad.corrupt(path))
}
