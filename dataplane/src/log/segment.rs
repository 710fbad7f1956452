//! One segment: its names, and what is known of it in memory.
//!
//! `<base offset, 20 digits>.log` holds batches one after another exactly as Kafka's v2
//! format lays them out, nothing before, between or after: tools that read Kafka's
//! segments read ours. A batch never spans two segments. The next segment begins at the
//! offset where this one ends.

use std::sync::Arc;

use weir_protocol::ids::Offset;
use weir_runtime::disk::File;

use super::{
    checkpoint::SegmentMark,
    index::{NO_TIMESTAMP, SparseIndex},
};

const DIGITS: usize = 20;

/// The name of the batches' file.
#[must_use]
pub fn log_name(base: Offset) -> String {
    format!("{:020}.log", base.0)
}

/// The name of the index' file.
#[must_use]
pub fn index_name(base: Offset) -> String {
    format!("{:020}.index", base.0)
}

/// The base offset in the name of a batches' file; `None` for other files.
#[must_use]
pub fn parse_log_name(name: &str) -> Option<Offset> {
    parse(name, ".log")
}

/// The base offset in the name of an index' file; `None` for other files.
#[must_use]
pub fn parse_index_name(name: &str) -> Option<Offset> {
    parse(name, ".index")
}

fn parse(name: &str, suffix: &str) -> Option<Offset> {
    let digits = name.strip_suffix(suffix)?;
    if digits.len() != DIGITS || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().map(Offset).filter(|base| *base <= Offset::MAX)
}

/// A segment as readers and the writer know it.
pub(super) struct Segment {
    /// Offset of its first record.
    pub base: Offset,
    /// Offset that follows its last record.
    pub end: Offset,
    /// Its length in whole batches. The file may be longer while a write is under way.
    pub bytes: u64,
    /// Its durable length.
    pub synced_bytes: u64,
    /// The largest timestamp in it, in milliseconds since 1970.
    pub largest_ms: i64,
    /// When it was begun, in milliseconds since 1970.
    pub begun_ms: i64,
    /// What of its index is not in the index file; `None` once all is.
    pub index: Option<SparseIndex>,
    /// The handle that wrote, while not all is synced: it alone is sure to hear of a failed
    /// write-back.
    pub dirty: Option<Arc<dyn File>>,
}

impl Segment {
    /// A segment without batches.
    pub fn empty(base: Offset, index_interval_bytes: u32, begun_ms: i64) -> Self {
        Self {
            base,
            end: base,
            bytes: 0,
            synced_bytes: 0,
            largest_ms: NO_TIMESTAMP,
            begun_ms,
            index: Some(SparseIndex::new(index_interval_bytes)),
            dirty: None,
        }
    }

    /// An offset's distance from the base. Appending rolls before it outgrows 32 bits.
    pub fn relative(&self, offset: Offset) -> u32 {
        relative(self.base, offset)
    }

    /// For the checkpoint file.
    pub fn mark(&self) -> SegmentMark {
        SegmentMark {
            base: self.base,
            bytes: self.synced_bytes,
            largest_ms: self.largest_ms,
            begun_ms: self.begun_ms,
        }
    }
}

/// An offset's distance from a segment's base.
pub(super) fn relative(base: Offset, offset: Offset) -> u32 {
    u32::try_from(offset.records_since(base)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_as_offsets_do_and_read_back() {
        let bases = [0, 9, 10, 4_294_967_296, i64::MAX as u64].map(Offset);
        let names = bases.map(log_name);
        assert!(names.is_sorted());
        assert_eq!(names[2], "00000000000000000010.log");
        assert_eq!(names.each_ref().map(|n| parse_log_name(n)), bases.map(Some));
        assert_eq!(parse_index_name(&index_name(Offset(7))), Some(Offset(7)));
    }

    #[test]
    fn other_files_are_not_segments() {
        for name in [
            "0.log",
            "00000000000000000010.index",
            "00000000000000000010.log.tmp",
            "+0000000000000000010.log",
            "99999999999999999999.log",
            "00000000000000000010.log.set-aside-1",
            "checkpoint",
        ] {
            assert_eq!(parse_log_name(name), None, "{name}");
        }
    }
}
