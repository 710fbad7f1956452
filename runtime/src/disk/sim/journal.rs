//! What makes names durable, and what a crash leaves of those that are not.
//!
//! Every change of a name is one step of a journal, like a journaling file system's. At a
//! crash each folder keeps a prefix of its steps. A rename between folders is one step of
//! both: it survives in both or in neither.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use madsim::rand::{Rng, RngCore};

use super::tree::{Entry, Folder, FolderId, ROOT, Tree, inode, set};

/// What a crash took from a whole disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TreeLoss {
    /// Creations, renames and removals undone.
    pub names: u64,
    /// Bytes lost in the files that are still there.
    pub bytes: u64,
    /// Files of which some unsynced sectors survived and some did not.
    pub torn_files: u64,
}

impl Tree {
    /// Makes a folder's names durable, with whatever must have come before them.
    pub(super) fn sync_dir(&mut self, path: &str) -> io::Result<()> {
        let mut needed = BTreeSet::from([self.folder(path)?]);
        let mut keep = vec![false; self.journal.len()];
        for (step, keep) in self.journal.iter().zip(&mut keep).rev() {
            if step.iter().any(|change| needed.contains(&change.folder)) {
                needed.extend(step.iter().map(|change| change.folder));
                *keep = true;
            }
        }
        self.commit(&keep);
        Ok(())
    }

    /// The file system commits its oldest changes, as it may at any time.
    pub(super) fn write_back(&mut self, rng: &mut dyn RngCore) {
        let cut = rng.gen_range(0..=self.journal.len());
        let keep: Vec<bool> = (0..self.journal.len()).map(|index| index < cut).collect();
        self.commit(&keep);
    }

    /// Makes the marked steps durable; the others stay in the journal.
    fn commit(&mut self, keep: &[bool]) {
        let steps = std::mem::take(&mut self.journal);
        for (step, keep) in steps.into_iter().zip(keep) {
            if !keep {
                self.journal.push(step);
                continue;
            }
            for change in &step {
                if let Some(folder) = self.folders.get_mut(&change.folder) {
                    set(&mut folder.durable, change);
                }
            }
        }
    }

    /// Power is lost.
    pub(super) fn crash(&mut self, rng: &mut dyn RngCore) -> TreeLoss {
        let mut pending = BTreeMap::<FolderId, usize>::new();
        for change in self.journal.iter().flatten() {
            *pending.entry(change.folder).or_default() += 1;
        }
        for cut in pending.values_mut() {
            *cut = rng.gen_range(0..=*cut);
        }
        let mut keep = Vec::with_capacity(self.journal.len());
        for step in &self.journal {
            // A folder whose cut is used up takes no more, and so cuts its partners too.
            let survives = step.iter().all(|change| pending[&change.folder] > 0);
            for change in step {
                let cut = pending.entry(change.folder).or_default();
                *cut = if survives { cut.saturating_sub(1) } else { 0 };
            }
            keep.push(survives);
        }
        let names = keep.iter().filter(|keep| !**keep).count() as u64;
        self.commit(&keep);
        self.journal.clear();
        self.reload(rng, names)
    }

    /// The process dies, the machine stays up.
    pub(super) fn process_death(&mut self) {
        let entries = self.folders.values().flat_map(|folder| folder.live.values()).cloned();
        let entries: Vec<Entry> = entries.collect();
        self.used_bytes = 0;
        for entry in entries {
            if let Entry::File(file) = entry {
                let mut inode = inode(&file);
                inode.open = 0;
                inode.counted = 0;
                self.settle(&mut inode);
            }
        }
    }

    /// Reads the platter again: folders and files that no durable path leads to are gone.
    fn reload(&mut self, rng: &mut dyn RngCore, names: u64) -> TreeLoss {
        let mut loss = TreeLoss { names, ..TreeLoss::default() };
        let mut before = std::mem::take(&mut self.folders);
        let mut todo = vec![ROOT];
        self.used_bytes = 0;
        while let Some(id) = todo.pop() {
            let durable = before.remove(&id).unwrap_or_default().durable;
            for entry in durable.values() {
                match entry {
                    Entry::Folder(id) => todo.push(*id),
                    Entry::File(file) => {
                        let mut inode = inode(file);
                        let lost = inode.crash(rng);
                        loss.bytes += lost.bytes;
                        loss.torn_files += u64::from(lost.torn);
                        inode.linked = true;
                        inode.counted = 0;
                        self.settle(&mut inode);
                    }
                }
            }
            self.folders.insert(id, Folder { live: durable.clone(), durable });
        }
        loss
    }
}
