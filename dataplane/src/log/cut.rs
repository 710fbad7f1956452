//! Taking away from either end of a log.
//!
//! Each writes the checkpoint before it touches a file, and removes files in the order
//! that leaves one unbroken log wherever a crash stops it.

use std::ops::ControlFlow;

use weir_protocol::ids::Offset;
use weir_runtime::disk::OpenMode;

use super::{
    checkpoint::Checkpoint,
    error::{LogError, OnPath},
    folder::{remove_file, remove_segment},
    index_file,
    producers_file::PRODUCERS_FILE,
    segment,
    state::{Inner, State},
    walk::seek,
};

pub(super) async fn truncate_to(inner: &Inner, offset: Offset) -> Result<Offset, LogError> {
    let mut writer = inner.writing.lock().await;
    let _syncing = inner.syncing.lock().await;
    inner.writable()?;
    {
        let state = inner.state();
        if offset >= state.log_end {
            return Ok(state.log_end);
        }
        in_range(&state, offset, state.log_end)?;
    }
    let (base, position, end) = boundary(inner, offset).await?;
    let content = {
        let state = inner.state();
        let mut epochs = state.epochs.clone();
        epochs.cut_end(end);
        // A log start within the batch that goes: nothing is left of what it served.
        let log_start = state.log_start.min(end);
        let recovery_point = state.durable_end.min(end);
        let mut segments = state.segments_below(recovery_point);
        if let Some(cut) = segments.last_mut().filter(|mark| mark.base == base) {
            cut.bytes = cut.bytes.min(position);
        }
        Checkpoint { recovery_point, log_start, epochs, segments: Some(segments) }
    };
    let in_flight = inner.in_flight("truncate");
    forget_producers(inner, end).await?;
    let _checkpointing = inner.checkpointing.lock().await;
    if let Err(error) = replace(inner, &content).await {
        if matches!(error, LogError::StorageFull(_)) {
            in_flight.done();
        }
        return Err(error);
    }
    let newer: Vec<Offset> = {
        let mut state = inner.state();
        state.cuts += 1;
        state.hints.clear();
        state.log_start = content.log_start;
        state.log_end = end;
        state.durable_end = content.recovery_point;
        state.epochs = content.epochs;
        let newer = state.segments.iter().map(|s| s.base);
        newer.filter(|b| *b > base || (*b == base && position == 0)).collect()
    };
    for base in newer.iter().rev() {
        remove_segment(&*inner.disk, &inner.folder, *base).await?;
    }
    if !newer.is_empty() {
        inner.disk.sync_dir(&inner.folder).await.on("sync folder", &inner.folder)?;
    }
    let mut reopened = None;
    if position > 0 {
        let path = inner.path(&segment::log_name(base));
        // The handle that wrote, while there is something to hear about.
        let dirty = inner.state().dirty_file(base);
        let file = match dirty {
            Some(file) => file,
            None => inner.disk.open(&path, OpenMode::Write).await.on("open", &path)?,
        };
        file.truncate(position).await.on("truncate", &path)?;
        file.sync_data().await.on("fsync", &path)?;
        // It is appended to again: its index too.
        let (disk, folder) = (&*inner.disk, &inner.folder);
        let interval = inner.config.index_interval_bytes;
        let resumed =
            index_file::resume(disk, folder, base, &*file, position, interval, |_| Ok(())).await?;
        reopened = Some(resumed.0);
    }
    writer.reset();
    {
        let mut state = inner.state();
        state.cuts += 1;
        state.hints.clear();
        state.segments.retain(|s| !newer.contains(&s.base));
        if let (Some(last), Some(index)) = (state.segments.last_mut(), reopened)
            && last.base == base
        {
            last.bytes = position;
            // Not more than what the recovery point stands for.
            last.synced_bytes = last.synced_bytes.min(position);
            last.end = end;
            last.largest_ms = index.largest_ms();
            last.index = Some(index);
            last.dirty = None;
        }
    }
    inner.open.forget(inner.id, newer);
    in_flight.done();
    tracing::info!(folder = inner.folder, log_end = end.0, "log truncated");
    Ok(end)
}

/// Appends and syncs go on meanwhile: only the checkpoint is held.
pub(super) async fn advance_log_start(inner: &Inner, offset: Offset) -> Result<(), LogError> {
    // Taken before the checkpoint's, as everywhere; needed only where nothing is left, for the
    // segment that goes last is the one that is appended to.
    let writing = inner.state().ends_at(offset);
    let _writer = if writing { Some(inner.writing.lock().await) } else { None };
    let _syncing = if writing { Some(inner.syncing.lock().await) } else { None };
    let _checkpointing = inner.checkpointing.lock().await;
    inner.writable()?;
    let (content, older) = {
        let state = inner.state();
        if offset <= state.log_start {
            return Ok(());
        }
        in_range(&state, offset, state.durable_end)?;
        // The last one stays, unless nobody can be writing to it.
        let all = state.segments.len();
        let removable = if writing && state.ends_at(offset) { all } else { all.saturating_sub(1) };
        let older = state.segments[..removable].iter().take_while(|s| s.end <= offset);
        let older: Vec<Offset> = older.map(|s| s.base).collect();
        let mut content = state.checkpoint();
        content.log_start = offset;
        content.epochs.cut_start(offset);
        if let Some(marks) = &mut content.segments {
            marks.retain(|mark| !older.contains(&mark.base));
        }
        (content, older)
    };
    let in_flight = inner.in_flight("advance log start");
    if let Err(error) = replace(inner, &content).await {
        if matches!(error, LogError::StorageFull(_)) {
            in_flight.done();
        }
        return Err(error);
    }
    {
        let mut state = inner.state();
        state.cuts += 1;
        state.log_start = offset;
        state.epochs.cut_start(offset);
        state.segments.retain(|s| !older.contains(&s.base));
    }
    in_flight.done();
    inner.open.forget(inner.id, older.iter().copied());
    // Oldest first. What a crash or an error leaves is removed at the next open.
    for base in older {
        if let Err(error) = remove_segment(&*inner.disk, &inner.folder, base).await {
            tracing::warn!(folder = inner.folder, %base, %error, "a segment that is not needed any more stays until the next start");
        }
    }
    Ok(())
}

