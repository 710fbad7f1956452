//! Compares what is written to it with what was expected, byte for byte, in little memory.

use std::io::{self, Read, Write};

/// Compares.
pub struct Compare<R> {
    expected: R,
    scratch: Vec<u8>,
    /// Bytes that were the same.
    pub same: u64,
    /// Whether all that came so far was the same.
    equal: bool,
}

impl<R: Read> Compare<R> {
    /// Nothing is compared yet.
    pub fn new(expected: R) -> Self {
        Self { expected, scratch: Vec::new(), same: 0, equal: true }
    }

    /// Whether all that was expected came, and nothing else.
    ///
    /// # Errors
    /// When what is expected cannot be read.
    pub fn finish(&mut self) -> io::Result<bool> {
        Ok(self.equal && self.expected.read(&mut [0])? == 0)
    }
}

impl<R: Read> Write for Compare<R> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.equal {
            self.scratch.resize(bytes.len(), 0);
            let mut read = 0;
            while read < bytes.len() {
                match self.expected.read(&mut self.scratch[read..])? {
                    0 => break,
                    more => read += more,
                }
            }
            let same = self.scratch[..read].iter().zip(bytes).take_while(|(a, b)| a == b).count();
            self.same += same as u64;
            self.equal = same == bytes.len();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(expected: &[u8], parts: &[&[u8]]) -> (bool, u64) {
        let mut compare = Compare::new(expected);
        for part in parts {
            compare.write_all(part).unwrap();
        }
        (compare.finish().unwrap(), compare.same)
    }

    #[test]
    fn only_the_very_same_bytes_are_the_same() {
        assert_eq!(compared(b"abcdef", &[b"abc", b"def"]), (true, 6));
        assert_eq!(compared(b"abcdef", &[b"abc", b"dxf", b"more"]), (false, 4));
        assert_eq!(compared(b"abcdef", &[b"abc"]), (false, 3));
        assert_eq!(compared(b"abc", &[b"abcd"]), (false, 3));
        assert_eq!(compared(b"", &[]), (true, 0));
    }
}
