//! Leaderships go back to the replicas that are preferred: `plan::balance`, on the period.

use std::time::Duration;

use weir_runtime::clock::Monotonic;

use super::{Context, snapshot::Snapshot};
use crate::{
    app::leadership,
    plan::balance::Balance,
    store::{DbResult, Scoped, partition_state, partitions, spus, types::Desired},
};

/// Most partitions that are watched at a time.
const WATCHED_MAX: u32 = 500;
/// Passes come on signals as well; this needs no haste.
const PERIOD: Duration = Duration::from_secs(1);

/// What a worker remembers of it. All of it may be lost.
#[derive(Debug, Default)]
pub(super) struct Balancer {
    balance: Balance,
    looked: Option<Monotonic>,
}

impl Balancer {
    /// Looks, and moves what is due.
    pub(super) async fn pass(
        &mut self,
        context: &Context,
        snapshot: &Snapshot,
        began: Monotonic,
    ) -> DbResult<()> {
        let (app, cluster) = (&context.app, &snapshot.cluster);
        let now = app.clock.now();
        if cluster.desired != Desired::Running {
            self.balance = Balance::default();
            return Ok(());
        }
        if self.looked.is_some_and(|looked| now.since(looked) < PERIOD) {
            return Ok(());
        }
        self.looked = Some(now);
        let rows = {
            let mut tx = app.store.read().await?;
            load(&mut tx.scoped(cluster.org), snapshot).await?
        };
        let online = leadership::online(&snapshot.spus, &app.board.lives(cluster.id));
        let now_ms = u64::try_from(now.since(began).as_millis()).unwrap_or(u64::MAX);
        let moves = self.balance.moves(&rows, &online, now_ms);
        if moves.is_empty() {
            return Ok(());
        }
        let mut tx = app.store.write().await?;
        let mut scoped = tx.scoped(cluster.org);
        if !super::decides(app, &mut scoped, cluster.id).await? {
            return Ok(());
        }
        // One that has gone meanwhile must not be given anything: it would be nobody's to take
        // back before its loss is seen again.
        let rows = spus::list(&mut scoped, cluster.id).await?;
        let online = leadership::online(&rows, &app.board.lives(cluster.id));
        let stands = |incarnation, leader| online.get(&leader) == Some(&incarnation);
        let moves: Vec<_> = moves
            .into_iter()
            .filter(|(_, to)| to.leader.is_some_and(|spu| stands(to.leader_incarnation, spu)))
            .collect();
        let unix_ms = app.now_unix_ms();
        if let Some(revision) = leadership::store(&mut scoped, cluster.id, &moves, unix_ms).await? {
            tx.commit().await?;
            tracing::info!(cluster = %cluster.id, partitions = moves.len(), "led again by who is preferred");
            app.signals.metadata(cluster.id, revision);
        }
        Ok(())
    }
}

async fn load(
    scoped: &mut Scoped<'_>,
    snapshot: &Snapshot,
) -> DbResult<Vec<partitions::PartitionRow>> {
    let id = snapshot.cluster.id;
    let mut rows = Vec::new();
    for key in partition_state::led_by_another(scoped, id, WATCHED_MAX).await? {
        rows.extend(partitions::get(scoped, id, key).await?);
    }
    Ok(rows)
}
