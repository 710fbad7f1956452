//! [`SimDisk`]: a process' handle to its node's disk.

use std::{
    fmt::Debug,
    io,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use madsim::{
    plugin,
    rand::{GlobalRng, Rng},
};

use super::{
    DiskSim,
    faults::Class,
    file::{SimFile, room},
    node::{NodeDisk, Verdict, io_error, lock},
    port::{Op, Port},
    tree::{Tree, inode},
};
use crate::disk::{DirEntry, Disk, File, OpenMode, path};

/// One change of names in so many makes the file system commit some of its journal.
const NAMES_PER_WRITE_BACK: u32 = 32;

/// A process' handle to the disk of its node. After the process' death it and its files
/// answer with errors for ever.
#[derive(Clone)]
pub struct SimDisk {
    port: Port,
}

impl SimDisk {
    /// The disk of the node that the calling task runs on. [`DiskSim`] must have been added
    /// to the runtime.
    #[must_use]
    pub fn of_this_node() -> Arc<dyn Disk> {
        let sim = DiskSim::current();
        let node = sim.node(plugin::node());
        let epoch = lock(&node).epoch;
        let port = Port { node, epoch, rng: sim.rng.clone(), time: sim.time.clone() };
        Arc::new(Self { port })
    }

    /// Passes one change of names. A failed one may have happened.
    async fn change<T: Send + 'static>(
        &self,
        name: &'static str,
        path: &str,
        detail: String,
        change: impl FnOnce(&mut Tree) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let effect = move |node: &mut NodeDisk, rng: &mut GlobalRng, verdict| {
            if verdict == Verdict::Fail {
                if rng.gen_bool(0.5) {
                    change(&mut node.tree)?;
                }
                return Err(io_error());
            }
            let result = change(&mut node.tree);
            if rng.gen_ratio(1, NAMES_PER_WRITE_BACK) {
                node.tree.write_back(rng);
            }
            result
        };
        let op = Op { class: Class::Name, name, path, detail, outlives: true };
        self.port.pass(op, effect).await
    }

    /// Passes one look at names.
    async fn look<T: Send + 'static>(
        &self,
        name: &'static str,
        path: &str,
        look: impl FnOnce(&NodeDisk) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let op = Op { class: Class::Read, name, path, detail: String::new(), outlives: false };
        let effect = move |node: &mut NodeDisk, _: &mut GlobalRng, verdict| match verdict {
            Verdict::Fail => Err(io_error()),
            Verdict::Fine => look(node),
        };
        self.port.pass(op, effect).await
    }
}

#[async_trait]
impl Disk for SimDisk {
    async fn open(&self, path: &str, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        path::check(path)?;
        let (detail, wanted) = (format!(" {mode:?}"), path.to_owned());
        let file = self.change("open", path, detail, move |tree| tree.open(&wanted, mode)).await?;
        Ok(Arc::new(SimFile::new(self.port.clone(), file, path, mode != OpenMode::Read)))
    }

    async fn create_dir_all(&self, path: &str) -> io::Result<()> {
        path::check_folder(path)?;
        let wanted = path.to_owned();
        self.change("create folder", path, String::new(), move |tree| tree.create_dir_all(&wanted))
            .await
    }

    async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        path::check(from)?;
        path::check(to)?;
        let (source, target) = (from.to_owned(), to.to_owned());
        self.change("rename", from, format!(" to {to}"), move |tree| tree.rename(&source, &target))
            .await
    }

    async fn remove_file(&self, path: &str) -> io::Result<()> {
        path::check(path)?;
        let wanted = path.to_owned();
        self.change("remove", path, String::new(), move |tree| tree.remove_file(&wanted)).await
    }

    async fn remove_dir_all(&self, path: &str) -> io::Result<()> {
        path::check(path)?;
        let wanted = path.to_owned();
        self.change("remove folder", path, String::new(), move |tree| tree.remove_dir_all(&wanted))
            .await
    }

    async fn list(&self, path: &str) -> io::Result<Vec<DirEntry>> {
        path::check_folder(path)?;
        let wanted = path.to_owned();
        self.look("list", path, move |node| node.tree.list(&wanted)).await
    }

    async fn sync_dir(&self, path: &str) -> io::Result<()> {
        path::check_folder(path)?;
        let wanted = path.to_owned();
        let (class, name, detail) = (Class::Sync, "sync folder", String::new());
        let op = Op { class, name, path, detail, outlives: true };
        self.port
            .pass(op, move |node, _, verdict| {
                if verdict == Verdict::Fail {
                    return Err(io_error());
                }
                if node.faults.lying_sync_dir {
                    node.stats.lied_syncs += 1;
                    return node.tree.list(&wanted).map(|_| ());
                }
                node.tree.sync_dir(&wanted)
            })
            .await
    }

    async fn free_space_bytes(&self) -> io::Result<u64> {
        self.look("ask for free space", "", |node| Ok(room(node))).await
    }

    async fn lock(&self, path: &str) -> io::Result<Box<dyn Send + Sync>> {
        path::check(path)?;
        let wanted = path.to_owned();
        let (node, epoch) = (Arc::clone(&self.port.node), self.port.epoch);
        // A lock whose caller has gone is given up, so taking it late would show nothing.
        let (class, name, detail) = (Class::Name, "lock", String::new());
        let op = Op { class, name, path, detail, outlives: false };
        let guard = self.port.pass(op, move |disk, _, verdict| {
            if verdict == Verdict::Fail {
                return Err(io_error());
            }
            let file = disk.tree.open(&wanted, OpenMode::CreateOrOpen)?;
            let id = inode(&file).id;
            if disk.locks.insert(id) {
                Ok(Lock { node, epoch, id })
            } else {
                Err(io::ErrorKind::WouldBlock.into())
            }
        });
        Ok(Box::new(guard.await?))
    }
}

/// A lock, until it drops or its process dies.
struct Lock {
    node: Arc<Mutex<NodeDisk>>,
    epoch: u64,
    id: u64,
}

impl Drop for Lock {
    fn drop(&mut self) {
        let mut node = lock(&self.node);
        if node.epoch == self.epoch {
            node.locks.remove(&self.id);
        }
    }
}

impl Debug for SimDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimDisk").field("epoch", &self.port.epoch).finish_non_exhaustive()
    }
}
