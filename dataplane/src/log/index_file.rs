//! The I/O of the sparse index. It can always be rebuilt, so none of it is fsynced and none
//! of its errors reaches a client.

use std::{io, sync::Arc};

use bytes::{Bytes, BytesMut};
use weir_protocol::ids::Offset;
use weir_runtime::disk::{self, Disk, File, OpenMode};

use super::{
    append::Writer,
    index::{self, Entry, Floor, INDEX_HEADER_BYTES, PAGE_BYTES, SparseIndex},
    segment,
    state::Inner,
};

/// Larger than the index of any segment.
const INDEX_BYTES_MAX: usize = 64 << 20;

/// Writes the pages that are full, and the last one of segments that are finished. What
/// cannot be written stays in memory and is tried again.
pub(super) async fn write_pages(inner: &Inner, writer: &mut Writer) {
    loop {
        let next = {
            let state = inner.state();
            let last = state.segments.len().saturating_sub(1);
            // Only the segments at the end can have something left: an append rarely
            // fills more than one.
            let mut newest = state.segments.iter().enumerate().rev().take(8);
            newest.find_map(|(i, s)| s.index.next_page(i < last).map(|page| (s.base, page)))
        };
        let Some((base, (position, page))) = next else { return };
        if let Err(error) = write_page(inner, writer, base, position, page).await {
            tracing::warn!(folder = inner.folder, %base, %error, "index page not written");
            return;
        }
        let mut state = inner.state();
        if let Some(segment) = state.segments.iter_mut().rev().find(|s| s.base == base) {
            segment.index.page_written();
        }
    }
}

async fn write_page(
    inner: &Inner,
    writer: &mut Writer,
    base: Offset,
    position: u64,
    page: Bytes,
) -> io::Result<()> {
    let file = match writer.index.as_ref().filter(|(of, _)| *of == base) {
        Some((_, file)) => file.clone(),
        None => {
            let path = inner.path(&segment::index_name(base));
            let file = inner.disk.open(&path, OpenMode::CreateOrOpen).await?;
            writer.index = Some((base, file.clone()));
            file
        }
    };
    if position == INDEX_HEADER_BYTES as u64 {
        let header = index::encode_header(base, inner.config.index_interval_bytes);
        file.write_at(0, vec![header]).await?;
    }
    file.write_at(position, vec![page]).await
}

/// The last indexed batch at or before the offset that `floor` was found for. A page that
/// cannot be read, or is damaged, costs a longer scan, nothing else.
pub(super) async fn resolve(inner: &Inner, base: Offset, floor: Floor, relative: u32) -> Entry {
    let (page, first) = match floor {
        Floor::At(entry) => return entry,
        Floor::InPage { page, first } => (page, first),
    };
    let path = inner.path(&segment::index_name(base));
    let read = async {
        let file = inner.disk.open(&path, OpenMode::Read).await?;
        let at = INDEX_HEADER_BYTES + page * PAGE_BYTES;
        file.read_at(at as u64, BytesMut::with_capacity(PAGE_BYTES)).await
    };
    match read.await {
        Ok(bytes) => index::floor_in_page(&bytes, first, relative).unwrap_or_else(|| {
            tracing::warn!(path, page, "index page is damaged; scanning");
            first
        }),
        Err(error) => {
            tracing::warn!(path, page, %error, "index page cannot be read; scanning");
            first
        }
    }
}

/// Cuts what lies beyond the pages of an index that was reopened.
pub(super) async fn shorten(disk: &dyn Disk, path: &str, pages_end: u64) {
    let done = if pages_end == INDEX_HEADER_BYTES as u64 {
        disk.remove_file(path).await
    } else {
        match disk.open(path, OpenMode::Write).await {
            Ok(file) => file.truncate(pages_end).await,
            Err(error) => Err(error),
        }
    };
    // Beyond its pages an index file is not looked at before the next open rebuilds it.
    if let Err(error) = done
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path, %error, "index file not shortened");
    }
}

/// Makes the index file of a segment that was just walked say what `built` says, and moves
/// its pages there. An index file that already does is left alone.
pub(super) async fn settle(
    disk: &dyn Disk,
    path: &str,
    base: Offset,
    interval_bytes: u32,
    finished: bool,
    built: &mut SparseIndex,
) {
    let whole = built.clone();
    let mut right = BytesMut::from(&index::encode_header(base, interval_bytes)[..]);
    while let Some((_, page)) = built.next_page(finished) {
        right.extend_from_slice(&page);
        built.page_written();
    }
    let right = if right.len() == INDEX_HEADER_BYTES { Bytes::new() } else { right.freeze() };
    let found = match disk::read_all(disk, path, INDEX_BYTES_MAX).await {
        Ok(found) => Some(found),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(_) => Some(Bytes::new()),
    };
    if found.as_ref().map_or(right.is_empty(), |found| *found == right) {
        return;
    }
    // A last page that was written at a clean close of a log that goes on is no damage.
    if found.as_ref().is_none_or(|found| !found.starts_with(&right)) {
        tracing::info!(path, "index is missing or wrong; rebuilding it");
    }
    if let Err(error) = rewrite(disk, path, &right).await {
        tracing::warn!(path, %error, "index not rebuilt on disk; kept in memory");
        *built = whole;
    }
}

async fn rewrite(disk: &dyn Disk, path: &str, content: &Bytes) -> io::Result<()> {
    if content.is_empty() {
        return disk.remove_file(path).await;
    }
    let file: Arc<dyn File> = disk.open(path, OpenMode::CreateOrOpen).await?;
    file.truncate(0).await?;
    file.write_at(0, vec![content.clone()]).await
}
