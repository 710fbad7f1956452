//! A consumer that asked for an offset begins at that offset, or is refused: it is never
//! quietly moved to another one.

use std::collections::BTreeMap;

use crate::history::Event;

/// Judges what every consumer that asked for an offset was told, and its first record.
///
/// # Errors
/// The first that began elsewhere.
pub fn check(events: &[Event]) -> Result<(), String> {
    let mut asked: BTreeMap<u32, u64> = BTreeMap::new();
    for event in events {
        match event {
            Event::AskedFrom { consumer, offset } => {
                asked.insert(*consumer, *offset);
            }
            Event::Began { consumer, offset } => {
                if let Some(wanted) = asked.get(consumer)
                    && wanted != offset
                {
                    return Err(format!(
                        "consumer {consumer} asked for {wanted} and was told to begin at {offset}"
                    ));
                }
            }
            Event::Consumed { consumer, place, .. } => {
                if let Some(offset) = asked.remove(consumer)
                    && place.offset != offset
                {
                    return Err(format!("consumer {consumer} asked for {offset} and got {place}"));
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
    use crate::oracle::testing::consumed;

    #[test]
    fn finds_a_start_that_was_moved() {
        let asked = Event::AskedFrom { consumer: 1, offset: 72 };
        let first = |offset| [asked.clone(), consumed(1, offset, "1:0")];
        assert_eq!(check(&first(72)), Ok(()));
        assert!(check(&first(2)).is_err());
        let told = |offset| [asked.clone(), Event::Began { consumer: 1, offset }];
        assert_eq!(check(&told(72)), Ok(()));
        assert!(check(&told(2)).is_err());
        assert_eq!(check(&[&first(72)[..], &[consumed(1, 73, "1:1")]].concat()), Ok(()));
    }
}
