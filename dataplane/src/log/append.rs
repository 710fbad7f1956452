//! Appending: check everything, place batches in segments, write, publish.

use std::sync::Arc;

use bytes::Bytes;
use weir_protocol::{
    batch::BatchHeader,
    ids::{LeaderEpoch, Offset},
};
use weir_runtime::{
    clock::Clock,
    disk::{File, OpenMode},
};

use super::{
    begin_epoch,
    error::{LogError, OnPath},
    index_file,
    log::BATCH_BYTES_MAX,
    segment::{self, Segment},
    state::{Inner, Roll},
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

/// So many segments at most are listed in the checkpoint file. Beyond it a segment grows as
/// large as it can, whatever is configured.
const SEGMENTS_MAX: usize = 100_000;

/// What only the one writer needs.
#[derive(Default)]
pub(super) struct Writer {
    /// Up to where room is reserved in which segment, in bytes.
    reserved: Option<(Offset, u64)>,
}

impl Writer {
    /// Forgets what it knows: the segments changed under it.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

/// The last segment, as an append finds it.
#[derive(Clone, Copy)]
struct Active {
    base: Offset,
    bytes: u64,
    /// Whether its age alone closes it.
    too_old: bool,
}

/// Batches that go to one segment in one write.
struct Placed {
    base: Offset,
    /// Whether the segment must be made first.
    new: bool,
    position: u64,
    bytes: u64,
    end: Offset,
    /// Offset, position and largest timestamp of each batch.
    starts: Vec<(Offset, u64, i64)>,
    buffers: Vec<Bytes>,
}

/// Whose batches are appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// This replica's, as the leader.
    Own,
    /// Its leader's. They may be older than an epoch in which this replica led and wrote
    /// nothing: such a one leaves no trace then.
    Leader,
}

pub(super) async fn append(
    inner: &Inner,
    batches: Vec<Assigned>,
    source: Source,
) -> Result<Offset, LogError> {
    let mut writer = inner.writing.lock().await;
    inner.writable()?;
    let (log_end, active, epochs, roll) = {
        let state = inner.state();
        let roll = match state.segments.len() {
            0..SEGMENTS_MAX => state.roll,
            _ => Roll { bytes_max: u64::MAX, age_ms_max: None },
        };
        let active = state.segments.last().map(|s| Active {
            base: s.base,
            bytes: s.bytes,
            too_old: roll.age_ms_max.is_some_and(|max| age_ms(s.begun_ms) > max),
        });
        let mut epochs = state.epochs.clone();
        if source == Source::Leader {
            epochs.cut_end(state.log_end);
        }
        (state.log_end, active, epochs, roll)
    };
    check(&batches, log_end, epochs.latest())?;
    if batches.is_empty() {
        return Ok(log_end);
    }
    begin_epoch::persist_of(inner, epochs, batches.iter().map(|b| &b.header)).await?;
    let placed = place(batches, active, roll.bytes_max);

    let in_flight = inner.in_flight("append");
    let mut used = Vec::new();
    for group in &placed {
        let Err(error) = write(inner, &mut writer, group, &mut used).await else { continue };
        let harmless =
            matches!(error, LogError::StorageFull(_) | LogError::Io { operation: OPEN, .. });
        if harmless {
            undo(inner, &mut writer, active.map(|a| (a.base, a.bytes)), &used).await?;
            in_flight.done();
        }
        return Err(error);
    }
    let end = publish(inner, placed, used);
    in_flight.done();
    index_file::write_pages(inner).await;
    Ok(end)
}

/// How long ago `begun_ms` was; 0 where the clock went back.
fn age_ms(begun_ms: i64) -> u64 {
    u64::try_from(Clock.unix_ms().saturating_sub(begun_ms)).unwrap_or(0)
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
fn place(batches: Vec<Assigned>, active: Option<Active>, segment_bytes_max: u64) -> Vec<Placed> {
    // A position in the index has 32 bits, and other tools read it as signed.
    let segment_bytes_max = segment_bytes_max.min(i32::MAX as u64);
    let mut placed: Vec<Placed> = Vec::with_capacity(1);
    let mut current = active.filter(|a| !a.too_old || a.bytes == 0).map(|a| (a.base, a.bytes));
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
            group.starts.push((header.base_offset, position, header.max_timestamp_ms));
            group.buffers.extend(parts.into_iter().filter(|part| !part.is_empty()));
        }
        current = Some((base, position + batch_bytes));
    }
    placed
}

/// A segment that an append writes to.
struct Used {
    base: Offset,
    file: Arc<dyn File>,
    new: bool,
}

