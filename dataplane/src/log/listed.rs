//! Which files there should be, and which there are. Pure.

use std::collections::BTreeMap;

use weir_protocol::ids::Offset;

use super::{
    checkpoint::{CHECKPOINT_FILE, Checkpoint, SegmentMark},
    error::LogError,
    folder::Listing,
    segment,
};

/// The files of batches in a folder, each kind oldest first.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Files {
    /// Those that the checkpoint lists, with the files' lengths.
    pub known: Vec<(SegmentMark, u64)>,
    /// Those that may hold what was written after it, with their lengths.
    pub unknown: Vec<(Offset, u64)>,
    /// Those that are empty, or left over from a removal that a crash cut short.
    pub doomed: Vec<Offset>,
}

/// Holds what is there against what the checkpoint says.
///
/// # Errors
/// [`LogError::Corrupt`]: something below the recovery point is missing, has another length,
/// or should not be.
pub(super) fn sort(
    folder: &str,
    listing: &Listing,
    checkpoint: &Checkpoint,
) -> Result<Files, LogError> {
    let mut files = segments(listing);
    let marks = checkpoint.segments.as_deref().unwrap_or_default();
    let corrupt = |base: Offset, position: u64, reason: String| LogError::Corrupt {
        file: format!("{folder}/{}", segment::log_name(base)),
        position,
        offset: base,
        reason,
    };
    let mut sorted = Files::default();
    for (i, mark) in marks.iter().enumerate() {
        let below = mark.bytes;
        let Some(len) = files.remove(&mark.base) else {
            let reason = format!("it is missing; {below} bytes of it were on the disk");
            return Err(corrupt(mark.base, 0, reason));
        };
        if len < below || (len > below && i + 1 < marks.len()) {
            let reason = format!("it has {len} bytes; {below} were on the disk");
            return Err(corrupt(mark.base, len.min(below), reason));
        }
        sorted.known.push((*mark, len));
    }
    // Without any on the list the recovery point is the log start, which may lie within one.
    let first = match marks.first() {
        Some(first) => first.base,
        None => files.range(..=checkpoint.log_start).next_back().map_or(Offset::ZERO, |(b, _)| *b),
    };
    for (base, len) in files {
        if base < first || len == 0 {
            sorted.doomed.push(base);
        } else if base < checkpoint.recovery_point && !marks.is_empty() {
            let reason = format!("{CHECKPOINT_FILE} knows no segment there");
            return Err(corrupt(base, 0, reason));
        } else {
            sorted.unknown.push((base, len));
        }
    }
    Ok(sorted)
}

/// The files of batches in a folder, and their lengths.
pub(super) fn segments(listing: &Listing) -> BTreeMap<Offset, u64> {
    let parsed = |(name, len): (&String, &u64)| Some((segment::parse_log_name(name)?, *len));
    listing.files.iter().filter_map(parsed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(log_start: u64, recovery_point: u64, marks: &[(u64, u64)]) -> Checkpoint {
        let mark = |(base, bytes): &(u64, u64)| SegmentMark {
            base: Offset(*base),
            bytes: *bytes,
            largest_ms: 0,
            begun_ms: 0,
        };
        Checkpoint {
            recovery_point: Offset(recovery_point),
            log_start: Offset(log_start),
            segments: Some(marks.iter().map(mark).collect()),
            ..Checkpoint::default()
        }
    }

    fn listing(files: &[(u64, u64)]) -> Listing {
        let file = |(base, len): &(u64, u64)| (segment::log_name(Offset(*base)), *len);
        Listing { files: files.iter().map(file).collect(), old_format: false }
    }

    type Bases = (Vec<u64>, Vec<u64>, Vec<u64>);

    fn sorted(files: &[(u64, u64)], checkpoint: &Checkpoint) -> Result<Bases, String> {
        let sorted = sort("p", &listing(files), checkpoint).map_err(|error| error.to_string())?;
        Ok((
            sorted.known.iter().map(|(mark, _)| mark.base.0).collect(),
            sorted.unknown.iter().map(|(base, _)| base.0).collect(),
            sorted.doomed.iter().map(|base| base.0).collect(),
        ))
    }

    #[test]
    fn what_is_listed_must_be_there_and_what_came_later_may() {
        let two = checkpoint(3, 25, &[(0, 100), (10, 50)]);
        assert_eq!(sorted(&[(0, 100), (10, 50)], &two), Ok((vec![0, 10], vec![], vec![])));
        let more = [(0, 100), (10, 70), (30, 5), (40, 0)];
        assert_eq!(sorted(&more, &two), Ok((vec![0, 10], vec![30], vec![40])));
        for (wrong, why) in [
            (&[(10, 50)][..], "missing"),
            (&[(0, 99), (10, 50)], "99 bytes"),
            (&[(0, 101), (10, 50)], "101 bytes"),
            (&[(0, 100), (10, 49)], "49 bytes"),
            (&[(0, 100), (5, 1), (10, 50)], "knows no segment"),
            (&[(0, 100), (10, 50), (24, 1)], "knows no segment"),
        ] {
            let error = sorted(wrong, &two).unwrap_err();
            assert!(error.contains(why) && error.contains("p/0000"), "{error}");
        }
    }

    #[test]
    fn leftovers_of_a_removal_go() {
        let later = checkpoint(12, 25, &[(10, 50)]);
        let files = [(0, 100), (5, 9), (10, 50)];
        assert_eq!(sorted(&files, &later), Ok((vec![10], vec![], vec![0, 5])));
    }

    #[test]
    fn without_a_list_the_log_start_says_where_it_begins() {
        assert_eq!(sorted(&[(0, 9)], &checkpoint(0, 0, &[])), Ok((vec![], vec![0], vec![])));
        let within = [(0, 9), (10, 9), (20, 9)];
        assert_eq!(sorted(&within, &checkpoint(15, 15, &[])), Ok((vec![], vec![10, 20], vec![0])));
        assert_eq!(sorted(&[], &checkpoint(15, 15, &[])), Ok((vec![], vec![], vec![])));
    }
}
