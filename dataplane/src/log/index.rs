//! The sparse offset index of a segment: about one entry per so many bytes of log.
//!
//! Pure; `index_file` does the I/O. The file, integers big-endian:
//!
//! | Bytes | Holds |
//! |---|---|
//! | 0–7 | `WEIRINDX` |
//! | 8–11 | version, 1 |
//! | 12–15 | interval, in bytes of log |
//! | 16–23 | base offset of the segment |
//! | 24–27 | 0 |
//! | 28–31 | CRC-32C of bytes 0–27 |
//! | 32+4096p… | page p, 4096 bytes: 511 entries, each a batch's first offset less the base (4 bytes) and its position in the segment (4 bytes); how many are used (4 bytes), the rest is 0; CRC-32C of the page's first 4092 bytes |
//!
//! All pages but the last are full. An entry is made for the first batch that begins an
//! interval or more after the last entry's (or the segment's start), so that a rebuilt index
//! has the same bytes. In memory stay the first entry of each page and the entries of the
//! page being filled: 8 KiB for a segment of 1 GiB.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use weir_protocol::{batch::crc32c, ids::Offset};

/// Bytes of the file's header.
pub const INDEX_HEADER_BYTES: usize = 32;
/// Bytes of a page.
pub const PAGE_BYTES: usize = 4096;
/// Entries of a full page.
pub const PAGE_ENTRIES: usize = 511;

const MAGIC: &[u8; 8] = b"WEIRINDX";
const VERSION: u32 = 1;
const ENTRY_BYTES: usize = 8;

/// A batch's first offset and place, relative to the segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// First offset less the segment's base.
    pub relative: u32,
    /// Bytes from the segment's start.
    pub position: u32,
}

/// Where to start looking for an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Floor {
    /// The last indexed batch at or before it.
    At(Entry),
    /// That is in this page of the file, whose first entry is `first` and also good to
    /// start from.
    InPage {
        /// The page's number.
        page: usize,
        /// Its first entry.
        first: Entry,
    },
}

/// What is in memory of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SparseIndex {
    interval_bytes: u32,
    /// First entry of each page in the file.
    pages: Vec<Entry>,
    /// Entries that are not in the file yet.
    tail: Vec<Entry>,
    last_position: u32,
}

impl SparseIndex {
    /// Of an empty segment.
    #[must_use]
    pub fn new(interval_bytes: u32) -> Self {
        Self { interval_bytes, pages: Vec::new(), tail: Vec::new(), last_position: 0 }
    }

    /// Tells of each batch, in order; enters one now and then.
    pub fn note(&mut self, relative: u32, position: u32) {
        let since = position.saturating_sub(self.last_position);
        if position > 0 && since >= self.interval_bytes {
            self.tail.push(Entry { relative, position });
            self.last_position = position;
        }
    }

    /// Where to start looking for the batch that holds `relative`.
    #[must_use]
    pub fn floor(&self, relative: u32) -> Floor {
        let in_tail = self.tail.partition_point(|e| e.relative <= relative);
        if let Some(i) = in_tail.checked_sub(1) {
            return Floor::At(self.tail[i]);
        }
        match self.pages.partition_point(|e| e.relative <= relative).checked_sub(1) {
            Some(page) => Floor::InPage { page, first: self.pages[page] },
            None => Floor::At(Entry::default()),
        }
    }

    /// The next page to write and its place in the file, if it is full (or, for a finished
    /// segment with `partial`, if there is any entry left).
    #[must_use]
    pub fn next_page(&self, partial: bool) -> Option<(u64, Bytes)> {
        let ready = self.tail.len() >= PAGE_ENTRIES || (partial && !self.tail.is_empty());
        ready.then(|| {
            let entries = &self.tail[..self.tail.len().min(PAGE_ENTRIES)];
            (self.pages_end(), encode_page(entries))
        })
    }

