//! Where the logs are in a folder.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::Arc,
};

use weir_dataplane::log::{checkpoint::CHECKPOINT_FILE, format::FORMAT_FILE};
use weir_runtime::disk::{Disk, real::RealDisk};

use crate::error::{self, CliError, Result};

/// A log lies at most so deep below the folder of everything local.
const DEPTH_MAX: usize = 8;
/// Held by an SPU that runs.
const LOCK_FILE: &str = "weir.lock";

/// A log's folder, and how to get at it.
pub struct Replica {
    /// As people find it.
    pub path: PathBuf,
    /// The folder above it.
    pub disk: Arc<dyn Disk>,
    /// Its name there.
    pub folder: String,
}

/// The logs in a folder, or the one that it is.
///
/// # Errors
/// When there is no such folder, or no log in it.
pub async fn find(path: &Path) -> Result<Vec<Replica>> {
    // The name of `.` is needed too.
    let path = path.canonicalize().map_err(|e| error::io("open", path, &e))?;
    let mut folders = Vec::new();
    search(&path, DEPTH_MAX, &mut folders)?;
    folders.sort_unstable();
    if folders.is_empty() {
        return Err(CliError::new(
            format!("there is no log in {}", path.display()),
            "name an SPU's data folder, or a folder topics/GENERATION/PARTITION in it",
        ));
    }
    let mut found = Vec::with_capacity(folders.len());
    for path in folders {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { continue };
        let disk = RealDisk::open(parent).await.map_err(|e| error::io("open", parent, &e))?;
        let folder = name.to_string_lossy().into_owned();
        found.push(Replica { path, disk, folder });
    }
    Ok(found)
}

fn search(path: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<()> {
    if path.join(FORMAT_FILE).is_file() || path.join(CHECKPOINT_FILE).is_file() {
        found.push(path.to_owned());
        return Ok(());
    }
    if depth == 0 {
        return Ok(());
    }
    let entries = fs::read_dir(path).map_err(|e| error::io("list", path, &e))?;
    for entry in entries {
        let entry = entry.map_err(|e| error::io("list", path, &e))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            search(&entry.path(), depth - 1, found)?;
        }
    }
    Ok(())
}

/// Whether an SPU that runs has the data folder that `path` lies in.
pub fn is_in_use(path: &Path) -> bool {
    let lock = path.ancestors().take(DEPTH_MAX + 1).map(|folder| folder.join(LOCK_FILE));
    lock.filter_map(|lock| File::open(lock).ok()).any(|lock| lock.try_lock_shared().is_err())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_log_of_a_folder_is_found_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        for log in ["topics/b/0", "topics/a/1", "topics/a/0"] {
            fs::create_dir_all(root.path().join(log)).unwrap();
            fs::write(root.path().join(log).join("format"), "weir-log 2\n").unwrap();
        }
        fs::create_dir_all(root.path().join("topics/c")).unwrap();
        let root_path = root.path().canonicalize().unwrap();
        let names = |found: Vec<Replica>| -> Vec<String> {
            let name = |replica: Replica| {
                replica.path.strip_prefix(&root_path).unwrap().display().to_string()
            };
            found.into_iter().map(name).collect()
        };
        let all = find(root.path()).await.unwrap();
        assert_eq!(names(all), ["topics/a/0", "topics/a/1", "topics/b/0"]);
        let one = find(&root.path().join("topics/b/0")).await.unwrap();
        assert_eq!((one.len(), one[0].folder.as_str()), (1, "0"));
        for wrong in ["topics/c", "nowhere"] {
            assert!(find(&root.path().join(wrong)).await.is_err());
        }
        assert!(!is_in_use(&root.path().join("topics/b/0")));
        let lock = File::create(root.path().join(LOCK_FILE)).unwrap();
        lock.lock().unwrap();
        assert!(is_in_use(&root.path().join("topics/b/0")));
    }
}
