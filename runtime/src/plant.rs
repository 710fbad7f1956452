//! Planted bugs: switches that exist only in simulation builds.
//!
//! A checker that has never failed proves nothing. Product code asks
//! `plant::active("name")` at the place where a real bug of this class would sit; in a
//! production build the answer is a constant `false` and the branch is compiled away.

#[cfg(not(madsim))]
/// Whether the planted bug `name` is switched on. Always `false` in a production build.
#[must_use]
#[inline(always)]
pub const fn active(_name: &str) -> bool {
    false
}

#[cfg(madsim)]
pub use simulated::{activate, active, clear};

#[cfg(madsim)]
mod simulated {
    use std::{cell::RefCell, collections::BTreeSet};

    thread_local! {
        static ACTIVE: RefCell<BTreeSet<String>> = const { RefCell::new(BTreeSet::new()) };
    }

    /// Whether the planted bug `name` is switched on for this simulation.
    #[must_use]
    pub fn active(name: &str) -> bool {
        ACTIVE.with_borrow(|set| set.contains(name))
    }

    /// Switches a planted bug on for every node of this thread's simulation.
    pub fn activate(name: &str) {
        ACTIVE.with_borrow_mut(|set| set.insert(name.to_owned()));
    }

    /// Switches all planted bugs off.
    pub fn clear() {
        ACTIVE.with_borrow_mut(BTreeSet::clear);
    }
}
