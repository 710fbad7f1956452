//! Partitions that nobody is left to lead who holds all that is committed: where their topic's
//! owner has chosen that, a replica that may lack some of it leads after a while, by
//! `plan::unclean`.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use weir_protocol::ids::{ClusterId, PartitionKey, SpuId};
use weir_runtime::clock::Monotonic;

use super::{Context, lose, snapshot::Snapshot};
use crate::{
    app::{App, leadership},
    plan::{
        damage::Damage,
        election::Electorate,
        unclean::{self, Reported},
    },
    store::{
        DbResult,
        cuts::{self, Cut},
        partition_state::PartitionState,
        partitions::PartitionRow,
        spus,
        types::{Desired, SpuState},
    },
};

/// Since when each partition is known to be stuck. In memory: a control plane that has just begun
/// waits anew.
#[derive(Debug, Default)]
pub(super) struct Stuck(BTreeMap<PartitionKey, Monotonic>);

impl Stuck {
    /// Notes which are stuck now, and answers those that have been for as long as `wait`.
    fn note(
        &mut self,
        stuck: &BTreeSet<PartitionKey>,
        now: Monotonic,
        wait: Duration,
    ) -> BTreeSet<PartitionKey> {
        self.0.retain(|key, _| stuck.contains(key));
        for key in stuck {
            self.0.entry(*key).or_insert(now);
        }
        let due = self.0.iter().filter(|(_, since)| now.since(**since) >= wait);
        due.map(|(key, _)| *key).collect()
    }
}

/// What is seen of a cluster's replicas.
struct Sight {
    damage: BTreeMap<PartitionKey, Damage>,
    reports: BTreeMap<PartitionKey, BTreeMap<SpuId, Reported>>,
}

impl Sight {
    fn take(app: &App, cluster: ClusterId) -> Self {
        Self { damage: app.board.damage(cluster), reports: app.board.reports(cluster) }
    }

    /// Those who hold something that is out of service.
    fn holders(&self) -> BTreeSet<SpuId> {
        self.damage.values().flat_map(Damage::all).collect()
    }

    fn stuck(&self, row: &PartitionRow, electorate: &Electorate) -> bool {
        unclean::stuck(row, &electorate.lost, self.damage.get(&row.key))
    }

    fn elect(&self, row: &PartitionRow, spus: &Electorate) -> Option<(PartitionState, Cut)> {
        let reports = self.reports.get(&row.key)?;
        unclean::elect(row, spus, self.damage.get(&row.key), reports)
    }
}

/// Looks, and elects where it is time. `lost`: who has been absent for as long as the lease.
pub(super) async fn sweep(
    context: &Context,
    snapshot: &Snapshot,
    lost: &BTreeSet<SpuId>,
    stuck: &mut Stuck,
) -> DbResult<()> {
    let (app, id, org) = (&context.app, snapshot.cluster.id, snapshot.cluster.org);
    let now = app.clock.now();
    let sight = Sight::take(app, id);
    let concerned: BTreeSet<_> = lost.union(&sight.holders()).copied().collect();
    if snapshot.cluster.desired != Desired::Running || concerned.is_empty() {
        stuck.note(&BTreeSet::new(), now, context.config.unclean_wait);
        return Ok(());
    }
    let due = {
        let mut tx = app.store.read().await?;
        let (rows, electorate) = lose::load(app, &mut tx.scoped(org), id, &concerned, lost).await?;
        let found = rows.iter().filter(|row| sight.stuck(row, &electorate));
        let found: BTreeSet<_> = found.map(|row| row.key).collect();
        stuck.note(&found, now, context.config.unclean_wait)
    };
    if due.is_empty() {
        return Ok(());
    }
    let mut tx = app.store.write().await?;
    let mut scoped = tx.scoped(org);
    // Looked at again: one may have come back meanwhile, or the order may be another.
    if !super::decides(app, &mut scoped, id).await? {
        return Ok(());
    }
    let spus = spus::list(&mut scoped, id).await?;
    let online = |spu: &SpuId| spus.iter().any(|r| r.id == *spu && r.state == SpuState::Online);
    let lost = lost.iter().filter(|spu| !online(spu)).copied().collect();
    let sight = Sight::take(app, id);
    let (rows, electorate) = lose::load(app, &mut scoped, id, &concerned, &lost).await?;
    let rows = rows.iter().filter(|row| due.contains(&row.key));
    let elected: Vec<_> =
        rows.filter_map(|row| Some((row, sight.elect(row, &electorate)?))).collect();
    let decided: Vec<_> = elected.iter().map(|(row, (state, _))| (*row, state.clone())).collect();
    let now_unix_ms = app.now_unix_ms();
    let revision = leadership::store(&mut scoped, id, &decided, now_unix_ms).await?;
    let Some(revision) = revision else { return Ok(()) };
    for (row, (_, cut)) in &elected {
        cuts::insert(&mut scoped, id, row.key, cut, now_unix_ms).await?;
    }
    tx.commit().await?;
    for (row, (_, cut)) in &elected {
        app.metrics.unclean_election();
        tell(id, row.key, cut);
    }
    app.signals.metadata(id, revision);
    Ok(())
}

fn tell(cluster: ClusterId, partition: PartitionKey, cut: &Cut) {
    let Cut { leader, leader_epoch, old_leader_epoch, report, given_up } = cut;
    let given_up: Vec<_> = given_up.iter().map(|of| of.spu.0).collect();
    tracing::warn!(%cluster, %partition, %leader, %leader_epoch, %old_leader_epoch, ?given_up,
        high_watermark = %report.high_watermark, log_end = %report.log_end,
        last_epoch = ?report.last_epoch,
        "unclean election: what was committed at or above the new leader's high watermark may be lost");
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;
    use weir_protocol::ids::{PartitionIndex, TopicGenerationId};
    use weir_runtime::clock::Clock;

    use super::*;

    #[tokio::test]
    async fn one_that_was_not_stuck_for_a_moment_waits_anew() {
        let key = |index| PartitionKey {
            generation: TopicGenerationId(Uuid::nil()),
            partition: PartitionIndex(index),
        };
        let (wait, begin) = (Duration::from_secs(30), Clock.now());
        let at = |s| begin.plus(Duration::from_secs(s));
        let mut stuck = Stuck::default();
        let both = BTreeSet::from([key(0), key(1)]);
        let one = BTreeSet::from([key(1)]);
        assert!(stuck.note(&both, at(0), wait).is_empty());
        assert!(stuck.note(&one, at(20), wait).is_empty());
        assert!(stuck.note(&both, at(29), wait).is_empty());
        assert_eq!(stuck.note(&both, at(30), wait), one);
        assert_eq!(stuck.note(&both, at(59), wait), both);
    }
}
