//! Reading: find the place, read once, trim to whole batches.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use weir_protocol::{
    batch::{self, BatchHeader, HEADER_BYTES},
    ids::Offset,
};

use super::{
    error::{LogError, OnPath},
    hints::Hint,
    index_file,
    log::BATCH_BYTES_MAX,
    segment,
    state::{Inner, State},
    walk::check_next,
};

/// How often a read starts over because the log was cut under it.
const ATTEMPTS: usize = 8;

/// Where a read looks.
struct Plan {
    segment: Offset,
    /// Whole batches in it.
    bytes: u64,
    start: Start,
    below: Offset,
    /// Where `below` lies in the segment, if known.
    stop: Option<u64>,
    cuts: u64,
}

enum Start {
    /// The batch at the offset asked for begins here.
    Exact(u64),
    /// The index knows about where.
    Indexed { relative: u32 },
}

pub(super) async fn read(
    inner: &Inner,
    from: Offset,
    below: Offset,
    max_bytes: usize,
) -> Result<Bytes, LogError> {
    for _ in 0..ATTEMPTS {
        let Some(plan) = plan(&inner.state(), from, below)? else { return Ok(Bytes::new()) };
        let result = follow(inner, &plan, from, max_bytes.min(BATCH_BYTES_MAX)).await;
        if inner.state().cuts == plan.cuts {
            return result;
        }
    }
    let changing = io::Error::new(io::ErrorKind::Interrupted, "the log is being cut");
    Err(LogError::io("read", &inner.folder, &changing))
}

/// Decides; `None` when there is nothing to read.
fn plan(state: &State, from: Offset, below: Offset) -> Result<Option<Plan>, LogError> {
    let served_end = state.served_end();
    if from > served_end && from <= state.log_end {
        return Err(LogError::Failed(state.failed.clone().unwrap_or_default()));
    }
    if from < state.log_start || from > served_end {
        let (log_start, log_end) = (state.log_start, served_end);
        return Err(LogError::OutOfRange { requested: from, log_start, log_end });
    }
    let below = below.min(served_end);
    if from >= below {
        return Ok(None);
    }
    let Some(segment) = state.segment_at(from) else { return Ok(None) };
    let known = |offset| state.hints.find(offset).filter(|h| h.segment == segment.base);
    let relative = segment.relative(from);
    let start = match known(from) {
        Some(hint) => Start::Exact(hint.position),
        None if from == segment.base => Start::Exact(0),
        None => Start::Indexed { relative },
    };
    Ok(Some(Plan {
        segment: segment.base,
        bytes: segment.bytes,
        start,
        below,
        stop: known(below).map(|hint| hint.position),
        cuts: state.cuts,
    }))
}

async fn follow(
    inner: &Inner,
    plan: &Plan,
    from: Offset,
    max_bytes: usize,
) -> Result<Bytes, LogError> {
    let (position, expected, slack) = match plan.start {
        Start::Exact(position) => (position, from, 0),
        Start::Indexed { relative } => {
            let entry = index_file::floor(inner, plan.segment, |e| e.relative <= relative).await;
            let expected = Offset(plan.segment.0 + u64::from(entry.relative));
            (u64::from(entry.position), expected, inner.config.index_interval_bytes as usize)
        }
    };
    let result = scan(inner, plan, (position, expected), from, max_bytes, slack).await;
    match result {
        // Hint or index may be what is wrong. Only a scan from the start tells.
        Err(LogError::Corrupt { .. }) if position > 0 => {
            let base = plan.segment;
            scan(inner, plan, (0, base), from, max_bytes, slack).await
        }
        other => other,
    }
}

