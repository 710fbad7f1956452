//! The simulated disk: one per node, no kinder than Linux.
//!
//! | File | Holds |
//! |---|---|
//! | `inode` | one file's bytes and what a crash leaves of them |
//! | `tree`, `journal` | folders, names, and what a crash leaves of those |
//! | `faults` | what can be wrong, as data; what has happened |
//! | `node` | one node's disk: the above, locks, cancelled work |
//! | `port` | how every operation passes: latency, errors, cancellation, trace |
//! | `disk`, `file` | the seam's two traits on top |
//!
//! A harness adds [`DiskSim`] to madsim's runtime before it makes nodes, and gives orders
//! through it. A node's code takes [`SimDisk::of_this_node`]. `Handle::kill` is a crash.
//!
//! Not simulated: links, permissions, atimes, several data folders on one disk, a file
//! system that turns read-only after an error, reads that fail for one sector only.

mod disk;
mod faults;
mod file;
mod inode;
mod journal;
mod node;
mod port;
#[cfg(test)]
mod state_tests;
mod tree;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use madsim::{
    Config,
    plugin::{self, Simulator},
    rand::{GlobalRng, Rng},
    task::NodeId,
    time::TimeHandle,
};

pub use disk::SimDisk;
pub use faults::{Class, ClassFaults, Faults, Flip, Stats};

use node::{NodeDisk, lock};
use tree::inode;

/// The disks of all nodes: a plugin of madsim's runtime.
pub struct DiskSim {
    rng: GlobalRng,
    time: TimeHandle,
    nodes: Mutex<BTreeMap<NodeId, Arc<Mutex<NodeDisk>>>>,
}

impl Simulator for DiskSim {
    fn new(rng: &GlobalRng, time: &TimeHandle, _config: &Config) -> Self {
        Self { rng: rng.clone(), time: time.clone(), nodes: Mutex::default() }
    }

    fn create_node(&self, id: NodeId) {
        self.node(id);
    }

    /// `Handle::kill` calls this.
    fn reset_node(&self, id: NodeId) {
        lock(&self.node(id)).kill(self.time.elapsed(), &mut self.rng.clone());
    }
}

impl DiskSim {
    /// The plugin of the running simulation.
    #[must_use]
    pub fn current() -> Arc<Self> {
        plugin::simulator()
    }

    fn node(&self, id: NodeId) -> Arc<Mutex<NodeDisk>> {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(nodes.entry(id).or_insert_with(|| Arc::new(Mutex::new(NodeDisk::new(id)))))
    }

    /// Changes how a node's disk behaves from now on, also across crashes.
    pub fn faults(&self, node: NodeId, change: impl FnOnce(&mut Faults)) {
        change(&mut lock(&self.node(node)).faults);
    }

    /// Loses power on a node's disk without touching its process, which gets errors from now
    /// on. [`madsim::runtime::Handle::kill`] does both.
    pub fn crash(&self, node: NodeId) {
        lock(&self.node(node)).crash(self.time.elapsed(), &mut self.rng.clone());
    }

    /// Replaces a node's disk by an empty one with the same faults. A process that runs gets
    /// errors from now on.
    pub fn wipe(&self, node: NodeId) {
        lock(&self.node(node)).wipe(self.time.elapsed(), &mut self.rng.clone());
    }

    /// Each of two nodes gets the other's disk, as it is; faults stay with the node. A process
    /// that runs on either gets errors from now on.
    pub fn swap(&self, one: NodeId, other: NodeId) {
        if one == other {
            return;
        }
        let (one, other) = (self.node(one), self.node(other));
        lock(&one).swap(&mut lock(&other), self.time.elapsed(), &mut self.rng.clone());
    }

    /// How often the node that the calling task runs on has lost its power.
    pub(crate) fn crashes_of_this_node(&self) -> u64 {
        lock(&self.node(plugin::node())).stats.crashes
    }

    /// What has happened to a node's disk.
    #[must_use]
    pub fn stats(&self, node: NodeId) -> Stats {
        lock(&self.node(node)).stats
    }

    /// Flips a random durable bit of a file. `None`: no such file, or nothing of it is
    /// durable.
    pub fn flip_bit(&self, node: NodeId, path: &str) -> Option<Flip> {
        let file = lock(&self.node(node)).tree.file(path)?;
        let len = inode(&file).durable_len();
        if len == 0 {
            return None;
        }
        let mut rng = self.rng.clone();
        let flip = Flip { offset: rng.gen_range(0..len) as u64, bit: rng.gen_range(0..8) };
        self.flip_bit_at(node, path, flip).then_some(flip)
    }

    /// Flips a certain durable bit of a file. `false`: there is no such file or byte.
    pub fn flip_bit_at(&self, node: NodeId, path: &str, flip: Flip) -> bool {
        let node = self.node(node);
        let mut node = lock(&node);
        let Some(file) = node.tree.file(path) else { return false };
        let offset = usize::try_from(flip.offset).unwrap_or(usize::MAX);
        let flipped = inode(&file).flip(offset, flip.bit);
        node.stats.flipped_bits += u64::from(flipped);
        flipped
    }

    /// Paths of all files on a node's disk, sorted: for orders to "some file".
    #[must_use]
    pub fn files(&self, node: NodeId) -> Vec<String> {
        lock(&self.node(node)).tree.files()
    }

    /// What reads of a file would see, without passing through the faults. For checkers.
    #[must_use]
    pub fn peek(&self, node: NodeId, path: &str) -> Option<Vec<u8>> {
        let file = lock(&self.node(node)).tree.file(path)?;
        let bytes = inode(&file).read(0, usize::MAX).to_vec();
        Some(bytes)
    }
}
