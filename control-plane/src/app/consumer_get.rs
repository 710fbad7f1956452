//! One named consumer, and lists of them.

use weir_runtime::plant;

use super::{
    App, AppError, Principal,
    consumer_held::{Generations, Placed},
    consumer_view::{self, ConsumerSummary, ConsumerView},
    coordinator::{Coordinator, Held},
    ends::{self, Led},
    lookup, page,
    reach::{CALL_LIMIT, Reach},
};
use crate::{
    plan::names,
    store::{
        Scoped,
        clusters::ClusterRow,
        consumer_offsets,
        types::{Desired, KeyScope, TopicState},
    },
};

/// What a consumer has committed, as its coordinator and the leaders of its partitions say
/// now. What they do not say in time is shown as they reported it last.
///
/// # Errors
/// [`AppError::ClusterNotFound`], [`AppError::ConsumerNotFound`],
/// [`AppError::CoordinatorUnavailable`] when nothing was reported of it and nobody can be asked,
/// and as the store.
pub async fn consumer_get(
    app: &App,
    principal: &Principal,
    cluster: &str,
    consumer: &str,
) -> Result<ConsumerView, AppError> {
    principal.require(KeyScope::Read)?;
    check_name(consumer)?;
    let mut tx = app.store.read().await?;
    let mut org = tx.scoped(principal.org);
    let cluster = lookup::cluster(&mut org, cluster).await?;
    // Of one that is shut down nobody can be asked.
    let reach = match cluster.desired {
        Desired::Running => Some(Reach::load(app, &mut org, principal, &cluster).await?),
        Desired::Shutdown | Desired::Deleted => None,
    };
    let coordinator = Coordinator::load(&mut org, &cluster, consumer).await?;
    drop(tx);
    // The planted bug: what is stored is told as if it were so now.
    let planted = plant::active("told_as_stored");
    let said = match &reach {
        Some(reach) if !planted && !reach.is_empty() => {
            Some(coordinator.describe(app, reach, consumer).await)
        }
        _ => None,
    };
    let (said, silence) = match said {
        Some(Ok(held)) => (Some(held), None),
        Some(Err(error)) => {
            tracing::debug!(consumer, %error, "shown as reported last");
            (None, Some(error))
        }
        None => (None, None),
    };

    let current = said.is_some() || planted;
    let mut tx = app.store.read().await?;
    let mut org = tx.scoped(principal.org);
    let held = match said {
        Some(held) => held,
        None => stored(&mut org, &cluster, consumer).await?,
    };
    let mut generations = Generations::default();
    generations.load(&mut org, &cluster, &held).await?;
    drop(tx);
    let placed = generations.lay_out(&held);
    if placed.is_empty() {
        // What was committed just now may not have been reported yet: only the coordinator knows
        // that there is nothing.
        let unknown = || AppError::ConsumerNotFound(consumer.to_owned());
        return Err(silence.unwrap_or_else(unknown));
    }

    let seen = app.board.cluster(cluster.id);
    let mut ends = ends::reported(&seen, placed.iter().map(|it| it.led));
    if let Some(reach) = &reach {
        ends.extend(ends::now(app, reach, &seen, &active(&placed), CALL_LIMIT).await);
    }
    let partitions = placed.into_iter().map(|it| consumer_view::partition(it, &ends)).collect();
    Ok(consumer_view::consumer(consumer.to_owned(), current, partitions))
}

/// Consumers by name, after the name `after` (empty: from the first), as their coordinators
/// reported them last. Answers the name to go on after, if there are more.
///
/// # Errors
/// [`AppError::ClusterNotFound`], and as the store.
pub async fn consumer_list(
    app: &App,
    principal: &Principal,
    cluster: &str,
    after: &str,
    limit: u32,
) -> Result<(Vec<ConsumerSummary>, Option<String>), AppError> {
    principal.require(KeyScope::Read)?;
    let mut tx = app.store.read().await?;
    let mut org = tx.scoped(principal.org);
    let cluster = lookup::cluster(&mut org, cluster).await?;
    let more = limit.saturating_add(1);
    let names = consumer_offsets::names(&mut org, cluster.id, after, more).await?;
    let (names, next) = page::cut(names, limit, String::clone);
    let seen = app.board.cluster(cluster.id);
    let mut generations = Generations::default();
    let mut shown = Vec::with_capacity(names.len());
    // One after the other: each may have many partitions.
    for name in names {
        let held = stored(&mut org, &cluster, &name).await?;
        generations.load(&mut org, &cluster, &held).await?;
        let placed = generations.lay_out(&held);
        let ends = ends::reported(&seen, placed.iter().map(|it| it.led));
        let partitions: Vec<_> =
            placed.into_iter().map(|it| consumer_view::partition(it, &ends)).collect();
        shown.push(consumer_view::summary(name, &partitions));
    }
    Ok((shown, next))
}

/// What the coordinator reported last.
async fn stored(
    org: &mut Scoped<'_>,
    cluster: &ClusterRow,
    consumer: &str,
) -> Result<Held, AppError> {
    let rows = consumer_offsets::of_consumer(org, cluster.id, consumer).await?;
    Ok(rows.into_iter().map(|row| (row.partition, row.committed)).collect())
}

/// The partitions of topics that are there: nobody serves those of others.
fn active(placed: &[Placed]) -> Vec<Led> {
    let active = placed.iter().filter(|it| it.topic.state == TopicState::Active);
    active.map(|it| it.led).collect()
}

/// Whether a consumer can have this name.
pub(super) fn check_name(consumer: &str) -> Result<(), AppError> {
    names::consumer_name(consumer).map_err(|error| AppError::name("consumer", &error))
}
