//! The disk seam: [`Disk`] is one data folder, [`File`] one open file in it.
//!
//! Paths are relative to the folder, with `/` between parts, without `..`. What is durable
//! when: bytes after [`File::sync_data`], names (create, rename, remove) after
//! [`Disk::sync_dir`] of the folder that holds them. Nothing else is promised, and the
//! simulated disk takes away at a crash whatever was not promised.
//!
//! A dropped future may or may not have done its work, also later.
//!
//! | Module | Holds |
//! |---|---|
//! | [`real`] | real files; `platform`: what the standard library lacks; `pace`: what runs where |
//! | `sim` | in simulation builds, a disk per node that crashes, tears, fails and fills |
//! | [`counting`] | a wrapper that journals writes and syncs, for tests |
//! | `path`, `error` | which paths are taken; errors that say operation and path |

pub mod counting;
mod error;
mod pace;
mod path;
mod platform;
pub mod real;
#[cfg(madsim)]
pub mod sim;

pub use error::os_code;

use std::{io, sync::Arc};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};

/// How [`Disk::open`] opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// An existing file, to read.
    Read,
    /// An existing file, to read and write.
    Write,
    /// A new file, to read and write; [`io::ErrorKind::AlreadyExists`] if there is one.
    CreateNew,
    /// To read and write, made when missing; its content is kept.
    CreateOrOpen,
}

/// One entry of a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// The last part of its path.
    pub name: String,
    /// Whether it is a folder.
    pub is_dir: bool,
    /// A file's length; 0 for a folder.
    pub bytes: u64,
}

/// One data folder.
#[async_trait]
pub trait Disk: Send + Sync + 'static {
    /// Opens a file.
    async fn open(&self, path: &str, mode: OpenMode) -> io::Result<Arc<dyn File>>;
    /// Makes a folder and those above it. Fine if it exists.
    async fn create_dir_all(&self, path: &str) -> io::Result<()>;
    /// Renames a file or folder, replacing a file at `to`, atomically.
    async fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file. Open handles keep reading it.
    async fn remove_file(&self, path: &str) -> io::Result<()>;
    /// Removes a folder with all that is in it. Fine if it is not there.
    async fn remove_dir_all(&self, path: &str) -> io::Result<()>;
    /// What a folder holds, sorted by name. `""` is the data folder itself.
    async fn list(&self, path: &str) -> io::Result<Vec<DirEntry>>;
    /// Makes the names in a folder durable.
    async fn sync_dir(&self, path: &str) -> io::Result<()>;
    /// Bytes that can still be written.
    async fn free_space_bytes(&self) -> io::Result<u64>;
    /// Takes the folder's lock file for this process until the guard drops;
    /// [`io::ErrorKind::WouldBlock`] if another process holds it.
    async fn lock(&self, path: &str) -> io::Result<Box<dyn Send + Sync>>;
}

/// One open file. Clones of the handle share it; writers must not overlap.
#[expect(clippy::len_without_is_empty, reason = "asking costs an operation: ask once")]
#[async_trait]
pub trait File: Send + Sync + 'static {
    /// Writes the buffers one after another at `offset`. After an error any prefix may
    /// have been written.
    async fn write_at(&self, offset: u64, buffers: Vec<Bytes>) -> io::Result<()>;
    /// Reads at `offset` until `buffer`'s spare capacity is used up or the file ends, and
    /// gives the buffer back with what was read appended.
    async fn read_at(&self, offset: u64, buffer: BytesMut) -> io::Result<BytesMut>;
    /// The file's length, in bytes.
    async fn len(&self) -> io::Result<u64>;
    /// Makes what was written before durable (fdatasync). An error is final for what it
    /// covered: a later success says nothing about it.
    async fn sync_data(&self) -> io::Result<()>;
    /// Reserves room up to `len` bytes without changing the file's length. Best effort
    /// where the platform cannot; [`io::ErrorKind::StorageFull`] when there is none.
    async fn preallocate(&self, len: u64) -> io::Result<()>;
    /// Cuts or extends (with zeros) to `len` bytes.
    async fn truncate(&self, len: u64) -> io::Result<()>;
}

/// Reads a whole small file. `max_bytes` bounds what is taken from a file that should be
/// small.
///
/// # Errors
/// As [`Disk::open`] and [`File::read_at`]; [`io::ErrorKind::InvalidData`] when it is larger.
pub async fn read_all(disk: &dyn Disk, path: &str, max_bytes: usize) -> io::Result<Bytes> {
    let file = disk.open(path, OpenMode::Read).await?;
    let len = file.len().await?;
    let len = usize::try_from(len).ok().filter(|len| *len <= max_bytes).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{path} has {len} bytes, more than the {max_bytes} expected at most"),
        )
    })?;
    Ok(file.read_at(0, BytesMut::with_capacity(len)).await?.freeze())
}

/// The file that is written before it takes the name of `path`.
#[must_use]
pub fn temporary(path: &str) -> String {
    format!("{path}.tmp")
}

/// Replaces a small file so that after a crash either the old or the new content is there:
/// temporary file, fsync, rename, fsync of the folder.
///
/// # Errors
/// As the operations it is made of. The old content then still stands, or the new does.
pub async fn replace(disk: &dyn Disk, path: &str, content: Bytes) -> io::Result<()> {
    let (temporary, bytes) = (temporary(path), content.len() as u64);
    let file = disk.open(&temporary, OpenMode::CreateOrOpen).await?;
    // In this order: what lies there already, of an attempt that failed or by intent, is room.
    file.write_at(0, vec![content]).await?;
    file.truncate(bytes).await?;
    file.sync_data().await?;
    disk.rename(&temporary, path).await?;
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    disk.sync_dir(folder).await
}

/// Makes a folder and those above it, and their names durable.
///
/// # Errors
/// As [`Disk::create_dir_all`] and [`Disk::sync_dir`].
pub async fn create_dir_durable(disk: &dyn Disk, path: &str) -> io::Result<()> {
    disk.create_dir_all(path).await?;
    let mut at = path;
    while !at.is_empty() {
        at = path::split(at).0;
        disk.sync_dir(at).await?;
    }
    Ok(())
}
