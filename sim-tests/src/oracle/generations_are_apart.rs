//! A recreated topic shares nothing with its predecessor: a record that was acknowledged
//! in one generation is never read in another, and nothing that was sent after a
//! deletion reached every SPU is acknowledged in the deleted generation.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{Event, ProduceOutcome, RecordId};

/// Judges everything acknowledged and consumed.
///
/// # Errors
/// The first record in a foreign generation, or acknowledged in a dead one.
pub fn check(events: &[Event]) -> Result<(), String> {
    let mut home: BTreeMap<RecordId, &str> = BTreeMap::new();
    for event in events {
        if let Event::Produced { id, outcome: ProduceOutcome::Acknowledged(place) } = event {
            home.insert(*id, &place.generation);
        }
    }
    let mut dead: BTreeSet<&str> = BTreeSet::new();
    let mut sent_after_death: BTreeSet<(RecordId, &str)> = BTreeSet::new();
    for event in events {
        match event {
            Event::TopicDeleted { generation } => {
                dead.insert(generation);
            }
            Event::Sent { id } => {
                sent_after_death.extend(dead.iter().map(|generation| (*id, *generation)));
            }
            Event::Produced { id, outcome: ProduceOutcome::Acknowledged(place) }
                if sent_after_death.contains(&(*id, place.generation.as_str())) =>
            {
                return Err(format!("{id} was sent after the deletion of {place}'s generation"));
            }
            Event::Consumed { consumer, place, value } => {
                let Some(id) = RecordId::from_value(value) else { continue };
                if let Some(home) = home.get(&id)
                    && *home != place.generation
                {
                    return Err(format!("consumer {consumer} read {id} of {home} at {place}"));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::testing::{acknowledged, consumed, in_generation};

    #[test]
    fn finds_a_record_in_a_foreign_generation() {
        assert_eq!(check(&[acknowledged(1, 0, 0), consumed(1, 0, "1:0")]), Ok(()));
        let foreign = in_generation("new", consumed(1, 0, "1:0"));
        assert!(check(&[acknowledged(1, 0, 0), foreign]).is_err());
    }

    #[test]
    fn finds_an_acknowledgement_in_a_dead_generation() {
        let deleted = Event::TopicDeleted { generation: "g".into() };
        let sent = Event::Sent { id: RecordId { producer: 1, sequence: 0 } };
        assert_eq!(check(&[sent.clone(), deleted.clone(), acknowledged(1, 0, 0)]), Ok(()));
        assert!(check(&[deleted, sent, acknowledged(1, 0, 0)]).is_err());
    }
}
