//! What leaders and those that stop ask for: other in-sync replicas, other leaders. Each message
//! is one transaction, safe to repeat.

use std::collections::BTreeSet;

use weir_protocol::{
    ErrorCode, WireError,
    ids::{
        ClusterId, Incarnation, LeaderEpoch, OrgId, PartitionEpoch, PartitionKey, Revision, SpuId,
        TopicGenerationId,
    },
    pb::session::{IsrRefused, ProposeIsr},
};

use weir_runtime::task::CancellationToken;

use super::{PAUSE, TRIES, worth_repeating};
use crate::{
    app::{App, leadership},
    plan::{
        damage,
        election::Electorate,
        isr::{self, Decision, Proposal},
    },
    store::{
        DbResult,
        changes::{self, Change},
        clusters, partition_state, partitions, spus,
        types::Desired,
    },
};

/// Most partitions of one message.
const PROPOSALS_MAX: usize = 1_000;

/// Who asks: an SPU in the life that its session has.
#[derive(Clone, Debug)]
pub(super) struct Asker {
    pub(super) org: OrgId,
    pub(super) cluster: ClusterId,
    pub(super) spu: SpuId,
    pub(super) incarnation: Incarnation,
    /// Cancelled once a newer session of the SPU stands. What was asked in the older one is not
    /// done after that: the SPU may have been told otherwise since.
    pub(super) replaced: CancellationToken,
}

/// Checks the form of a message.
///
/// # Errors
/// `INVALID_REQUEST`, which names what is wrong.
pub(super) fn parse(message: &ProposeIsr) -> Result<Vec<(PartitionKey, Proposal)>, WireError> {
    let invalid = |what| WireError::new(ErrorCode::InvalidRequest, what);
    if message.partitions.len() > PROPOSALS_MAX {
        return Err(invalid("more than 1,000 partitions in one proposal"));
    }
    let proposals = message.partitions.iter().map(|asked| {
        let key = asked.partition.as_ref().and_then(PartitionKey::from_wire);
        let members = asked.members.iter();
        let proposal = Proposal {
            leader_epoch: LeaderEpoch(asked.leader_epoch),
            partition_epoch: PartitionEpoch(asked.partition_epoch),
            members: members.map(|m| (SpuId(m.spu_id), Incarnation(m.incarnation))).collect(),
        };
        Ok((key.ok_or_else(|| invalid("a proposal without partition"))?, proposal))
    });
    proposals.collect()
}

/// Stores what may be of the proposals, and tells watchers; answers what may not.
pub(super) async fn propose(
    app: &App,
    asker: &Asker,
    proposals: &[(PartitionKey, Proposal)],
) -> DbResult<Vec<IsrRefused>> {
    let mut tries = 0;
    let stored = loop {
        tries += 1;
        match store_proposals(app, asker, proposals).await {
            Err(error) if worth_repeating(&error) && tries < TRIES => app.clock.sleep(PAUSE).await,
            done => break done?,
        }
    };
    if let Some(revision) = stored.revision {
        app.signals.metadata(asker.cluster, revision);
    }
    if stored.reassigned {
        app.signals.reconcile();
    }
    Ok(stored.refused)
}

#[derive(Default)]
struct Stored {
    refused: Vec<IsrRefused>,
    revision: Option<Revision>,
    /// Whether one that is being reassigned is among them: it may be able to go on.
    reassigned: bool,
}

