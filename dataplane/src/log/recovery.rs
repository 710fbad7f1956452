//! Opening a log, as a crash may have left it, in a time that depends on what was written
//! since the last checkpoint, not on how much there is.
//!
//! The persisted *recovery point* parts what is known to be durable from what is not:
//!
//! - **Below it** the checkpoint says which segments there are and how long each is. One that
//!   is missing, has another length, or lies where none should be was once fine and synced: it
//!   is *corruption*, and [`Log::open`](super::Log::open) fails with [`LogError::Corrupt`],
//!   leaving every file of batches untouched. So does a bad batch header in that stretch of
//!   the last segment that its index has no page for yet. What lies further back is looked at
//!   when it is read, and by `weir debug log verify`.
//! - **Above it** each batch is verified in full, checksum included. The first bad one ends
//!   the log: what follows is copied to `<segment>.set-aside-<n>`, fsynced and cut off, and
//!   later segments are renamed likewise. [`Recovered::set_aside`] reports it; a torn write
//!   at a crash looks like this, and so does damage to records that were acknowledged after
//!   the last checkpoint, so it must be looked at by whoever knows what was acknowledged.
//!   What is good is written again and fsynced before [`Log::durable_end`] covers it: the
//!   page cache may hold what the disk never got (see `tail`).
//!
//! What producers wrote last comes from their snapshot, and a walk over the batch headers
//! after it (`replay`). Leftovers of interrupted replacements (`*.tmp`) and removals are
//! cleared away. A log of the version before lists no segments: once, every header is walked.
//!
//! [`Log::durable_end`]: super::Log::durable_end

use std::sync::Arc;

use weir_protocol::ids::Offset;
use weir_runtime::{
    clock::Clock,
    disk::{Disk, File, OpenMode},
};

use super::{
    append::position_32,
    checkpoint::{CHECKPOINT_FILE, Checkpoint, SegmentMark},
    error::{LogError, OnPath},
    folder::{
        Listing, check_undamaged, persist, prepare, read_checkpoint, remove_file, remove_segment,
        write_format,
    },
    hints::Hints,
    index_file, listed,
    log::LogConfig,
    producers_file,
    recent::BatchSummary,
    replay,
    segment::{self, Segment},
    set_aside::{self, Break},
    state::{Roll, State},
    tail::{self, check_epoch},
    upgrade,
};

/// What opening a log found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Oldest kept offset.
    pub log_start: Offset,
    /// Next offset to write. All below is durable.
    pub log_end: Offset,
    /// To rebuild what is known of idempotent producers: of each, its last
    /// [`BATCHES_PER_PRODUCER`](super::recent::BATCHES_PER_PRODUCER) batches, in log order; of
    /// at most [`LogConfig::producers_max`] producers, those that wrote last.
    pub batches: Vec<BatchSummary>,
    /// What was taken out of the log above the recovery point.
    pub set_aside: Option<SetAside>,
    /// Whether the log ended exactly at its recovery point, as after [`Log::close`].
    ///
    /// [`Log::close`]: super::Log::close
    pub clean: bool,
}

/// What recovery took out of a log, and where it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// The file that holds the first of it, relative to the data folder.
    pub path: String,
    /// Files that hold what came after, if there was more than one segment.
    pub more: Vec<String>,
    /// How much, in all.
    pub bytes: u64,
    /// The offset of the first batch that is gone.
    pub offset: Offset,
    /// What was wrong with it.
    pub reason: String,
}

/// One segment as it was found.
struct Found {
    segment: Segment,
    /// Open, if anything of it was looked at.
    file: Option<Arc<dyn File>>,
    /// Whether anything of it lies above the recovery point.
    unsure: bool,
}

