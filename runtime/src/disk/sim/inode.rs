//! One file's bytes: what reads see, what is on the platter, and what a crash leaves.
//!
//! Pure state; chance comes in as a generator. Dirty data is known by 512-byte sector,
//! finer than Linux' pages: only here is a rewritten neighbour *not* made durable again.

use std::collections::BTreeSet;

use madsim::rand::{Rng, RngCore};

/// What a device writes as a whole or not at all.
pub(super) const SECTOR_BYTES: usize = 512;

/// What a crash took from one file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Loss {
    /// Bytes that could be read before, and now read differently or not at all.
    pub bytes: u64,
    /// Of several unsynced sectors, some survived and some did not.
    pub torn: bool,
}

#[derive(Debug)]
pub(super) struct Inode {
    pub id: u64,
    /// The page cache.
    live: Vec<u8>,
    /// The platter. Where it differs from `live` outside the dirty sectors, a failed sync
    /// dropped those bytes.
    durable: Vec<u8>,
    /// Sectors that the next sync writes.
    dirty: BTreeSet<usize>,
    /// Whether the next sync writes the length.
    length_dirty: bool,
    /// The shortest that the file was since its length was durable.
    shortest: usize,
    reserved: u64,
    /// Whether a name leads here.
    pub linked: bool,
    /// Open handles.
    pub open: u32,
    /// What this file's part of the disk's used bytes is.
    pub counted: u64,
}

impl Inode {
    pub(super) fn new(id: u64) -> Self {
        Self {
            id,
            live: Vec::new(),
            durable: Vec::new(),
            dirty: BTreeSet::new(),
            length_dirty: false,
            shortest: 0,
            reserved: 0,
            linked: true,
            open: 0,
            counted: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.live.len()
    }

    /// Bytes taken on the disk. Holes count, which is less generous than a real file system.
    pub(super) fn allocated(&self) -> u64 {
        (self.live.len() as u64).max(self.reserved)
    }

    /// What stands at `offset`, at most `room` bytes.
    pub(super) fn read(&self, offset: u64, room: usize) -> &[u8] {
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(self.live.len());
        let to = from.saturating_add(room).min(self.live.len());
        &self.live[from..to]
    }

    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let (old, end) = (self.live.len(), offset + bytes.len());
        if end > old {
            self.live.resize(end, 0);
        }
        // A write while the length on the platter is shorter carries the length with it, also
        // where a failed sync had dropped the length before.
        if end > old || end > self.durable.len() {
            self.length_dirty = true;
        }
        self.live[offset..end].copy_from_slice(bytes);
        self.soil(offset.min(old), end);
    }

    pub(super) fn truncate(&mut self, len: usize) {
        let old = self.live.len();
        self.live.resize(len, 0);
        // Asked for again, a length that a failed sync had dropped is written after all.
        self.length_dirty |= len != old || len != self.durable.len();
        self.shortest = self.shortest.min(len);
        self.reserved = self.reserved.min(len as u64);
        let sectors = len.div_ceil(SECTOR_BYTES);
        self.dirty.retain(|sector| *sector < sectors);
        if len > old {
            // The platter may hold older bytes where these zeros are.
            self.soil(old, len);
        }
    }

    pub(super) fn reserve(&mut self, len: u64) {
        self.reserved = self.reserved.max(len);
    }

    fn soil(&mut self, from: usize, to: usize) {
        self.dirty.extend(from / SECTOR_BYTES..to.div_ceil(SECTOR_BYTES));
    }

    /// An honest sync.
    pub(super) fn sync(&mut self) {
        if self.length_dirty {
            self.sync_length();
        }
        for sector in std::mem::take(&mut self.dirty) {
            copy_sector(&self.live, &mut self.durable, sector);
        }
    }

    fn sync_length(&mut self) {
        self.durable.resize(self.live.len(), 0);
        self.length_dirty = false;
        self.shortest = self.live.len();
    }

    /// A sync that fails, as Linux does it: the pages count as clean afterwards, whether they
    /// reached the platter (few do) or not. The length may be gone too, reach the platter
    /// without the bytes, or be written by the next sync.
    pub(super) fn sync_failed(&mut self, rng: &mut dyn RngCore) {
        if self.length_dirty {
            match rng.gen_range(0..3) {
                0 => self.sync_length(),
                1 => self.length_dirty = false,
                _ => {}
            }
        }
        for sector in std::mem::take(&mut self.dirty) {
            if rng.gen_ratio(1, 4) {
                copy_sector(&self.live, &mut self.durable, sector);
            }
        }
    }

