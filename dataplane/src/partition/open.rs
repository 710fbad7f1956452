//! Finds or makes a replica's log, and rebuilds its state from it.

use std::{io, sync::Arc};

use weir_protocol::{ErrorCode, batch::advance_sequence, ids::PartitionKey};
use weir_runtime::disk::Disk;

use crate::{
    data_folder::{generation_folder, replica_folder},
    log::{Log, LogConfig, LogError, OpenFiles},
    replica::{Problem, Replica, ReplicaLimits, Stamp},
};

/// Why a log is not open.
#[derive(Debug)]
pub enum NotOpen {
    /// What lies on the disk cannot be used. Nothing was cut. To try again would not help.
    Lasting(Problem),
    /// The disk refused something: it may be full, or the process out of descriptors.
    Passing(Problem),
}

impl From<LogError> for NotOpen {
    fn from(error: LogError) -> Self {
        let problem = |code| Problem::new(code, error.to_string());
        match error {
            LogError::Corrupt { .. } => Self::Lasting(problem(ErrorCode::ReplicaDamaged)),
            LogError::UnsupportedFormat { .. } => Self::Lasting(problem(error.code())),
            _ => Self::Passing(problem(error.code())),
        }
    }
}

/// Opens the log of `key` and rebuilds the replica's state. May be called again after an
/// error: it begins anew, from the disk.
///
/// # Errors
/// The problem that keeps it offline.
pub async fn open(
    disk: Arc<dyn Disk>,
    key: PartitionKey,
    config: LogConfig,
    open_files: Arc<OpenFiles>,
    limits: ReplicaLimits,
) -> Result<(Log, Replica), NotOpen> {
    let folder = replica_folder(key);
    make_folder(disk.as_ref(), key).await.map_err(|error| {
        let reason = format!("cannot make the folder {folder}: {error}");
        NotOpen::Passing(Problem::new(ErrorCode::StorageFailed, reason))
    })?;
    let (log, recovered) = Log::open(disk, &folder, config, open_files).await?;
    let (log_start, log_end) = (log.log_start(), log.log_end());
    let mut replica = Replica::recovered(key, log_start, log_end, log.durable_end(), limits);
    for begun in log.epochs().starts() {
        replica.replay_epoch(begun.epoch, begun.start);
    }
    for batch in &recovered.batches {
        let stamp = batch.producer.map(|producer| Stamp {
            id: producer.id,
            epoch: producer.epoch,
            first_sequence: producer.base_sequence,
            last_sequence: advance_sequence(
                producer.base_sequence,
                batch.record_count.saturating_sub(1),
            ),
        });
        replica.replay(batch.epoch, stamp, batch.base_offset, batch.last_offset);
    }
    tracing::info!(
        partition = %key, %log_start, %log_end, clean = recovered.clean, "replica opened"
    );
    Ok((log, replica))
}

/// Makes the folders above the log durable, where they are new.
async fn make_folder(disk: &dyn Disk, key: PartitionKey) -> io::Result<()> {
    let folder = replica_folder(key);
    match disk.list(&folder).await {
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    disk.create_dir_all(&folder).await?;
    disk.sync_dir(&generation_folder(key)).await?;
    disk.sync_dir("topics").await?;
    disk.sync_dir("").await
}
