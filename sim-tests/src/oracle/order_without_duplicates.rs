//! Per producer and partition, records lie in the order in which they were sent, each at
//! most once; and a consumer sees offsets that follow on without a gap.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{Event, RecordId};

/// Judges every consumer on its own.
///
/// # Errors
/// The first gap, step back, duplicate or inversion.
pub fn check(events: &[Event]) -> Result<(), String> {
    // By consumer, generation and partition: the last offset seen.
    let mut last_offset: BTreeMap<(u32, &str, u32), u64> = BTreeMap::new();
    // The same with the producer: the last sequence seen.
    let mut last_sequence: BTreeMap<(u32, &str, u32, u32), u32> = BTreeMap::new();
    let mut seen: BTreeSet<(u32, RecordId)> = BTreeSet::new();
    for event in events {
        let Event::Consumed { consumer, place, value } = event else { continue };
        let generation = place.generation.as_str();
        let log = (*consumer, generation, place.partition);
        if let Some(last) = last_offset.insert(log, place.offset)
            && place.offset != last + 1
        {
            return Err(format!("consumer {consumer} read {place} right after offset {last}"));
        }
        let Some(id) = RecordId::from_value(value) else { continue };
        if !seen.insert((*consumer, id)) {
            return Err(format!("consumer {consumer} read {id} twice, the second time at {place}"));
        }
        let of_producer = (*consumer, generation, place.partition, id.producer);
        if let Some(last) = last_sequence.insert(of_producer, id.sequence)
            && id.sequence <= last
        {
            return Err(format!(
                "consumer {consumer} read {id} at {place} after {}:{last}",
                id.producer
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::testing::consumed;

    #[test]
    fn finds_gaps_duplicates_and_inversions() {
        assert_eq!(check(&[consumed(1, 0, "1:0"), consumed(1, 1, "1:2")]), Ok(()));
        assert!(check(&[consumed(1, 0, "1:0"), consumed(1, 2, "1:1")]).is_err());
        assert!(check(&[consumed(1, 0, "1:0"), consumed(1, 1, "1:0")]).is_err());
        assert!(check(&[consumed(1, 0, "1:1"), consumed(1, 1, "1:0")]).is_err());
    }
}
