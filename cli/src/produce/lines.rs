//! Cuts a stream of bytes into lines without copying them.
//!
//! A line is what stands between two newlines (`\n`), whatever that is: nothing, a carriage
//! return, bytes that are no UTF-8. What follows the last newline is a line if it is not
//! empty. Input comes in blocks; only the line that crosses the edge of two is moved.

use std::io::{self, Read};

use bytes::{Bytes, BytesMut};

/// How much is asked of the input at once. Large, so that a block holds thousands of lines
/// and one allocation serves them all.
const BLOCK_BYTES: usize = 1 << 20;
/// When less than this is free in a block, a new one is begun.
const READ_BYTES_MIN: usize = 64 << 10;

/// A line longer than allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} is longer than {limit_bytes} bytes")]
pub struct LineTooLong {
    /// Which, from 1.
    pub line: u64,
    /// The limit.
    pub limit_bytes: usize,
}

/// Why there is no next block of lines.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A line longer than allowed. The lines before it were returned.
    #[error("{0}")]
    TooLong(#[from] LineTooLong),
    /// The input cannot be read.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Reads lines from an input, some at a time.
pub struct Lines<R> {
    input: R,
    /// `..filled` is read and not returned yet, the rest is room.
    buffer: BytesMut,
    filled: usize,
    /// How much of `filled` is known to hold no newline.
    searched: usize,
    /// Lines returned so far.
    returned: u64,
    limit_bytes: usize,
    block_bytes: usize,
    over: bool,
}

impl<R: Read> Lines<R> {
    /// Lines of at most `limit_bytes`, the newline not counted.
    pub fn new(input: R, limit_bytes: usize) -> Self {
        Self::with_block(input, limit_bytes, BLOCK_BYTES)
    }

    fn with_block(input: R, limit_bytes: usize, block_bytes: usize) -> Self {
        Self {
            input,
            buffer: BytesMut::new(),
            filled: 0,
            searched: 0,
            returned: 0,
            limit_bytes,
            block_bytes: block_bytes.max(1),
            over: false,
        }
    }

    /// The next lines, as many as have come; `None` at the end of the input. Waits for more
    /// only while there is no whole line.
    ///
    /// # Errors
    /// [`ReadError`], after which the input is over.
    pub fn next_lines(&mut self) -> Result<Option<Vec<Bytes>>, ReadError> {
        while !self.over {
            let lines = match self.take_whole_lines() {
                Ok(lines) => lines,
                Err(error) => return Err(self.end(error.into())),
            };
            if !lines.is_empty() {
                return Ok(Some(lines));
            }
            if self.filled > self.limit_bytes {
                let error = self.too_long(self.returned + 1);
                return Err(self.end(error.into()));
            }
            match self.read() {
                Ok(0) => {
                    self.over = true;
                    if self.filled > 0 {
                        self.returned += 1;
                        return Ok(Some(vec![self.buffer.split_to(self.filled).freeze()]));
                    }
                }
                Ok(bytes) => self.filled += bytes,
                Err(error) => return Err(self.end(error.into())),
            }
        }
        Ok(None)
    }

    fn end(&mut self, error: ReadError) -> ReadError {
        self.over = true;
        error
    }

    fn too_long(&self, line: u64) -> LineTooLong {
        LineTooLong { line, limit_bytes: self.limit_bytes }
    }

    fn read(&mut self) -> io::Result<usize> {
        let least = READ_BYTES_MIN.min(self.block_bytes);
        if self.buffer.len() - self.filled < least {
            // What was returned still refers to the old block, so this allocates a new one
            // and moves the begun line over. Zeroed once per block, not once per read.
            self.buffer.resize(self.filled + self.block_bytes, 0);
        }
        loop {
            match self.input.read(&mut self.buffer[self.filled..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    /// All whole lines of the buffer. One that is too long ends the lines before it, and is
    /// reported by the next call.
    fn take_whole_lines(&mut self) -> Result<Vec<Bytes>, LineTooLong> {
        let fresh = &self.buffer[self.searched..self.filled];
        let Some(last) = memchr::memrchr(b'\n', fresh) else {
            self.searched = self.filled;
            return Ok(Vec::new());
        };
        let whole = self.searched + last + 1;
        // Roughly the length of lines of text, so that the vector grows a few times at most.
        let mut lines = Vec::with_capacity(whole / 48 + 1);
        let mut begin = 0;
        let mut too_long = false;
        let view = self.buffer.split_to(whole).freeze();
        for end in memchr::memchr_iter(b'\n', &view) {
            if end - begin > self.limit_bytes {
                too_long = true;
                break;
            }
            lines.push(view.slice(begin..end));
            begin = end + 1;
        }
        self.filled -= whole;
        self.searched = 0;
        self.returned += lines.len() as u64;
        if too_long {
            if lines.is_empty() {
                return Err(self.too_long(self.returned + 1));
            }
            // Nothing behind it is read: put it back at the front to find it again.
            let mut rest = BytesMut::from(&view[begin..]);
            rest.extend_from_slice(&self.buffer[..self.filled]);
            self.filled = rest.len();
            self.buffer = rest;
        }
        Ok(lines)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Gives the input out in pieces of the lengths given, over and over.
    struct Pieces<'a> {
        rest: &'a [u8],
        lengths: Vec<usize>,
        next: usize,
    }

    impl Read for Pieces<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let length = self.lengths[self.next % self.lengths.len()];
            self.next += 1;
            let length = length.min(self.rest.len()).min(out.len());
            out[..length].copy_from_slice(&self.rest[..length]);
            self.rest = &self.rest[length..];
            Ok(length)
        }
    }

    fn all(mut lines: Lines<impl Read>) -> (Vec<Bytes>, Option<ReadError>) {
        let mut out = Vec::new();
        loop {
            match lines.next_lines() {
                Ok(Some(some)) => {
                    assert!(!some.is_empty());
                    out.extend(some);
                }
                Ok(None) => return (out, None),
                Err(error) => {
                    assert!(lines.next_lines().unwrap().is_none());
                    return (out, Some(error));
                }
            }
        }
    }

    fn expected(input: &[u8]) -> Vec<Vec<u8>> {
        let mut lines: Vec<Vec<u8>> = input.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
        if lines.last().is_some_and(Vec::is_empty) {
            lines.pop();
        }
        lines
    }

    proptest! {
        #[test]
        fn any_cutting_gives_the_same_lines(
            input in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), any::<u8>()], 0..400),
            lengths in proptest::collection::vec(1_usize..40, 1..8),
            block in 1_usize..64,
        ) {
            let pieces = Pieces { rest: &input, lengths, next: 0 };
            let (lines, error) = all(Lines::with_block(pieces, 1000, block));
            prop_assert!(error.is_none());
            prop_assert_eq!(lines.iter().map(|l| l.to_vec()).collect::<Vec<_>>(), expected(&input));
        }

        #[test]
        fn a_long_line_is_named_and_those_before_it_come(
            input in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'x'), Just(b'x')], 0..300),
            lengths in proptest::collection::vec(1_usize..40, 1..8),
            block in 1_usize..64,
            limit in 1_usize..6,
        ) {
            let pieces = Pieces { rest: &input, lengths, next: 0 };
            let (lines, error) = all(Lines::with_block(pieces, limit, block));
            let want = expected(&input);
            let good = want.iter().take_while(|line| line.len() <= limit).count();
            prop_assert_eq!(lines.len(), good);
            match error {
                None => prop_assert_eq!(good, want.len()),
                Some(ReadError::TooLong(error)) => {
                    prop_assert!(good < want.len());
                    prop_assert_eq!(error, LineTooLong { line: good as u64 + 1, limit_bytes: limit });
                }
                Some(other) => prop_assert!(false, "{other}"),
            }
        }
    }

    #[test]
    fn lines_come_as_soon_as_they_are_whole() {
        let input = b"one\ntwo\nthr";
        let mut lines = Lines::new(Pieces { rest: input, lengths: vec![5, 6], next: 0 }, 100);
        assert_eq!(lines.next_lines().unwrap().unwrap(), ["one"]);
        assert_eq!(lines.next_lines().unwrap().unwrap(), ["two"]);
        assert_eq!(lines.next_lines().unwrap().unwrap(), ["thr"]);
        assert!(lines.next_lines().unwrap().is_none());
    }

    #[test]
    fn whole_lines_are_not_copied() {
        let mut lines = Lines::new(&b"alpha\nbeta\n"[..], 100);
        let some = lines.next_lines().unwrap().unwrap();
        assert_eq!(some[0].as_ptr() as usize + 6, some[1].as_ptr() as usize);
    }
}
