//! The I/O of the sparse index. It can always be rebuilt, so its errors reach no client: what
//! is missing or damaged costs a longer scan, and is written anew.
//!
//! None of it is fsynced, but for a cut: pages that a crash brought back could otherwise speak
//! of batches that were cut off.

use std::{io, sync::Arc};

use bytes::{Bytes, BytesMut};
use weir_protocol::{batch::BatchHeader, ids::Offset};
use weir_runtime::disk::{Disk, File, OpenMode};

use super::{
    append::position_32,
    error::{LogError, OnPath},
    index::{
        self, Entry, INDEX_HEADER_BYTES, PAGE_BYTES, PAGE_ENTRIES, Page, SparseIndex, page_at,
    },
    segment::{self, Segment},
    state::Inner,
    walk::{BadHeader, HeaderWalk, Step},
};

/// Writes the pages that are full, and the last one of segments that are finished. What
/// cannot be written stays in memory and is tried again.
pub(super) async fn write_pages(inner: &Inner) {
    loop {
        let next = {
            let state = inner.state();
            let last = state.segments.len().saturating_sub(1);
            // Only the segments at the end can have something left: an append rarely
            // fills more than one.
            let mut newest = state.segments.iter().enumerate().rev().take(8);
            newest.find_map(|(i, s)| {
                let index = s.index.as_ref()?;
                let full = index.full_page().map(|page| (false, page));
                let bytes = position_32(s.bytes);
                let page = full.or_else(|| (i < last).then(|| (true, index.last_page(bytes))));
                page.map(|(is_last, page)| (s.base, is_last, page))
            })
        };
        let Some((base, is_last, (position, page))) = next else { return };
        let interval = inner.config.index_interval_bytes;
        let path = inner.path(&segment::index_name(base));
        if let Err(error) = write_page(&*inner.disk, &path, base, interval, position, page).await {
            tracing::warn!(path, %error, "index page not written");
            return;
        }
        if let Some(segment) = inner.state().segment_mut(base) {
            match &mut segment.index {
                Some(index) if !is_last => index.page_written(),
                index => *index = None,
            }
        }
    }
}

async fn write_page(
    disk: &dyn Disk,
    path: &str,
    base: Offset,
    interval_bytes: u32,
    position: u64,
    page: Bytes,
) -> io::Result<()> {
    let file = disk.open(path, OpenMode::CreateOrOpen).await?;
    if position == INDEX_HEADER_BYTES as u64 {
        file.truncate(0).await?;
        file.write_at(0, vec![index::encode_header(base, interval_bytes)]).await?;
    }
    file.write_at(position, vec![page]).await
}

/// Writes all that `index` has in memory, of a segment that is finished; nothing is left.
pub(super) async fn finish(
    disk: &dyn Disk,
    folder: &str,
    base: Offset,
    segment_bytes: u64,
    interval_bytes: u32,
    mut index: SparseIndex,
) -> io::Result<()> {
    let path = format!("{folder}/{}", segment::index_name(base));
    while let Some((position, page)) = index.full_page() {
        write_page(disk, &path, base, interval_bytes, position, page).await?;
        index.page_written();
    }
    let (position, page) = index.last_page(position_32(segment_bytes));
    write_page(disk, &path, base, interval_bytes, position, page).await?;
    let file = disk.open(&path, OpenMode::Write).await?;
    file.truncate(position + PAGE_BYTES as u64).await
}

/// The last indexed batch of a segment that is `before` what is looked for, or the segment's
/// start. `before` is true of entries up to a place, and false from there on.
pub(super) async fn floor(
    inner: &Inner,
    base: Offset,
    before: impl Fn(&Entry) -> bool + Sync,
) -> Entry {
    let (segment_bytes, pages) = {
        let mut state = inner.state();
        let Some(segment) = state.segment_mut(base) else { return Entry::START };
        match &segment.index {
            Some(index) => match index.floor(&before) {
                Some(found) => return found,
                None => (segment.bytes, Some(index.pages())),
            },
            None => (segment.bytes, None),
        }
    };
    let path = inner.path(&segment::index_name(base));
    match search(&*inner.disk, &path, pages, segment_bytes, &before).await {
        Ok(found) => found.unwrap_or(Entry::START),
        Err(error) if pages.is_none() => {
            tracing::info!(path, %error, "index is missing or wrong; rebuilding it");
            rebuild(inner, base, segment_bytes, &before).await.unwrap_or_else(|error| {
                tracing::warn!(path, %error, "index not rebuilt; scanning");
                Entry::START
            })
        }
        Err(error) => {
            tracing::warn!(path, %error, "index cannot be read; scanning");
            Entry::START
        }
    }
}

