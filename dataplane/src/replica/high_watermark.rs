//! How far a log is committed: the least durable offset over the in-sync set.

use weir_protocol::ids::Offset;

/// The high watermark after hearing how far each in-sync replica is durable.
///
/// It stands still while there are fewer than `min_insync` of them, and never goes back:
/// a replica that joins the set behind it holds it where it is.
#[must_use]
pub fn advance(
    current: Offset,
    min_insync: u32,
    durable_ends: impl IntoIterator<Item = Offset>,
) -> Offset {
    let (mut least, mut count) = (Offset::MAX, 0_u32);
    for end in durable_ends {
        least = least.min(end);
        count = count.saturating_add(1);
    }
    if count == 0 || count < min_insync { current } else { current.max(least) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_single_replica_commits_what_is_durable() {
        assert_eq!(advance(Offset(3), 1, [Offset(9)]), Offset(9));
    }

    #[test]
    fn an_empty_or_small_set_commits_nothing() {
        assert_eq!(advance(Offset(3), 1, []), Offset(3));
        assert_eq!(advance(Offset(3), 0, []), Offset(3));
        assert_eq!(advance(Offset(3), 2, [Offset(9)]), Offset(3));
    }

    proptest! {
        #[test]
        fn monotone_and_never_beyond_the_slowest(
            current in 0..100_u64, min in 0..4_u32, ends in proptest::collection::vec(0..200_u64, 0..5),
        ) {
            let next = advance(Offset(current), min, ends.iter().copied().map(Offset));
            prop_assert!(next >= Offset(current));
            if next > Offset(current) {
                prop_assert!(ends.len() as u32 >= min);
                prop_assert!(ends.iter().all(|end| Offset(*end) >= next));
            }
        }
    }
}
