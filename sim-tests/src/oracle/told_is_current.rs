//! What the HTTP API tells of a consumer and calls current is not older than the question: of
//! every partition it tells at least what was acknowledged (or told) before it was asked, unless
//! an order has reset the offset.
//!
//! **Not judged**: answers that call themselves old, and what is told while a reset is under
//! way: a story does not ask then.

use super::committed_is_kept::Floors;
use crate::history::Event;

/// Judges every answer.
///
/// # Errors
/// The first that is older than its question.
pub fn check(events: &[Event]) -> Result<(), String> {
    for event in events {
        let Event::Told { name, asked_at, current: true, offsets } = event else { continue };
        for (generation, partition, floor) in floors(events, *asked_at).of(name) {
            let told = offsets
                .iter()
                .find(|place| place.generation == generation && place.partition == partition);
            if told.is_none_or(|place| place.offset < floor) {
                let told = told.map_or("nothing".to_owned(), |place| place.offset.to_string());
                return Err(format!(
                    "of {name} on {generation}/{partition} {told} is told as current, {floor} was \
                     committed before"
                ));
            }
        }
    }
    Ok(())
}

/// How many answers there were to judge.
#[must_use]
pub fn judged(events: &[Event]) -> u64 {
    let judged = events.iter().filter(|event| match event {
        Event::Told { name, asked_at, current: true, .. } => {
            floors(events, *asked_at).of(name).next().is_some()
        }
        _ => false,
    });
    judged.count() as u64
}

/// What was known to be committed by then.
fn floors(events: &[Event], asked_at: usize) -> Floors<'_> {
    let mut floors = Floors::default();
    events.iter().take(asked_at).for_each(|event| floors.take(event));
    floors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::testing::{committed, place};

    fn told(asked_at: usize, current: bool, offset: Option<u64>) -> Event {
        let offsets = offset.map(place).into_iter().collect();
        Event::Told { name: "c".into(), asked_at, current, offsets }
    }

    #[test]
    fn finds_what_is_told_as_current_and_is_older_than_the_question() {
        let after = |told: Event| vec![committed(1, 5), committed(1, 7), told];
        assert_eq!(check(&after(told(2, true, Some(7)))), Ok(()));
        assert_eq!(check(&after(told(2, true, Some(9)))), Ok(()), "committed meanwhile");
        assert_eq!(check(&after(told(1, true, Some(5)))), Ok(()), "asked before");
        assert!(check(&after(told(2, true, Some(6)))).is_err());
        assert!(check(&after(told(2, true, None))).is_err());
        assert_eq!(check(&after(told(2, false, None))), Ok(()), "it says that it is old");
        let reset = Event::OffsetReset { name: "c".into(), place: place(2) };
        assert_eq!(check(&[committed(1, 5), reset, told(2, true, Some(2))]), Ok(()));
    }

    #[test]
    fn what_could_not_have_been_wrong_does_not_count() {
        let events = |told: Event| vec![committed(1, 5), told];
        assert_eq!(judged(&events(told(1, true, Some(5)))), 1);
        assert_eq!(judged(&events(told(0, true, Some(5)))), 0);
        assert_eq!(judged(&events(told(1, false, Some(5)))), 0);
    }
}