async fn store_proposals(
    app: &App,
    asker: &Asker,
    proposals: &[(PartitionKey, Proposal)],
) -> DbResult<Stored> {
    let &Asker { org, cluster, spu, incarnation, .. } = asker;
    let mut tx = app.store.write().await?;
    let mut stored = Stored::default();
    if asker.replaced.is_cancelled() {
        return Ok(stored);
    }
    let lives = app.board.lives(cluster);
    // Until all SPUs were heard after a start: it asks again after a while.
    if app.board.calls(cluster, app.clock.now()) {
        return Ok(stored);
    }
    let mut scoped = tx.scoped(org);
    // Its sessions are about to end: nothing more is decided, and nothing answered.
    if clusters::by_id(&mut scoped, cluster).await?.is_none_or(|row| row.frozen.is_some()) {
        return Ok(stored);
    }
    let online = leadership::online(&spus::list(&mut scoped, cluster).await?, &lives);
    let damage = app.board.damage(cluster);
    let mut changed: BTreeSet<TopicGenerationId> = BTreeSet::new();
    for (key, proposal) in proposals {
        let decision = match partitions::get(&mut scoped, cluster, *key).await? {
            Some(row) => {
                let mut may_join = online.clone();
                if let Some(out_of_service) = damage.get(key) {
                    may_join.retain(|spu, _| !out_of_service.all().contains(spu));
                }
                let decision = isr::decide(&row, (spu, incarnation), proposal, &may_join);
                if let Decision::Store { isr, eligible } = &decision {
                    partition_state::set_isr(&mut scoped, cluster, &row, isr, eligible).await?;
                    tracing::info!(%cluster, partition = %key, leader = %spu, isr = ?isr, eligible = ?eligible, "in-sync replicas changed");
                    changed.insert(key.generation);
                    stored.reassigned |= row.reassignment.is_some();
                }
                decision
            }
            None => Decision::Refuse {
                code: ErrorCode::UnknownPartition,
                reason: "there is no such partition".to_owned(),
            },
        };
        if let Decision::Refuse { code, reason } = decision {
            tracing::info!(%cluster, partition = %key, leader = %spu, %code, reason, "in-sync replicas refused");
            stored.refused.push(IsrRefused {
                partition: Some(key.to_wire()),
                partition_epoch: proposal.partition_epoch.get(),
                error: Some(WireError::new(code, reason).into()),
            });
        }
    }
    for generation in changed {
        let (change, now) = (Change::Topic(generation), app.now_unix_ms());
        stored.revision = Some(changes::record(&mut scoped, cluster, &change, now).await?);
    }
    if stored.revision.is_some() {
        tx.commit().await?;
    }
    Ok(stored)
}

/// Gives what an SPU leads, and that is about to stop, to others that are in sync, and drops it
/// from the in-sync replicas where others remain; nothing where the whole cluster stops: then
/// all come back as they went. Whether that is so.
pub(super) async fn leave(app: &App, asker: &Asker) -> DbResult<bool> {
    let mut tries = 0;
    let farewell = loop {
        tries += 1;
        match store_leave(app, asker).await {
            Err(error) if worth_repeating(&error) && tries < TRIES => app.clock.sleep(PAUSE).await,
            done => break done?,
        }
    };
    if let Farewell::HandedOver(revision) = farewell {
        app.signals.metadata(asker.cluster, revision);
    }
    Ok(matches!(farewell, Farewell::AllStop))
}

/// What an SPU that stops leaves behind.
enum Farewell {
    /// Others lead.
    HandedOver(Revision),
    /// Everything is as it was.
    Nothing,
    /// As well, for all others are to stop too.
    AllStop,
}

async fn store_leave(app: &App, asker: &Asker) -> DbResult<Farewell> {
    let &Asker { org, cluster, spu, .. } = asker;
    let mut tx = app.store.write().await?;
    if asker.replaced.is_cancelled() {
        return Ok(Farewell::Nothing);
    }
    let lives = app.board.lives(cluster);
    let mut scoped = tx.scoped(org);
    let row = clusters::by_id(&mut scoped, cluster).await?;
    match row {
        Some(row) if row.desired != Desired::Running => return Ok(Farewell::AllStop),
        Some(row) if row.frozen.is_none() => {}
        _ => return Ok(Farewell::Nothing),
    }
    if app.board.calls(cluster, app.clock.now()) {
        return Ok(Farewell::Nothing);
    }
    let rows = spus::list(&mut scoped, cluster).await?;
    if !rows.iter().any(|row| row.id == spu && row.incarnation == asker.incarnation) {
        // Of an earlier life, which leads nothing any more.
        return Ok(Farewell::Nothing);
    }
    let electorate = Electorate {
        may_lead: leadership::online(&rows, &lives),
        lost: BTreeSet::from([spu]),
        eligible_too: false,
    };
    let shared = partition_state::shared_by(&mut scoped, cluster, spu).await?;
    let damage = app.board.damage(cluster);
    let settle = |row| damage::elect(row, &electorate, damage.get(&row.key));
    let decided: Vec<_> = shared.iter().filter_map(|row| Some((row, settle(row)?))).collect();
    let revision = leadership::store(&mut scoped, cluster, &decided, app.now_unix_ms()).await?;
    let Some(revision) = revision else { return Ok(Farewell::Nothing) };
    tx.commit().await?;
    tracing::info!(%cluster, %spu, partitions = decided.len(), "handed over before it stops");
    Ok(Farewell::HandedOver(revision))
}
