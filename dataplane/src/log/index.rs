//! The sparse index of a segment: where offsets lie, and where times do. About one entry per
//! so many bytes of log.
//!
//! Pure; `index_file` does the I/O. The file, integers big-endian:
//!
//! | Bytes | Holds |
//! |---|---|
//! | 0–7 | `WEIRINDX` |
//! | 8–11 | version, 2 |
//! | 12–15 | interval, in bytes of log |
//! | 16–23 | base offset of the segment |
//! | 24–27 | 0 |
//! | 28–31 | CRC-32C of bytes 0–27 |
//! | 32+4096p… | page p, 4096 bytes |
//!
//! A page:
//!
//! | Bytes | Holds |
//! |---|---|
//! | 16i… | entry i, of at most 255: a batch's first offset less the base (4 bytes), its position in the segment (4 bytes), the largest timestamp of all batches before it in the segment (8 bytes, signed; the least there is where there are none) |
//! | 4080–4083 | in the last page of a finished segment the segment's length; else 0 |
//! | 4084–4087 | 0 |
//! | 4088–4091 | how many entries are used; what lies between is 0 |
//! | 4092–4095 | CRC-32C of bytes 0–4091 |
//!
//! All pages but the last are full, and a finished segment has at least one page. An entry is
//! made for the first batch that begins an interval or more after the last entry's (or the
//! segment's start), so that a rebuilt index has the same bytes. Offsets, positions and
//! timestamps of the entries rise together, so one search serves both questions. In memory
//! stay only the entries of the page that is being filled.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use weir_protocol::{batch::crc32c, ids::Offset};

/// Bytes of the file's header.
pub const INDEX_HEADER_BYTES: usize = 32;
/// Bytes of a page.
pub const PAGE_BYTES: usize = 4096;
/// Entries of a full page.
pub const PAGE_ENTRIES: usize = 255;
/// The largest timestamp of no batches.
pub const NO_TIMESTAMP: i64 = i64::MIN;

const MAGIC: &[u8; 8] = b"WEIRINDX";
const VERSION: u32 = 2;
const ENTRY_BYTES: usize = 16;
const ENTRIES_BYTES: usize = PAGE_ENTRIES * ENTRY_BYTES;

/// A batch's first offset and place, relative to the segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// First offset less the segment's base.
    pub relative: u32,
    /// Bytes from the segment's start.
    pub position: u32,
    /// The largest timestamp before it in the segment, in milliseconds since 1970;
    /// [`NO_TIMESTAMP`] where nothing is before it.
    pub before_ms: i64,
}

impl Entry {
    /// The segment's start, which needs no entry.
    pub const START: Self = Self { relative: 0, position: 0, before_ms: NO_TIMESTAMP };
}

/// What of the index of a segment is in memory: what is not in its file yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SparseIndex {
    interval_bytes: u32,
    /// How many pages, all full, are in the file.
    pages: u32,
    /// Entries that are not in the file yet.
    tail: Vec<Entry>,
    last_position: u32,
    largest_ms: i64,
}

impl SparseIndex {
    /// Of an empty segment.
    #[must_use]
    pub fn new(interval_bytes: u32) -> Self {
        Self::after(interval_bytes, 0, Entry::START)
    }

    /// Of a segment whose index file has `pages` full pages, the last of which ends with
    /// `last`. The batch at that entry is the next to be told of.
    #[must_use]
    pub fn after(interval_bytes: u32, pages: u32, last: Entry) -> Self {
        let (last_position, largest_ms) = (last.position, last.before_ms);
        Self { interval_bytes, pages, tail: Vec::new(), last_position, largest_ms }
    }

    /// Tells of each batch, in order; enters one now and then.
    pub fn note(&mut self, relative: u32, position: u32, largest_ms: i64) {
        let since = position.saturating_sub(self.last_position);
        if position > 0 && since >= self.interval_bytes {
            self.tail.push(Entry { relative, position, before_ms: self.largest_ms });
            self.last_position = position;
        }
        self.largest_ms = self.largest_ms.max(largest_ms);
    }