    /// The kernel writes some dirty sectors early, as it may at any time: so what a crash
    /// finds of a sector that was written twice can be the version between.
    ///
    /// Growth can get there early too. It stays for the next sync all the same: only that
    /// makes it sure, and a length that was cut meanwhile must be written again.
    pub(super) fn write_back(&mut self, rng: &mut dyn RngCore) {
        let (from, to) = (self.durable.len(), self.live.len());
        if self.length_dirty && from < to && rng.gen_bool(0.5) {
            let len = if rng.gen_bool(0.5) { to } else { rng.gen_range(from..=to) };
            self.durable.resize(len, 0);
        }
        let (live, durable) = (&self.live, &mut self.durable);
        self.dirty.retain(|sector| {
            let written = rng.gen_bool(0.5);
            if written {
                copy_sector(live, durable, *sector);
            }
            // Of a sector across the platter's end only a part got there.
            !written || (sector + 1) * SECTOR_BYTES > durable.len()
        });
    }

    /// Power is lost: what is on the platter stays, and each thing not yet synced may have
    /// been written or not.
    pub(super) fn crash(&mut self, rng: &mut dyn RngCore) -> Loss {
        let mut after = self.durable.clone();
        if self.length_dirty {
            let (a, b) = (self.durable.len(), self.live.len());
            let len = match rng.gen_range(0..3) {
                0 => a,
                1 => b,
                _ => rng.gen_range(self.shortest.min(a).min(b)..=a.max(b)),
            };
            after.resize(len, 0);
        }
        // All, none, a prefix, or each sector by itself: the last alone would almost never
        // show the first three.
        let dirty = std::mem::take(&mut self.dirty);
        let (mode, cut) = (rng.gen_range(0..4), rng.gen_range(0..=dirty.len()));
        let mut survivors = 0;
        for (index, sector) in dirty.iter().enumerate() {
            let survives = match mode {
                0 => true,
                1 => false,
                2 => index < cut,
                _ => rng.gen_bool(0.5),
            };
            if survives {
                survivors += 1;
                copy_sector(&self.live, &mut after, *sector);
            }
        }
        let loss = Loss {
            bytes: differing_bytes(&self.live, &after),
            torn: survivors > 0 && survivors < dirty.len(),
        };
        self.length_dirty = false;
        self.shortest = after.len();
        self.live.clone_from(&after);
        self.durable = after;
        self.reserved = self.live.len() as u64;
        self.open = 0;
        loss
    }

    /// The platter's length, in bytes.
    pub(super) fn durable_len(&self) -> usize {
        self.durable.len()
    }

    /// Flips a bit on the platter. Reads see it too, but where the page cache holds newer
    /// bytes. `false`: there is no such byte.
    pub(super) fn flip(&mut self, offset: usize, bit: u8) -> bool {
        let Some(byte) = self.durable.get_mut(offset) else { return false };
        *byte ^= 1 << (bit & 7);
        if !self.dirty.contains(&(offset / SECTOR_BYTES))
            && let Some(byte) = self.live.get_mut(offset)
        {
            *byte ^= 1 << (bit & 7);
        }
        true
    }
}

/// How many bytes of `before` are missing or different in `after`. By sector first: most are
/// the same, and comparing whole ones is fast in a debug build too.
fn differing_bytes(before: &[u8], after: &[u8]) -> u64 {
    let common = before.len().min(after.len());
    let sectors = before[..common].chunks(SECTOR_BYTES).zip(after.chunks(SECTOR_BYTES));
    let different = sectors
        .filter(|(a, b)| **a != b[..a.len()])
        .map(|(a, b)| a.iter().zip(b).filter(|(a, b)| a != b).count())
        .sum::<usize>();
    (different + before.len() - common) as u64
}

/// Copies as much of a sector as both have.
fn copy_sector(from: &[u8], to: &mut [u8], sector: usize) {
    let start = sector * SECTOR_BYTES;
    let end = (start + SECTOR_BYTES).min(from.len()).min(to.len());
    if start < end {
        to[start..end].copy_from_slice(&from[start..end]);
    }
}
