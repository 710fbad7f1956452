//! Fresh UUIDs.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering},
};

use uuid::Uuid;
use weir_runtime::rng;

/// Bits of an id that count within a millisecond (RFC 9562, section 6.2, method 1).
const COUNTER_BITS: u32 = 12;

/// Draws UUIDv7s, each later than the one before: also within one millisecond, and also
/// when the clock goes back.
#[derive(Debug, Default)]
pub struct UuidSource {
    /// The last id's milliseconds and counter.
    last: AtomicU64,
}

impl UuidSource {
    /// A fresh UUIDv7 at this time.
    ///
    /// # Errors
    /// As [`rng::bytes`].
    pub fn v7(&self, now_unix_ms: i64) -> io::Result<Uuid> {
        let mut tail = rng::bytes::<10>()?;
        let floor = u64::try_from(now_unix_ms).unwrap_or(0) << COUNTER_BITS;
        let next = |last: u64| Some(floor.max(last.saturating_add(1)));
        let last = self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        let stamp = next(last.unwrap_or_default()).unwrap_or(floor);
        let [.., high, low] = stamp.to_be_bytes();
        // The builder puts the version over the upper half of the first byte.
        (tail[0], tail[1]) = (high & 0x0f, low);
        Ok(uuid::Builder::from_unix_timestamp_millis(stamp >> COUNTER_BITS, &tail).into_uuid())
    }
}

/// A fresh UUIDv4.
///
/// # Errors
/// As [`rng::bytes`].
pub fn uuid_v4() -> io::Result<Uuid> {
    Ok(uuid::Builder::from_random_bytes(rng::bytes()?).into_uuid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_go_up_within_a_millisecond_and_when_the_clock_goes_back() {
        let source = UuidSource::default();
        let mut last = Uuid::nil();
        for now in [1_700_000_000_000, 1_700_000_000_000, 1_699_999_999_000, 1_700_000_000_001] {
            for _ in 0..5_000 {
                let id = source.v7(now).unwrap();
                assert!(id > last, "{last} {id}");
                assert_eq!(id.get_version_num(), 7);
                last = id;
            }
        }
    }
}
