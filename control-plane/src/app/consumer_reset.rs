//! Setting where a named consumer goes on. The leaders of the partitions say which offset is
//! meant, the consumer's coordinator commits it under a session of nobody, so that what a
//! running consumer commits late cannot undo it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures::future;
use serde_json::json;
use weir_protocol::{
    ids::{Offset, PartitionKey},
    pb::{
        data::Started,
        offsets::{CommittedOffset, ResetRequest},
    },
};
use weir_runtime::rng;

use super::{
    App, AppError, Principal, act, consumer_get,
    consumer_resolve::{self, ResetTo},
    consumer_view::{ConsumerReset, PartitionReset},
    coordinator::Coordinator,
    idempotency::{self, Answer, Repeatable},
    lookup,
    reach::Reach,
};
use crate::store::{
    Scoped,
    clusters::ClusterRow,
    partitions::{self, PartitionRow},
    topics::TopicRow,
    types::{KeyScope, TopicState},
};

/// What to set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResetRequested {
    /// Name of the topic, or id of its generation.
    pub topic: String,
    /// Which partitions; none: all.
    pub partitions: Option<Vec<u32>>,
    /// Where the consumer goes on.
    pub to: ResetTo,
    /// Only say what would be.
    pub dry_run: bool,
}

/// Sets where a consumer goes on. One that has committed nothing yet is made by it.
///
/// # Errors
/// [`AppError::TopicNotFound`], [`AppError::TopicDeleted`], [`AppError::OffsetOutOfRange`],
/// [`AppError::LeaderUnavailable`], [`AppError::CoordinatorUnavailable`], and as the store.
pub async fn consumer_reset(
    app: &App,
    principal: &Principal,
    cluster: &str,
    consumer: &str,
    wanted: &ResetRequested,
    request: Option<&Repeatable>,
) -> Result<Answer<ConsumerReset>, AppError> {
    principal.require(KeyScope::Admin)?;
    consumer_get::check_name(consumer)?;
    let mut tx = app.store.read().await?;
    let mut org = tx.scoped(principal.org);
    if let Some(answer) = idempotency::before(&mut org, principal, request).await? {
        return Ok(answer);
    }
    let cluster = lookup::running_cluster(&mut org, cluster).await?;
    let topic = lookup::topic(&mut org, &cluster, &wanted.topic).await?;
    let chosen = choose(&mut org, &cluster, &topic, wanted.partitions.as_deref()).await?;
    let coordinator = Coordinator::load(&mut org, &cluster, consumer).await?;
    let reach = Reach::load(app, &mut org, principal, &cluster).await?;
    drop(tx);
    let (found, held) = future::join(
        consumer_resolve::resolve(app, &reach, &topic.name, &chosen, wanted.to),
        coordinator.describe(app, &reach, consumer),
    )
    .await;
    let found = found?;
    let held = match held {
        Ok(held) => held,
        Err(error) if wanted.dry_run => return Err(error),
        Err(error) => {
            // An SPU of an older build cannot tell it beforehand: the reset itself does.
            tracing::warn!(consumer, %error, "what was committed before is not in the audit");
            BTreeMap::new()
        }
    };
    let had = |key: PartitionKey| held.get(&key)?.next_offset;
    let mut view = ConsumerReset {
        consumer: consumer.to_owned(),
        topic: topic.name.clone(),
        generation_id: topic.generation,
        generation_number: topic.number.get(),
        dry_run: wanted.dry_run,
        partitions: chosen
            .iter()
            .zip(&found)
            .map(|(row, to)| show(row, to, had(row.key)))
            .collect(),
    };
    if wanted.dry_run {
        return Ok(Answer::Fresh(view));
    }
    let order = order(consumer, &chosen, &found)?;
    // With what was committed just before: the way back, should the answer be lost.
    let detail = json!({ "generation": topic.generation, "partitions": view.partitions });
    act::order(app, principal, "consumer.reset", cluster.id, consumer, detail).await?;
    let before = reach.order(app, consumer, &order).await?;
    let before: BTreeMap<_, _> = before.iter().filter_map(known).collect();
    for (partition, row) in view.partitions.iter_mut().zip(&chosen) {
        // A running consumer may have committed since it was looked at.
        partition.old = before.get(&row.key).copied();
    }

    // What is committed comes here from the coordinator, in its order of changes.
    let mut tx = app.store.write().await?;
    let mut org = tx.scoped(principal.org);
    // The same request may have come twice at once: both did the same, one answer holds.
    if let Some(answer) = idempotency::before(&mut org, principal, request).await? {
        return Ok(answer);
    }
    idempotency::remember(&mut org, principal, request, 200, &view, app.now_unix_ms()).await?;
    tx.commit().await?;
    tracing::info!(cluster = %cluster.id, consumer, topic = topic.name, partitions = chosen.len(),
        "consumer reset");
    Ok(Answer::Fresh(view))
}

/// The partitions that are meant, by index.
async fn choose(
    org: &mut Scoped<'_>,
    cluster: &ClusterRow,
    topic: &TopicRow,
    asked: Option<&[u32]>,
) -> Result<Vec<PartitionRow>, AppError> {
    if topic.internal {
        return Err(AppError::TopicInternal(topic.name.clone()));
    }
    if topic.state != TopicState::Active {
        return Err(AppError::TopicDeleted(topic.name.clone()));
    }
    let mut rows = partitions::of_generation(org, cluster.id, topic.generation).await?;
    let Some(asked) = asked else { return Ok(rows) };
    let asked: BTreeSet<_> = asked.iter().copied().collect();
    let has = rows.len();
    let unknown = asked.iter().find(|index| usize::try_from(**index).is_ok_and(|i| i >= has));
    match unknown {
        Some(unknown) => Err(AppError::invalid(
            "partitions",
            format!("topic {} has no partition {unknown}", topic.name),
            format!("Its partitions are 0 to {}.", has.saturating_sub(1)),
        )),
        None if asked.is_empty() => Err(AppError::invalid(
            "partitions",
            "none is named",
            "Name at least one, or leave the field out for all of them.",
        )),
        None => {
            rows.retain(|row| asked.contains(&row.key.partition.get()));
            Ok(rows)
        }
    }
}

fn show(row: &PartitionRow, to: &Started, old: Option<Offset>) -> PartitionReset {
    PartitionReset {
        partition: row.key.partition.get(),
        old: old.map(Offset::get),
        new: to.offset,
        log_start: to.log_start,
        end: to.high_watermark,
    }
}

fn known(before: &CommittedOffset) -> Option<(PartitionKey, u64)> {
    Some((PartitionKey::from_wire(before.partition.as_ref()?)?, before.next_offset))
}

fn order(
    consumer: &str,
    chosen: &[PartitionRow],
    found: &[Started],
) -> Result<ResetRequest, AppError> {
    // Of nobody: no consumer knows it.
    let session: [u8; 16] = rng::bytes()?;
    let offsets = chosen
        .iter()
        .zip(found)
        .map(|(row, to)| CommittedOffset {
            partition: Some(row.key.to_wire()),
            next_offset: to.offset,
            ..CommittedOffset::default()
        })
        .collect();
    Ok(ResetRequest {
        consumer: consumer.to_owned(),
        session_id: Bytes::copy_from_slice(&session),
        offsets,
    })
}
