//! Who coordinates a consumer, as the database knows it, and what it says of the consumer.

use std::collections::BTreeMap;

use weir_protocol::{
    ids::{LeaderEpoch, Offset, PartitionIndex, PartitionKey, SpuId},
    murmur2::partition_of,
    pb::offsets::{DescribeRequest, HeldOffset},
};

use super::{App, AppError, reach::Reach};
use crate::{
    plan::names::OFFSETS_TOPIC,
    store::{
        DbResult, Scoped, clusters::ClusterRow, consumer_offsets::Committed, partitions, topics,
    },
};

/// What is known of a consumer, by partition.
pub(super) type Held = BTreeMap<PartitionKey, Committed>;

/// The leader of the offsets partition of a consumer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Coordinator {
    /// Asked first.
    leader: Option<SpuId>,
    /// One that leads at an older epoch was replaced, and may not know yet.
    epoch: LeaderEpoch,
}

impl Coordinator {
    /// Of this consumer.
    pub(super) async fn load(
        org: &mut Scoped<'_>,
        cluster: &ClusterRow,
        consumer: &str,
    ) -> DbResult<Self> {
        let Some(topic) = topics::by_name(org, cluster.id, OFFSETS_TOPIC).await? else {
            return Ok(Self::default());
        };
        let count = partitions::count(org, cluster.id, topic.generation).await?;
        let partition = PartitionIndex(partition_of(consumer.as_bytes(), count));
        let key = PartitionKey { generation: topic.generation, partition };
        let row = partitions::get(org, cluster.id, key).await?;
        Ok(row
            .map_or_else(Self::default, |row| Self { leader: row.leader, epoch: row.leader_epoch }))
    }

    /// What the coordinator has committed of the consumer, right now.
    pub(super) async fn describe(
        &self,
        app: &App,
        reach: &Reach,
        consumer: &str,
    ) -> Result<Held, AppError> {
        let request = DescribeRequest {
            consumer: consumer.to_owned(),
            leader_epoch: self.epoch.get(),
            ..DescribeRequest::default()
        };
        let held = reach.look(app, consumer, self.leader, &request).await?;
        held.into_iter().map(known).collect::<Option<_>>().ok_or_else(|| {
            let reason = "it named something that is no partition".to_owned();
            AppError::CoordinatorUnavailable { consumer: consumer.to_owned(), reason }
        })
    }
}

fn known(held: HeldOffset) -> Option<(PartitionKey, Committed)> {
    let key = held.partition.as_ref().and_then(PartitionKey::from_wire)?;
    let committed = Committed {
        next_offset: held.next_offset.map(Offset),
        leader_epoch: held.leader_epoch.map(LeaderEpoch),
        metadata: held.metadata,
        committed_at_unix_ms: held.committed_at_unix_ms,
    };
    Some((key, committed))
}
