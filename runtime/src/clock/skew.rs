//! Skewed clocks: what one node reads when the true time is another's.

use std::{cell::RefCell, collections::BTreeMap, time::Duration};

use madsim::task::NodeId;
use tokio::time::Instant;

const MILLION: u128 = 1_000_000;

/// How a node's clocks differ from the true time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skew {
    /// Added to the wall clock.
    pub offset_ms: i64,
    /// Parts per million by which both clocks and timers run fast (or, negative, slow).
    /// Bounded to half and double speed.
    pub rate_ppm: i32,
}

/// Since when a skew holds, so that a change of rate makes no monotone clock jump.
#[derive(Clone, Copy)]
struct Anchor {
    skew: Skew,
    since_true: Instant,
    since_local: Instant,
    drift_ms_before: i64,
}

thread_local! {
    static ANCHORS: RefCell<BTreeMap<NodeId, Anchor>> = const { RefCell::new(BTreeMap::new()) };
}

/// Forgets all skews: call it before a simulation.
pub fn reset() {
    ANCHORS.with_borrow_mut(BTreeMap::clear);
}

/// Sets a node's skew from now on.
pub fn set(node: NodeId, skew: Skew) {
    let now = Instant::now();
    let skew = Skew { rate_ppm: skew.rate_ppm.clamp(-500_000, 1_000_000), ..skew };
    ANCHORS.with_borrow_mut(|anchors| {
        let (since_local, drift_ms_before) =
            anchors.get(&node).map_or((now, 0), |a| (a.local(now), a.drift_ms(now)));
        anchors.insert(node, Anchor { skew, since_true: now, since_local, drift_ms_before });
    });
}

impl Anchor {
    fn rate(&self) -> u128 {
        // Clamped in `set`, so it is positive.
        u128::try_from(1_000_000 + i64::from(self.skew.rate_ppm)).unwrap_or(MILLION)
    }

    fn local(&self, now: Instant) -> Instant {
        let passed = now.saturating_duration_since(self.since_true).as_nanos();
        self.since_local + nanos(passed * self.rate() / MILLION)
    }

    fn drift_ms(&self, now: Instant) -> i64 {
        let passed = now.saturating_duration_since(self.since_true).as_millis();
        let passed = i64::try_from(passed).unwrap_or(i64::MAX);
        self.drift_ms_before + passed.saturating_mul(i64::from(self.skew.rate_ppm)) / 1_000_000
    }
}

fn nanos(n: u128) -> Duration {
    Duration::from_nanos(u64::try_from(n).unwrap_or(u64::MAX))
}

fn anchor() -> Option<Anchor> {
    ANCHORS.with_borrow(|anchors| anchors.get(&madsim::plugin::node()).copied())
}

pub(super) fn wall_ms(true_ms: i64) -> i64 {
    anchor().map_or(true_ms, |a| {
        true_ms.saturating_add(a.skew.offset_ms).saturating_add(a.drift_ms(Instant::now()))
    })
}

pub(super) fn instant(now: Instant) -> Instant {
    anchor().map_or(now, |a| a.local(now))
}

pub(super) fn true_duration(local: Duration) -> Duration {
    anchor().map_or(local, |a| nanos(local.as_nanos() * MILLION / a.rate()))
}
