//! The internal topic that keeps what named consumers have committed.

use weir_protocol::{
    ids::{PartitionIndex, TopicGenerationId},
    topic_config::TopicConfig,
};

use super::{Context, snapshot::Snapshot};
use crate::{
    app::{candidates, topic_create},
    plan::{
        names::{OFFSETS_REPLICATION, OFFSETS_TOPIC},
        placement::{self, Candidate},
    },
    store::{
        DbError, DbResult,
        partitions::NewPartition,
        spus,
        topics::{self, NewTopic},
    },
};

/// A consumer's coordinator is found by its name modulo this, so it never changes.
const PARTITIONS: u32 = 8;

/// Makes the offsets topic, once, as soon as all SPUs of the spec have their rows: its replicas
/// are spread over them, and stay there. Not over one that runs elsewhere and was never there: it
/// may never come, and what it alone held could not be moved off it.
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
    let rows = spus::list(&mut scoped, id).await?;
    let wanted = usize::try_from(snapshot.cluster.spec.spus).unwrap_or(usize::MAX);
    if rows.iter().filter(|spu| spu.stays()).count() < wanted {
        return Ok(false);
    }
    let spus: Vec<_> = rows
        .iter()
        .filter(|spu| spu.takes())
        .take(wanted)
        .map(|spu| Candidate { spu: spu.id, replicas: 0, held: 0, preferred: 0 })
        .collect();
    let count = u32::try_from(spus.len()).unwrap_or(u32::MAX);
    let replication = OFFSETS_REPLICATION.min(count);
    let racks = candidates::racks(&rows);
    let Ok(placed) = placement::place(&spus, &racks, PARTITIONS, replication) else {
        // Without an SPU.
        return Ok(false);
    };
    let new = NewTopic {
        generation: TopicGenerationId(fresh),
        name: OFFSETS_TOPIC.to_owned(),
        internal: true,
        replication,
        // Two, where there are two: also after it has lost replicas to a scale.
        min_insync: None,
        // What is live in it is not what is young: it is kept short by its coordinator.
        config: TopicConfig::default(),
    };
    let placed: Vec<_> = (0..)
        .zip(placed)
        .map(|(index, replicas)| NewPartition {
            index: PartitionIndex(index),
            label: String::new(),
            leader: topic_create::first_to_lead(&rows, &replicas),
            replicas,
        })
        .collect();
    let (_, revision) =
        topic_create::insert(&mut scoped, &snapshot.cluster, &new, &placed, now).await?;
    tx.commit().await?;
    app.signals.metadata(id, revision);
    Ok(true)
}