    /// The page of the last [`SparseIndex::next_page`] is in the file.
    pub fn page_written(&mut self) {
        if let Some(first) = self.tail.first() {
            self.pages.push(*first);
            self.tail.drain(..self.tail.len().min(PAGE_ENTRIES));
        }
    }

    /// Where the pages in the file end.
    #[must_use]
    pub fn pages_end(&self) -> u64 {
        (INDEX_HEADER_BYTES + self.pages.len() * PAGE_BYTES) as u64
    }

    /// The segment was cut to `bytes`, or is to be appended to again: the pages that hold
    /// entries beyond, and a last page that may not be full, are given up but for their
    /// first entry.
    pub fn reopen_at(&mut self, bytes: u64) {
        let beyond = |e: &Entry| u64::from(e.position) >= bytes;
        let mut given_up = None;
        while let Some(last) = self.pages.last().copied() {
            if given_up.is_some_and(|e| !beyond(&e)) {
                break;
            }
            given_up = Some(last);
            self.pages.pop();
        }
        self.tail.retain(|e| !beyond(e));
        if let Some(first) = given_up.filter(|e| !beyond(e)) {
            self.tail.insert(0, first);
        }
        let last = self.tail.last().or(self.pages.last());
        self.last_position = last.map_or(0, |e| e.position);
    }
}

/// The file's header.
#[must_use]
pub fn encode_header(base: Offset, interval_bytes: u32) -> Bytes {
    let mut out = BytesMut::with_capacity(INDEX_HEADER_BYTES);
    out.put_slice(MAGIC);
    out.put_u32(VERSION);
    out.put_u32(interval_bytes);
    out.put_u64(base.0);
    out.put_u32(0);
    let crc = crc32c(&out);
    out.put_u32(crc);
    out.freeze()
}

/// At most [`PAGE_ENTRIES`] entries as a page.
#[must_use]
pub fn encode_page(entries: &[Entry]) -> Bytes {
    let mut out = BytesMut::with_capacity(PAGE_BYTES);
    let entries = &entries[..entries.len().min(PAGE_ENTRIES)];
    for entry in entries {
        out.put_u32(entry.relative);
        out.put_u32(entry.position);
    }
    out.put_bytes(0, (PAGE_ENTRIES - entries.len()) * ENTRY_BYTES);
    out.put_u32(u32::try_from(entries.len()).unwrap_or(0));
    let crc = crc32c(&out);
    out.put_u32(crc);
    out.freeze()
}