/// Reads on from a batch boundary until the batch that holds `from` and, as far as
/// `max_bytes` go, those after it are in one buffer.
async fn scan(
    inner: &Inner,
    plan: &Plan,
    (mut position, mut expected): (u64, Offset),
    from: Offset,
    max_bytes: usize,
    slack: usize,
) -> Result<Bytes, LogError> {
    let path = inner.path(&segment::log_name(plan.segment));
    let file = inner.segment_file(plan.segment).await?;
    // Only a help to read no more than is asked for; not relied upon.
    let mut stop = plan.stop.unwrap_or(plan.bytes).min(plan.bytes);
    let mut wanted = max_bytes.saturating_add(slack).max(HEADER_BYTES);
    loop {
        let left = usize::try_from(stop.saturating_sub(position)).unwrap_or(usize::MAX);
        let wanted_now = wanted.min(left);
        let buffer = BytesMut::with_capacity(wanted_now);
        let mut buffer = file.read_at(position, buffer).await.on("read", &path)?;
        if buffer.len() < wanted_now {
            let position = position + buffer.len() as u64;
            return Err(corrupt(path, position, expected, "the file is too short".into()));
        }
        let remaining = plan.bytes.saturating_sub(position);
        match select(&buffer, expected, remaining, from, plan.below, max_bytes) {
            Ok(Selected::Batches { bytes: 0, .. }) => return Ok(Bytes::new()),
            Ok(Selected::Batches { skip, bytes, next }) => {
                let end = position + (skip + bytes) as u64;
                if end < plan.bytes {
                    let hint = Hint { offset: next, segment: plan.segment, position: end };
                    let mut state = inner.state();
                    if state.cuts == plan.cuts {
                        state.hints.put(hint, Some(from));
                    }
                }
                buffer.truncate(skip + bytes);
                buffer.advance(skip);
                let batches = buffer.freeze();
                return match verify(&batches) {
                    Ok(()) => Ok(batches),
                    Err((at, offset, reason)) => {
                        Err(corrupt(path, position + (skip + at) as u64, offset, reason))
                    }
                };
            }
            Ok(Selected::More { skip, bytes, next }) => {
                position += skip as u64;
                expected = next;
                wanted = bytes.max(max_bytes);
                stop = plan.bytes;
            }
            Err((at, offset, reason)) => {
                return Err(corrupt(path, position + at as u64, offset, reason));
            }
        }
    }
}

/// Checks every batch in full, checksum included: what went bad on the disk is never served.
/// The bytes were just copied and are in the processor's cache, so it costs a tenth of the
/// copy.
fn verify(batches: &Bytes) -> Result<(), (usize, Offset, String)> {
    let mut rest = &batches[..];
    while !rest.is_empty() {
        let at = batches.len() - rest.len();
        let bad = |offset, reason: &dyn std::fmt::Display| (at, offset, reason.to_string());
        let header = BatchHeader::parse(rest).map_err(|error| bad(Offset::ZERO, &error))?;
        let (batch, after) = rest
            .split_at_checked(header.batch_bytes)
            .ok_or_else(|| bad(header.base_offset, &"the batch is cut short"))?;
        batch::verify(batch).map_err(|error| bad(header.base_offset, &error))?;
        rest = after;
    }
    Ok(())
}

fn corrupt(file: String, position: u64, offset: Offset, reason: String) -> LogError {
    LogError::Corrupt { file, position, offset, reason }
}

/// What a buffer holds of what was asked for.
#[derive(Debug, PartialEq, Eq)]
enum Selected {
    /// After `skip` bytes, `bytes` of whole batches, followed by offset `next`.
    Batches { skip: usize, bytes: usize, next: Offset },
    /// Nothing whole: read on `skip` bytes further, at offset `next`, at least `bytes`.
    More { skip: usize, bytes: usize, next: Offset },
}

