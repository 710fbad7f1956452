//! One (generation, partition, offset) carries one value, for ever: every consumer that
//! reads it, whenever, sees the same, and an acknowledgement names no other. Above a cut that was told
//! it carries one value before and one after.

use std::collections::BTreeMap;

use crate::history::{Event, Place, ProduceOutcome};

/// Judges everything consumed and acknowledged.
///
/// # Errors
/// The first place with two values.
pub fn check(events: &[Event]) -> Result<(), String> {
    let mut values: BTreeMap<&Place, Vec<u8>> = BTreeMap::new();
    for event in events {
        let (place, value) = match event {
            Event::Consumed { place, value, .. } => (place, value.clone()),
            Event::Produced { id, outcome: ProduceOutcome::Acknowledged(place) } => {
                (place, id.to_value().into_bytes())
            }
            Event::Cut { place: cut } => {
                values.retain(|place, _| !place.is_from(cut));
                continue;
            }
            _ => continue,
        };
        if let Some(before) = values.get(place) {
            if *before != value {
                let (before, value) =
                    (String::from_utf8_lossy(before), String::from_utf8_lossy(&value));
                return Err(format!("{place} carried {before:?} and then {value:?}"));
            }
        } else {
            values.insert(place, value);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::testing::{acknowledged, consumed, cut};

    #[test]
    fn finds_a_second_value() {
        assert_eq!(check(&[consumed(1, 0, "1:0"), consumed(2, 0, "1:0")]), Ok(()));
        assert!(check(&[consumed(1, 0, "1:0"), consumed(2, 0, "1:1")]).is_err());
        assert!(check(&[consumed(1, 0, "1:5"), acknowledged(1, 0, 0)]).is_err());
        let again = |at| [consumed(1, 5, "1:0"), cut(at), consumed(2, 5, "1:1")];
        assert_eq!(check(&again(5)), Ok(()));
        assert!(check(&again(6)).is_err());
    }
}
