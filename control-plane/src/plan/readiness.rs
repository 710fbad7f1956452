//! Whether a cluster runs: exactly when every SPU of its spec, by its current launch and
//! incarnation, has a session and has passed a probe since it registered.
//!
//! Pure. What was seen is kept by the status board; what is wanted comes from the database.

use std::collections::{BTreeMap, BTreeSet};

use weir_protocol::ids::{Incarnation, LaunchId, SpuId};
use weir_runtime::plant;

/// An SPU that the spec asks for.
#[derive(Clone, Debug)]
pub struct WantedSpu {
    /// Which.
    pub spu_id: SpuId,
    /// Its current launch; `None` when nothing was started yet.
    pub launch_id: Option<LaunchId>,
    /// The incarnation that it registered with last.
    pub incarnation: Incarnation,
}

/// What was last seen of a session.
#[derive(Clone, Copy, Debug)]
pub struct SeenSpu {
    /// The launch that registered.
    pub launch_id: LaunchId,
    /// The life that the registration was given.
    pub incarnation: Incarnation,
    /// Whether the session stands.
    pub session_up: bool,
    /// Whether a probe passed since the registration.
    pub probe_passed: bool,
}

/// The verdict on a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// The SPUs that serve.
    pub ready: BTreeSet<SpuId>,
    /// Whether all that the spec asks for do.
    pub all_ready: bool,
    /// What is missing, for people, by SPU.
    pub missing: BTreeMap<SpuId, String>,
}

/// Judges a cluster. `registrations` is how many registrations, of whatever launch and
/// accepted or not, the board has noted for it; only planted bugs look at it.
#[must_use]
pub fn judge(
    wanted: &[WantedSpu],
    seen: &BTreeMap<SpuId, SeenSpu>,
    registrations: usize,
) -> Readiness {
    let mut verdict = exact(wanted, seen);
    if plant::active("readiness_counts_registrations") {
        verdict.all_ready = counting(wanted.len(), registrations);
    }
    if plant::active("readiness_waits_for_count") {
        verdict.all_ready = equalling(wanted.len(), registrations);
    }
    verdict
}

/// The planted bug: any registration counts, also one of a launch that was replaced.
fn counting(wanted: usize, registrations: usize) -> bool {
    wanted > 0 && registrations >= wanted
}

/// The planted bug: as many registrations as SPUs are waited for, and neither those of removed
/// SPUs nor those of earlier lives ever go away again.
fn equalling(wanted: usize, registrations: usize) -> bool {
    wanted > 0 && registrations == wanted
}

fn exact(wanted: &[WantedSpu], seen: &BTreeMap<SpuId, SeenSpu>) -> Readiness {
    let mut ready = BTreeSet::new();
    let mut missing = BTreeMap::new();
    for spu in wanted {
        match lacks(spu, seen.get(&spu.spu_id)) {
            None => {
                ready.insert(spu.spu_id);
            }
            Some(what) => {
                missing.insert(spu.spu_id, what.to_owned());
            }
        }
    }
    // A cluster that asks for no SPUs lacks nothing.
    let all_ready = missing.is_empty();
    Readiness { ready, all_ready, missing }
}

fn lacks(wanted: &WantedSpu, seen: Option<&SeenSpu>) -> Option<&'static str> {
    let Some(launch_id) = wanted.launch_id else { return Some("it was not started yet") };
    let Some(seen) = seen else { return Some("it has not registered") };
    if seen.launch_id != launch_id || seen.incarnation != wanted.incarnation {
        Some("its present launch has not registered")
    } else if !seen.session_up {
        Some("its session is gone")
    } else if !seen.probe_passed {
        Some("it has not passed a probe since it registered")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn launch(n: u128) -> LaunchId {
        LaunchId(Uuid::from_u128(n))
    }

    fn wanted(spu: u32) -> WantedSpu {
        WantedSpu { spu_id: SpuId(spu), launch_id: Some(launch(7)), incarnation: Incarnation(2) }
    }

    fn good() -> SeenSpu {
        SeenSpu {
            launch_id: launch(7),
            incarnation: Incarnation(2),
            session_up: true,
            probe_passed: true,
        }
    }

    #[test]
    fn all_of_the_spec_and_nothing_less() {
        let both = BTreeMap::from([(SpuId(1), good()), (SpuId(2), good())]);
        assert!(judge(&[wanted(1), wanted(2)], &both, 2).all_ready);
        let more = judge(&[wanted(1), wanted(2), wanted(3)], &both, 99);
        assert!(!more.all_ready);
        assert_eq!(more.ready, BTreeSet::from([SpuId(1), SpuId(2)]));
        assert_eq!(more.missing[&SpuId(3)], "it has not registered");
    }

    #[test]
    fn an_spu_that_the_spec_does_not_ask_for_counts_for_nothing() {
        let seen = BTreeMap::from([(SpuId(1), good()), (SpuId(9), good())]);
        assert!(!judge(&[wanted(1), wanted(2)], &seen, 2).all_ready);
        assert!(judge(&[wanted(1)], &seen, 2).all_ready);
    }

    #[test]
    fn each_condition_is_needed() {
        let cases: [(&str, SeenSpu); 4] = [
            ("stale launch", SeenSpu { launch_id: launch(6), ..good() }),
            ("earlier life", SeenSpu { incarnation: Incarnation(1), ..good() }),
            ("no session", SeenSpu { session_up: false, ..good() }),
            ("no probe", SeenSpu { probe_passed: false, ..good() }),
        ];
        for (name, seen) in cases {
            let verdict = judge(&[wanted(1)], &BTreeMap::from([(SpuId(1), seen)]), 1);
            assert!(!verdict.all_ready && verdict.ready.is_empty(), "{name}");
        }
        let never = WantedSpu { launch_id: None, ..wanted(1) };
        assert!(!judge(&[never], &BTreeMap::from([(SpuId(1), good())]), 1).all_ready);
    }

    #[test]
    fn where_no_spu_is_wanted_none_is_missing() {
        let nobody = judge(&[], &BTreeMap::new(), 0);
        assert!(nobody.all_ready && nobody.ready.is_empty() && nobody.missing.is_empty());
        // Who comes although nobody asked for it changes nothing.
        assert!(judge(&[], &BTreeMap::from([(SpuId(1), good())]), 1).all_ready);
    }

    #[test]
    fn the_planted_bug_would_count_a_stale_registration() {
        let stale = SeenSpu { launch_id: launch(6), ..good() };
        assert!(!exact(&[wanted(1)], &BTreeMap::from([(SpuId(1), stale)])).all_ready);
        assert!(counting(1, 1) && !counting(2, 1) && !counting(0, 0));
    }
}
