//! Whether a replica's folder is sound: everything in it is read, nothing is changed.
//!
//! For people, offline: an open looks only at what is new, and a read only at what it reads.

use bytes::{Bytes, BytesMut};
use weir_protocol::{
    batch::{self, BatchHeader},
    ids::Offset,
};
use weir_runtime::disk::{Disk, File, OpenMode};

use super::{
    checkpoint::{CHECKPOINT_FILE, Checkpoint, SegmentMark},
    error::{LogError, OnPath},
    folder::{Listing, look, read_checkpoint},
    index::NO_TIMESTAMP,
    index_file, listed, producers_file,
    segment::{self, Segment},
    tail::check_epoch,
    walk::{HeaderWalk, Step},
};

/// What a folder holds, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Oldest offset that is served.
    pub log_start: Offset,
    /// Everything below was on the disk when the checkpoint was written.
    pub recovery_point: Offset,
    /// The end of what is good.
    pub log_end: Offset,
    /// Every segment, oldest first.
    pub segments: Vec<SegmentReport>,
    /// What an open would refuse, or a reader would run into: what was on the disk is not
    /// there any more.
    pub damage: Vec<Finding>,
    /// What an open would put in order by itself: the torn end of what was being written,
    /// an index that must be rebuilt.
    pub notes: Vec<Finding>,
}

/// One segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentReport {
    /// Offset of its first record.
    pub base: Offset,
    /// One past its last good record.
    pub end: Offset,
    /// The file's length.
    pub bytes: u64,
    /// Good batches in it.
    pub batches: u64,
    /// Records in those.
    pub records: u64,
    /// The largest timestamp in it, in milliseconds since 1970; none in an empty one.
    pub largest_ms: Option<i64>,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file, within the folder.
    pub file: String,
    /// Where in it, in bytes.
    pub position: u64,
    /// The offset that belongs there, if it is about one.
    pub offset: Option<Offset>,
    /// What is wrong.
    pub what: String,
}

impl Report {
    /// Whether nothing is lost.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.damage.is_empty()
    }
}

/// Reads everything in `folder`. `visit` is told of every good batch: its header, where it
/// lies, in which segment, and its bytes.
///
/// # Errors
/// [`LogError::UnsupportedFormat`], [`LogError::Io`]. What is damaged is in the report.
pub async fn verify(
    disk: &dyn Disk,
    folder: &str,
    mut visit: impl FnMut(Offset, u64, &BatchHeader, &Bytes),
) -> Result<Report, LogError> {
    let listing = look(disk, folder).await?;
    let mut report = Report {
        log_start: Offset::ZERO,
        recovery_point: Offset::ZERO,
        log_end: Offset::ZERO,
        segments: Vec::new(),
        damage: Vec::new(),
        notes: Vec::new(),
    };
    let checkpoint = match read_checkpoint(disk, &format!("{folder}/{CHECKPOINT_FILE}")).await {
        Ok(checkpoint) => Some(checkpoint),
        Err(LogError::Corrupt { reason, .. }) => {
            report.damage.push(Finding::of(CHECKPOINT_FILE, reason));
            None
        }
        Err(error) => return Err(error),
    };
    if let Some(checkpoint) = &checkpoint {
        report.log_start = checkpoint.log_start;
        report.recovery_point = checkpoint.recovery_point;
        report.listed(&listing, checkpoint);
    }
    let mut judge = Judge { disk, folder, checkpoint: checkpoint.as_ref(), report: &mut report };
    let needed = judge.needed(&listing);
    for (i, (base, len)) in needed.iter().enumerate() {
        judge.segment(*base, *len, i + 1 < needed.len(), &mut visit).await?;
    }
    report.end(disk, folder, &listing).await;
    Ok(report)
}

impl Finding {
    fn of(file: &str, what: impl Into<String>) -> Self {
        Self { file: file.to_owned(), position: 0, offset: None, what: what.into() }
    }
}

impl Report {
    /// What the checkpoint says must be there and is not.
    fn listed(&mut self, listing: &Listing, checkpoint: &Checkpoint) {
        let files = listed::segments(listing);
        let marks = checkpoint.segments.as_deref().unwrap_or_default();
        for SegmentMark { base, bytes, .. } in marks {
            let (file, offset) = (segment::log_name(*base), Some(*base));
            let what = match files.get(base) {
                None => format!("the segment is missing; {bytes} bytes of it were on the disk"),
                Some(len) if len < bytes => {
                    format!("the segment has {len} bytes; {bytes} were on the disk")
                }
                Some(_) => continue,
            };
            self.damage.push(Finding { file, position: 0, offset, what });
        }
    }

