//! Making durable: fsync what was appended, in log order, and never believe a second try.

use weir_protocol::ids::Offset;
use weir_runtime::disk::OpenMode;

use super::{
    error::{LogError, OnPath},
    hints::Hint,
    segment,
    state::Inner,
};

pub(super) async fn sync(inner: &Inner) -> Result<Offset, LogError> {
    // What this call must cover; a call that waits may find it covered by the one before.
    let mine = inner.state().log_end;
    let _turn = inner.syncing.lock().await;
    let covered = inner.state().durable_end;
    if covered >= mine {
        // Also on a failed log: what is durable is.
        return Ok(covered);
    }
    inner.writable()?;
    let (target, dirty) = {
        let state = inner.state();
        let covered = state.segments.partition_point(|s| s.end <= state.durable_end);
        let dirty: Vec<_> = state.segments[covered..]
            .iter()
            .filter(|s| s.synced_bytes < s.bytes)
            .map(|s| (s.base, s.bytes, s.dirty.clone()))
            .collect();
        (state.log_end, dirty)
    };
    let in_flight = inner.in_flight("fsync");
    // Oldest first, so that what survives of a sync cut short is a prefix of the log.
    for (base, _, file) in &dirty {
        let path = inner.path(&segment::log_name(*base));
        let file = match file {
            Some(file) => file.clone(),
            None => inner.disk.open(&path, OpenMode::Write).await.on("open", &path)?,
        };
        // Any error, a full disk too, is final for what this covered: fail by dropping
        // `in_flight`.
        file.sync_data().await.map_err(|error| LogError::Io {
            operation: "fsync",
            path,
            kind: error.kind(),
            message: error.to_string(),
        })?;
    }
    in_flight.done();

    let mut clean = Vec::new();
    let durable_end = {
        let mut state = inner.state();
        for (base, bytes, _) in &dirty {
            let Some(segment) = state.segment_mut(*base) else { continue };
            segment.synced_bytes = segment.synced_bytes.max(*bytes);
            if segment.synced_bytes >= segment.bytes {
                clean.extend(segment.dirty.take().map(|file| (*base, file)));
            }
        }
        state.durable_end = state.durable_end.max(target);
        // The high watermark comes to rest here: a reader will ask for this place next.
        if let Some((base, bytes, _)) = dirty.last() {
            let hint = Hint { offset: target, segment: *base, position: *bytes };
            state.hints.put(hint, None);
        }
        // The recovery point is the owner's to move on: acknowledgements wait for this call.
        state.durable_end
    };
    for (base, file) in clean {
        inner.keep(base, &file, true);
    }
    Ok(durable_end)
}