pub(super) async fn restart_at(inner: &Inner, offset: Offset) -> Result<(), LogError> {
    let mut writer = inner.writing.lock().await;
    let _syncing = inner.syncing.lock().await;
    inner.writable()?;
    let in_flight = inner.in_flight("restart");
    let _checkpointing = inner.checkpointing.lock().await;
    // First nothing is promised any more, then it goes, then the new start is promised.
    let nothing = {
        let state = inner.state();
        let segments = Some(Vec::new());
        Checkpoint { recovery_point: state.log_start, segments, ..state.checkpoint() }
    };
    forget_producers(inner, Offset::ZERO).await?;
    if let Err(error) = replace(inner, &nothing).await {
        if matches!(error, LogError::StorageFull(_)) {
            in_flight.done();
        }
        return Err(error);
    }
    let all: Vec<Offset> = {
        let mut state = inner.state();
        state.cuts += 1;
        state.hints.clear();
        state.log_end = state.log_start;
        state.durable_end = state.log_start;
        state.segments.drain(..).map(|s| s.base).collect()
    };
    writer.reset();
    inner.open.forget(inner.id, all.iter().copied());
    for base in all.iter().rev() {
        remove_segment(&*inner.disk, &inner.folder, *base).await?;
    }
    inner.disk.sync_dir(&inner.folder).await.on("sync folder", &inner.folder)?;
    let anew = Checkpoint {
        recovery_point: offset,
        log_start: offset,
        segments: Some(Vec::new()),
        ..Checkpoint::default()
    };
    replace(inner, &anew).await?;
    let mut state = inner.state();
    state.cuts += 1;
    state.log_start = offset;
    state.log_end = offset;
    state.durable_end = offset;
    state.epochs = anew.epochs;
    drop(state);
    in_flight.done();
    tracing::info!(folder = inner.folder, log_start = offset.0, "log started anew");
    Ok(())
}

fn in_range(state: &State, offset: Offset, max: Offset) -> Result<(), LogError> {
    if offset < state.log_start || offset > max {
        let (log_start, log_end) = (state.log_start, max);
        return Err(LogError::OutOfRange { requested: offset, log_start, log_end });
    }
    Ok(())
}

/// Replaces the checkpoint; `checkpointing` is held. After an error the file may say the
/// old or the new, so the next append settles it first.
async fn replace(inner: &Inner, content: &Checkpoint) -> Result<(), LogError> {
    let written = inner.replace_checkpoint(content).await;
    inner.state().checkpoint_unsure = written.is_err();
    written
}

/// A snapshot of producers that speaks for more than will be left would be believed once the
/// log has grown past it again.
async fn forget_producers(inner: &Inner, end: Offset) -> Result<(), LogError> {
    let below = inner.state().producers_below;
    if below.is_none_or(|below| below <= end) {
        return Ok(());
    }
    remove_file(&*inner.disk, &inner.path(PRODUCERS_FILE)).await?;
    inner.disk.sync_dir(&inner.folder).await.on("sync folder", &inner.folder)?;
    inner.state().producers_below = None;
    Ok(())
}

/// The segment and position of the batch that holds `offset`, and that batch's own offset.
async fn boundary(inner: &Inner, offset: Offset) -> Result<(Offset, u64, Offset), LogError> {
    let found = {
        let state = inner.state();
        state.segment_at(offset).map(|s| {
            let relative = s.relative(offset);
            (s.base, s.bytes, relative)
        })
    };
    let Some((base, bytes, relative)) = found else {
        return Ok((offset, 0, offset));
    };
    let path = inner.path(&segment::log_name(base));
    let file = inner.segment_file(base).await?;
    let entry = index_file::floor(inner, base, |e| e.relative <= relative).await;
    let found =
        seek(&*file, base, entry, bytes, |header, position| match header.next_offset() > offset {
            true => ControlFlow::Break((base, position, header.base_offset)),
            false => ControlFlow::Continue(()),
        });
    let found = found.await.on("read", &path)?.map_err(|bad| bad.corrupt(path.clone()))?;
    found.ok_or_else(|| {
        let reason = "the segment ends before the offset".to_owned();
        LogError::Corrupt { file: path, position: bytes, offset, reason }
    })
}
