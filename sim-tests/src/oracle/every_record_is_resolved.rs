//! Every record that a producer took has exactly one outcome: a completion never gets lost
//! and never fires twice.

use std::collections::BTreeMap;

use crate::history::{Event, RecordId};

/// Judges the producers that were stopped and waited for.
///
/// # Errors
/// The first record with no outcome, or with two.
pub fn check(events: &[Event]) -> Result<(), String> {
    let mut outcomes: BTreeMap<RecordId, u32> = BTreeMap::new();
    for event in events {
        match event {
            Event::Sent { id } => {
                outcomes.entry(*id).or_default();
            }
            Event::Produced { id, .. } => *outcomes.entry(*id).or_default() += 1,
            _ => {}
        }
    }
    let stopped = |id: &RecordId| {
        let end = Event::ProducerStopped { producer: id.producer };
        events.iter().rev().any(|event| *event == end)
    };
    match outcomes.iter().find(|(id, outcomes)| **outcomes != 1 && stopped(id)) {
        Some((id, outcomes)) => Err(format!("{id} was sent once and has {outcomes} outcomes")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::testing::{acknowledged, not_done};

    #[test]
    fn finds_a_lost_and_a_double_outcome() {
        let sent = Event::Sent { id: RecordId { producer: 1, sequence: 0 } };
        let stopped = Event::ProducerStopped { producer: 1 };
        assert_eq!(check(&[sent.clone(), acknowledged(1, 0, 0), stopped.clone()]), Ok(()));
        assert_eq!(check(std::slice::from_ref(&sent)), Ok(()), "it is still under way");
        assert!(check(&[sent.clone(), stopped.clone()]).is_err());
        assert!(check(&[sent, acknowledged(1, 0, 0), not_done(1, 0), stopped]).is_err());
    }
}
