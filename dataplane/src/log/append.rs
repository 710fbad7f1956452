//! Appending: check everything, place batches in segments, write, publish.

use std::sync::Arc;

use bytes::Bytes;
use weir_protocol::{
    batch::BatchHeader,
    ids::{LeaderEpoch, Offset},
};
use weir_runtime::disk::{File, OpenMode};

use super::{
    begin_epoch,
    error::{LogError, OnPath},
    index_file,
    log::BATCH_BYTES_MAX,
    segment::{self, Segment},
    state::Inner,
};

/// The operation that fails without harm: for want of descriptors, say.
const OPEN: &str = "open";

/// A batch with its offset and epoch, ready to be appended.
#[derive(Clone, Debug)]
pub struct Assigned {
    /// What the bytes say, base offset and leader epoch included.
    pub header: BatchHeader,
    /// The batch, in two parts: as `weir_protocol::batch::assign` gives it.
    pub parts: [Bytes; 2],
}

/// What only the one writer needs.
#[derive(Default)]
pub(super) struct Writer {
    /// The last segment's handle, once it was opened for writing.
    file: Option<(Offset, Arc<dyn File>)>,
    /// Up to where room is reserved in it, in bytes.
    reserved: u64,
    /// The last segment's index file.
    pub index: Option<(Offset, Arc<dyn File>)>,
}

