//! A replica's folder: its small files, and names coming and going.

use std::{collections::BTreeMap, io};

use weir_protocol::ids::Offset;
use weir_runtime::disk::{self, Disk};

use super::{
    checkpoint::{BadCheckpoint, CHECKPOINT_BYTES_MAX, CHECKPOINT_FILE, Checkpoint},
    error::{LogError, OnPath},
    format::{self, FORMAT_BYTES_MAX, FORMAT_FILE, FORMAT_LINE},
    segment,
};

/// Where it is, the log is not opened.
const DAMAGED_FILE: &str = "damaged";
/// A sentence.
const DAMAGED_BYTES_MAX: usize = 4096;

/// What is in a replica's folder.
pub(super) struct Listing {
    /// Every file, and its length.
    pub files: BTreeMap<String, u64>,
    /// Whether the version before wrote it.
    pub old_format: bool,
}

impl Listing {
    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.files.keys()
    }
}

/// What is in a folder that should be a replica's. Changes nothing.
pub(super) async fn look(disk: &dyn Disk, folder: &str) -> Result<Listing, LogError> {
    let listed = disk.list(folder).await.on("list", folder)?;
    let files = listed.into_iter().map(|entry| (entry.name, entry.bytes)).collect();
    let path = format!("{folder}/{FORMAT_FILE}");
    let content = disk::read_all(disk, &path, FORMAT_BYTES_MAX).await.on("read", &path)?;
    let old_format = format::check(&path, &content)?;
    Ok(Listing { files, old_format })
}

/// The folder's files are not what was written; what it says is why.
pub(super) async fn mark_damaged(
    disk: &dyn Disk,
    folder: &str,
    reason: &str,
) -> Result<(), LogError> {
    let path = format!("{folder}/{DAMAGED_FILE}");
    let mut reason = reason.to_owned();
    reason.truncate(reason.floor_char_boundary(DAMAGED_BYTES_MAX));
    disk::replace(disk, &path, reason.into()).await.on("replace", &path)
}

/// Whether that was noted.
pub(super) async fn check_undamaged(
    disk: &dyn Disk,
    folder: &str,
    listing: &Listing,
) -> Result<(), LogError> {
    if !listing.files.contains_key(DAMAGED_FILE) {
        return Ok(());
    }
    let file = format!("{folder}/{DAMAGED_FILE}");
    let noted = disk::read_all(disk, &file, DAMAGED_BYTES_MAX).await.on("read", &file)?;
    let reason = format!(
        "it was found damaged before ({}); without this file it is opened all the same",
        String::from_utf8_lossy(&noted)
    );
    Err(LogError::Corrupt { file, position: 0, offset: Offset::ZERO, reason })
}

/// Makes a new folder if there is none, checks the version, clears leftovers.
pub(super) async fn prepare(disk: &dyn Disk, folder: &str) -> Result<Listing, LogError> {
    let listed = match disk.list(folder).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        listed => listed.on("list", folder)?,
    };
    let mut files: BTreeMap<String, u64> =
        listed.into_iter().map(|entry| (entry.name, entry.bytes)).collect();
    let format_path = format!("{folder}/{FORMAT_FILE}");
    let mut old_format = false;
    if files.contains_key(FORMAT_FILE) {
        let content = disk::read_all(disk, &format_path, FORMAT_BYTES_MAX).await;
        old_format = format::check(&format_path, &content.on("read", &format_path)?)?;
    } else if files.keys().any(|name| segment::parse_log_name(name).is_some()) {
        let supported = FORMAT_LINE.trim_ascii_end();
        let found = "nothing: there are segments, and no version file".to_owned();
        return Err(LogError::UnsupportedFormat { path: format_path, found, supported });
    } else {
        disk::create_dir_durable(disk, folder).await.on("make folder", folder)?;
        // The version file last: where it is, the checkpoint is too.
        let path = format!("{folder}/{CHECKPOINT_FILE}");
        let empty = Checkpoint { segments: Some(Vec::new()), ..Checkpoint::default() }.encode();
        disk::replace(disk, &path, empty).await.on("replace", &path)?;
        write_format(disk, folder).await?;
    }
    let temporary: Vec<String> = files.keys().filter(|n| n.ends_with(".tmp")).cloned().collect();
    for name in temporary {
        remove_file(disk, &format!("{folder}/{name}")).await?;
        files.remove(&name);
    }
    Ok(Listing { files, old_format })
}