    /// The largest timestamp of all batches that it was told of.
    #[must_use]
    pub const fn largest_ms(&self) -> i64 {
        self.largest_ms
    }

    /// How many pages are in the file.
    #[must_use]
    pub const fn pages(&self) -> u32 {
        self.pages
    }

    /// The last entry in memory that is `before` what is looked for; `None`: the file has it,
    /// if anything has.
    #[must_use]
    pub fn floor(&self, before: impl Fn(&Entry) -> bool) -> Option<Entry> {
        let after = self.tail.partition_point(before);
        after.checked_sub(1).map(|i| self.tail[i])
    }

    /// The next page to write and its place in the file, if it is full.
    #[must_use]
    pub fn full_page(&self) -> Option<(u64, Bytes)> {
        // One more than fills it: the last page of a finished segment may be full as well.
        let entries = self.tail.get(..PAGE_ENTRIES).filter(|_| self.tail.len() > PAGE_ENTRIES)?;
        Some((self.pages_end(), encode_page(entries, 0)))
    }

    /// The last page, of a segment that ended at `segment_bytes`, and its place; only once
    /// there is no full one before it.
    #[must_use]
    pub fn last_page(&self, segment_bytes: u32) -> (u64, Bytes) {
        (self.pages_end(), encode_page(&self.tail, segment_bytes))
    }

    /// The page of the last [`SparseIndex::full_page`] is in the file.
    pub fn page_written(&mut self) {
        self.pages += 1;
        self.tail.drain(..self.tail.len().min(PAGE_ENTRIES));
    }

    /// Where the pages in the file end.
    #[must_use]
    pub const fn pages_end(&self) -> u64 {
        page_at(self.pages)
    }
}

/// Where a page begins in the file.
#[must_use]
pub const fn page_at(page: u32) -> u64 {
    INDEX_HEADER_BYTES as u64 + page as u64 * PAGE_BYTES as u64
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

fn encode_page(entries: &[Entry], segment_bytes: u32) -> Bytes {
    let mut out = BytesMut::with_capacity(PAGE_BYTES);
    let entries = &entries[..entries.len().min(PAGE_ENTRIES)];
    for entry in entries {
        out.put_u32(entry.relative);
        out.put_u32(entry.position);
        out.put_i64(entry.before_ms);
    }
    out.put_bytes(0, ENTRIES_BYTES - entries.len() * ENTRY_BYTES);
    out.put_u32(segment_bytes);
    out.put_u32(0);
    out.put_u32(u32::try_from(entries.len()).unwrap_or(0));
    let crc = crc32c(&out);
    out.put_u32(crc);
    out.freeze()
}

/// A page, as read and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Its entries, which rise.
    pub entries: Vec<Entry>,
    /// In the last page of a finished segment its length, else 0.
    pub segment_bytes: u32,
}

