//! No offset is committed for what the application has not finished with: what the HTTP API
//! tells of a consumer, and where its instances begin, lies at most one behind the last
//! record that any of its instances had processed by then.

use std::collections::BTreeMap;

use crate::history::Event;

/// Judges every start and every report.
///
/// # Errors
/// The first offset beyond what was processed.
pub fn check(events: &[Event]) -> Result<(), String> {
    let mut ends: BTreeMap<(&str, &str, u32), u64> = BTreeMap::new();
    for event in events {
        match event {
            Event::Processed { name, place, .. } => {
                let key = (name.as_str(), place.generation.as_str(), place.partition);
                let end = ends.entry(key).or_default();
                *end = (place.offset + 1).max(*end);
            }
            Event::OffsetReset { name, place } => {
                let key = (name.as_str(), place.generation.as_str(), place.partition);
                // What was processed before stays so: SQL may tell of it late.
                let end = ends.entry(key).or_default();
                *end = place.offset.max(*end);
            }
            Event::ConsumerStarted { name, place, .. } | Event::Reported { name, place } => {
                let key = (name.as_str(), place.generation.as_str(), place.partition);
                let end = ends.get(&key).copied().unwrap_or_default();
                if place.offset > end {
                    return Err(format!(
                        "{name} stands at {place}, and had processed what lies before {end}"
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
    use crate::oracle::testing::{place, processed, started};

    #[test]
    fn finds_an_offset_beyond_what_was_processed() {
        assert_eq!(check(&[started(1, 0), processed(1, 0), started(2, 1)]), Ok(()));
        assert!(check(&[started(1, 0), processed(1, 0), started(2, 2)]).is_err());
        let told = Event::Reported { name: "c".into(), place: place(1) };
        assert!(check(&[told.clone(), processed(1, 0)]).is_err());
        assert_eq!(check(&[processed(1, 0), told]), Ok(()));
    }
}
