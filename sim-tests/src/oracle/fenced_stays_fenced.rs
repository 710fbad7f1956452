//! Once an instance has begun to read a partition, or an order has reset its offset, no commit
//! that an earlier instance of the same consumer asks for afterwards is taken; and none is taken for a generation whose
//! deletion had reached every SPU when it was asked for.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::Event;

/// Owns what was reset, until an instance claims it.
const NOBODY: u32 = u32::MAX;

/// Judges every commit that was acknowledged.
///
/// # Errors
/// The first that should have been refused.
pub fn check(events: &[Event]) -> Result<(), String> {
    let mut owners: BTreeMap<(&str, &str, u32), u32> = BTreeMap::new();
    let mut dead: BTreeSet<&str> = BTreeSet::new();
    let mut doomed: BTreeSet<(u32, &str, u32)> = BTreeSet::new();
    for event in events {
        match event {
            Event::TopicDeleted { generation } => {
                dead.insert(generation);
            }
            Event::ConsumerStarted { name, instance, place } => {
                let key = (name.as_str(), place.generation.as_str(), place.partition);
                owners.insert(key, *instance);
            }
            Event::OffsetReset { name, place } => {
                let key = (name.as_str(), place.generation.as_str(), place.partition);
                owners.insert(key, NOBODY);
            }
            Event::Committing { name, instance, place } => {
                let key = (name.as_str(), place.generation.as_str(), place.partition);
                let fenced = owners.get(&key).is_some_and(|owner| owner != instance);
                let late = dead.contains(place.generation.as_str());
                let mine = (*instance, place.generation.as_str(), place.partition);
                if fenced || late {
                    doomed.insert(mine);
                } else {
                    doomed.remove(&mine);
                }
            }
            Event::Committed { name, instance, place } => {
                let mine = (*instance, place.generation.as_str(), place.partition);
                if doomed.contains(&mine) {
                    return Err(format!(
                        "instance {instance} of {name} committed {place}, which it had lost"
                    ));
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
    use crate::oracle::testing::{committed, committing, place, started};

    #[test]
    fn finds_a_commit_of_an_instance_that_was_fenced() {
        let taken = [started(1, 0), committing(1, 3), committed(1, 3), started(2, 3)];
        assert_eq!(check(&taken), Ok(()));
        let late = [committing(1, 5), committed(1, 5)];
        assert!(check(&[&taken[..], &late].concat()).is_err());
        let reset = Event::OffsetReset { name: "c".into(), place: place(0) };
        assert!(check(&[&taken[..3], &[reset], &late[..]].concat()).is_err());
        // Asked for before the other had begun: it may have come first.
        let raced = [started(1, 0), committing(1, 3), started(2, 0), committed(1, 3)];
        assert_eq!(check(&raced), Ok(()));
    }

    #[test]
    fn finds_a_commit_for_a_dead_generation() {
        let deleted = Event::TopicDeleted { generation: "g".into() };
        let late = [started(1, 0), deleted, committing(1, 3), committed(1, 3)];
        assert!(check(&late).is_err());
        assert_eq!(check(&late[..3]), Ok(()));
    }
}
