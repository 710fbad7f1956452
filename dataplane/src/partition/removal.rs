//! Removing a replica with its data: on an explicit order, and in no other way.

use std::{
    io,
    sync::{Arc, PoisonError},
};

use weir_protocol::ids::{PartitionEpoch, PartitionKey};
use weir_runtime::task;

use super::{Partition, Registry};
use crate::{
    data_folder::{TOPICS_FOLDER, generation_folder, replica_folder},
    metadata::ClusterMap,
    seen::Database,
};

/// An order to remove a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoveOrder {
    /// Which replica.
    pub key: PartitionKey,
    /// The partition epoch that no longer names it.
    pub partition_epoch: PartitionEpoch,
    /// The database that says so.
    pub database: Database,
}

/// Why an order to remove was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum RemoveRefused {
    /// It speaks of another history than the map.
    #[error("the order names another database than this SPU follows")]
    OtherDatabase,
    /// This SPU has heard newer.
    #[error("the order has partition epoch {ordered}, and this SPU has seen {seen}")]
    Stale {
        /// The order's.
        ordered: PartitionEpoch,
        /// The highest seen.
        seen: PartitionEpoch,
    },
    /// The map of the same epoch names this SPU as a holder.
    #[error("partition epoch {seen} of an active topic names this SPU as a replica")]
    StillHeld {
        /// The epoch.
        seen: PartitionEpoch,
    },
    /// The disk said no; part of it may be gone.
    #[error("cannot remove the replica's folder: {0}")]
    Io(#[from] io::Error),
}

impl Registry {
    /// Carries out an order to remove a replica with its data. Once it returns, nothing of it
    /// is on the disk, also after a crash; where there is none, that is so at once. Never at
    /// the same time as [`Registry::reconcile`]: both belong to the session's task.
    ///
    /// # Errors
    /// [`RemoveRefused`]; nothing was removed, unless the disk failed half-way.
    pub async fn remove(&self, order: RemoveOrder, map: &ClusterMap) -> Result<(), RemoveRefused> {
        let RemoveOrder { key, partition_epoch: ordered, database } = order;
        if map.database() != Some(database) {
            return Err(RemoveRefused::OtherDatabase);
        }
        let mapped = map.partition(key);
        let known = self.get(key);
        let held = known.as_ref().map(|partition| partition.assignment.borrow().partition_epoch);
        let seen = mapped.map(|(_, partition)| PartitionEpoch(partition.partition_epoch)).max(held);
        if let Some(seen) = seen {
            let still_held = mapped.is_some_and(|(generation, partition)| {
                generation.active && partition.replica_spu_ids.contains(&self.inner.me.get())
            });
            if ordered < seen {
                return Err(RemoveRefused::Stale { ordered, seen });
            }
            if ordered == seen && still_held {
                return Err(RemoveRefused::StillHeld { seen });
            }
        }
        let removed = self.inner.removed.lock();
        removed.unwrap_or_else(PoisonError::into_inner).insert(key, ordered);
        self.erase(key).await?;
        Ok(())
    }

    /// Closes the replica if it is open, and removes its folder, open or not: a tombstone's
    /// replica is not opened after a restart, and a removal may have been cut off by a crash.
    pub(super) async fn erase(&self, key: PartitionKey) -> io::Result<()> {
        self.close(key).await;
        let disk = self.inner.disk.as_ref();
        let generation = generation_folder(key);
        disk.remove_dir_all(&replica_folder(key)).await?;
        or_missing(disk.sync_dir(&generation).await)?;
        // The folder above goes with its last replica. Nothing is being opened in it: what is
        // opening is among the open ones.
        let open = {
            let partitions = self.inner.partitions.read().unwrap_or_else(PoisonError::into_inner);
            partitions.keys().any(|other| other.generation == key.generation)
        };
        if open || or_missing(disk.list(&generation).await)?.is_some_and(|left| !left.is_empty()) {
            return Ok(());
        }
        disk.remove_dir_all(&generation).await?;
        or_missing(disk.sync_dir(TOPICS_FOLDER).await).map(drop)
    }

    /// Closes the replica if it is open.
    pub(super) async fn close(&self, key: PartitionKey) {
        if let Some(partition) = self.take(key) {
            partition.close().await;
        }
    }

    fn take(&self, key: PartitionKey) -> Option<Arc<Partition>> {
        let partitions = &self.inner.partitions;
        partitions.write().unwrap_or_else(PoisonError::into_inner).remove(&key)
    }

    /// The planted bug "absence_removes": what the map does not name as served is taken for
    /// rubbish, and swept from the disk.
    pub(super) fn planted_removal(&self, map: &ClusterMap) {
        let open: Vec<_> = {
            let partitions = self.inner.partitions.read().unwrap_or_else(PoisonError::into_inner);
            partitions.keys().copied().filter(|key| map.partition(*key).is_none()).collect()
        };
        let deleted = map.generations().filter(|generation| !generation.active);
        let deleted = deleted.flat_map(|generation| {
            let key = |partition: &weir_protocol::pb::metadata::Partition| PartitionKey {
                generation: generation.id,
                partition: partition.index.into(),
            };
            generation.wire.partitions.iter().map(key)
        });
        for key in open.into_iter().chain(deleted) {
            let registry = self.clone();
            task::spawn(async move {
                let _ = registry.erase(key).await;
            });
        }
    }
}

/// What is not there is fine.
fn or_missing<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}