/// Says, durably, that the folder has this version's layout.
pub(super) async fn write_format(disk: &dyn Disk, folder: &str) -> Result<(), LogError> {
    let path = format!("{folder}/{FORMAT_FILE}");
    let line = FORMAT_LINE.as_bytes().into();
    disk::replace(disk, &path, line).await.on("replace", &path)
}

pub(super) async fn read_checkpoint(disk: &dyn Disk, path: &str) -> Result<Checkpoint, LogError> {
    let corrupt = |reason: String| LogError::Corrupt {
        file: path.to_owned(),
        position: 0,
        offset: Offset::ZERO,
        reason,
    };
    let bytes = match disk::read_all(disk, path, CHECKPOINT_BYTES_MAX).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(corrupt("it is missing".to_owned()));
        }
        bytes => bytes.on("read", path)?,
    };
    Checkpoint::decode(&bytes).map_err(|error| match error {
        BadCheckpoint::Version(_) => LogError::UnsupportedFormat {
            path: path.to_owned(),
            found: error.to_string(),
            supported: "checkpoint versions 1 and 2",
        },
        other => corrupt(other.to_string()),
    })
}

/// Persists what recovery found, so that the next open need not do it again.
pub(super) async fn persist(
    disk: &dyn Disk,
    folder: &str,
    old: &Checkpoint,
    new: &Checkpoint,
) -> Result<(), LogError> {
    if old == new {
        return Ok(());
    }
    let path = format!("{folder}/{CHECKPOINT_FILE}");
    match disk::replace(disk, &path, new.encode()).await.on("replace", &path) {
        // A later recovery point is only a saving. An epoch that went must go there too, or
        // batches of an older one in its place would look wrong.
        Err(LogError::StorageFull(_)) if old.epochs == new.epochs && old.segments.is_some() => {
            Ok(())
        }
        result => result,
    }
}

/// Empties a damaged replica's folder, but for what says its version and that it is damaged. A crash
/// half-way leaves what is still told for damaged: the segments go first, and the checkpoint, which
/// names them, after them. Fine where there is no folder.
///
/// # Errors
/// As the disk; it may be tried again.
pub async fn discard(disk: &dyn Disk, folder: &str) -> io::Result<()> {
    let mut names: Vec<_> = match disk.list(folder).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        listed => listed?.into_iter().filter(|entry| !entry.is_dir).map(|e| e.name).collect(),
    };
    names.retain(|name| name != FORMAT_FILE && name != DAMAGED_FILE);
    let (segments, others): (Vec<_>, Vec<_>) =
        names.into_iter().partition(|name| segment::parse_log_name(name).is_some());
    for names in [segments, others] {
        for name in names {
            disk.remove_file(&format!("{folder}/{name}")).await?;
        }
        disk.sync_dir(folder).await?;
    }
    Ok(())
}

/// Removes a segment's two files.
pub(super) async fn remove_segment(
    disk: &dyn Disk,
    folder: &str,
    base: Offset,
) -> Result<(), LogError> {
    remove_file(disk, &format!("{folder}/{}", segment::log_name(base))).await?;
    remove_file(disk, &format!("{folder}/{}", segment::index_name(base))).await
}

pub(super) async fn remove_file(disk: &dyn Disk, path: &str) -> Result<(), LogError> {
    match disk.remove_file(path).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.on("remove", path),
    }
}