impl Writer {
    /// Forgets its handles: the segments changed under it.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

/// Batches that go to one segment in one write.
struct Placed {
    base: Offset,
    /// Whether the segment must be made first.
    new: bool,
    position: u64,
    bytes: u64,
    end: Offset,
    /// Offset and position of each batch.
    starts: Vec<(Offset, u64)>,
    buffers: Vec<Bytes>,
}

pub(super) async fn append(inner: &Inner, batches: Vec<Assigned>) -> Result<Offset, LogError> {
    let mut writer = inner.writing.lock().await;
    inner.writable()?;
    let (log_end, active, latest) = {
        let state = inner.state();
        let active = state.segments.last().map(|s| (s.base, s.bytes));
        (state.log_end, active, state.epochs.latest())
    };
    check(&batches, log_end, latest)?;
    if batches.is_empty() {
        return Ok(log_end);
    }
    begin_epoch::persist_of(inner, batches.iter().map(|b| &b.header)).await?;
    let placed = place(batches, active, inner.config.segment_bytes_max);

    let in_flight = inner.in_flight("append");
    let mut made = Vec::new();
    for group in &placed {
        let Err(error) = write(inner, &mut writer, group, &mut made).await else { continue };
        let harmless =
            matches!(error, LogError::StorageFull(_) | LogError::Io { operation: OPEN, .. });
        if harmless {
            undo(inner, &mut writer, active, &made).await?;
            in_flight.done();
        }
        return Err(error);
    }
    let end = publish(inner, placed, made);
    in_flight.done();
    index_file::write_pages(inner, &mut writer).await;
    Ok(end)
}

/// Refuses what would break the log.
fn check(
    batches: &[Assigned],
    mut next: Offset,
    mut latest: Option<LeaderEpoch>,
) -> Result<(), LogError> {
    for Assigned { header, parts } in batches {
        let [head, rest] = parts;
        let field = |at: usize, len: usize| head.get(at..at + len);
        if head.len() + rest.len() != header.batch_bytes
            || field(0, 8) != Some(&header.base_offset.0.to_be_bytes())
            || field(12, 4) != Some(&header.partition_leader_epoch.0.to_be_bytes())
        {
            return Err(LogError::BadBatch("its header and its bytes disagree"));
        }
        if header.batch_bytes > BATCH_BYTES_MAX {
            return Err(LogError::BadBatch("larger than any log takes"));
        }
        if header.base_offset != next {
            return Err(LogError::NotNext { expected: next, found: header.base_offset });
        }
        let epoch = header.partition_leader_epoch;
        if let Some(latest) = latest.filter(|latest| epoch < *latest) {
            return Err(LogError::EpochWentBack { latest, found: epoch });
        }
        latest = Some(epoch);
        next = header.next_offset();
    }
    Ok(())
}

/// Decides which batch goes to which segment.
fn place(
    batches: Vec<Assigned>,
    active: Option<(Offset, u64)>,
    segment_bytes_max: u64,
) -> Vec<Placed> {
    // A position in the index has 32 bits, and other tools read it as signed.
    let segment_bytes_max = segment_bytes_max.min(i32::MAX as u64);
    let mut placed: Vec<Placed> = Vec::with_capacity(1);
    let mut current = active;
    for Assigned { header, parts } in batches {
        let batch_bytes = header.batch_bytes as u64;
        let fits = current.filter(|(base, bytes)| {
            let span = header.last_offset().records_since(*base);
            *bytes == 0 || (bytes + batch_bytes <= segment_bytes_max && span <= i32::MAX as u64)
        });
        let (base, position) = fits.unwrap_or((header.base_offset, 0));
        if placed.last().is_none_or(|group| group.base != base) {
            placed.push(Placed {
                base,
                new: fits.is_none(),
                position,
                bytes: 0,
                end: base,
                starts: Vec::new(),
                buffers: Vec::new(),
            });
        }
        if let Some(group) = placed.last_mut() {
            group.bytes += batch_bytes;
            group.end = header.next_offset();
            group.starts.push((header.base_offset, position));
            group.buffers.extend(parts.into_iter().filter(|part| !part.is_empty()));
        }
        current = Some((base, position + batch_bytes));
    }
    placed
}

/// Writes one group, making its segment first if it is new.
async fn write(
    inner: &Inner,
    writer: &mut Writer,
    group: &Placed,
    made: &mut Vec<(Offset, Arc<dyn File>)>,
) -> Result<(), LogError> {
    let path = inner.path(&segment::log_name(group.base));
    let file = if group.new {
        let file = inner.disk.open(&path, OpenMode::CreateOrOpen).await.on(OPEN, &path)?;
        // An undo removes it. A name that an open left behind as it failed is of an empty
        // file, which recovery removes.
        made.push((group.base, file.clone()));
        // Only an append that was undone can have left bytes under this name.
        file.truncate(0).await.on("truncate", &path)?;
        // The name is durable before any byte in it can be reported so.
        inner.disk.sync_dir(&inner.folder).await.on("sync folder", &inner.folder)?;
        // Room reserved beyond the end of the segment before this one is given back.
        if let Some((base, before)) = writer.file.take().filter(|_| writer.reserved > 0) {
            give_back(inner, base, &*before).await;
        }
        writer.reserved = 0;
        writer.file = Some((group.base, file.clone()));
        file
    } else {
        active_file(inner, writer, group.base).await?
    };
    reserve(inner, writer, &file, group.position + group.bytes).await;
    file.write_at(group.position, group.buffers.clone()).await.on("write", &path)
}

/// The handle to append to the last segment with; the state keeps it while it is dirty.
async fn active_file(
    inner: &Inner,
    writer: &mut Writer,
    base: Offset,
) -> Result<Arc<dyn File>, LogError> {
    if let Some((_, file)) = writer.file.as_ref().filter(|(of, _)| *of == base) {
        return Ok(file.clone());
    }
    // While it is dirty its handle is the one that wrote, which alone is sure to hear of a
    // failed write-back.
    let dirty = {
        let state = inner.state();
        state.segments.last().filter(|s| s.synced_bytes < s.bytes).and_then(|s| s.file.clone())
    };
    let file = match dirty {
        Some(file) => file,
        None => {
            let path = inner.path(&segment::log_name(base));
            let file = inner.disk.open(&path, OpenMode::Write).await.on(OPEN, &path)?;
            if let Some(segment) = inner.state().segments.last_mut() {
                segment.file = Some(file.clone());
            }
            file
        }
    };
    writer.file = Some((base, file.clone()));
    writer.reserved = 0;
    Ok(file)
}

/// Reserves room in steps. Only a help: the write itself says what matters.
async fn reserve(inner: &Inner, writer: &mut Writer, file: &Arc<dyn File>, up_to: u64) {
    let step = inner.config.preallocate_bytes;
    if step == 0 || up_to <= writer.reserved {
        return;
    }
    let goal = (up_to.next_multiple_of(step)).min(inner.config.segment_bytes_max).max(up_to);
    if file.preallocate(goal).await.is_ok() {
        writer.reserved = goal;
    }
}

/// Takes back a write that found the disk full, durably, so that the log is as before. New segments
/// go for good: their name must not come back after a crash, as the log may grow past it.
async fn undo(
    inner: &Inner,
    writer: &mut Writer,
    active: Option<(Offset, u64)>,
    made: &[(Offset, Arc<dyn File>)],
) -> Result<(), LogError> {
    for (base, _) in made {
        let path = inner.path(&segment::log_name(*base));
        inner.disk.remove_file(&path).await.on("remove", &path).map_err(not_full)?;
    }
    if !made.is_empty() {
        let synced = inner.disk.sync_dir(&inner.folder).await;
        synced.on("sync folder", &inner.folder).map_err(not_full)?;
    }
    if let Some((base, bytes)) = active {
        let file = active_file(inner, writer, base).await.map_err(not_full)?;
        let path = inner.path(&segment::log_name(base));
        file.truncate(bytes).await.on("truncate", &path).map_err(not_full)?;
        writer.reserved = 0;
        // The kernel may have written the batches back early: until the cut is on the disk, a
        // loss of power could bring back what is about to be refused as not done. A `sync`
        // beside must not hear "fine" after this one took the error that was meant for it.
        let _turn = inner.syncing.lock().await;
        if let Err(error) = file.sync_data().await {
            inner.fail("fsync of an undone append failed");
            return Err(not_full(LogError::io("fsync", &path, &error)));
        }
    } else {
        writer.reset();
    }
    Ok(())
}

/// A full disk that gets in the way of an undo has done harm: it is not "as before".
fn not_full(error: LogError) -> LogError {
    match error {
        LogError::StorageFull(message) => LogError::Io {
            operation: "undo",
            path: String::new(),
            kind: std::io::ErrorKind::StorageFull,
            message,
        },
        other => other,
    }
}

/// Lets readers see what was written.
fn publish(inner: &Inner, placed: Vec<Placed>, made: Vec<(Offset, Arc<dyn File>)>) -> Offset {
    let mut made = made.into_iter();
    let mut state = inner.state();
    for group in placed {
        if group.new {
            let mut segment = Segment::empty(group.base, inner.config.index_interval_bytes);
            segment.file = made.next().map(|(_, file)| file);
            state.segments.push(segment);
        }
        let Some(segment) = state.segments.last_mut() else { continue };
        for (offset, position) in group.starts {
            let relative = segment.relative(offset);
            segment.index.note(relative, u32::try_from(position).unwrap_or(u32::MAX));
        }
        segment.bytes = group.position + group.bytes;
        segment.end = group.end;
        state.log_end = group.end;
    }
    state.log_end
}

/// The last touch before the log is closed: the rest of the index, and no reserved room.
pub(super) async fn finish(inner: &Inner, writer: &mut Writer) {
    if inner.writable().is_err() {
        return;
    }
    if let Some((base, file)) = writer.file.take().filter(|_| writer.reserved > 0) {
        give_back(inner, base, &*file).await;
    }
    index_file::write_pages(inner, writer).await;
}

/// Gives back room that was reserved beyond a segment's end.
async fn give_back(inner: &Inner, base: Offset, file: &dyn File) {
    let result = match file.len().await {
        Ok(len) => file.truncate(len).await,
        Err(error) => Err(error),
    };
    if let Err(error) = result {
        tracing::warn!(folder = inner.folder, %base, %error, "reserved room not given back");
    }
}