/// As [`floor`], of a log that is being opened: nothing is rebuilt.
pub(super) async fn floor_of(
    disk: &dyn Disk,
    folder: &str,
    segment: &Segment,
    before: impl Fn(&Entry) -> bool + Sync,
) -> Entry {
    let index = segment.index.as_ref();
    if let Some(found) = index.and_then(|index| index.floor(&before)) {
        return found;
    }
    let path = format!("{folder}/{}", segment::index_name(segment.base));
    let pages = index.map(SparseIndex::pages);
    let found = search(disk, &path, pages, segment.bytes, &before).await;
    found.ok().flatten().unwrap_or(Entry::START)
}

/// Searches an index file with so many full pages, or, without a number, a finished one.
async fn search(
    disk: &dyn Disk,
    path: &str,
    pages: Option<u32>,
    segment_bytes: u64,
    before: &(impl Fn(&Entry) -> bool + Sync),
) -> io::Result<Option<Entry>> {
    if pages == Some(0) {
        return Ok(None);
    }
    let file = disk.open(path, OpenMode::Read).await?;
    let pages = match pages {
        Some(pages) => pages,
        None => finished_pages(&*file, segment_bytes).await?,
    };
    // The first entry of page `low` - 1 is before it, that of page `high` is not.
    let (mut low, mut high, mut found) = (0, pages, None);
    while low < high {
        let middle = low + (high - low) / 2;
        let page = read_page(&*file, middle).await?;
        if page.entries.first().is_some_and(before) {
            let after = page.entries.partition_point(before);
            found = after.checked_sub(1).and_then(|i| page.entries.get(i)).copied();
            if after < page.entries.len() {
                break;
            }
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(found)
}

/// Whether the index file of a finished segment can be used as a whole.
pub(super) async fn check(disk: &dyn Disk, folder: &str, segment: &Segment) -> io::Result<()> {
    let path = format!("{folder}/{}", segment::index_name(segment.base));
    let file = disk.open(&path, OpenMode::Read).await?;
    for page in 0..finished_pages(&*file, segment.bytes).await? {
        read_page(&*file, page).await?;
    }
    Ok(())
}

/// How many pages the index of a finished segment has.
async fn finished_pages(file: &dyn File, segment_bytes: u64) -> io::Result<u32> {
    let pages = pages_of(file.len().await?);
    let last = pages.checked_sub(1).ok_or_else(|| damaged("it has no page"))?;
    let page = read_page(file, last).await?;
    if u64::from(page.segment_bytes) != segment_bytes {
        return Err(damaged("it does not reach the segment's end"));
    }
    Ok(pages)
}

fn pages_of(file_bytes: u64) -> u32 {
    let pages = file_bytes.saturating_sub(INDEX_HEADER_BYTES as u64) / PAGE_BYTES as u64;
    u32::try_from(pages).unwrap_or(u32::MAX)
}

async fn read_page(file: &dyn File, page: u32) -> io::Result<Page> {
    let bytes = file.read_at(page_at(page), BytesMut::with_capacity(PAGE_BYTES)).await?;
    index::decode_page(&bytes).ok_or_else(|| damaged(format!("page {page} is damaged")))
}

fn damaged(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

/// Rebuilds the index of a finished segment and its file, and looks there.
async fn rebuild(
    inner: &Inner,
    base: Offset,
    segment_bytes: u64,
    before: &(impl Fn(&Entry) -> bool + Sync),
) -> Result<Entry, LogError> {
    let _turn = inner.indexing.lock().await;
    let path = inner.path(&segment::index_name(base));
    // Somebody else may just have done it.
    if let Ok(found) = search(&*inner.disk, &path, None, segment_bytes, before).await {
        return Ok(found.unwrap_or(Entry::START));
    }
    let file = inner.segment_file(base).await?;
    let log_path = inner.path(&segment::log_name(base));
    let interval = inner.config.index_interval_bytes;
    let mut index = SparseIndex::new(interval);
    let whole = walk_into(&mut index, &*file, base, Entry::START, segment_bytes, |_| Ok(())).await;
    let walked = whole.on("read", &log_path)?;
    walked.map_err(|bad| bad.corrupt(log_path))?;
    let found = index.floor(before).unwrap_or(Entry::START);
    if let Err(error) =
        finish(&*inner.disk, &inner.folder, base, segment_bytes, interval, index).await
    {
        tracing::warn!(path, %error, "index not rebuilt on disk");
    }
    Ok(found)
}

/// Tells `index` of every batch from `start` to `end` bytes, which must be where one ends;
/// gives the offset that follows.
pub(super) async fn walk_into(
    index: &mut SparseIndex,
    file: &dyn File,
    base: Offset,
    start: Entry,
    end: u64,
    check: impl Fn(&BatchHeader) -> Result<(), String>,
) -> io::Result<Result<Offset, BadHeader>> {
    let mut next = Offset(base.0 + u64::from(start.relative));
    let mut headers = HeaderWalk::new(file, u64::from(start.position), end);
    loop {
        let position = headers.position();
        let checked = match headers.peek(next).await? {
            Step::End => return Ok(Ok(next)),
            Step::Batch(header) => check(&header).map(|()| header),
            Step::Bad(reason) => Err(reason),
        };
        match checked {
            Ok(header) => {
                let relative = segment::relative(base, header.base_offset);
                index.note(relative, position_32(position), header.max_timestamp_ms);
                headers.skip(&header);
                next = header.next_offset();
            }
            Err(reason) => return Ok(Err(BadHeader { position, offset: next, reason })),
        }
    }
}

/// What a segment's index is, so that it can be appended to: its full pages are taken from
/// the file, and only what comes after them is walked, up to `end` bytes. Gives the offset
/// that follows as well.
pub(super) async fn resume(
    disk: &dyn Disk,
    folder: &str,
    base: Offset,
    file: &dyn File,
    end: u64,
    interval_bytes: u32,
    check: impl Fn(&BatchHeader) -> Result<(), String>,
) -> Result<(SparseIndex, Offset), LogError> {
    let path = format!("{folder}/{}", segment::index_name(base));
    let log_path = format!("{folder}/{}", segment::log_name(base));
    let (pages, last) = full_pages(disk, &path, base, interval_bytes, end).await;
    if pages > 0 {
        let mut index = SparseIndex::after(interval_bytes, pages, last);
        let walked = walk_into(&mut index, file, base, last, end, &check).await;
        if let Ok(next) = walked.on("read", &log_path)? {
            shorten(disk, &path, index.pages_end()).await;
            return Ok((index, next));
        }
        tracing::info!(path, "index is wrong; rebuilding it");
    }
    let mut index = SparseIndex::new(interval_bytes);
    let walked = walk_into(&mut index, file, base, Entry::START, end, &check).await;
    let next = walked.on("read", &log_path)?.map_err(|bad| bad.corrupt(log_path))?;
    shorten(disk, &path, 0).await;
    Ok((index, next))
}

/// How many full pages an index file begins with that speak of what lies below `end` bytes,
/// and the last entry of the last of them.
async fn full_pages(
    disk: &dyn Disk,
    path: &str,
    base: Offset,
    interval_bytes: u32,
    end: u64,
) -> (u32, Entry) {
    let read = async {
        let file = disk.open(path, OpenMode::Read).await?;
        let header = BytesMut::with_capacity(INDEX_HEADER_BYTES);
        if file.read_at(0, header).await? != index::encode_header(base, interval_bytes) {
            return Err(damaged("its header is wrong"));
        }
        let pages = pages_of(file.len().await?);
        for page in (0..pages).rev() {
            let Ok(read) = read_page(&*file, page).await else { continue };
            let full = read.entries.len() == PAGE_ENTRIES && read.segment_bytes == 0;
            match read.entries.last() {
                Some(last) if full && u64::from(last.position) < end => {
                    return Ok((page + 1, *last));
                }
                _ => {}
            }
        }
        Ok((0, Entry::START))
    };
    match read.await {
        Ok(found) => found,
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::info!(path, %error, "index cannot be used; rebuilding it");
            }
            (0, Entry::START)
        }
    }
}

/// Cuts what lies beyond the pages of an index that is appended to again, durably.
async fn shorten(disk: &dyn Disk, path: &str, pages_end: u64) {
    let cut = async {
        if pages_end <= INDEX_HEADER_BYTES as u64 {
            return disk.remove_file(path).await;
        }
        let file: Arc<dyn File> = disk.open(path, OpenMode::Write).await?;
        if file.len().await? > pages_end {
            file.truncate(pages_end).await?;
            file.sync_data().await?;
        }
        Ok(())
    };
    if let Err(error) = cut.await
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path, %error, "index file not shortened");
    }
}
