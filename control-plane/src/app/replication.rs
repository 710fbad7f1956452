//! How many replicas a topic has of each partition and how many of them in sync commit, written.

use std::collections::BTreeSet;

use weir_protocol::ids::{ClusterId, TopicGenerationId};

use crate::{
    plan::isr,
    store::{
        DbResult, Scoped, partition_state, partitions, reassignments,
        topics::{self, TopicRow},
    },
};

/// Writes both numbers. With fewer demanded, enough may be in sync: then more will be committed,
/// which whoever is eligible so far does not hold. Told together with the number, for the leader
/// goes by it.
///
/// # Errors
/// As the store.
pub(crate) async fn set(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    topic: &TopicRow,
) -> DbResult<()> {
    let TopicRow { generation, replication, min_insync, .. } = *topic;
    topics::set_replication(scoped, cluster, generation, replication, min_insync).await?;
    for row in partitions::of_generation(scoped, cluster, generation).await? {
        // Read after the number was written, it has it already.
        let (in_sync, before) = (row.isr(), row.eligible());
        let eligible = isr::eligible_after(&row, &in_sync);
        if eligible != before {
            partition_state::set_isr(scoped, cluster, &row, &in_sync, &eligible).await?;
        }
    }
    Ok(())
}

/// Where nothing of a generation is being reassigned any more, it has as many replicas as its
/// partition with the fewest. Not before: a partition that still waits for its new replicas could
/// not commit with as many as will be demanded then. Says whether that is another number than
/// before: then watchers have to hear of it.
///
/// # Errors
/// As the store.
pub(crate) async fn settle(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    generation: TopicGenerationId,
) -> DbResult<bool> {
    if reassignments::any_of(scoped, cluster, generation).await? {
        return Ok(false);
    }
    let Some(topic) = topics::by_id(scoped, cluster, generation).await? else { return Ok(false) };
    let rows = partitions::of_generation(scoped, cluster, generation).await?;
    let counts: BTreeSet<_> = rows.iter().map(|row| row.replicas.len()).collect();
    let fewest = counts.into_iter().find(|count| *count > 0).map(u32::try_from);
    let Some(Ok(replication)) = fewest else { return Ok(false) };
    if replication == topic.replication {
        return Ok(false);
    }
    set(scoped, cluster, &TopicRow { replication, ..topic }).await?;
    Ok(true)
}
