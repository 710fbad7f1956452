//! Opening a log, as a crash may have left it.
//!
//! The persisted *recovery point* parts what is known to be durable from what is not:
//!
//! - **Below it** batch headers are walked, bodies are not read. Anything wrong there (a bad
//!   header, an epoch that the checkpoint does not have for that offset, a gap between
//!   segments, an end that comes too early) was once fine and synced: it is *corruption*, and
//!   [`Log::open`](super::Log::open) fails with [`LogError::Corrupt`], leaving every file of
//!   batches untouched.
//! - **Above it** each batch is verified in full, checksum included. The first bad one ends
//!   the log: what follows is copied to `<segment>.set-aside-<n>`, fsynced and cut off, and
//!   later segments are renamed likewise. [`Recovered::set_aside`] reports it; a torn write
//!   at a crash looks like this, and so does damage to records that were acknowledged after
//!   the last checkpoint, so it must be looked at by whoever knows what was acknowledged.
//!   What is good is written again and fsynced before [`Log::durable_end`] covers it: the
//!   page cache may hold what the disk never got (see `tail`).
//!
//! Indexes are checked against the walk and rebuilt where they differ. Leftovers of
//! interrupted replacements (`*.tmp`) and removals are cleared away.
//!
//! [`Log::durable_end`]: super::Log::durable_end

use std::sync::Arc;

use weir_protocol::{batch::BatchHeader, ids::Offset};
use weir_runtime::disk::{Disk, File, OpenMode};