/// Picks from a buffer that begins with the batch at `expected`, and has `remaining` bytes
/// of its segment from there on. Pure.
fn select(
    buffer: &[u8],
    mut expected: Offset,
    remaining: u64,
    from: Offset,
    below: Offset,
    max_bytes: usize,
) -> Result<Selected, (usize, Offset, String)> {
    let mut at = 0;
    // Where the batch that holds `from` begins, once it is found.
    let mut first = None;
    loop {
        let taken = first.map_or(0, |first| at - first);
        let done = Selected::Batches { skip: first.unwrap_or(at), bytes: taken, next: expected };
        if expected >= below {
            return Ok(done);
        }
        let left = remaining.saturating_sub(at as u64);
        let header = match buffer.get(at..).filter(|rest| rest.len() >= HEADER_BYTES) {
            _ if left == 0 && taken > 0 => return Ok(done),
            None if taken > 0 => return Ok(done),
            None if left >= HEADER_BYTES as u64 => {
                return Ok(Selected::More { skip: at, bytes: HEADER_BYTES, next: expected });
            }
            rest => check_next(rest.unwrap_or_default(), expected, left)
                .map_err(|reason| (at, expected, reason))?,
        };
        let (bytes, next) = (header.batch_bytes, header.next_offset());
        if next > from {
            let first = *first.get_or_insert(at);
            if next > below || (taken > 0 && taken + bytes > max_bytes) {
                return Ok(Selected::Batches { skip: first, bytes: taken, next: expected });
            }
            if at + bytes > buffer.len() {
                return Ok(if taken > 0 {
                    Selected::Batches { skip: first, bytes: taken, next: expected }
                } else {
                    Selected::More { skip: at, bytes, next: expected }
                });
            }
        }
        at += bytes;
        expected = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::walk::tests::batch;

    fn segment() -> (Vec<u8>, usize) {
        let mut bytes = Vec::new();
        for n in 0..5 {
            bytes.extend(batch(n * 10, 0, 10, None).parts.concat());
        }
        let one = bytes.len() / 5;
        (bytes, one)
    }

    fn pick(buffer: &[u8], len: usize, from: u64, below: u64, max: usize) -> Selected {
        select(buffer, Offset(0), len as u64, Offset(from), Offset(below), max).unwrap()
    }

    #[test]
    fn whole_batches_from_the_one_that_holds_the_offset() {
        let (bytes, one) = segment();
        let take = |from, below, max| match pick(&bytes, bytes.len(), from, below, max) {
            Selected::Batches { skip, bytes, next } => (skip / one, bytes / one, next.0),
            more => panic!("{more:?}"),
        };
        assert_eq!(take(0, 50, usize::MAX), (0, 5, 50));
        assert_eq!(take(25, 50, 2 * one), (2, 2, 40));
        assert_eq!(take(20, 50, 1), (2, 1, 30), "always one");
        assert_eq!(take(20, 39, usize::MAX), (2, 1, 30), "none that reaches beyond");
        assert_eq!(take(20, 29, usize::MAX), (2, 0, 20), "not even the first");
    }

    #[test]
    fn a_buffer_that_ends_too_early_says_where_to_go_on() {
        let (bytes, one) = segment();
        let len = bytes.len();
        let more = |skip, bytes, next| Selected::More { skip, bytes, next: Offset(next) };
        assert_eq!(pick(&bytes[..60], len, 0, 50, 1000), more(0, 61, 0));
        assert_eq!(pick(&bytes[..61], len, 0, 50, 1000), more(0, one, 0));
        assert_eq!(
            pick(&bytes[..61], len, 20, 50, 1000),
            more(one, 61, 10),
            "a skip needs no body"
        );
        let cut = one + one / 2;
        let whole = Selected::Batches { skip: 0, bytes: one, next: Offset(10) };
        assert_eq!(pick(&bytes[..cut], len, 0, 50, usize::MAX), whole);
    }

    #[test]
    fn nonsense_is_an_error_with_its_place() {
        let (mut bytes, one) = segment();
        bytes[one + 7] ^= 1;
        let all = select(&bytes, Offset(0), bytes.len() as u64, Offset(0), Offset(50), 1 << 20);
        let (at, offset, _) = all.unwrap_err();
        assert_eq!((at, offset), (one, Offset(10)));
    }
}
