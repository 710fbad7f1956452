//! Taking a frozen cluster up again, once its SPUs were heard: `plan::history`.

use std::collections::BTreeSet;

use serde_json::json;
use weir_protocol::ids::{Revision, SpuId};

use super::{
    App, AppError, Principal, act,
    idempotency::{self, Answer, Repeatable},
    leadership, lookup,
    recovery_view::{Names, RecoveryView},
};
use crate::{
    plan::history::{self, Before, Verdict},
    store::{
        DbResult, Scoped,
        changes::{self, Change},
        clusters::{self, ClusterRow, ClusterSpec},
        history::Recovery,
        partitions::{self, PartitionRow},
        recovery::{self, ReportRow},
        spus::{self, SpuRow},
        take_up, topics,
        types::{KeyScope, SpuState, TopicState},
    },
};

/// Partitions that are shown as waiting, and released at once.
const WAITING_MAX: u32 = 10_000;

/// What is known of a frozen cluster, and what recovering it comes to.
struct Found {
    reports: Vec<ReportRow>,
    known: Vec<PartitionRow>,
    before: Before,
    recovery: Recovery,
}

/// Takes a frozen cluster up again: its counters are raised above all that its SPUs have seen, and
/// each partition is led by whoever has the newest log. On one that is not frozen it says which
/// partitions still wait for logs. `without_unheard`: SPUs that were not heard are done without, and
/// what only they hold is lost. With `dry_run` only says what would be done. Safe to repeat.
///
/// # Errors
/// [`AppError::SpusUnheard`], [`AppError::ClusterDeleting`], and as the store.
pub async fn cluster_recover(
    app: &App,
    principal: &Principal,
    cluster: &str,
    (dry_run, without_unheard): (bool, bool),
    request: Option<&Repeatable>,
) -> Result<Answer<RecoveryView>, AppError> {
    principal.require(KeyScope::Admin)?;
    let now = app.now_unix_ms();
    let mut tx = app.store.write().await?;
    let mut org = tx.scoped(principal.org);
    if let Some(answer) = idempotency::before(&mut org, principal, request).await? {
        return Ok(answer);
    }
    let row = lookup::cluster(&mut org, cluster).await?;
    let names = names(&mut org, &row).await?;
    let mut view = RecoveryView::new(&row, dry_run);
    let mut revision = None;
    if row.frozen.is_some() {
        let found = find(app, &mut org, &row).await?;
        let base = app.restore_number;
        view.put(base, &found.before, &found.recovery, &found.reports, &names);
        if !dry_run {
            let unheard = found.recovery.unheard.clone();
            if !unheard.is_empty() && !without_unheard {
                return Err(AppError::SpusUnheard { cluster: row.name, unheard });
            }
            revision = Some(store(app, &mut org, principal, &row, &found, now).await?);
            view.recovered = true;
        }
    }
    let (waiting, gone) = waiting(app, &mut org, &row).await?;
    let given_up = match without_unheard && !dry_run && !view.recovered {
        true => give_up(&mut org, &row, &waiting, &gone).await?,
        false => 0,
    };
    if given_up > 0 {
        let detail = json!({ "partitions": given_up, "without": gone });
        let action = "cluster.recover_without";
        act::audit(app, &mut org, principal, action, row.id, &row.name, detail).await?;
        tracing::warn!(cluster = %row.id, name = row.name, partitions = given_up, without = ?gone, "led without the logs that were waited for");
        view.recovered = true;
    } else {
        let waits = waiting.into_iter().map(|(row, spus)| (row.key, spus)).collect();
        view.put_waiting(&waits, &names);
    }
    idempotency::remember(&mut org, principal, request, 200, &view, now).await?;
    tx.commit().await?;
    if let Some(revision) = revision {
        app.signals.metadata(row.id, revision);
    }
    app.signals.reconcile();
    Ok(Answer::Fresh(view))
}

async fn names(org: &mut Scoped<'_>, row: &ClusterRow) -> DbResult<Names> {
    let rows = topics::list(org, row.id).await?;
    Ok(rows.into_iter().map(|topic| (topic.generation, topic.name)).collect())
}

