//! Zigzag variable-length integers: small magnitudes take few bytes, of either sign.
//!
//! Lengths, counts and offset deltas are `varint` (32 bits), timestamp deltas `varlong`
//! (64 bits). Both are written alike, so one writer serves; the reader enforces the width.

/// Most bytes of a `varlong`.
pub(super) const VARLONG_BYTES_MAX: usize = 10;

const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

const fn unzigzag(raw: u64) -> i64 {
    (raw >> 1).cast_signed() ^ -(raw & 1).cast_signed()
}

/// Bytes that [`write()`] takes for `value`.
pub(super) const fn size(value: i64) -> usize {
    // Seven bits a byte; zero takes one byte too.
    let bits = 64 - (zigzag(value) | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Writes `value` at `at`, which must have room, and returns the position after it.
pub(super) fn write(buffer: &mut [u8], mut at: usize, value: i64) -> usize {
    let mut raw = zigzag(value);
    while raw >= 0x80 {
        buffer[at] = raw as u8 | 0x80;
        raw >>= 7;
        at += 1;
    }
    buffer[at] = raw as u8;
    at + 1
}

/// Reads a `varint` at `*at` and moves on; `None` when it is cut short or does not fit.
pub(super) fn read_32(bytes: &[u8], at: &mut usize) -> Option<i32> {
    i32::try_from(unzigzag(read(bytes, at, 5)?)).ok()
}

/// Reads a `varlong` at `*at` and moves on; `None` when it is cut short or does not fit.
pub(super) fn read_64(bytes: &[u8], at: &mut usize) -> Option<i64> {
    read(bytes, at, VARLONG_BYTES_MAX).map(unzigzag)
}

fn read(bytes: &[u8], at: &mut usize, bytes_max: usize) -> Option<u64> {
    let mut raw = 0u64;
    for (n, &byte) in bytes.get(*at..)?.iter().take(bytes_max).enumerate() {
        let bits = u64::from(byte & 0x7f);
        // The tenth byte has room for one bit.
        if n == VARLONG_BYTES_MAX - 1 && bits > 1 {
            return None;
        }
        raw |= bits << (7 * n);
        if byte & 0x80 == 0 {
            *at += n + 1;
            return Some(raw);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn written(value: i64) -> Vec<u8> {
        let mut buffer = [0; VARLONG_BYTES_MAX];
        let end = write(&mut buffer, 0, value);
        buffer[..end].to_vec()
    }

    #[test]
    fn known_forms() {
        assert_eq!(written(0), [0]);
        assert_eq!(written(-1), [1]);
        assert_eq!(written(1), [2]);
        assert_eq!(written(63), [126]);
        assert_eq!(written(64), [0x80, 1]);
        assert_eq!(written(i64::from(i32::MIN)), [0xff, 0xff, 0xff, 0xff, 0x0f]);
        assert_eq!(written(i64::MIN), [[0xff; 9].as_slice(), &[1]].concat());
    }

    #[test]
    fn refuses_what_does_not_fit() {
        assert_eq!(read_32(&[0xff, 0xff, 0xff, 0xff, 0x1f], &mut 0), None);
        assert_eq!(read_32(&[0x80; 5], &mut 0), None);
        assert_eq!(read_64(&[[0xff; 9].as_slice(), &[2]].concat(), &mut 0), None);
        assert_eq!(read_64(&[0xff; 11], &mut 0), None);
        assert_eq!(read_64(&[], &mut 0), None);
        assert_eq!(read_64(&[0x80], &mut 0), None);
        assert_eq!(read_64(&[0], &mut 2), None);
    }

    proptest! {
        #![proptest_config(crate::batch::same_cases())]

        #[test]
        fn round_trip(value: i64, small: i32) {
            for value in [value, i64::from(small), i64::from(small >> 20)] {
                let bytes = written(value);
                prop_assert_eq!(bytes.len(), size(value));
                let mut at = 0;
                prop_assert_eq!(read_64(&bytes, &mut at), Some(value));
                prop_assert_eq!(at, bytes.len());
                let fits = i32::try_from(value).ok();
                prop_assert_eq!(read_32(&bytes, &mut 0), fits);
            }
        }
    }
}
