//! Orders to remove replicas, of purged topics and those that a reassignment left behind: sent
//! when that is stored, at each registration, and on a period until the SPU confirms.

use std::{collections::BTreeMap, time::Duration};

use weir_protocol::{
    ids::{ClusterId, OrgId, PartitionEpoch, PartitionKey, RestoreNumber, SpuId},
    pb::{
        metadata::DatabaseRef,
        session::{RemoveReplica, ReplicaRemoved},
    },
};
use weir_runtime::clock::Monotonic;

use super::{PAUSE, TRIES, worth_repeating};
use crate::{
    app::App,
    store::{self, DbResult, Scoped, purges},
};

/// Orders of each kind that an SPU may have open at once: it carries them out one after another,
/// between its heartbeats.
const OPEN_MAX: u32 = 32;
/// After how long an order without a confirmation is sent again.
const AGAIN: Duration = Duration::from_secs(5);

/// What one session has ordered.
#[derive(Debug, Default)]
pub(super) struct Removals {
    /// Orders without a confirmation yet, and when each was sent.
    open: BTreeMap<PartitionKey, Monotonic>,
}

impl Removals {
    /// Which of the replicas that are `due` to be ordered now. Pure.
    pub(super) fn send_now(
        &mut self,
        due: &[(PartitionKey, PartitionEpoch)],
        now: Monotonic,
    ) -> Vec<(PartitionKey, PartitionEpoch)> {
        self.open.retain(|key, _| due.iter().any(|(other, _)| other == key));
        let mut send = Vec::new();
        for (key, epoch) in due {
            let waits = self.open.get(key).is_some_and(|sent| now.since(*sent) < AGAIN);
            if !waits {
                self.open.insert(*key, now);
                send.push((*key, *epoch));
            }
        }
        send
    }

    /// A confirmation came; true: all are confirmed, there may be more to order.
    pub(super) fn confirmed(&mut self, key: PartitionKey) -> bool {
        self.open.remove(&key).is_some() && self.open.is_empty()
    }
}

/// What the SPU is still to remove, as much of it as may be ordered at once.
pub(super) async fn due(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    spu: SpuId,
) -> DbResult<Vec<(PartitionKey, PartitionEpoch)>> {
    let mut due = purges::of_spu(scoped, cluster, spu, OPEN_MAX).await?;
    due.extend(store::removals::of_spu(scoped, cluster, spu, OPEN_MAX).await?);
    Ok(due)
}

/// The order as it is sent.
pub(super) fn order(
    app: &App,
    restore_number: RestoreNumber,
    key: PartitionKey,
    epoch: PartitionEpoch,
) -> RemoveReplica {
    RemoveReplica {
        partition: Some(key.to_wire()),
        partition_epoch: epoch.0,
        database: Some(DatabaseRef {
            database_id: app.database_id.to_string(),
            restore_number: restore_number.0,
        }),
    }
}

/// Stores a confirmation, and ends the purge if it was the last. `None`: the message names no
/// partition.
pub(super) async fn confirm(
    app: &App,
    org: OrgId,
    cluster: ClusterId,
    spu: SpuId,
    message: &ReplicaRemoved,
) -> DbResult<Option<PartitionKey>> {
    let Some(key) = message.partition.as_ref().and_then(PartitionKey::from_wire) else {
        return Ok(None);
    };
    let mut tries = 0;
    loop {
        tries += 1;
        let epoch = PartitionEpoch(message.partition_epoch);
        match confirmed(app, org, cluster, spu, (key, epoch)).await {
            Err(error) if worth_repeating(&error) && tries < TRIES => app.clock.sleep(PAUSE).await,
            done => return done.map(|()| Some(key)),
        }
    }
}

async fn confirmed(
    app: &App,
    org: OrgId,
    cluster: ClusterId,
    spu: SpuId,
    (key, epoch): (PartitionKey, PartitionEpoch),
) -> DbResult<()> {
    let mut tx = app.store.write().await?;
    let mut scoped = tx.scoped(org);
    let left = store::removals::confirmed(&mut scoped, cluster, key, spu, epoch).await?;
    // Confirmed before, perhaps: then there is still the end of the purge to look for.
    let removed = purges::removed(&mut scoped, cluster, key, spu, epoch).await? || left;
    let gone = purges::settle(&mut scoped, cluster, key.generation, app.now_unix_ms()).await?;
    tx.commit().await?;
    tracing::debug!(%cluster, %spu, partition = %key, removed, "replica removed");
    if let Some(revision) = gone {
        tracing::info!(%cluster, generation = %key.generation, "topic purged");
        app.signals.metadata(cluster, revision);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;
    use weir_protocol::ids::{PartitionIndex, TopicGenerationId};
    use weir_runtime::clock::Clock;

    use super::*;

    fn due(partitions: &[u32]) -> Vec<(PartitionKey, PartitionEpoch)> {
        let generation = TopicGenerationId(Uuid::from_u128(1));
        let key = |index| PartitionKey { generation, partition: PartitionIndex(index) };
        partitions.iter().map(|index| (key(*index), PartitionEpoch(1))).collect()
    }

    #[tokio::test]
    async fn an_order_is_sent_again_only_after_a_while() {
        let (mut removals, now) = (Removals::default(), Clock.now());
        assert_eq!(removals.send_now(&due(&[0, 1]), now), due(&[0, 1]));
        assert_eq!(removals.send_now(&due(&[0, 1, 2]), now), due(&[2]));
        assert_eq!(removals.send_now(&due(&[0, 1, 2]), now.plus(AGAIN)), due(&[0, 1, 2]));
    }

    #[tokio::test]
    async fn with_the_last_confirmation_more_may_be_ordered() {
        let (mut removals, now) = (Removals::default(), Clock.now());
        removals.send_now(&due(&[0, 1]), now);
        let keys: Vec<_> = due(&[0, 1]).into_iter().map(|(key, _)| key).collect();
        assert!(!removals.confirmed(keys[0]));
        assert!(removals.confirmed(keys[1]));
        assert!(!removals.confirmed(keys[1]), "a repeated one says nothing new");
    }
}
