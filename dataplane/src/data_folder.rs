//! The data folder: whose it is, and that only one process uses it.

use std::{io, sync::Arc};

use serde::{Deserialize, Serialize};
use weir_protocol::ids::{ClusterId, FolderId, OrgId, PartitionKey, SpuId};
use weir_runtime::{
    disk::{self, Disk},
    rng,
};

/// Says whose the folder is.
const IDENTITY_FILE: &str = "weir-folder.json";
/// Held by the process that uses the folder.
const LOCK_FILE: &str = "weir.lock";
/// The layout that this build reads and writes.
const FORMAT: u32 = 1;
/// An identity file is a line of JSON.
const IDENTITY_BYTES_MAX: usize = 4096;

/// Why a data folder is not usable. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FolderError {
    /// Another process has it.
    #[error("another process uses this data folder. Stop it first, or choose another folder")]
    InUse,
    /// A newer or unknown layout.
    #[error(
        "the data folder has format {found}; this build knows {FORMAT}. Use the version of Weir that wrote it, or a newer one"
    )]
    UnknownFormat {
        /// What the file says.
        found: u32,
    },
    /// Its identity file is no such file.
    #[error("{IDENTITY_FILE} is damaged: {reason}. Restore it, or start with an empty folder")]
    Damaged {
        /// What is wrong with it.
        reason: String,
    },
    /// Another SPU's folder.
    #[error("the data folder belongs to {found}, not to {expected}. Choose this SPU's own folder")]
    NotOurs {
        /// Whose it is.
        found: String,
        /// Who wants to use it.
        expected: String,
    },
    /// The disk said no.
    #[error("cannot use the data folder: {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// Whose folder it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The tenant.
    pub org_id: OrgId,
    /// The cluster.
    pub cluster_id: ClusterId,
    /// The SPU.
    pub spu_id: SpuId,
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SPU {} of {}, {}", self.spu_id, self.cluster_id, self.org_id)
    }
}

/// Read first, so that a file of another format is told apart from a damaged one.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

#[derive(Serialize, Deserialize)]
struct Identity {
    format: u32,
    folder_id: FolderId,
    #[serde(flatten)]
    owner: Owner,
}

/// A folder in use by this process, until it drops.
pub struct DataFolder {
    /// The folder's identity: a replica's place is (SPU, folder).
    pub id: FolderId,
    _lock: Box<dyn Send + Sync>,
}

impl DataFolder {
    /// Takes the folder for `owner`; a new one becomes his.
    ///
    /// # Errors
    /// [`FolderError`]: in use, of another owner or format, damaged, or not accessible.
    pub async fn open(disk: &Arc<dyn Disk>, owner: Owner) -> Result<Self, FolderError> {
        let lock = match disk.lock(LOCK_FILE).await {
            Ok(lock) => lock,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(FolderError::InUse);
            }
            Err(source) => return Err(FolderError::Io { action: "lock", path: LOCK_FILE, source }),
        };
        let id = match disk::read_all(disk.as_ref(), IDENTITY_FILE, IDENTITY_BYTES_MAX).await {
            Ok(bytes) => check(&bytes, owner)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => create(disk, owner).await?,
            Err(source) => {
                return Err(FolderError::Io { action: "read", path: IDENTITY_FILE, source });
            }
        };
        Ok(Self { id, _lock: lock })
    }
}

fn check(bytes: &[u8], owner: Owner) -> Result<FolderId, FolderError> {
    let damaged = |error: serde_json::Error| FolderError::Damaged { reason: error.to_string() };
    let Format { format } = serde_json::from_slice(bytes).map_err(damaged)?;
    if format != FORMAT {
        return Err(FolderError::UnknownFormat { found: format });
    }
    let identity: Identity = serde_json::from_slice(bytes).map_err(damaged)?;
    if identity.owner != owner {
        let (found, expected) = (identity.owner.to_string(), owner.to_string());
        return Err(FolderError::NotOurs { found, expected });
    }
    Ok(identity.folder_id)
}

async fn create(disk: &Arc<dyn Disk>, owner: Owner) -> Result<FolderId, FolderError> {
    let failed = |source| FolderError::Io { action: "write", path: IDENTITY_FILE, source };
    let folder_id = FolderId(random_uuid().map_err(failed)?);
    let content = serde_json::to_vec(&Identity { format: FORMAT, folder_id, owner })
        .map_err(|error| failed(io::Error::other(error)))?;
    disk::replace(disk.as_ref(), IDENTITY_FILE, content.into()).await.map_err(failed)?;
    Ok(folder_id)
}

/// A random (version 4) UUID.
///
/// # Errors
/// When the operating system has no entropy.
pub(crate) fn random_uuid() -> io::Result<uuid::Uuid> {
    Ok(uuid::Builder::from_random_bytes(rng::bytes::<16>()?).into_uuid())
}

/// Where a replica's log lives, relative to the data folder.
pub(crate) fn replica_folder(key: PartitionKey) -> String {
    format!("{}/{}", generation_folder(key), key.partition)
}

/// What holds a generation's replicas.
pub(crate) fn generation_folder(key: PartitionKey) -> String {
    format!("{TOPICS_FOLDER}/{}", key.generation.0.simple())
}

/// What holds the generations.
pub(crate) const TOPICS_FOLDER: &str = "topics";

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn owner(spu: u32) -> Owner {
        Owner {
            org_id: OrgId(Uuid::from_u128(1)),
            cluster_id: ClusterId(Uuid::from_u128(2)),
            spu_id: SpuId(spu),
        }
    }

    fn file(format: u32, owner: Owner) -> Vec<u8> {
        let folder_id = FolderId(Uuid::from_u128(3));
        serde_json::to_vec(&Identity { format, folder_id, owner }).unwrap()
    }

    #[test]
    fn ones_own_folder_is_known_again() {
        assert_eq!(check(&file(FORMAT, owner(1)), owner(1)).unwrap(), FolderId(Uuid::from_u128(3)));
    }

    #[test]
    fn another_s_folder_an_unknown_format_and_garbage_are_refused() {
        assert!(matches!(
            check(&file(FORMAT, owner(2)), owner(1)),
            Err(FolderError::NotOurs { .. })
        ));
        let unknown = check(br#"{"format":7,"other":true}"#, owner(1));
        assert!(matches!(unknown, Err(FolderError::UnknownFormat { found: 7 })));
        for garbage in [&b""[..], b"\0\xff", b"{}", br#"{"format":1}"#] {
            assert!(matches!(check(garbage, owner(1)), Err(FolderError::Damaged { .. })));
        }
    }
}
