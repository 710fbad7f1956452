//! A large buffer before standard output: one write for thousands of records, flushed by the
//! caller when nothing more comes, so that a tail is live.

use std::{
    io::{self, Write},
    time::{Duration, Instant},
};

use weir_client::ConsumerRecord;

use super::render::{Newline, Render};

const BUFFER_BYTES: usize = 256 << 10;
/// What is handed over at once to a reader that is slow, or not known yet: a write blocks, and
/// meanwhile nothing is committed and no Ctrl-C is heard.
const SMALL_BYTES: usize = 4 << 10;
/// A reader that lets a write take so long is slow.
const SLOW: Duration = Duration::from_millis(100);

/// Writes records.
pub struct Sink<W> {
    out: W,
    buffer: Vec<u8>,
    render: Render,
    newline: Newline,
    /// How much is gathered before it is handed over.
    gather_bytes: usize,
    /// Records written.
    pub records: u64,
    /// How often the buffer was handed over.
    pub handed_over: u64,
}

impl<W: Write> Sink<W> {
    /// Nothing is written yet.
    pub fn new(out: W, render: Render, newline: Newline) -> Self {
        let mut buffer = Vec::with_capacity(BUFFER_BYTES);
        if let Some(header) = render.header() {
            buffer.extend_from_slice(header.as_bytes());
            buffer.push(b'\n');
        }
        let gather_bytes = SMALL_BYTES;
        Self { out, buffer, render, newline, gather_bytes, records: 0, handed_over: 0 }
    }

    /// Writes one record, perhaps into the buffer only.
    ///
    /// # Errors
    /// What the output says.
    pub fn write(&mut self, record: &ConsumerRecord) -> io::Result<()> {
        if self.newline == Newline::Between && self.records > 0 {
            self.buffer.push(b'\n');
        }
        self.render.write(record, &mut self.buffer)?;
        if self.newline == Newline::After {
            self.buffer.push(b'\n');
        }
        self.records += 1;
        if self.buffer.len() >= self.gather_bytes { self.flush() } else { Ok(()) }
    }

    /// Hands over what is in the buffer.
    ///
    /// # Errors
    /// What the output says.
    pub fn flush(&mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            let began = Instant::now();
            self.out.write_all(&self.buffer)?;
            self.gather_bytes = match began.elapsed() < SLOW {
                true => (self.gather_bytes * 2).min(BUFFER_BYTES),
                false => SMALL_BYTES,
            };
            self.buffer.clear();
            self.handed_over += 1;
            // One huge record must not keep its memory for ever.
            self.buffer.shrink_to(BUFFER_BYTES * 2);
        }
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consume::template::tests::record;

    fn written(newline: Newline, values: &[&'static [u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut sink = Sink::new(&mut out, Render::Raw, newline);
        for value in values {
            sink.write(&record(None, Some(value))).unwrap();
        }
        sink.flush().unwrap();
        drop(sink);
        out
    }

    #[test]
    fn newlines_stand_after_or_between() {
        assert_eq!(written(Newline::After, &[b"a", b"", b"b\r"]), b"a\n\nb\r\n");
        assert_eq!(written(Newline::Between, &[b"a", b"", b"b\r"]), b"a\n\nb\r");
        assert_eq!(written(Newline::Between, &[]), b"");
    }

    #[test]
    fn the_buffer_is_bounded() {
        static BIG: [u8; BUFFER_BYTES] = [b'x'; BUFFER_BYTES];
        let mut out = Vec::new();
        let mut sink = Sink::new(&mut out, Render::Raw, Newline::After);
        sink.write(&record(None, Some(&BIG))).unwrap();
        assert!(sink.buffer.is_empty());
        assert_eq!(sink.handed_over, 1);
    }
}
