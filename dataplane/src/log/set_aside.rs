//! Keeping for people what recovery takes out of a log.

use bytes::BytesMut;
use weir_protocol::ids::Offset;
use weir_runtime::disk::{Disk, File, OpenMode};

use super::{
    error::{LogError, OnPath},
    segment,
};

const CHUNK_BYTES: u64 = 1 << 20;

/// The first bad place of a log.
#[derive(Debug)]
pub(super) struct Break {
    /// The segment it is in.
    pub base: Offset,
    /// Where the good part ends, in bytes.
    pub position: u64,
    /// The file's length.
    pub len: u64,
    /// The offset that should have been there.
    pub offset: Offset,
    /// What is wrong.
    pub reason: String,
}

/// Copies what follows a break to a file of its own and cuts it off. Durable when it
/// returns, in an order that loses nothing to a crash.
pub(super) async fn cut_off(
    disk: &dyn Disk,
    folder: &str,
    names: &[String],
    found: &Break,
    file: &dyn File,
) -> Result<String, LogError> {
    let name = segment::log_name(found.base);
    let path = format!("{folder}/{name}");
    let aside = format!("{folder}/{}", free_name(names, &name));
    let copied = copy_tail(disk, (&path, &aside), found, file).await;
    if let Err(error) = copied {
        // The whole is still where it was. Half a copy says nothing, takes room that may be
        // short, and each further try would leave one more.
        if let Err(error) = disk.remove_file(&aside).await {
            tracing::debug!(aside, %error, "half a copy stays");
        }
        return Err(error);
    }
    file.truncate(found.position).await.on("truncate", &path)?;
    Ok(aside)
}

/// Durable when it returns.
async fn copy_tail(
    disk: &dyn Disk,
    (path, aside): (&str, &str),
    found: &Break,
    file: &dyn File,
) -> Result<(), LogError> {
    let copy = disk.open(aside, OpenMode::CreateNew).await.on("create", aside)?;
    let mut at = found.position;
    while at < found.len {
        let room = usize::try_from((found.len - at).min(CHUNK_BYTES)).unwrap_or(usize::MAX);
        let chunk = file.read_at(at, BytesMut::with_capacity(room)).await.on("read", path)?;
        if chunk.is_empty() {
            break;
        }
        let read = chunk.len() as u64;
        copy.write_at(at - found.position, vec![chunk.freeze()]).await.on("write", aside)?;
        at += read;
    }
    copy.sync_data().await.on("fsync", aside)?;
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    disk.sync_dir(folder).await.on("sync folder", folder)
}

/// Takes a whole segment out of the log. The caller syncs the folder.
pub(super) async fn move_aside(
    disk: &dyn Disk,
    folder: &str,
    names: &[String],
    base: Offset,
) -> Result<String, LogError> {
    let name = segment::log_name(base);
    let path = format!("{folder}/{name}");
    let aside = format!("{folder}/{}", free_name(names, &name));
    disk.rename(&path, &aside).await.on("rename", &path)?;
    Ok(aside)
}

/// `<name>.set-aside-<n>` with the first number that is not taken.
fn free_name(taken: &[String], name: &str) -> String {
    let candidates = (1..=taken.len() + 1).map(|n| format!("{name}.set-aside-{n}"));
    // Among one more candidates than there are names one is free.
    candidates
        .into_iter()
        .find(|c| !taken.contains(c))
        .unwrap_or_else(|| format!("{name}.set-aside-0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_never_used_twice() {
        let taken = ["a.log.set-aside-1", "a.log.set-aside-2", "b.log.set-aside-3"];
        let taken = taken.map(str::to_owned);
        assert_eq!(free_name(&taken, "a.log"), "a.log.set-aside-3");
        assert_eq!(free_name(&taken, "b.log"), "b.log.set-aside-1");
        assert_eq!(free_name(&[], "b.log"), "b.log.set-aside-1");
    }
}