/// Writes one group, making its segment first if it is new.
async fn write(
    inner: &Inner,
    writer: &mut Writer,
    group: &Placed,
    used: &mut Vec<Used>,
) -> Result<(), LogError> {
    let path = inner.path(&segment::log_name(group.base));
    let file = if group.new {
        let file = inner.disk.open(&path, OpenMode::CreateOrOpen).await.on(OPEN, &path)?;
        // An undo removes it. A name that an open left behind as it failed is of an empty
        // file, which recovery removes.
        used.push(Used { base: group.base, file: file.clone(), new: true });
        // Only an append that was undone can have left bytes under this name.
        file.truncate(0).await.on("truncate", &path)?;
        // The name is durable before any byte in it can be reported so.
        inner.disk.sync_dir(&inner.folder).await.on("sync folder", &inner.folder)?;
        // Room reserved beyond the end of the segment before this one is given back.
        give_back(inner, writer).await;
        file
    } else {
        let file = active_file(inner, group.base).await?;
        used.push(Used { base: group.base, file: file.clone(), new: false });
        file
    };
    reserve(inner, writer, group.base, &file, group.position + group.bytes).await;
    file.write_at(group.position, group.buffers.clone()).await.on("write", &path)
}

/// The handle to append to the last segment with.
async fn active_file(inner: &Inner, base: Offset) -> Result<Arc<dyn File>, LogError> {
    // While it is dirty its handle is the one that wrote, which alone is sure to hear of a
    // failed write-back.
    if let Some(file) = inner.state().dirty_file(base) {
        return Ok(file);
    }
    if let Some(handle) = inner.open.get(inner.id, base).filter(|handle| handle.writable) {
        return Ok(handle.file);
    }
    let path = inner.path(&segment::log_name(base));
    let file = inner.disk.open(&path, OpenMode::Write).await.on(OPEN, &path)?;
    inner.keep(base, &file, true);
    Ok(file)
}

/// Reserves room in steps. Only a help: the write itself says what matters.
async fn reserve(
    inner: &Inner,
    writer: &mut Writer,
    base: Offset,
    file: &Arc<dyn File>,
    up_to: u64,
) {
    let step = inner.config.preallocate_bytes;
    let reserved = writer.reserved.filter(|(of, _)| *of == base).map_or(0, |(_, to)| to);
    if step == 0 || up_to <= reserved {
        return;
    }
    let bytes_max = inner.state().roll.bytes_max;
    let goal = up_to.next_multiple_of(step).min(bytes_max).max(up_to);
    if file.preallocate(goal).await.is_ok() {
        writer.reserved = Some((base, goal));
    }
}

/// Takes back a write that found the disk full, durably, so that the log is as before. New segments
/// go for good: their name must not come back after a crash, as the log may grow past it.
async fn undo(
    inner: &Inner,
    writer: &mut Writer,
    active: Option<(Offset, u64)>,
    used: &[Used],
) -> Result<(), LogError> {
    for made in used.iter().filter(|used| used.new) {
        let path = inner.path(&segment::log_name(made.base));
        inner.disk.remove_file(&path).await.on("remove", &path).map_err(not_full)?;
    }
    if used.iter().any(|used| used.new) {
        let synced = inner.disk.sync_dir(&inner.folder).await;
        synced.on("sync folder", &inner.folder).map_err(not_full)?;
    }
    if let Some((base, bytes)) = active {
        let file = match used.iter().find(|used| used.base == base) {
            Some(used) => used.file.clone(),
            None => active_file(inner, base).await.map_err(not_full)?,
        };
        let path = inner.path(&segment::log_name(base));
        file.truncate(bytes).await.on("truncate", &path).map_err(not_full)?;
        writer.reset();
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
fn publish(inner: &Inner, placed: Vec<Placed>, used: Vec<Used>) -> Offset {
    let mut state = inner.state();
    // One each, in the same order.
    for (group, used) in placed.into_iter().zip(used) {
        if group.new {
            let interval = inner.config.index_interval_bytes;
            state.segments.push(Segment::empty(group.base, interval, Clock.unix_ms()));
        }
        let Some(segment) = state.segments.last_mut() else { continue };
        segment.dirty = Some(used.file);
        for (offset, position, largest_ms) in group.starts {
            let (relative, position) = (segment.relative(offset), position_32(position));
            segment.largest_ms = segment.largest_ms.max(largest_ms);
            if let Some(index) = &mut segment.index {
                index.note(relative, position, largest_ms);
            }
        }
        segment.bytes = group.position + group.bytes;
        segment.end = group.end;
        state.log_end = group.end;
    }
    state.log_end
}

/// A place in a segment, none of which outgrows 32 bits.
pub(super) fn position_32(position: u64) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}

/// The last touch before the log is closed: no reserved room stays.
pub(super) async fn finish(inner: &Inner, writer: &mut Writer) {
    if inner.writable().is_ok() {
        give_back(inner, writer).await;
    }
}

/// Gives back room that was reserved beyond a segment's end.
async fn give_back(inner: &Inner, writer: &mut Writer) {
    let Some((base, _)) = writer.reserved.take() else { return };
    let result = async {
        let file = active_file(inner, base).await?;
        let path = inner.path(&segment::log_name(base));
        let len = file.len().await.on("length of", &path)?;
        file.truncate(len).await.on("truncate", &path)
    };
    if let Err(error) = result.await {
        tracing::warn!(folder = inner.folder, %base, %error, "reserved room not given back");
    }
}