async fn find(app: &App, org: &mut Scoped<'_>, row: &ClusterRow) -> DbResult<Found> {
    let reports = recovery::reports(org, row.id).await?;
    let purging: BTreeSet<_> = topics::list(org, row.id)
        .await?
        .into_iter()
        .filter(|topic| topic.state == TopicState::Purging)
        .map(|topic| topic.generation)
        .collect();
    let known: Vec<_> =
        partitions::of_cluster(org, row.id).await?.into_values().flatten().collect();
    let holders = known.iter().map(|partition| {
        let purged = purging.contains(&partition.key.generation);
        let holders = (!purged).then(|| partition.holders().into_iter().collect());
        (partition.key, holders)
    });
    let spus = spus::list(org, row.id).await?;
    let before = Before {
        database_id: app.database_id,
        restored: app.restore_number,
        counters: take_up::counters(org, row.id).await?,
        spus: spus.iter().filter(|spu| !spu.removed).map(|spu| spu.id).collect(),
        holders: holders.collect(),
    };
    let heard: Vec<_> = reports.iter().map(|report| report.heard.clone()).collect();
    let recovery = history::recover(&before, &heard);
    Ok(Found { reports, known, before, recovery })
}

/// Writes it. Answers the revision.
async fn store(
    app: &App,
    org: &mut Scoped<'_>,
    principal: &Principal,
    row: &ClusterRow,
    found: &Found,
    now: i64,
) -> Result<Revision, AppError> {
    let Found { reports, known, recovery, .. } = found;
    take_up::recover(org, row.id, recovery, reports, known, now).await?;
    let stay = spus::list(org, row.id).await?.iter().filter(|spu| spu.stays()).count();
    let stay = u32::try_from(stay).unwrap_or(u32::MAX);
    if stay > row.spec.spus {
        // Those that came after the backup were asked for, then.
        let spec = ClusterSpec { spus: stay, ..row.spec.clone() };
        clusters::set_spec(org, row.id, &spec, now).await?;
    }
    let detail = json!({
        "reason": row.frozen.as_ref().map(|frozen| &frozen.reason),
        "heard": recovery.awaited,
        "without": recovery.unheard,
        "restore_number": app.restored(recovery.counters.restore_number),
        "revision": recovery.counters.revision,
        "leader_epoch": recovery.counters.leader_epoch,
    });
    act::audit(app, org, principal, "cluster.recover", row.id, &row.name, detail).await?;
    tracing::warn!(cluster = %row.id, name = row.name, without = ?recovery.unheard, counters = ?recovery.counters, "cluster recovered");
    Ok(changes::record(org, row.id, &Change::Cluster, now).await?)
}

/// Does without the logs of those that are gone, where that leaves any to choose from. Says for how
/// many partitions.
async fn give_up(
    org: &mut Scoped<'_>,
    row: &ClusterRow,
    waiting: &[(PartitionRow, BTreeSet<SpuId>)],
    gone: &BTreeSet<SpuId>,
) -> DbResult<usize> {
    let mut given_up = 0;
    for (partition, missing) in waiting.iter().filter(|(_, missing)| !missing.is_disjoint(gone)) {
        let awaited = history::without(partition, &missing.intersection(gone).copied().collect());
        let Some(awaited) = awaited else { continue };
        recovery::await_only(org, row.id, partition, &awaited).await?;
        given_up += 1;
    }
    Ok(given_up)
}

/// Partitions whose leader is yet to be found out, and whose logs are still to be seen for that; and
/// which SPUs have been away for a lease, so that one that is only just coming back is not taken for
/// one of them.
async fn waiting(
    app: &App,
    org: &mut Scoped<'_>,
    row: &ClusterRow,
) -> DbResult<(Vec<(PartitionRow, BTreeSet<SpuId>)>, BTreeSet<SpuId>)> {
    let rows = recovery::recovering(org, row.id, None, WAITING_MAX).await?;
    if rows.is_empty() {
        return Ok((Vec::new(), BTreeSet::new()));
    }
    let spus = spus::list(org, row.id).await?;
    let standing = app.board.lives(row.id);
    let lives = leadership::online(&spus, &standing);
    let lease_ms = i64::try_from(app.defaults.lease.as_millis()).unwrap_or(i64::MAX);
    let before = app.now_unix_ms().saturating_sub(lease_ms);
    let away = |spu: &&SpuRow| {
        let silent = spu.state != SpuState::Online && spu.updated_at_unix_ms <= before;
        silent && !standing.contains_key(&spu.id)
    };
    let calls = app.board.calls(row.id, app.clock.now());
    let gone = spus.iter().filter(|_| !calls).filter(away).map(|spu| spu.id).collect();
    let fenced = app.board.fenced(row.id);
    let verdict = |row: &PartitionRow| {
        let seen = fenced.get(&row.key).cloned().unwrap_or_default();
        history::lead(row, &seen, &lives)
    };
    let waits = rows.iter().filter_map(|row| match verdict(row) {
        Verdict::Wait(spus) => Some((row.clone(), spus)),
        Verdict::Lead(_) => None,
    });
    Ok((waits.collect(), gone))
}
