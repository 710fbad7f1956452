//! How long transactions take: from the wait for a connection to the commit or the end.

use weir_runtime::{
    clock::{Clock, Monotonic},
    metrics::{Histogram, latency},
};

use super::Mode;

/// Where the durations go, by mode. Clones are the same.
#[derive(Clone, Debug)]
pub struct SqlTimes {
    /// Of transactions that read.
    pub read: Histogram,
    /// Of transactions that may write.
    pub write: Histogram,
}

impl Default for SqlTimes {
    /// Shown nowhere.
    fn default() -> Self {
        Self { read: latency(), write: latency() }
    }
}

impl SqlTimes {
    pub(super) fn start(&self, mode: Mode) -> Stopwatch {
        let into = match mode {
            Mode::Read => &self.read,
            Mode::Write => &self.write,
        };
        Stopwatch { began: Clock.now(), into: into.clone() }
    }
}

/// Measures until it is dropped, however the transaction ends.
pub(super) struct Stopwatch {
    began: Monotonic,
    into: Histogram,
}

impl Drop for Stopwatch {
    fn drop(&mut self) {
        self.into.observe(Clock.now().since(self.began).as_secs_f64());
    }
}
