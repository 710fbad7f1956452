//! One node's disk: its folders, faults, locks, and work that outlives its caller.

use std::{
    collections::BTreeSet,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use madsim::{
    rand::{GlobalRng, Rng},
    task::NodeId,
};

use super::{
    faults::{Class, Faults, Stats},
    tree::Tree,
};
use crate::trace;

/// EIO.
const IO_ERROR: i32 = 5;

pub(super) fn io_error() -> io::Error {
    io::Error::from_raw_os_error(IO_ERROR)
}

/// What an operation is told to suffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Fine,
    /// Fail with an I/O error; a part may happen.
    Fail,
}

/// What an operation does to the disk, at its instant.
type Effect = Box<dyn FnOnce(&mut NodeDisk, &mut GlobalRng) + Send>;

/// Work whose future was dropped, to be done at its time.
struct Straggler {
    due: Duration,
    text: String,
    work: Effect,
}

pub(super) struct NodeDisk {
    id: NodeId,
    /// Counts deaths. Handles of an older epoch get errors for ever.
    pub epoch: u64,
    pub tree: Tree,
    pub faults: Faults,
    pub stats: Stats,
    /// Files with a lock, by inode.
    pub locks: BTreeSet<u64>,
    stragglers: Vec<Straggler>,
}

/// Everything runs on one thread, so this never waits.
pub(super) fn lock(node: &Arc<Mutex<NodeDisk>>) -> MutexGuard<'_, NodeDisk> {
    node.lock().unwrap_or_else(PoisonError::into_inner)
}

impl NodeDisk {
    pub(super) fn new(id: NodeId) -> Self {
        Self {
            id,
            epoch: 0,
            tree: Tree::new(),
            faults: Faults::default(),
            stats: Stats::default(),
            locks: BTreeSet::new(),
            stragglers: Vec::new(),
        }
    }

    /// Counts an operation and draws its fate.
    pub(super) fn verdict(&mut self, class: Class, rng: &mut GlobalRng) -> Verdict {
        self.stats.count(class);
        let faults = self.faults.class(class);
        let ordered = faults.error_next > 0;
        faults.error_next = faults.error_next.saturating_sub(1);
        if !ordered && (faults.error <= 0.0 || !rng.gen_bool(faults.error.min(1.0))) {
            return Verdict::Fine;
        }
        *match class {
            Class::Sync => &mut self.stats.failed_syncs,
            _ => &mut self.stats.io_errors,
        } += 1;
        Verdict::Fail
    }

    /// Keeps work whose caller has gone.
    pub(super) fn leave_behind(
        &mut self,
        due: Duration,
        text: String,
        work: impl FnOnce(&mut Self, &mut GlobalRng) + Send + 'static,
    ) {
        self.stragglers.push(Straggler { due, text, work: Box::new(work) });
    }

    /// Does what has become due of such work. To be called before anybody looks.
    pub(super) fn catch_up(&mut self, now: Duration, rng: &mut GlobalRng) {
        if self.stragglers.is_empty() {
            return;
        }
        // A stable sort: of those due at one time, the one left behind first goes first.
        self.stragglers.sort_by_key(|straggler| straggler.due);
        let late = self.stragglers.partition_point(|straggler| straggler.due <= now);
        let later = self.stragglers.split_off(late);
        for straggler in std::mem::replace(&mut self.stragglers, later) {
            (straggler.work)(self, rng);
            self.stats.cancelled_but_done += 1;
            trace::line(trace::Kind::Disk, || format!("{} -> done after cancel", straggler.text));
        }
    }

    /// The node dies: by loss of power or, when the faults say so, only as a process.
    pub(super) fn kill(&mut self, now: Duration, rng: &mut GlobalRng) {
        let power_loss = self.faults.power_loss;
        if power_loss >= 1.0 || (power_loss > 0.0 && rng.gen_bool(power_loss)) {
            self.crash(now, rng);
        } else {
            self.end_process(now, rng);
            self.tree.process_death();
            self.stats.process_deaths += 1;
            trace::line(trace::Kind::Disk, || format!("process death of node {}", self.id));
        }
    }

    /// Power is lost.
    pub(super) fn crash(&mut self, now: Duration, rng: &mut GlobalRng) {
        self.end_process(now, rng);
        let loss = self.tree.crash(rng);
        self.stats.crashes += 1;
        self.stats.lost_bytes += loss.bytes;
        self.stats.lost_names += loss.names;
        self.stats.torn_files += loss.torn_files;
        trace::line(trace::Kind::Disk, || format!("crash of node {} {loss:?}", self.id));
    }

    /// An empty disk takes the place of this one.
    pub(super) fn wipe(&mut self, now: Duration, rng: &mut GlobalRng) {
        self.end_process(now, rng);
        self.tree = Tree::new();
        trace::line(trace::Kind::Disk, || format!("wipe of node {}", self.id));
    }

    /// Two disks change places.
    pub(super) fn swap(&mut self, other: &mut Self, now: Duration, rng: &mut GlobalRng) {
        self.end_process(now, rng);
        other.end_process(now, rng);
        std::mem::swap(&mut self.tree, &mut other.tree);
        trace::line(trace::Kind::Disk, || format!("swap of nodes {} and {}", self.id, other.id));
    }

    fn end_process(&mut self, now: Duration, rng: &mut GlobalRng) {
        self.catch_up(now, rng);
        self.stragglers.clear();
        self.epoch += 1;
        self.locks.clear();
    }
}
