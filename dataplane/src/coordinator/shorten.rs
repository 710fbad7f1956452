//! When the offsets log is too long for what it says. Pure.

/// A log shorter than this is left alone.
const RECORDS_MIN: u64 = 1_000;
/// So many records for each that counts are too many.
const RECORDS_PER_KEY: u64 = 4;

/// Whether a log of so many records, of which `keys` count, should be written anew.
#[must_use]
pub fn is_due(records: u64, keys: usize) -> bool {
    let keys = u64::try_from(keys).unwrap_or(u64::MAX);
    records > RECORDS_MIN.max(keys.saturating_mul(RECORDS_PER_KEY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_written_anew_when_little_of_it_counts() {
        for (records, keys, due) in [
            (0, 0, false),
            (1_000, 0, false),
            (1_001, 0, true),
            (1_001, 250, true),
            (1_001, 251, false),
            (4_000, 1_000, false),
            (4_001, 1_000, true),
            (u64::MAX, usize::MAX, false),
        ] {
            assert_eq!(is_due(records, keys), due, "{records} records, {keys} keys");
        }
    }
}
