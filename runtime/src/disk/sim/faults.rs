//! What can be wrong with a simulated disk, as plain data, and what has happened to it.

use std::{ops::Range, time::Duration};

/// The kinds of operations that [`Faults`] tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Reads, lengths, lists, free space.
    Read,
    /// Writes, truncations, preallocations.
    Write,
    /// Syncs of files and folders.
    Sync,
    /// Opens, renames, removals, new folders, locks.
    Name,
}

/// How one kind of operation behaves.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassFaults {
    /// How long an operation takes.
    pub latency: Range<Duration>,
    /// The probability of an I/O error, 0 to 1.
    pub error: f64,
    /// So many operations from now on fail with an I/O error.
    pub error_next: u32,
}

impl ClassFaults {
    const fn healthy(min_us: u64, max_us: u64) -> Self {
        let latency = Duration::from_micros(min_us)..Duration::from_micros(max_us);
        Self { latency, error: 0.0, error_next: 0 }
    }
}

/// How one node's disk behaves. It outlives crashes, until changed. The default is a healthy
/// disk, which still loses at a crash what was not made durable.
///
/// An operation that fails may have happened: a write in part, a rename as a whole. A sync
/// that fails leaves its bytes readable but drops them at the next crash, and later syncs
/// succeed without them.
#[derive(Clone, Debug, PartialEq)]
pub struct Faults {
    /// Reads.
    pub read: ClassFaults,
    /// Writes.
    pub write: ClassFaults,
    /// Syncs.
    pub sync: ClassFaults,
    /// Changes and look-ups of names.
    pub name: ClassFaults,
    /// The probability that an operation takes [`Faults::stall_time`] more, 0 to 1.
    pub stall: f64,
    /// How long a stall is.
    pub stall_time: Range<Duration>,
    /// The disk's size, in bytes. Beyond it writes fail with
    /// [`std::io::ErrorKind::StorageFull`], after a part was written.
    pub capacity_bytes: u64,
    /// Syncs of files answer success and do nothing.
    pub lying_sync: bool,
    /// Syncs of folders answer success and do nothing.
    pub lying_sync_dir: bool,
    /// The probability that a kill of the node is a loss of power, 0 to 1. Else only the
    /// process dies and the page cache survives.
    pub power_loss: f64,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            read: ClassFaults::healthy(5, 100),
            write: ClassFaults::healthy(5, 200),
            sync: ClassFaults::healthy(100, 2_000),
            name: ClassFaults::healthy(5, 100),
            stall: 0.0,
            stall_time: Duration::from_millis(100)..Duration::from_secs(2),
            capacity_bytes: 1 << 40,
            lying_sync: false,
            lying_sync_dir: false,
            power_loss: 1.0,
        }
    }
}

impl Faults {
    pub(super) fn class(&mut self, class: Class) -> &mut ClassFaults {
        match class {
            Class::Read => &mut self.read,
            Class::Write => &mut self.write,
            Class::Sync => &mut self.sync,
            Class::Name => &mut self.name,
        }
    }
}

/// What has happened to one node's disk since the simulation began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Operations of [`Class::Read`].
    pub reads: u64,
    /// Operations of [`Class::Write`].
    pub writes: u64,
    /// Operations of [`Class::Sync`].
    pub syncs: u64,
    /// Operations of [`Class::Name`].
    pub names: u64,
    /// Losses of power, by kill or by order.
    pub crashes: u64,
    /// Kills that the page cache survived.
    pub process_deaths: u64,
    /// Readable bytes that crashes took or changed.
    pub lost_bytes: u64,
    /// Creations, renames and removals that crashes undid.
    pub lost_names: u64,
    /// Files of which a crash left some unsynced sectors and took others.
    pub torn_files: u64,
    /// I/O errors given, but for those of syncs.
    pub io_errors: u64,
    /// Writes refused because the disk was full.
    pub full_errors: u64,
    /// Of both, writes of which a part was written.
    pub partial_writes: u64,
    /// Syncs that failed.
    pub failed_syncs: u64,
    /// Syncs that lied.
    pub lied_syncs: u64,
    /// Operations that stalled.
    pub stalls: u64,
    /// Dropped futures whose work was done all the same.
    pub cancelled_but_done: u64,
    /// Bits flipped by order.
    pub flipped_bits: u64,
}

impl Stats {
    pub(super) fn count(&mut self, class: Class) {
        *match class {
            Class::Read => &mut self.reads,
            Class::Write => &mut self.writes,
            Class::Sync => &mut self.syncs,
            Class::Name => &mut self.names,
        } += 1;
    }
}

/// Where a bit was flipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flip {
    /// The byte's offset in the file.
    pub offset: u64,
    /// The bit, 0 the least significant.
    pub bit: u8,
}
