//! A named consumer that read a generation to its end has processed every record that had
//! been acknowledged there: no crash between processing and commit passes one by.

use std::collections::BTreeSet;

use crate::history::{Event, Place, ProduceOutcome};

/// Judges the consumers that were drained; the others may yet process the rest.
///
/// # Errors
/// The first record that was passed by.
pub fn check(events: &[Event]) -> Result<(), String> {
    for (at, event) in events.iter().enumerate() {
        let Event::Drained { name, generation } = event else { continue };
        let so_far = &events[..at];
        let processed: BTreeSet<&Place> = so_far
            .iter()
            .filter_map(|event| match event {
                Event::Processed { name: of, place, .. } if of == name => Some(place),
                _ => None,
            })
            .collect();
        let acknowledged = so_far.iter().filter_map(|event| match event {
            Event::Produced { id, outcome: ProduceOutcome::Acknowledged(place) } => {
                Some((id, place))
            }
            _ => None,
        });
        for (id, place) in acknowledged {
            if place.generation == *generation && !processed.contains(place) {
                return Err(format!("{name} never processed {id}, acknowledged at {place}"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::testing::{acknowledged, drained, processed};

    #[test]
    fn finds_a_record_that_was_passed_by() {
        let all = [acknowledged(1, 0, 0), acknowledged(1, 1, 1), processed(1, 0), drained()];
        assert!(check(&all).is_err());
        assert_eq!(check(&all[..3]), Ok(()), "not drained: it may come yet");
        let then = [&all[..3], &[processed(2, 1), drained(), acknowledged(1, 2, 2)]].concat();
        assert_eq!(check(&then), Ok(()));
    }
}