pub(super) async fn open(
    disk: &dyn Disk,
    folder: &str,
    config: &LogConfig,
) -> Result<(State, Recovered), LogError> {
    let listing = prepare(disk, folder).await?;
    check_undamaged(disk, folder, &listing).await?;
    let written = read_checkpoint(disk, &format!("{folder}/{CHECKPOINT_FILE}")).await?;
    let mut old = written.clone();
    if old.segments.is_none() {
        old.segments = Some(upgrade::marks(disk, folder, &listing, &old).await?);
    }
    let files = listed::sort(folder, &listing, &old)?;

    let mut found: Vec<Found> = Vec::new();
    let ends = files.known.iter().skip(1).map(|(mark, _)| mark.base);
    found.extend(files.known.iter().zip(ends).map(|((mark, _), end)| sealed(mark, end)));
    let mut unread = Vec::new();
    if let Some((mark, len)) = files.known.last() {
        found.push(last_known(disk, folder, mark, &old, config).await?);
        unread.push((mark.base, *len));
    }
    unread.extend(files.unknown);
    let mut stray: Vec<(Offset, u64)> = Vec::new();
    let mut bad: Option<Break> = None;
    for (base, len) in unread {
        if bad.is_some() {
            stray.push((base, len));
            continue;
        }
        let one = match found.pop_if(|f| f.segment.base == base) {
            Some(known) => known,
            None => {
                let next = found.last().map_or(old.log_start.min(base), |f| f.segment.end);
                if base != next {
                    let reason = format!("a segment begins at {base} where {next} should follow");
                    bad = Some(Break { base, position: 0, len, offset: next, reason });
                    continue;
                }
                fresh(disk, folder, base, config).await?
            }
        };
        let (one, broken) = beyond(folder, one, len, &old).await?;
        found.push(one);
        bad = broken;
    }
    let next = found.last().map_or(old.log_start, |f| f.segment.end);
    if next < old.recovery_point {
        let last = found.last().map(|f| (segment::log_name(f.segment.base), f.segment.bytes));
        let (name, position) = last.unwrap_or((CHECKPOINT_FILE.to_owned(), 0));
        return Err(LogError::Corrupt {
            file: format!("{folder}/{name}"),
            position,
            offset: next,
            reason: format!("the log ends before its recovery point {}", old.recovery_point),
        });
    }

    // Everything that can refuse has been checked; only now is anything changed.
    for base in files.doomed {
        remove_segment(disk, folder, base).await?;
    }
    let set_aside = take_out(disk, folder, &listing, bad, &stray, &mut found).await?;
    make_durable(disk, folder, &found, set_aside.is_some()).await?;
    let segments = settle_indexes(disk, folder, &listing, config, found).await?;

    let mut epochs = old.epochs.clone();
    let latest = epochs.latest();
    epochs.cut_end(next);
    if let Some(latest) = latest {
        // Also one that wrote nothing, or whose batches are gone: it was used, and nobody
        // may lead in it again.
        epochs.begin(latest, next);
    }
    let mut state = State {
        segments,
        log_start: old.log_start,
        log_end: next,
        durable_end: next,
        epochs,
        failed: None,
        closed: false,
        checkpoint_unsure: false,
        cuts: 0,
        hints: Hints::default(),
        roll: Roll { bytes_max: config.segment_bytes_max, age_ms_max: config.segment_age_ms_max },
        producers_below: None,
    };
    let snapshot = producers_file::read(disk, folder).await;
    state.producers_below = snapshot.as_ref().map(|producers| producers.below);
    let batches = replay::producers(disk, folder, &state, config, snapshot).await?;
    persist(disk, folder, &written, &state.checkpoint()).await?;
    if listing.old_format {
        write_format(disk, folder).await?;
    }

    let clean = set_aside.is_none() && old.recovery_point == next;
    let (log_start, log_end) = (state.log_start, state.log_end);
    tracing::info!(folder, %log_start, %log_end, clean, "log open");
    let recovered = Recovered { log_start, log_end, batches, set_aside, clean };
    Ok((state, recovered))
}

/// A segment that ends below the recovery point: it is as the checkpoint says.
fn sealed(mark: &SegmentMark, end: Offset) -> Found {
    let segment = Segment {
        base: mark.base,
        end,
        bytes: mark.bytes,
        synced_bytes: mark.bytes,
        largest_ms: mark.largest_ms,
        begun_ms: mark.begun_ms,
        index: None,
        dirty: None,
    };
    Found { segment, file: None, unsure: false }
}

/// The segment that the recovery point lies in, up to there.
async fn last_known(
    disk: &dyn Disk,
    folder: &str,
    mark: &SegmentMark,
    old: &Checkpoint,
    config: &LogConfig,
) -> Result<Found, LogError> {
    let path = format!("{folder}/{}", segment::log_name(mark.base));
    let file = disk.open(&path, OpenMode::Write).await.on("open", &path)?;
    let check = |header: &_| check_epoch(header, &old.epochs, old.log_start);
    let interval = config.index_interval_bytes;
    let (index, end) =
        index_file::resume(disk, folder, mark.base, &*file, mark.bytes, interval, check).await?;
    if end != old.recovery_point {
        return Err(LogError::Corrupt {
            file: path,
            position: mark.bytes,
            offset: end,
            reason: format!("the recovery point {} should be there", old.recovery_point),
        });
    }
    let mut found = sealed(mark, end);
    found.segment.largest_ms = index.largest_ms();
    found.segment.index = Some(index);
    found.file = Some(file);
    Ok(found)
}

/// A segment of which nothing is known but its name.
async fn fresh(
    disk: &dyn Disk,
    folder: &str,
    base: Offset,
    config: &LogConfig,
) -> Result<Found, LogError> {
    let path = format!("{folder}/{}", segment::log_name(base));
    let file = disk.open(&path, OpenMode::Write).await.on("open", &path)?;
    // Its age counts from now: that it is kept longer does no harm.
    let segment = Segment::empty(base, config.index_interval_bytes, Clock.unix_ms());
    Ok(Found { segment, file: Some(file), unsure: true })
}

