//! The internal topic that keeps what named consumers have committed.

use weir_protocol::{
    ids::{PartitionIndex, TopicGenerationId},
    topic_config::TopicConfig,
};

use super::{Context, snapshot::Snapshot};
use crate::{
    app::topic_create,
    plan::names::OFFSETS_TOPIC,
    store::{
        DbError, DbResult,
        partitions::NewPartition,
        spus,
        topics::{self, NewTopic},
    },
};

/// A consumer's coordinator is found by its name modulo this, so it never changes.
const PARTITIONS: u32 = 8;

/// Makes the offsets topic, once, as soon as there is an SPU.
pub(super) async fn ensure(context: &Context, snapshot: &Snapshot) -> DbResult<bool> {
    if snapshot.offsets_topic {
        return Ok(false);
    }
    let (app, id, now) = (&context.app, snapshot.cluster.id, context.app.now_unix_ms());
    let fresh = app.uuid_v7().map_err(|error| DbError::Io { reason: error.to_string() })?;
    let mut tx = app.store.write().await?;
    let mut scoped = tx.scoped(snapshot.cluster.org);
    // Looked at again: another replica of the control plane may have been here.
    if topics::by_name(&mut scoped, id, OFFSETS_TOPIC).await?.is_some() {
        return Ok(true);
    }
    // All on the SPU with the lowest id, which is in the spec for as long as there is one:
    // a cluster that gets fewer SPUs need not move offsets, which nothing can do yet.
    let spus = spus::list(&mut scoped, id).await?;
    let Some(spu) = spus.into_iter().find(|spu| !spu.removed) else { return Ok(false) };
    let new = NewTopic {
        generation: TopicGenerationId(fresh),
        name: OFFSETS_TOPIC.to_owned(),
        internal: true,
        replication: 1,
        // What is live in it is not what is young: it is kept short by its coordinator.
        config: TopicConfig::default(),
    };
    let placed: Vec<_> = (0..PARTITIONS)
        .map(|index| NewPartition {
            index: PartitionIndex(index),
            label: String::new(),
            replicas: vec![spu.id],
            leader: (spu.incarnation.get() > 0).then_some((spu.id, spu.incarnation)),
        })
        .collect();
    let (_, revision) =
        topic_create::insert(&mut scoped, &snapshot.cluster, &new, &placed, now).await?;
    tx.commit().await?;
    app.signals.metadata(id, revision);
    Ok(true)
}
