//! How far a log is committed: the least durable offset over the in-sync set.

use weir_protocol::ids::Offset;

/// The high watermark after hearing how far each replica is durable that it waits for. It never
/// goes back: a replica that joins the set behind it holds it where it is.
#[must_use]
pub fn advance(current: Offset, durable_ends: impl IntoIterator<Item = Offset>) -> Offset {
    durable_ends.into_iter().min().map_or(current, |least| current.max(least))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_single_replica_commits_what_is_durable() {
        assert_eq!(advance(Offset(3), [Offset(9)]), Offset(9));
    }

    #[test]
    fn an_empty_set_commits_nothing() {
        assert_eq!(advance(Offset(3), []), Offset(3));
    }

    proptest! {
        #[test]
        fn monotone_and_never_beyond_the_slowest(
            current in 0..100_u64, ends in proptest::collection::vec(0..200_u64, 0..5),
        ) {
            let next = advance(Offset(current), ends.iter().copied().map(Offset));
            prop_assert!(next >= Offset(current));
            if next > Offset(current) {
                prop_assert!(ends.iter().all(|end| Offset(*end) >= next));
            }
        }
    }
}
