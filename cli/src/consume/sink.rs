//! Gathers records into chunks, and remembers which record ends where in one: what was written
//! of a chunk is processed, the rest is not.

use std::io;

use weir_client::{ConsumerRecord, Place};

use super::render::{Newline, Render};

/// What is gathered before it is handed over: one write for thousands of records.
const CHUNK_BYTES: usize = 64 << 10;
/// However little they come to, so many records are handed over.
const RECORDS_MAX: u64 = 1 << 16;
/// How far the ends of records that are remembered are apart, about.
const MARK_BYTES: usize = 512;

/// Records as they are to be written.
#[derive(Debug, Default)]
pub struct Chunk {
    /// To be written.
    pub bytes: Vec<u8>,
    /// In order.
    pub marks: Vec<Mark>,
}

/// The end of a record in a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// When so many bytes are written, the record is, and all that came before it.
    pub end: usize,
    /// Which record.
    pub place: Place,
    /// How many since the mark before, this one included.
    pub records: u64,
}

/// Gathers records.
pub struct Sink {
    chunk: Chunk,
    /// From which byte on the last mark covers records.
    mark_from: usize,
    render: Render,
    newline: Newline,
    /// Records gathered.
    pub records: u64,
}

impl Sink {
    /// Nothing is gathered yet, but perhaps a header.
    pub fn new(render: Render, newline: Newline) -> Self {
        let mut chunk = Chunk::default();
        if let Some(header) = render.header() {
            chunk.bytes.extend_from_slice(header.as_bytes());
            chunk.bytes.push(b'\n');
        }
        Self { chunk, mark_from: 0, render, newline, records: 0 }
    }

    /// Takes one record. True: the chunk is large enough to be handed over.
    ///
    /// # Errors
    /// When it cannot be rendered.
    pub fn take(&mut self, record: &ConsumerRecord) -> io::Result<bool> {
        let Chunk { bytes, marks } = &mut self.chunk;
        if self.newline == Newline::Between && self.records > 0 {
            bytes.push(b'\n');
        }
        self.render.write(record, bytes)?;
        if self.newline == Newline::After {
            bytes.push(b'\n');
        }
        self.records += 1;
        let (end, place) = (bytes.len(), record.place());
        let near = end - self.mark_from < MARK_BYTES;
        match marks.last_mut() {
            Some(last) if near && last.place.partition == place.partition => {
                *last = Mark { end, place, records: last.records + 1 };
            }
            _ => {
                self.mark_from = marks.last().map_or(0, |mark| mark.end);
                marks.push(Mark { end, place, records: 1 });
            }
        }
        Ok(end >= CHUNK_BYTES || self.records.is_multiple_of(RECORDS_MAX))
    }

    /// What was gathered since the last chunk, if anything was.
    pub fn chunk(&mut self) -> Option<Chunk> {
        if self.chunk.bytes.is_empty() && self.chunk.marks.is_empty() {
            return None;
        }
        self.mark_from = 0;
        let next = Chunk { bytes: Vec::with_capacity(CHUNK_BYTES), marks: Vec::new() };
        Some(std::mem::replace(&mut self.chunk, next))
    }
}

#[cfg(test)]
mod tests {
    use weir_protocol::ids::{Offset, PartitionIndex};

    use super::*;
    use crate::consume::template::tests::record;

    fn written(newline: Newline, values: &[&'static [u8]]) -> Vec<u8> {
        let mut sink = Sink::new(Render::Raw, newline);
        for value in values {
            sink.take(&record(None, Some(value))).unwrap();
        }
        sink.chunk().map(|chunk| chunk.bytes).unwrap_or_default()
    }

    #[test]
    fn newlines_stand_after_or_between() {
        assert_eq!(written(Newline::After, &[b"a", b"", b"b\r"]), b"a\n\nb\r\n");
        assert_eq!(written(Newline::Between, &[b"a", b"", b"b\r"]), b"a\n\nb\r");
        assert_eq!(written(Newline::Between, &[]), b"");
    }

    #[test]
    fn a_chunk_is_bounded() {
        static BIG: [u8; CHUNK_BYTES] = [b'x'; CHUNK_BYTES];
        let mut sink = Sink::new(Render::Raw, Newline::After);
        assert!(!sink.take(&record(None, Some(b"a"))).unwrap());
        assert!(sink.take(&record(None, Some(&BIG))).unwrap());
        assert_eq!(sink.chunk().unwrap().bytes.len(), CHUNK_BYTES + 3);
        assert!(sink.chunk().is_none());
    }

    #[test]
    fn marks_are_ends_of_records_of_one_partition_each() {
        let mut sink = Sink::new(Render::Raw, Newline::After);
        let mut ends = Vec::new();
        for n in 0..3_000_u64 {
            let mut record = record(None, Some(b"0123456789"));
            record.offset = Offset(n);
            record.partition = PartitionIndex(u32::from(n % 1_000 >= 500));
            sink.take(&record).unwrap();
            ends.push((usize::try_from(n + 1).unwrap() * 11, record.place()));
        }
        let marks = sink.chunk().unwrap().marks;
        assert_eq!(marks.iter().map(|mark| mark.records).sum::<u64>(), 3_000);
        let marks: Vec<_> = marks.iter().map(|mark| (mark.end, mark.place)).collect();
        assert!(marks.iter().all(|mark| ends.contains(mark)));
        assert_eq!(marks.last(), ends.last());
        assert!(marks.windows(2).all(|w| w[0].0 < w[1].0 && w[1].0 - w[0].0 <= 2 * MARK_BYTES));
        // The last of a partition before another one comes is among them.
        assert!(marks.contains(&ends[499]) && marks.contains(&ends[999]));
        assert!(marks.len() < 100, "{}", marks.len());
    }
}
