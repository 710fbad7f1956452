//! Carries out what the control plane sends.

use std::time::Duration;

use tokio::sync::mpsc;
use weir_protocol::{
    WireError,
    ids::{Incarnation, PartitionEpoch, PartitionKey},
    pb::session::{
        IsrRefused, RemoveReplica, ReplicaRemoved, SpuMessage,
        control_message::Message as FromControl, spu_message::Message as FromSpu,
    },
};

use super::{
    Ended, Session,
    connect::{self, lost, refused},
};
use crate::{partition::removal::RemoveOrder, seen::Database};

/// How long a confirmation waits for a slow connection.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(1);

impl Session {
    /// Does what one message says.
    ///
    /// # Errors
    /// How the connection must end because of it.
    pub(super) async fn obey(
        &self,
        message: FromControl,
        incarnation: Incarnation,
        outbox: &mpsc::Sender<SpuMessage>,
    ) -> Result<(), Ended> {
        match message {
            FromControl::Metadata(update) => {
                let revision = update.revision;
                match self.cache.apply(update) {
                    Ok(true) => {
                        let cached = self.cache.current();
                        self.registry.reconcile(&cached.map, Some(incarnation));
                        self.note_map();
                        tracing::debug!(revision, "metadata applied");
                    }
                    Ok(false) => {}
                    // The next connection begins with a snapshot, and reports what was seen.
                    Err(error) => return Err(lost(error.to_string(), false)),
                }
            }
            FromControl::RemoveReplica(order) => self.remove_replica(&order, outbox).await,
            FromControl::TokenKeys(keys) => self.tokens.replace_keys(&keys),
            FromControl::Refused(error) => return Err(refused(error.into())),
            FromControl::HeartbeatAck(ack) => {
                self.registry.told_time(ack.control_plane_unix_ms);
                self.take_token(&ack.replication_token);
            }
            FromControl::IsrRefused(refused) => self.isr_refused(refused),
            FromControl::End(_) => {
                tracing::info!("the cluster is to stop, and this SPU with it");
                self.ordered_to_end.cancel();
            }
            FromControl::Left(left) => {
                if left.cluster_stops {
                    self.leave.together.cancel();
                }
                self.leave.done.cancel();
            }
            FromControl::Registered(_) => {
                return Err(lost("the control plane answered the registration twice", false));
            }
        }
        Ok(())
    }

    fn isr_refused(&self, refused: IsrRefused) {
        let key = refused.partition.as_ref().and_then(PartitionKey::from_wire);
        let Some(partition) = key.and_then(|key| self.registry.get(key)) else { return };
        let error = WireError::from(refused.error.unwrap_or_default());
        tracing::info!(partition = %partition.key(), %error, "the in-sync replicas stay as they are");
        partition.isr_refused(PartitionEpoch(refused.partition_epoch));
    }

    /// An empty one means that the last one is good.
    pub(super) fn take_token(&self, token: &str) {
        if !token.is_empty() {
            self.replication_token.send_replace(token.to_owned());
        }
    }

    async fn remove_replica(&self, order: &RemoveReplica, outbox: &mpsc::Sender<SpuMessage>) {
        let key = order.partition.as_ref().and_then(PartitionKey::from_wire);
        let (Some(key), Some(database)) = (key, Database::from_wire(order.database.as_ref()))
        else {
            tracing::error!("an order to remove a replica is malformed; nothing was removed");
            return;
        };
        let partition_epoch = PartitionEpoch(order.partition_epoch);
        let order = RemoveOrder { key, partition_epoch, database };
        match self.registry.remove(order, &self.cache.current().map).await {
            Ok(()) => {
                tracing::info!(partition = %key, %partition_epoch, "replica removed by order");
                let partition = Some(key.to_wire());
                let removed = ReplicaRemoved { partition, partition_epoch: partition_epoch.get() };
                let sent = outbox.send(connect::message(FromSpu::ReplicaRemoved(removed)));
                // What is lost is lost: the order comes again.
                let _ = self.clock.timeout(CONFIRM_TIMEOUT, sent).await;
            }
            Err(error) => tracing::error!(partition = %key, %error, "replica not removed"),
        }
    }
}