    /// What is said of the whole.
    async fn end(&mut self, disk: &dyn Disk, folder: &str, listing: &Listing) {
        self.log_end = self.segments.last().map_or(self.log_start, |last| last.end);
        if self.log_end < self.recovery_point && self.is_sound() {
            let what = format!("the log ends before its recovery point {}", self.recovery_point);
            let offset = Some(self.log_end);
            self.damage.push(Finding { offset, ..Finding::of(CHECKPOINT_FILE, what) });
        }
        for name in listing.names().filter(|name| name.contains(".set-aside-")) {
            let what = "set aside by an earlier start; no reader sees it";
            self.notes.push(Finding::of(name, what));
        }
        if listing.files.contains_key(producers_file::PRODUCERS_FILE) {
            let snapshot = producers_file::read(disk, folder).await;
            if snapshot.is_none_or(|snapshot| snapshot.below > self.log_end) {
                let what = "the snapshot of producers cannot be used; the log will be read instead";
                self.notes.push(Finding::of(producers_file::PRODUCERS_FILE, what));
            }
        }
    }
}

struct Judge<'a> {
    disk: &'a dyn Disk,
    folder: &'a str,
    checkpoint: Option<&'a Checkpoint>,
    report: &'a mut Report,
}

impl Judge<'_> {
    /// The segments that an open would look for, and the files' lengths.
    fn needed(&self, listing: &Listing) -> Vec<(Offset, u64)> {
        let mut files = listed::segments(listing);
        if let Some(checkpoint) = self.checkpoint {
            let first = files.range(..=checkpoint.log_start).next_back().map(|(base, _)| *base);
            files.retain(|base, _| first.is_none_or(|first| *base >= first));
        }
        files.retain(|_, len| *len > 0);
        files.into_iter().collect()
    }

    /// Whether what should be at `offset` was on the disk once.
    fn was_durable(&self, offset: Offset) -> bool {
        self.checkpoint.is_none_or(|checkpoint| offset < checkpoint.recovery_point)
    }

    fn found(&mut self, durable: bool, finding: Finding) {
        if durable {
            self.report.damage.push(finding);
        } else {
            self.report.notes.push(finding);
        }
    }

    async fn segment(
        &mut self,
        base: Offset,
        len: u64,
        finished: bool,
        visit: &mut impl FnMut(Offset, u64, &BatchHeader, &Bytes),
    ) -> Result<(), LogError> {
        let name = segment::log_name(base);
        let path = format!("{}/{name}", self.folder);
        let file = self.disk.open(&path, OpenMode::Read).await.on("open", &path)?;
        let mut one =
            SegmentReport { base, end: base, bytes: len, batches: 0, records: 0, largest_ms: None };
        if let Some(before) = self.report.segments.last()
            && before.end != base
        {
            let (offset, what) =
                (before.end, format!("the segment begins where offset {} should", before.end));
            let durable = self.was_durable(offset);
            let file = name.clone();
            self.found(durable, Finding { file, position: 0, offset: Some(offset), what });
        }
        let mut headers = HeaderWalk::new(&*file, 0, len);
        loop {
            let position = headers.position();
            let (header, bytes) = match headers.peek(one.end).await.on("read", &path)? {
                Step::End => break,
                Step::Bad(what) => {
                    self.bad(&name, position, len, one.end, what);
                    break;
                }
                Step::Batch(header) => (header, body(&*file, &path, position, &header).await?),
            };
            if let Err(what) = self.judge(&header, &bytes) {
                self.bad(&name, position, len, one.end, what);
                if !self.was_durable(one.end) {
                    // Here an open ends the log.
                    break;
                }
            } else {
                visit(base, position, &header, &bytes);
                one.batches += 1;
                one.records += u64::from(header.record_count);
                one.largest_ms = one.largest_ms.max(Some(header.max_timestamp_ms));
            }
            headers.skip(&header);
            one.end = header.next_offset();
        }
        if finished && self.checkpoint.is_some_and(|c| c.segments.is_some()) {
            self.index(&one).await;
        }
        self.report.segments.push(one);
        Ok(())
    }

    fn judge(&self, header: &BatchHeader, bytes: &[u8]) -> Result<(), String> {
        batch::verify(bytes).map_err(|error| error.to_string())?;
        match self.checkpoint {
            Some(checkpoint) => check_epoch(header, &checkpoint.epochs, checkpoint.log_start),
            None => Ok(()),
        }
    }

    fn bad(&mut self, name: &str, position: u64, len: u64, offset: Offset, what: String) {
        let durable = self.was_durable(offset);
        let what = if durable {
            what
        } else {
            let bytes = len - position;
            format!("the log ends here, {bytes} bytes will be set aside: {what}")
        };
        let file = name.to_owned();
        self.found(durable, Finding { file, position, offset: Some(offset), what });
    }

    async fn index(&mut self, one: &SegmentReport) {
        let largest_ms = one.largest_ms.unwrap_or(NO_TIMESTAMP);
        let mut segment = Segment::empty(one.base, 0, 0);
        (segment.end, segment.bytes, segment.largest_ms) = (one.end, one.bytes, largest_ms);
        segment.index = None;
        if let Err(error) = index_file::check(self.disk, self.folder, &segment).await {
            let what = format!("the index will be rebuilt: {error}");
            self.report.notes.push(Finding::of(&segment::index_name(one.base), what));
        }
    }
}

async fn body(
    file: &dyn File,
    path: &str,
    position: u64,
    header: &BatchHeader,
) -> Result<Bytes, LogError> {
    let buffer = BytesMut::with_capacity(header.batch_bytes);
    Ok(file.read_at(position, buffer).await.on("read", path)?.freeze())
}