use super::{
    checkpoint::{CHECKPOINT_FILE, Checkpoint},
    error::{LogError, OnPath},
    folder::{persist, prepare, read_checkpoint, remove_file, remove_segment},
    hints::Hints,
    index::SparseIndex,
    index_file,
    log::LogConfig,
    recent::{BatchSummary, RecentBatches},
    segment::{self, Segment},
    set_aside::{self, Break},
    state::State,
    tail::{self, check_epoch},
    walk::{HeaderWalk, Step},
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

/// One segment as the walk found it.
struct Walked {
    segment: Segment,
    file: Arc<dyn File>,
    /// Whether anything of it lies above the recovery point.
    unsure: bool,
}

pub(super) async fn open(
    disk: &dyn Disk,
    folder: &str,
    config: &LogConfig,
) -> Result<(State, Recovered), LogError> {
    let names = prepare(disk, folder).await?;
    let old = read_checkpoint(disk, &format!("{folder}/{CHECKPOINT_FILE}")).await?;
    let mut bases: Vec<Offset> = names.iter().filter_map(|n| segment::parse_log_name(n)).collect();
    bases.sort_unstable();
    // A removal below the log start that a crash cut short.
    let gone = bases.windows(2).take_while(|w| w[1] <= old.log_start).count();
    let mut doomed: Vec<Offset> = bases.drain(..gone).collect();

    let mut recent = RecentBatches::new(config.producers_max);
    let mut walked: Vec<Walked> = Vec::new();
    let mut found: Option<Break> = None;
    let mut stray: Vec<(Offset, u64)> = Vec::new();
    // The first segment begins at or before the log start; if it does not, that is a gap.
    let mut next = bases.first().map_or(old.log_start, |first| old.log_start.min(*first));
    for base in bases {
        let path = format!("{folder}/{}", segment::log_name(base));
        let file = disk.open(&path, OpenMode::Write).await.on("open", &path)?;
        let len = file.len().await.on("length of", &path)?;
        if len == 0 {
            doomed.push(base);
        } else if found.is_some() {
            stray.push((base, len));
        } else if base != next {
            let reason = format!("a segment begins at {base} where {next} should follow");
            if next < old.recovery_point || base < old.recovery_point {
                return Err(LogError::Corrupt { file: path, position: 0, offset: next, reason });
            }
            found = Some(Break { base, position: 0, len, offset: next, reason });
        } else {
            let (one, bad) = walk(&path, base, file, len, &old, config, &mut recent).await?;
            next = one.segment.end;
            found = bad;
            walked.push(one);
        }
    }
    if next < old.recovery_point {
        let last = walked.last().map(|w| (segment::log_name(w.segment.base), w.segment.bytes));
        let (name, position) = last.unwrap_or((CHECKPOINT_FILE.to_owned(), 0));
        return Err(LogError::Corrupt {
            file: format!("{folder}/{name}"),
            position,
            offset: next,
            reason: format!("the log ends before its recovery point {}", old.recovery_point),
        });
    }

    // Everything that can refuse has been checked; only now is anything changed.
    for base in doomed {
        remove_segment(disk, folder, base).await?;
    }
    let set_aside = take_out(disk, folder, &names, found, &stray, &mut walked).await?;
    make_durable(disk, folder, &walked, set_aside.is_some()).await?;
    let segments = settle_indexes(disk, folder, &names, config, walked).await?;

    let mut epochs = old.epochs.clone();
    let latest = epochs.latest();
    epochs.cut_end(next);
    if let Some(latest) = latest {
        // Also one that wrote nothing, or whose batches are gone: it was used, and nobody
        // may lead in it again.
        epochs.begin(latest, next);
    }
    let new = Checkpoint { recovery_point: next, log_start: old.log_start, epochs };
    persist(disk, folder, &old, &new).await?;

    let clean = set_aside.is_none() && old.recovery_point == next;
    let recovered = Recovered {
        log_start: new.log_start,
        log_end: next,
        batches: recent.finish(),
        set_aside,
        clean,
    };
    let state = State {
        segments,
        log_start: new.log_start,
        log_end: next,
        durable_end: next,
        epochs: new.epochs,
        failed: None,
        closed: false,
        checkpoint_unsure: false,
        cuts: 0,
        hints: Hints::default(),
        uses: 0,
    };
    tracing::info!(folder, log_start = state.log_start.0, log_end = next.0, clean, "log open");
    Ok((state, recovered))
}

/// Walks one segment: headers below the recovery point, everything above.
async fn walk(
    path: &str,
    base: Offset,
    file: Arc<dyn File>,
    len: u64,
    old: &Checkpoint,
    config: &LogConfig,
    recent: &mut RecentBatches,
) -> Result<(Walked, Option<Break>), LogError> {
    let mut segment = Segment::empty(base, config.index_interval_bytes);
    let mut headers = HeaderWalk::new(&*file, 0, len);
    let mut next = base;
    while next < old.recovery_point {
        let position = headers.position();
        let header = match headers.peek(next).await.on("read", path)? {
            Step::End => break,
            Step::Batch(header) => {
                check_epoch(&header, &old.epochs, old.log_start).and_then(|()| {
                    // Only a log start may lie within a batch.
                    let within = header.next_offset() > old.recovery_point
                        && old.recovery_point != old.log_start;
                    if within {
                        Err("the recovery point is within a batch".into())
                    } else {
                        Ok(header)
                    }
                })
            }
            Step::Bad(reason) => Err(reason),
        }
        .map_err(|reason| LogError::Corrupt {
            file: path.into(),
            position,
            offset: next,
            reason,
        })?;
        note(&mut segment.index, recent, base, &header, position);
        headers.skip(&header);
        next = header.next_offset();
    }
    let position = headers.position();
    let tail = tail::verify_and_rewrite(
        &*file,
        path,
        (position, len),
        next,
        |header| check_epoch(header, &old.epochs, old.log_start),
        |header, position| note(&mut segment.index, recent, base, header, position),
    )
    .await?;
    let found = tail.bad.map(|reason| Break {
        base,
        position: tail.position,
        len,
        offset: tail.next,
        reason,
    });
    segment.bytes = tail.position;
    segment.synced_bytes = tail.position;
    segment.end = tail.next;
    Ok((Walked { segment, file, unsure: position < len }, found))
}

fn note(
    index: &mut SparseIndex,
    recent: &mut RecentBatches,
    base: Offset,
    header: &BatchHeader,
    position: u64,
) {
    let relative = u32::try_from(header.base_offset.records_since(base)).unwrap_or(u32::MAX);
    index.note(relative, u32::try_from(position).unwrap_or(u32::MAX));
    recent.push(header);
}

/// Sets aside what follows the break.
async fn take_out(
    disk: &dyn Disk,
    folder: &str,
    names: &[String],
    found: Option<Break>,
    stray: &[(Offset, u64)],
    walked: &mut Vec<Walked>,
) -> Result<Option<SetAside>, LogError> {
    let Some(found) = found else { return Ok(None) };
    let mut paths = Vec::new();
    for (base, _) in stray.iter().rev() {
        paths.push(set_aside::move_aside(disk, folder, names, *base).await?);
    }
    let last = if found.position == 0 {
        walked.pop_if(|w| w.segment.base == found.base);
        set_aside::move_aside(disk, folder, names, found.base).await?
    } else {
        let file = walked.last().map(|w| w.file.clone());
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
    walked: &[Walked],
    cut: bool,
) -> Result<(), LogError> {
    let unsure = walked.iter().filter(|w| w.unsure);
    let mut any = cut;
    for Walked { segment, file, .. } in unsure {
        any = true;
        let path = format!("{folder}/{}", segment::log_name(segment.base));
        file.sync_data().await.on("fsync", &path)?;
    }
    if any {
        disk.sync_dir(folder).await.on("sync folder", folder)?;
    }
    Ok(())
}

/// Lets the index files agree with what the walk found, and removes those of no segment.
async fn settle_indexes(
    disk: &dyn Disk,
    folder: &str,
    names: &[String],
    config: &LogConfig,
    walked: Vec<Walked>,
) -> Result<Vec<Segment>, LogError> {
    let mut segments: Vec<Segment> = walked.into_iter().map(|w| w.segment).collect();
    let known: Vec<Offset> = segments.iter().map(|s| s.base).collect();
    for base in names.iter().filter_map(|name| segment::parse_index_name(name)) {
        if known.binary_search(&base).is_err() {
            remove_file(disk, &format!("{folder}/{}", segment::index_name(base))).await?;
        }
    }
    let last = segments.len().saturating_sub(1);
    for (i, one) in segments.iter_mut().enumerate() {
        let path = format!("{folder}/{}", segment::index_name(one.base));
        let interval = config.index_interval_bytes;
        index_file::settle(disk, &path, one.base, interval, i < last, &mut one.index).await;
    }
    Ok(segments)
}