/// Reads a page; `None` if it is damaged.
#[must_use]
pub fn decode_page(page: &[u8]) -> Option<Page> {
    let (content, mut crc) = page.split_at_checked(PAGE_BYTES - 4)?;
    if crc.len() != 4 || crc.get_u32() != crc32c(content) {
        return None;
    }
    let (entries, mut rest) = content.split_at_checked(ENTRIES_BYTES)?;
    let segment_bytes = rest.get_u32();
    let _zero = rest.get_u32();
    let used = entries.get(..(rest.get_u32() as usize).checked_mul(ENTRY_BYTES)?)?;
    let read = |mut bytes: &[u8]| Entry {
        relative: bytes.get_u32(),
        position: bytes.get_u32(),
        before_ms: bytes.get_i64(),
    };
    let entries: Vec<Entry> = used.chunks_exact(ENTRY_BYTES).map(read).collect();
    let rise = |w: &[Entry]| w[0].relative < w[1].relative && w[0].position < w[1].position;
    entries.windows(2).all(rise).then_some(Page { entries, segment_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Batches of 100 bytes and one record each, with rising timestamps.
    fn filled(batches: u32) -> SparseIndex {
        let mut index = SparseIndex::new(200);
        for n in 0..batches {
            index.note(n, n * 100, i64::from(n));
        }
        index
    }

    #[test]
    fn every_interval_has_its_entry() {
        let index = filled(7);
        let entry = |n| Entry { relative: n, position: n * 100, before_ms: i64::from(n) - 1 };
        assert_eq!(index.tail, [entry(2), entry(4), entry(6)]);
        assert_eq!(index.largest_ms(), 6);
        let floor = |relative| index.floor(|e| e.relative <= relative);
        assert_eq!(floor(1), None);
        assert_eq!((floor(2), floor(5)), (Some(entry(2)), Some(entry(4))));
        let at_time = |ms| index.floor(|e| e.before_ms < ms);
        assert_eq!(at_time(2), Some(entry(2)), "the batch at 2 is the first of that time");
        assert_eq!(at_time(3), Some(entry(2)));
        assert_eq!(at_time(1), None);
    }

    #[test]
    fn timestamps_that_go_back_leave_the_largest_standing() {
        let mut index = SparseIndex::new(1);
        for (n, ms) in [50, 20, 70, 10].into_iter().enumerate() {
            index.note(n as u32, n as u32 * 100, ms);
        }
        let before: Vec<_> = index.tail.iter().map(|e| e.before_ms).collect();
        assert_eq!(before, [50, 50, 70]);
    }

    #[test]
    fn pages_are_written_when_they_overflow_and_read_back() {
        let mut index = filled(2 * 255 + 1);
        assert_eq!(index.tail.len(), 255);
        assert_eq!(index.full_page(), None, "it may be the last");
        index.note(512, 51_200, 0);
        let (at, page) = index.full_page().unwrap();
        assert_eq!((at, page.len()), (32, PAGE_BYTES));
        let read = decode_page(&page).unwrap();
        assert_eq!((read.entries.len(), read.segment_bytes), (255, 0));
        assert_eq!(read.entries, index.tail[..255]);
        index.page_written();
        assert_eq!((index.pages(), index.tail.len(), index.pages_end()), (1, 1, 32 + 4096));
        let (at, last) = index.last_page(51_300);
        assert_eq!(at, 32 + 4096);
        assert_eq!(decode_page(&last).unwrap().segment_bytes, 51_300);
    }

    #[test]
    fn damage_is_noticed() {
        let (_, page) = filled(100).last_page(10_000);
        for at in [0, 100, 4080, 4088, 4095] {
            let mut damaged = page.to_vec();
            damaged[at] ^= 1;
            assert_eq!(decode_page(&damaged), None, "{at}");
        }
        assert_eq!(decode_page(&page[..4095]), None);
        let mut falls = page.to_vec();
        falls.copy_within(16..32, 0);
        let crc = crc32c(&falls[..4092]).to_be_bytes();
        falls[4092..].copy_from_slice(&crc);
        assert_eq!(decode_page(&falls), None, "entries that do not rise");
    }

    #[test]
    fn golden_bytes() {
        let header = encode_header(Offset(7), 4096);
        assert_eq!(&header[..28], b"WEIRINDX\0\0\0\x02\0\0\x10\0\0\0\0\0\0\0\0\x07\0\0\0\0");
        assert_eq!(header[28..], crc32c(&header[..28]).to_be_bytes());
        let (_, page) = filled(3).last_page(300);
        assert_eq!(page[..16], *b"\0\0\0\x02\0\0\0\xc8\0\0\0\0\0\0\0\x01");
        assert!(page[16..4080].iter().all(|byte| *byte == 0));
        assert_eq!(page[4080..4092], *b"\0\0\x01\x2c\0\0\0\0\0\0\0\x01");
        assert_eq!(page[4092..], crc32c(&page[..4092]).to_be_bytes());
    }
}
