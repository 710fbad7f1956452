//! What the determinism test compares and the honesty checks count: in simulation, every
//! delivered packet, disk operation and SQL statement leaves a line. In production nothing.

/// What kind of effect a line tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Bytes written to or read from a connection.
    Net,
    /// A disk operation.
    Disk,
    /// An SQL statement.
    Sql,
    /// An HTTP request served.
    Http,
    /// A gRPC request served.
    Rpc,
    /// A step of a scenario: a fault, an operation, its outcome.
    Step,
}

/// Leaves a line, stamped with simulated time and node. The closure runs in simulation only.
#[cfg(not(madsim))]
#[inline(always)]
pub fn line(_kind: Kind, _text: impl FnOnce() -> String) {}

#[cfg(madsim)]
pub use simulated::{counts, line, start, take};

#[cfg(madsim)]
mod simulated {
    use std::{cell::RefCell, collections::BTreeMap};

    use super::Kind;

    #[derive(Default)]
    struct Recorder {
        keep_lines: bool,
        lines: Vec<String>,
        counts: BTreeMap<(String, Kind), u64>,
    }

    thread_local! {
        static RECORDER: RefCell<Recorder> = RefCell::default();
    }

    /// Forgets everything; `keep_lines` says whether lines are kept or only counted.
    pub fn start(keep_lines: bool) {
        RECORDER.with_borrow_mut(|r| *r = Recorder { keep_lines, ..Recorder::default() });
    }

    /// The lines so far.
    #[must_use]
    pub fn take() -> Vec<String> {
        RECORDER.with_borrow_mut(|r| std::mem::take(&mut r.lines))
    }

    /// How many effects of each kind each node had.
    #[must_use]
    pub fn counts() -> BTreeMap<(String, Kind), u64> {
        RECORDER.with_borrow(|r| r.counts.clone())
    }

    /// Leaves a line, stamped with simulated time and node.
    pub fn line(kind: Kind, text: impl FnOnce() -> String) {
        let Some(time) = madsim::time::TimeHandle::try_current() else { return };
        let node = madsim::plugin::node().to_string();
        RECORDER.with_borrow_mut(|r| {
            if r.keep_lines {
                r.lines.push(format!("{:?} node {node} {kind:?} {}", time.elapsed(), text()));
            }
            *r.counts.entry((node, kind)).or_default() += 1;
        });
    }
}
