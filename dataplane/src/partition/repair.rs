//! Fills a damaged replica again, from its leader.
//!
//! What lies on the disk is not what was written, so the log cannot be opened. It goes, and an
//! empty one takes its place, where that costs nothing: another one leads and is there, and the map says that
//! this replica is neither in sync nor eligible, so nobody counts on what it holds, and nobody
//! will. A leader could only have proposed it for what it heard of it in this life, and a log
//! that was never open in this life was never heard of.

use std::{io, sync::PoisonError};

use weir_protocol::{
    ErrorCode,
    ids::{Incarnation, PartitionKey, SpuId},
};

use super::{Registry, Standing};
use crate::{data_folder::replica_folder, log, metadata::ClusterMap};

impl Registry {
    /// Begins anew with a replica whose log is damaged and of use to nobody: with one at a time,
    /// for what calls this has others to hear meanwhile. Never at the same time as
    /// [`Registry::reconcile`], which belongs to the same task.
    pub async fn repair(&self, map: &ClusterMap, incarnation: Option<Incarnation>) {
        let mut damaged = self.damaged().into_iter();
        let Some(key) = damaged.find(|key| self.can_go(map, *key)) else { return };
        tracing::warn!(partition = %key, "the log is damaged: it is removed, and filled again from the leader");
        match self.begin_anew(key).await {
            Ok(()) => self.reconcile(map, incarnation),
            // It is closed. With the next map it is opened again, and tried again.
            Err(error) => {
                tracing::error!(partition = %key, %error, "cannot remove the damaged log");
            }
        }
    }

    async fn begin_anew(&self, key: PartitionKey) -> io::Result<()> {
        self.close(key).await;
        log::discard(self.inner.disk.as_ref(), &replica_folder(key)).await?;
        self.erase(key).await
    }

    /// Replicas whose log was damaged when this process came to open it.
    fn damaged(&self) -> Vec<PartitionKey> {
        let partitions = self.inner.partitions.read().unwrap_or_else(PoisonError::into_inner);
        let damaged = partitions.iter().filter(|(_, partition)| {
            let standing = &partition.view.borrow().standing;
            let damage = matches!(standing, Standing::Offline(problem) if problem.code == ErrorCode::ReplicaDamaged);
            damage && partition.log().is_none()
        });
        damaged.map(|(key, _)| *key).collect()
    }

    fn can_go(&self, map: &ClusterMap, key: PartitionKey) -> bool {
        let Some((generation, partition)) = map.partition(key) else { return false };
        let me = self.inner.me.get();
        let online = map.assignment(generation, partition, self.inner.me, None).online;
        generation.active
            && partition
                .leader_spu_id
                .is_some_and(|leader| leader != me && online.contains_key(&SpuId(leader)))
            && partition.replica_spu_ids.contains(&me)
            && !partition.isr_spu_ids.contains(&me)
            && !partition.eligible_spu_ids.contains(&me)
    }
}
