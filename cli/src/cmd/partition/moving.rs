//! Following partitions that come to be held by other SPUs.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use weir_client::admin::{Admin, Reassignment, ReassignmentMove};
use weir_protocol::ids::{PartitionIndex, TopicGenerationId};

use crate::{
    context::Context,
    error::{self, CliError, Result},
    out,
};

/// The first pause between two looks; it doubles up to the longest.
const POLL_FIRST: Duration = Duration::from_millis(100);
const POLL_MAX: Duration = Duration::from_secs(1);

/// Who holds what, and who is to.
#[must_use]
pub fn table(moves: &[ReassignmentMove]) -> String {
    let rows = moves.iter().map(|moved| {
        let (from, to) = (super::join(&moved.from_spu_ids), super::join(&moved.to_spu_ids));
        [moved.topic.clone(), moved.partition.to_string(), from, to]
    });
    out::table(["TOPIC", "PARTITION", "FROM", "TO"], rows)
}

/// What is on its way already, of what is meant.
///
/// # Errors
/// As the control plane.
pub async fn under_way(
    admin: &Admin,
    cluster: &str,
    meant: impl Fn(&Reassignment) -> bool,
) -> Result<Vec<ReassignmentMove>> {
    let mut running = admin.reassignment_list(cluster).await?;
    running.retain(meant);
    let shown = |running: Reassignment| ReassignmentMove {
        topic: running.topic,
        generation_id: running.generation_id,
        partition: running.partition,
        from_spu_ids: running.replica_spu_ids,
        to_spu_ids: running.reassignment.target_spu_ids,
    };
    Ok(running.into_iter().map(shown).collect())
}

/// Waits until all of them are where they go, or a limit is over. On a terminal it is shown how
/// many are while it lasts, elsewhere each is told in a line.
///
/// # Errors
/// When they are not there in time, or went somewhere else because somebody asked for that.
pub async fn wait(
    context: &Context,
    admin: &Admin,
    cluster: &str,
    moves: &[ReassignmentMove],
) -> Result<()> {
    let asked: BTreeSet<_> = moves.iter().map(|m| (m.generation_id, m.partition)).collect();
    let (begin, limit) = (context.clock.now(), context.lifecycle_timeout());
    let spinner = context.ui.spinner("");
    let mut told: BTreeSet<(TopicGenerationId, PartitionIndex)> = BTreeSet::new();
    let mut pause = POLL_FIRST;
    loop {
        let mut running = admin.reassignment_list(cluster).await?;
        running.retain(|moved| asked.contains(&(moved.generation_id, moved.partition)));
        if !context.ui.terminal() {
            let under_way = |m: &ReassignmentMove| {
                running
                    .iter()
                    .any(|r| (r.generation_id, r.partition) == (m.generation_id, m.partition))
            };
            for moved in moves.iter().filter(|moved| !under_way(moved)) {
                if told.insert((moved.generation_id, moved.partition)) {
                    let spus = super::join(&moved.to_spu_ids);
                    let (topic, partition) = (&moved.topic, moved.partition);
                    context.ui.note(&format!("{topic} {partition}: on SPUs {spus}"));
                }
            }
        }
        let Some(first) = running.first() else { return arrived(admin, cluster, moves).await };
        if context.clock.now().since(begin) >= limit {
            return Err(late(first, running.len(), limit));
        }
        let done = asked.len().saturating_sub(running.len());
        spinner.set(|| format!("{done} of {} moved; {}", asked.len(), state(first)));
        context.clock.sleep(pause).await;
        pause = (pause * 2).min(POLL_MAX);
    }
}

/// Whether they are where they were to go: meanwhile somebody else may have had them go elsewhere.
async fn arrived(admin: &Admin, cluster: &str, moves: &[ReassignmentMove]) -> Result<()> {
    let mut topics: BTreeMap<TopicGenerationId, Vec<_>> = BTreeMap::new();
    for moved in moves {
        topics.entry(moved.generation_id).or_default().push(moved);
    }
    for (generation, moves) in topics {
        let topic = admin.topic(cluster, &generation.to_string()).await?;
        for moved in moves {
            let held = topic.partitions.iter().find(|p| p.index == moved.partition);
            let Some(held) = held.filter(|held| held.replica_spu_ids != moved.to_spu_ids) else {
                continue;
            };
            let (topic, partition) = (&moved.topic, moved.partition);
            return Err(CliError::new(
                format!(
                    "partition {partition} of {topic} is on SPUs {}, not on {}: somebody cancelled \
                     that, or asked for something else, meanwhile",
                    super::join(&held.replica_spu_ids),
                    super::join(&moved.to_spu_ids)
                ),
                "look at it with: weir partition list; then ask again",
            ));
        }
    }
    Ok(())
}

fn state(moved: &Reassignment) -> String {
    let waits = moved.waits_for.as_deref().unwrap_or("it goes on");
    format!("{} {}: {waits}", moved.topic, moved.partition)
}

fn late(first: &Reassignment, left: usize, limit: Duration) -> CliError {
    let (topic, partition) = (&first.topic, first.partition);
    let follow = format!("it goes on; follow it with: weir partition describe {topic} {partition}");
    let end = format!("; or end it: weir partition reassign {topic} {partition} --cancel");
    let hint = if first.reassignment.cancelled { follow } else { follow + &end };
    CliError::new(
        format!(
            "{} not moved after {}: {}",
            match left {
                1 => "1 partition is".to_owned(),
                many => format!("{many} partitions are"),
            },
            error::duration(limit),
            state(first)
        ),
        hint,
    )
}
