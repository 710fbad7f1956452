//! One topic, and lists of them.

use std::time::Duration;

use super::{
    App, AppError, Principal,
    cut_view::CutView,
    ends::{self, Led},
    lookup, page,
    reach::Reach,
    view,
};
use crate::store::{
    cuts, partitions, spus,
    topics::{self, PageFilter},
    types::{Desired, KeyScope, TopicState},
};

/// How long leaders may take to say where their logs end: whoever is about to write asks for the
/// topic first, and need not wait for an SPU that hangs.
const ENDS_LIMIT: Duration = Duration::from_millis(500);

/// The current generation of a name, or the generation of an id in any state. Where the logs of
/// its partitions begin and end their leaders say now; one that does not in time, as it
/// reported last.
///
/// # Errors
/// [`AppError::ClusterNotFound`], [`AppError::TopicNotFound`], and as the store.
pub async fn topic_get(
    app: &App,
    principal: &Principal,
    cluster: &str,
    topic: &str,
) -> Result<view::TopicView, AppError> {
    principal.require(KeyScope::Read)?;
    let mut tx = app.store.read().await?;
    let mut org = tx.scoped(principal.org);
    let cluster = lookup::cluster(&mut org, cluster).await?;
    let row = lookup::topic(&mut org, &cluster, topic).await?;
    let partitions = partitions::of_generation(&mut org, cluster.id, row.generation).await?;
    let cuts = cuts::of_generation(&mut org, cluster.id, row.generation).await?;
    let spus = spus::list(&mut org, cluster.id).await?;
    let served = cluster.desired == Desired::Running && row.state == TopicState::Active;
    let reach =
        if served { Some(Reach::load(app, &mut org, principal, &cluster).await?) } else { None };
    drop(tx);
    let seen = app.board.cluster(cluster.id);
    let mut view = view::topic(&row, &partitions, &spus, &seen);
    for shown in &mut view.partitions {
        let of = cuts.iter().filter(|cut| cut.partition.0 == shown.index);
        shown.cuts = of.map(CutView::from).collect();
    }
    if let Some(reach) = reach {
        let led: Vec<_> = partitions.iter().map(Led::from).collect();
        view::put_ends(
            &mut view,
            &partitions,
            &ends::now(app, &reach, &seen, &led, ENDS_LIMIT).await,
        );
    }
    Ok(view)
}

/// Current generations by name, after the name `after` (empty: from the first). Answers the
/// name to go on after, if there are more.
///
/// # Errors
/// [`AppError::ClusterNotFound`], and as the store.
pub async fn topic_list(
    app: &App,
    principal: &Principal,
    cluster: &str,
    filter: PageFilter,
    after: &str,
    limit: u32,
) -> Result<(Vec<view::TopicView>, Option<String>), AppError> {
    principal.require(KeyScope::Read)?;
    let mut tx = app.store.read().await?;
    let mut org = tx.scoped(principal.org);
    let cluster = lookup::cluster(&mut org, cluster).await?;
    let rows = topics::page(&mut org, cluster.id, filter, after, limit.saturating_add(1)).await?;
    let (rows, next) = page::cut(rows, limit, |row| row.name.clone());
    let spus = spus::list(&mut org, cluster.id).await?;
    let seen = app.board.cluster(cluster.id);
    let mut shown = Vec::with_capacity(rows.len());
    for row in rows {
        let partitions = partitions::of_generation(&mut org, cluster.id, row.generation).await?;
        shown.push(view::topic(&row, &partitions, &spus, &seen));
    }
    Ok((shown, next))
}
