//! What was committed stays committed: an instance that starts after a commit was
//! acknowledged (or told by the HTTP API) begins there or later, unless an order has reset
//! the offset. So nothing that was processed and flushed is processed again, and SQL never
//! tells more than what survives.
//!
//! **Not judged**: what the HTTP API tells after a reset (SQL hears of it late), and answers
//! to commits of instances that a reset has fenced (they may come late; `fenced_stays_fenced`
//! judges what is asked for later).

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{Event, Place};

/// A partition of a generation, for a consumer.
type Key<'e> = (&'e str, &'e str, u32);

/// What is known to be committed at least, event by event.
#[derive(Default)]
pub(super) struct Floors<'e> {
    floors: BTreeMap<Key<'e>, u64>,
    started: BTreeMap<Key<'e>, BTreeSet<u32>>,
    fenced: BTreeMap<Key<'e>, BTreeSet<u32>>,
}

impl<'e> Floors<'e> {
    pub(super) fn take(&mut self, event: &'e Event) {
        match event {
            Event::Committed { name, place, .. } | Event::Reported { name, place } => {
                let key = key(name, place);
                let late = self.fenced.get(&key).is_some_and(|before| match event {
                    Event::Committed { instance, .. } => before.contains(instance),
                    _ => true,
                });
                if !late {
                    let floor = self.floors.entry(key).or_default();
                    *floor = place.offset.max(*floor);
                }
            }
            Event::OffsetReset { name, place } => {
                let key = key(name, place);
                self.floors.insert(key, place.offset);
                self.fenced.insert(key, self.started.get(&key).cloned().unwrap_or_default());
            }
            Event::ConsumerStarted { name, instance, place } => {
                self.started.entry(key(name, place)).or_default().insert(*instance);
            }
            _ => {}
        }
    }

    fn get(&self, name: &str, place: &Place) -> Option<u64> {
        self.floors.get(&key(name, place)).copied()
    }

    /// Those of a consumer: generation, partition, offset.
    pub(super) fn of(&self, name: &str) -> impl Iterator<Item = (&'e str, u32, u64)> {
        let of = self.floors.iter().filter(move |((of, ..), _)| *of == name);
        of.map(|((_, generation, partition), floor)| (*generation, *partition, *floor))
    }
}

fn key<'e>(name: &'e str, place: &'e Place) -> Key<'e> {
    (name, &place.generation, place.partition)
}

/// Judges every start of every named consumer.
///
/// # Errors
/// The first start below what was committed.
pub fn check(events: &[Event]) -> Result<(), String> {
    let mut floors = Floors::default();
    for event in events {
        floors.take(event);
        if let Event::ConsumerStarted { name, instance, place } = event
            && let Some(floor) = floors.get(name, place)
            && place.offset < floor
        {
            return Err(format!(
                "instance {instance} of {name} began at {place}, {floor} was committed"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::testing::{committed, place, started};

    #[test]
    fn finds_a_start_below_what_was_committed_or_told() {
        assert_eq!(check(&[committed(1, 5), started(2, 5)]), Ok(()));
        assert_eq!(check(&[started(2, 0), committed(1, 5)]), Ok(()));
        assert!(check(&[committed(1, 5), committed(1, 3), started(2, 4)]).is_err());
        let told = Event::Reported { name: "c".into(), place: place(7) };
        assert!(check(&[told, started(2, 6)]).is_err());
        let reset = Event::OffsetReset { name: "c".into(), place: place(2) };
        assert_eq!(check(&[committed(1, 5), reset.clone(), started(2, 2)]), Ok(()));
        let late = [started(1, 0), reset.clone(), committed(1, 5), started(2, 2)];
        assert_eq!(check(&late), Ok(()), "its answer came late");
        assert!(check(&[reset, started(2, 2), committed(2, 4), started(3, 3)]).is_err());
    }
}
