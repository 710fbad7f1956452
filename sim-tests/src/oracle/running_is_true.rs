//! A cluster that says it runs counts exactly SPUs that are really up: each one named as
//! ready is a process of the current launch, and no other is counted.

use crate::history::Event;

/// Judges each report by the observation that follows it in the history.
///
/// # Errors
/// The first SPU that was counted and is not one of those up.
pub fn check(events: &[Event]) -> Result<(), String> {
    let mut reported: Option<&Vec<(u32, String)>> = None;
    for event in events {
        match event {
            Event::ReportedRunning { ready } => reported = Some(ready),
            Event::ReallyUp { up } => {
                if let Some(stranger) =
                    reported.take().and_then(|ready| ready.iter().find(|spu| !up.contains(spu)))
                {
                    return Err(format!(
                        "the cluster says it runs and counts SPU {} of launch {}, but up are {up:?}",
                        stranger.0, stranger.1
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

    #[test]
    fn finds_a_counted_stranger() {
        let spus =
            |ids: &[u32]| ids.iter().map(|id| (*id, "launch".to_owned())).collect::<Vec<_>>();
        let reported = Event::ReportedRunning { ready: spus(&[1, 2]) };
        let both = Event::ReallyUp { up: spus(&[1, 2]) };
        let one = Event::ReallyUp { up: spus(&[1]) };
        assert_eq!(check(&[reported.clone(), both]), Ok(()));
        assert!(check(&[reported, one]).is_err());
    }
}