/// What of a segment lies above the recovery point.
async fn beyond(
    folder: &str,
    one: Found,
    len: u64,
    old: &Checkpoint,
) -> Result<(Found, Option<Break>), LogError> {
    let Found { mut segment, file, .. } = one;
    let Some(open) = &file else { return Ok((Found { segment, file, unsure: false }, None)) };
    let path = format!("{folder}/{}", segment::log_name(segment.base));
    let (base, position) = (segment.base, segment.bytes);
    let mut index = segment.index.take();
    let tail = tail::verify_and_rewrite(
        &**open,
        &path,
        (position, len),
        segment.end,
        |header| check_epoch(header, &old.epochs, old.log_start),
        |header, position| {
            let relative = segment::relative(base, header.base_offset);
            if let Some(index) = &mut index {
                index.note(relative, position_32(position), header.max_timestamp_ms);
            }
            segment.largest_ms = segment.largest_ms.max(header.max_timestamp_ms);
        },
    )
    .await?;
    let (at, offset) = (tail.position, tail.next);
    let bad = tail.bad.map(|reason| Break { base, position: at, len, offset, reason });
    segment.index = index;
    segment.bytes = at;
    segment.synced_bytes = at;
    segment.end = offset;
    Ok((Found { segment, file, unsure: position < len }, bad))
}

/// Sets aside what follows the break.
async fn take_out(
    disk: &dyn Disk,
    folder: &str,
    listing: &Listing,
    bad: Option<Break>,
    stray: &[(Offset, u64)],
    segments: &mut Vec<Found>,
) -> Result<Option<SetAside>, LogError> {
    let Some(found) = bad else { return Ok(None) };
    let names: Vec<String> = listing.names().cloned().collect();
    let names = &names;
    let mut paths = Vec::new();
    for (base, _) in stray.iter().rev() {
        paths.push(set_aside::move_aside(disk, folder, names, *base).await?);
    }
    let last = if found.position == 0 {
        segments.pop_if(|f| f.segment.base == found.base);
        set_aside::move_aside(disk, folder, names, found.base).await?
    } else {
        let file = segments.last().and_then(|f| f.file.clone());
        match file {
            Some(file) => set_aside::cut_off(disk, folder, names, &found, &*file).await?,
            None => return Ok(None),
        }
    };
    disk.sync_dir(folder).await.on("sync folder", folder)?;
    let bytes = found.len - found.position + stray.iter().map(|(_, len)| len).sum::<u64>();
    paths.reverse();
    tracing::error!(
        folder,
        path = last,
        more = ?paths,
        bytes,
        offset = found.offset.0,
        reason = found.reason,
        "the log ended in something that is not a good batch, which was cut off and kept in a \
         file beside it. After a loss of power this is a batch that was never acknowledged, and \
         the file may be deleted; otherwise check the disk, and look into the file for records \
         that are missing from this offset on"
    );
    Ok(Some(SetAside {
        path: last,
        more: paths,
        bytes,
        offset: found.offset,
        reason: found.reason,
    }))
}

/// Fsyncs what stays and was not known to be durable.
async fn make_durable(
    disk: &dyn Disk,
    folder: &str,
    found: &[Found],
    cut: bool,
) -> Result<(), LogError> {
    let mut any = cut;
    for Found { segment, file, .. } in found.iter().filter(|f| f.unsure) {
        let Some(file) = file else { continue };
        any = true;
        let path = format!("{folder}/{}", segment::log_name(segment.base));
        file.sync_data().await.on("fsync", &path)?;
    }
    if any {
        disk.sync_dir(folder).await.on("sync folder", folder)?;
    }
    Ok(())
}

/// Writes the indexes of segments that are finished now, and removes those of no segment.
async fn settle_indexes(
    disk: &dyn Disk,
    folder: &str,
    listing: &Listing,
    config: &LogConfig,
    found: Vec<Found>,
) -> Result<Vec<Segment>, LogError> {
    let mut segments: Vec<Segment> = found.into_iter().map(|f| f.segment).collect();
    for base in listing.names().filter_map(|name| segment::parse_index_name(name)) {
        if segments.binary_search_by_key(&base, |s| s.base).is_err() {
            remove_file(disk, &format!("{folder}/{}", segment::index_name(base))).await?;
        }
    }
    let finished = segments.len().saturating_sub(1);
    for one in &mut segments[..finished] {
        let Some(index) = one.index.take() else { continue };
        let interval = config.index_interval_bytes;
        let written = index_file::finish(disk, folder, one.base, one.bytes, interval, index).await;
        if let Err(error) = written {
            tracing::warn!(folder, base = %one.base, %error, "index not written; it will be rebuilt when it is needed");
        }
    }
    Ok(segments)
}
