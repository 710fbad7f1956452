//! [`SimFile`]: one open file of a simulated disk.

use std::{io, sync::Arc};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use madsim::rand::{GlobalRng, Rng};

use super::{
    faults::Class,
    node::{NodeDisk, Verdict, io_error, lock},
    port::{Op, Port},
    tree::{FileRef, inode},
};
use crate::disk::{File, error::at_path, path};

/// A simulated file lives in memory: an offset beyond this is a mistake.
const FILE_BYTES_MAX: u64 = 4 << 30;
/// One write of so many makes the kernel write some of its file back early.
const WRITES_PER_WRITE_BACK: u32 = 32;

pub(super) struct SimFile {
    port: Port,
    file: FileRef,
    path: String,
    writable: bool,
}

impl SimFile {
    pub(super) fn new(port: Port, file: FileRef, path: &str, writable: bool) -> Self {
        {
            let (mut node, mut inode) = (lock(&port.node), inode(&file));
            inode.open += 1;
            node.tree.settle(&mut inode);
        }
        Self { port, file, path: path.to_owned(), writable }
    }

    /// Passes one operation on this file.
    async fn pass<T, F>(
        &self,
        class: Class,
        name: &'static str,
        detail: String,
        effect: F,
    ) -> io::Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut NodeDisk, &mut GlobalRng, Verdict, &FileRef) -> io::Result<T>
            + Send
            + 'static,
    {
        let file = Arc::clone(&self.file);
        let outlives = class != Class::Read;
        let op = Op { class, name, path: &self.path, detail, outlives };
        self.port.pass(op, move |node, rng, verdict| effect(node, rng, verdict, &file)).await
    }

    fn check_writable(&self, name: &'static str) -> io::Result<()> {
        if self.writable {
            return Ok(());
        }
        Err(at_path(name, &self.path, io::ErrorKind::PermissionDenied.into()))
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut node = lock(&self.port.node);
        // A crash has closed everything already.
        if node.epoch == self.port.epoch {
            let mut inode = inode(&self.file);
            inode.open = inode.open.saturating_sub(1);
            node.tree.settle(&mut inode);
        }
    }
}

fn check_size(offset: u64, bytes: u64) -> io::Result<()> {
    path::check_range(offset, bytes)?;
    if offset + bytes > FILE_BYTES_MAX {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(())
}

/// How many bytes the disk can still give.
pub(super) fn room(node: &NodeDisk) -> u64 {
    node.faults.capacity_bytes.saturating_sub(node.tree.used_bytes())
}

/// Writes as much as faults and room allow, a part if not all.
fn write(
    node: &mut NodeDisk,
    rng: &mut GlobalRng,
    verdict: Verdict,
    file: &FileRef,
    offset: u64,
    buffers: &[Bytes],
) -> io::Result<()> {
    let bytes: u64 = buffers.iter().map(|buffer| buffer.len() as u64).sum();
    let mut inode = inode(file);
    let fits = (inode.allocated() + room(node)).saturating_sub(offset).min(bytes);
    let full = fits < bytes && offset + bytes > inode.allocated();
    let mut left = match verdict {
        Verdict::Fail => rng.gen_range(0..=bytes),
        // All that fits, or less: other writers compete for the room, and blocks are coarse.
        Verdict::Fine if full && rng.gen_bool(0.5) => rng.gen_range(0..=fits),
        Verdict::Fine if full => fits,
        Verdict::Fine => bytes,
    };
    if full {
        left = left.min(fits);
    }
    let written = left;
    let mut at = usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
    for buffer in buffers {
        let part = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        inode.write(at, &buffer[..part]);
        at += part;
        left -= part as u64;
    }
    node.tree.settle(&mut inode);
    if rng.gen_ratio(1, WRITES_PER_WRITE_BACK) {
        inode.write_back(rng);
    }
    node.stats.partial_writes += u64::from(written > 0 && written < bytes);
    if verdict == Verdict::Fail {
        return Err(io_error());
    }
    if full {
        node.stats.full_errors += 1;
        return Err(full_error());
    }
    Ok(())
}

/// ENOSPC.
fn full_error() -> io::Error {
    io::Error::from_raw_os_error(28)
}

#[async_trait]
impl File for SimFile {
    async fn write_at(&self, offset: u64, buffers: Vec<Bytes>) -> io::Result<()> {
        self.check_writable("write")?;
        let bytes = buffers.iter().fold(0_u64, |sum, b| sum.saturating_add(b.len() as u64));
        check_size(offset, bytes)?;
        self.pass(Class::Write, "write", format!(" @{offset}+{bytes}"), move |n, rng, v, file| {
            write(n, rng, v, file, offset, &buffers)
        })
        .await
    }

    async fn read_at(&self, offset: u64, mut buffer: BytesMut) -> io::Result<BytesMut> {
        let room = buffer.capacity() - buffer.len();
        path::check_range(offset, room as u64)?;
        self.pass(Class::Read, "read", format!(" @{offset}+{room}"), move |_, _, verdict, file| {
            if verdict == Verdict::Fail {
                return Err(io_error());
            }
            buffer.extend_from_slice(inode(file).read(offset, room));
            Ok(buffer)
        })
        .await
    }

    async fn len(&self) -> io::Result<u64> {
        self.pass(Class::Read, "stat", String::new(), |_, _, verdict, file| match verdict {
            Verdict::Fail => Err(io_error()),
            Verdict::Fine => Ok(inode(file).len() as u64),
        })
        .await
    }

    async fn sync_data(&self) -> io::Result<()> {
        self.pass(Class::Sync, "sync", String::new(), |node, rng, verdict, file| {
            if verdict == Verdict::Fail {
                inode(file).sync_failed(rng);
                return Err(io_error());
            }
            if node.faults.lying_sync {
                node.stats.lied_syncs += 1;
                return Ok(());
            }
            inode(file).sync();
            Ok(())
        })
        .await
    }

    async fn preallocate(&self, len: u64) -> io::Result<()> {
        self.check_writable("preallocate")?;
        check_size(len, 0)?;
        self.pass(Class::Write, "preallocate", format!(" {len}"), move |node, _, verdict, file| {
            if verdict == Verdict::Fail {
                return Err(io_error());
            }
            let mut inode = inode(file);
            if len.saturating_sub(inode.allocated()) > room(node) {
                node.stats.full_errors += 1;
                return Err(full_error());
            }
            inode.reserve(len);
            node.tree.settle(&mut inode);
            Ok(())
        })
        .await
    }

    async fn truncate(&self, len: u64) -> io::Result<()> {
        self.check_writable("truncate")?;
        check_size(len, 0)?;
        self.pass(Class::Write, "truncate", format!(" {len}"), move |node, rng, verdict, file| {
            // A failed one may have happened.
            if verdict == Verdict::Fine || rng.gen_bool(0.5) {
                let mut inode = inode(file);
                inode.truncate(usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?);
                node.tree.settle(&mut inode);
            }
            if verdict == Verdict::Fail { Err(io_error()) } else { Ok(()) }
        })
        .await
    }
}
