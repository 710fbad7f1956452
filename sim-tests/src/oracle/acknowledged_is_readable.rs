//! Every acknowledged record is in the final content of its generation, at the offset
//! that the acknowledgement named; and no record that was refused is there. Where a cut was told, what
//! had been acknowledged above it until then may be lost; nothing else.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{Event, Place, ProduceOutcome, RecordId};

/// Judges by the final reads; generations without one (deleted topics) are not judged.
///
/// # Errors
/// The first record that is missing, elsewhere, or there though refused.
pub fn check(events: &[Event]) -> Result<(), String> {
    let final_reads: BTreeMap<u32, &str> = events
        .iter()
        .filter_map(|e| match e {
            Event::FinalRead { consumer, generation, .. } => Some((*consumer, generation.as_str())),
            _ => None,
        })
        .collect();
    let judged: BTreeSet<&str> = final_reads.values().copied().collect();
    let mut content: BTreeMap<&Place, &[u8]> = BTreeMap::new();
    let mut present: BTreeMap<RecordId, &Place> = BTreeMap::new();
    for event in events {
        let Event::Consumed { consumer, place, value } = event else { continue };
        if final_reads.contains_key(consumer) {
            content.insert(place, value);
            if let Some(id) = RecordId::from_value(value) {
                present.insert(id, place);
            }
        }
    }
    let cuts = events.iter().enumerate().filter_map(|(at, event)| match event {
        Event::Cut { place } => Some((at, place)),
        _ => None,
    });
    let cuts: Vec<(usize, &Place)> = cuts.collect();
    for (at, event) in events.iter().enumerate() {
        let Event::Produced { id, outcome } = event else { continue };
        match outcome {
            ProduceOutcome::Acknowledged(place)
                if cuts.iter().any(|(told, cut)| at < *told && place.is_from(cut)) => {}
            ProduceOutcome::Acknowledged(place) if judged.contains(place.generation.as_str()) => {
                match content.get(place) {
                    Some(value) if RecordId::from_value(value) == Some(*id) => {}
                    Some(value) => {
                        let value = String::from_utf8_lossy(value);
                        return Err(format!(
                            "{id} was acknowledged at {place}, where {value:?} is"
                        ));
                    }
                    None => {
                        return Err(format!("{id} was acknowledged at {place}, where nothing is"));
                    }
                }
            }
            ProduceOutcome::NotDone(why) => {
                if let Some(place) = present.get(id) {
                    return Err(format!("{id} was refused ({why}), and yet it is at {place}"));
                }
            }
            ProduceOutcome::Acknowledged(_) | ProduceOutcome::Unknown(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::testing::{acknowledged, consumed, cut, final_read, not_done};

    #[test]
    fn holds_when_all_is_there() {
        assert_eq!(check(&[acknowledged(1, 0, 0), consumed(9, 0, "1:0"), final_read(9)]), Ok(()));
    }

    #[test]
    fn finds_a_lost_a_displaced_and_a_risen_record() {
        assert!(check(&[acknowledged(1, 0, 0), final_read(9)]).is_err());
        assert!(check(&[acknowledged(1, 0, 0), consumed(9, 0, "1:7"), final_read(9)]).is_err());
        assert!(check(&[not_done(1, 0), consumed(9, 0, "1:0"), final_read(9)]).is_err());
    }

    #[test]
    fn only_what_was_acknowledged_above_a_cut_before_it_was_told_may_be_lost() {
        let old = [acknowledged(1, 0, 0), acknowledged(1, 1, 1), cut(1)];
        let read = |events: &[Event]| [&old[..], events, &[final_read(9)]].concat();
        assert_eq!(check(&read(&[consumed(9, 0, "1:0")])), Ok(()));
        assert_eq!(check(&read(&[consumed(9, 0, "1:0"), consumed(9, 1, "2:0")])), Ok(()));
        assert!(check(&read(&[])).is_err(), "below the cut");
        assert!(check(&read(&[consumed(9, 0, "1:0"), acknowledged(2, 0, 1)])).is_err(), "after it");
    }
}