/// A page's last entry at or before `relative`; `None` if the page is damaged or is not the
/// one that begins with `first`.
#[must_use]
pub fn floor_in_page(page: &[u8], first: Entry, relative: u32) -> Option<Entry> {
    let (content, mut crc) = page.split_at_checked(PAGE_BYTES - 4)?;
    let (entries, mut count) = content.split_at_checked(PAGE_ENTRIES * ENTRY_BYTES)?;
    if crc.len() != 4 || crc.get_u32() != crc32c(content) {
        return None;
    }
    let used = entries.get(..(count.get_u32() as usize).checked_mul(ENTRY_BYTES)?)?;
    let read = |mut bytes: &[u8]| Entry { relative: bytes.get_u32(), position: bytes.get_u32() };
    let mut found = None;
    for (i, entry) in used.chunks_exact(ENTRY_BYTES).map(read).enumerate() {
        if i == 0 && entry != first {
            return None;
        }
        if entry.relative > relative {
            break;
        }
        found = Some(entry);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(n: u32) -> Entry {
        Entry { relative: n, position: n * 100 }
    }

    /// One batch per offset, 100 bytes each, an entry for each.
    fn filled(batches: u32) -> SparseIndex {
        let mut index = SparseIndex::new(100);
        for n in 0..batches {
            index.note(n, n * 100);
        }
        index
    }

    #[test]
    fn entries_are_an_interval_apart() {
        let mut index = SparseIndex::new(250);
        for n in 0..10 {
            index.note(n, n * 100);
        }
        assert_eq!(index.tail, [3, 6, 9].map(entry));
        assert_eq!(index.floor(0), Floor::At(Entry::default()));
        assert_eq!(index.floor(2), Floor::At(Entry::default()));
        assert_eq!(index.floor(3), Floor::At(entry(3)));
        assert_eq!(index.floor(8), Floor::At(entry(6)));
        assert_eq!(index.floor(u32::MAX), Floor::At(entry(9)));
    }

    #[test]
    fn full_pages_go_to_the_file_and_their_first_entry_stays() {
        let mut index = filled(1200);
        let (at, page) = index.next_page(false).unwrap();
        assert_eq!((at, page.len()), (32, PAGE_BYTES));
        index.page_written();
        assert_eq!(index.next_page(false).unwrap().0, 32 + 4096);
        index.page_written();
        assert_eq!(index.next_page(false), None);
        assert_eq!(index.next_page(true).unwrap().0, 32 + 2 * 4096);

        assert_eq!(index.floor(0), Floor::At(Entry::default()));
        assert_eq!(index.floor(511), Floor::InPage { page: 0, first: entry(1) });
        assert_eq!(index.floor(512), Floor::InPage { page: 1, first: entry(512) });
        assert_eq!(index.floor(1100), Floor::At(entry(1100)));
        assert_eq!(floor_in_page(&page, entry(1), 300), Some(entry(300)));
        assert_eq!(floor_in_page(&page, entry(1), 5000), Some(entry(511)));
        assert_eq!(floor_in_page(&page, entry(2), 300), None, "another page");
    }

    #[test]
    fn a_damaged_page_is_noticed() {
        let page = encode_page(&[entry(1), entry(2)]).to_vec();
        for at in [0, 9, 100, 4088, 4095] {
            let mut bad = page.clone();
            bad[at] ^= 1;
            assert_eq!(floor_in_page(&bad, entry(1), 5), None, "byte {at}");
        }
        assert_eq!(floor_in_page(&page[..4000], entry(1), 5), None);
        assert_eq!(floor_in_page(&page, entry(1), 5), Some(entry(2)));
    }

    #[test]
    fn reopening_gives_up_what_lies_beyond_the_cut() {
        let mut index = filled(1200);
        index.page_written();
        index.page_written();
        let mut cut_in_tail = index.clone();
        cut_in_tail.reopen_at(110_000);
        assert_eq!(cut_in_tail.floor(1099), Floor::At(entry(1099)));
        assert_eq!(cut_in_tail.floor(1100), Floor::At(entry(1099)));
        assert_eq!(cut_in_tail.pages_end(), 32 + 4096, "the last page might not be full");

        let mut cut_in_page = index.clone();
        cut_in_page.reopen_at(60_000);
        assert_eq!(cut_in_page.floor(599), Floor::At(entry(512)));
        assert_eq!(cut_in_page.pages_end(), 32 + 4096);
        cut_in_page.note(600, 60_000);
        assert_eq!(cut_in_page.floor(600), Floor::At(entry(600)));

        index.reopen_at(0);
        assert_eq!(index, SparseIndex::new(100));
    }

    #[test]
    fn golden_bytes() {
        let mut header = b"WEIRINDX\0\0\0\x01\0\0\x10\0\0\0\0\0\0\0\0\x07\0\0\0\0".to_vec();
        let crc = crc32c(&header);
        header.extend(crc.to_be_bytes());
        assert_eq!(encode_header(Offset(7), 4096), header);

        let page = encode_page(&[Entry { relative: 1, position: 0x0203 }]);
        let mut expected = b"\0\0\0\x01\0\0\x02\x03".to_vec();
        expected.resize(4088, 0);
        expected.extend([0, 0, 0, 1]);
        let crc = crc32c(&expected);
        expected.extend(crc.to_be_bytes());
        assert_eq!(page, expected);
    }
}
