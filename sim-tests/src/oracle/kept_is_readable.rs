//! Of a topic that does not keep everything, or that is written to meanwhile: what is young enough is there, at the offset that
//! its acknowledgement named, and what is too old is not.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{Event, Place, ProduceOutcome, RecordId};

/// Judges by the reads of such topics.
///
/// # Errors
/// The first record that is missing, elsewhere, or there though it should be gone.
pub fn check(events: &[Event]) -> Result<(), String> {
    for event in events {
        let Event::KeptRead { consumer, generation, kept_from, kept_to, gone_below } = event else {
            continue;
        };
        let content: BTreeMap<&Place, Option<RecordId>> = events
            .iter()
            .filter_map(|event| match event {
                Event::Consumed { consumer: of, place, value } if of == consumer => {
                    Some((place, RecordId::from_value(value)))
                }
                _ => None,
            })
            .collect();
        let sent = events.iter().skip(*kept_from);
        let young: BTreeSet<RecordId> = sent
            .filter_map(|event| match event {
                Event::Sent { id } => Some(*id),
                _ => None,
            })
            .collect();
        for (at, event) in events.iter().enumerate() {
            let Event::Produced { id, outcome: ProduceOutcome::Acknowledged(place) } = event else {
                continue;
            };
            if place.generation != *generation {
                continue;
            }
            let found = content.get(place);
            if at < *kept_to && young.contains(id) && found != Some(&Some(*id)) {
                let seen = found.map_or("nothing".to_owned(), |found| format!("{found:?}"));
                return Err(format!("{id} was acknowledged at {place}, where {seen} is"));
            }
            if at < *gone_below && found.is_some() {
                return Err(format!("{id} should be gone, and is still at {place}"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::testing::{acknowledged, consumed};

    /// Two records, one before and one after the third event, a read of these, and a record that
    /// came too late for it.
    fn history(read: &[(u64, &str)]) -> Vec<Event> {
        let sent = |sequence| Event::Sent { id: RecordId { producer: 1, sequence } };
        let mut events = vec![sent(0), acknowledged(1, 0, 0), sent(1), acknowledged(1, 1, 1)];
        events.extend(read.iter().map(|(offset, value)| consumed(9, *offset, value)));
        events.extend([sent(2), acknowledged(1, 2, 2)]);
        let (consumer, generation) = (9, "g".into());
        let (kept_from, kept_to, gone_below) = (2, 4, 2);
        events.push(Event::KeptRead { consumer, generation, kept_from, kept_to, gone_below });
        events
    }

    #[test]
    fn finds_a_young_record_that_is_missing_or_elsewhere_and_an_old_one_that_stays() {
        assert_eq!(check(&history(&[(1, "1:1")])), Ok(()));
        assert!(check(&history(&[])).is_err());
        assert!(check(&history(&[(1, "1:7")])).is_err());
        assert!(check(&history(&[(0, "1:0"), (1, "1:1")])).is_err());
    }

    #[test]
    fn what_is_neither_young_nor_too_old_may_be_there_or_not() {
        for read in [&[(0, "1:0"), (1, "1:1")][..], &[(1, "1:1")]] {
            let mut events = history(read);
            if let Some(Event::KeptRead { gone_below, .. }) = events.last_mut() {
                *gone_below = 0;
            }
            assert_eq!(check(&events), Ok(()));
        }
    }
}
