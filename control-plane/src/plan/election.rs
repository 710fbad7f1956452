//! Who leads a partition, and who is dropped from its in-sync replicas because it is gone.
//!
//! Nobody is elected here who is neither in sync nor eligible: see [`super::isr`] for why either
//! holds all that was committed. (Where an owner chose otherwise: [`super::unclean`].) Clocks only permit an election; a deposed leader that lives on
//! commits nothing, for its in-sync replicas answer it no more once they have seen the new
//! epoch, and until then they hold what it commits.
//!
//! A leader epoch belongs to one (SPU, incarnation): a new incarnation never leads in an old one.
//! Where nobody else may lead, a leader that is gone is kept, and so is who is in sync with it:
//! the more of them may come back as a leader the better, and nothing is committed meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use weir_protocol::ids::{Incarnation, SpuId};
use weir_runtime::plant;

use super::isr;
use crate::store::{partition_state::PartitionState, partitions::PartitionRow};

/// What is known of a cluster's SPUs when leaders are chosen. Who is in neither set is on its
/// way, or in doubt: nothing is given to it and nothing taken from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Electorate {
    /// Who may lead, in which life: it is online and not about to stop.
    pub may_lead: BTreeMap<SpuId, Incarnation>,
    /// Who is gone, or about to stop.
    pub lost: BTreeSet<SpuId>,
    /// Whether an eligible replica may be elected. What it has not got of the log is lost, which
    /// was never committed, but may have been acknowledged with `acks=leader`: so only where
    /// the last in-sync replica is gone, and not where it stops in order.
    pub eligible_too: bool,
}

impl Electorate {
    fn may_lead(&self, spu: SpuId) -> Option<Incarnation> {
        self.may_lead.get(&spu).copied().filter(|_| !self.lost.contains(&spu))
    }
}

/// What the partition's state is to be, under the next partition epoch; `None`: as it is.
/// Asked again after that was stored, the answer is `None`.
#[must_use]
pub fn settle(row: &PartitionRow, spus: &Electorate) -> Option<PartitionState> {
    match row.leader {
        Some(leader) if !spus.lost.contains(&leader) => keep(row, leader, spus),
        _ => elect(row, spus),
    }
}

/// The leader is there: it leads on, in a new epoch if in another life, without the lost.
fn keep(row: &PartitionRow, leader: SpuId, spus: &Electorate) -> Option<PartitionState> {
    // One that is in doubt could not tell anybody of a smaller set.
    let incarnation = spus.may_lead(leader)?;
    let before = row.isr();
    let isr: BTreeSet<_> = before.difference(&spus.lost).copied().collect();
    let reborn = row.leader_incarnation < incarnation;
    if !reborn && isr == before {
        return None;
    }
    let eligible = isr::eligible_after(row, &isr);
    let state = PartitionState { isr, eligible, ..PartitionState::from(row) };
    Some(if reborn { led(row, state, leader, incarnation) } else { state })
}

/// The leader is gone, or there never was one.
fn elect(row: &PartitionRow, spus: &Electorate) -> Option<PartitionState> {
    let remaining: BTreeSet<_> = row.isr().difference(&spus.lost).copied().collect();
    let first_of = |may: &dyn Fn(SpuId) -> bool| {
        let preferred = row.replicas.iter().map(|replica| replica.spu);
        preferred.filter(|spu| may(*spu)).find_map(|spu| Some((spu, spus.may_lead(spu)?)))
    };
    let outside = |_| plant::active("elects_outside_isr");
    let ((leader, incarnation), isr) = if let Some(next) = first_of(&outside) {
        (next, BTreeSet::from([next.0]))
    } else if let Some(next) = first_of(&|spu| remaining.contains(&spu)) {
        (next, remaining)
    } else if spus.eligible_too {
        // What was in sync is eligible then: nothing is committed before there are enough.
        let eligible = row.eligible();
        let next = first_of(&|spu| eligible.contains(&spu))?;
        (next, BTreeSet::from([next.0]))
    } else {
        return None;
    };
    let eligible = isr::eligible_after(row, &isr);
    let state = PartitionState { isr, eligible, ..PartitionState::from(row) };
    Some(led(row, state, leader, incarnation))
}

/// The state under a new leadership.
pub(super) fn led(
    row: &PartitionRow,
    state: PartitionState,
    leader: SpuId,
    incarnation: Incarnation,
) -> PartitionState {
    PartitionState {
        leader: Some(leader),
        leader_incarnation: incarnation,
        leader_epoch: row.leader_epoch.next(),
        ..state
    }
}

/// The state with another leader, who is in sync; `None` when it is not, or leads already.
#[must_use]
pub fn hand_over(
    row: &PartitionRow,
    to: SpuId,
    incarnation: Incarnation,
) -> Option<PartitionState> {
    let in_sync = row.replicas.iter().any(|replica| replica.spu == to && replica.in_isr);
    let other = row.leader != Some(to);
    (in_sync && other).then(|| led(row, PartitionState::from(row), to, incarnation))
}

/// The state without the replicas of SPUs that leave for good, where one that stays is in sync;
/// `lives`: of each SPU, its last one. One that may lead is preferred as the next leader;
/// another one leads once it is back.
#[must_use]
pub fn without(
    row: &PartitionRow,
    leaving: &BTreeSet<SpuId>,
    lives: &BTreeMap<SpuId, Incarnation>,
    may_lead: impl Fn(SpuId) -> bool,
) -> Option<PartitionState> {
    let isr: BTreeSet<_> = row.isr().difference(leaving).copied().collect();
    let in_order = || row.replicas.iter().map(|r| r.spu).filter(|spu| isr.contains(spu));
    let next = in_order().find(|spu| may_lead(*spu)).or_else(|| in_order().next())?;
    let eligible = isr::eligible_after(row, &isr).difference(leaving).copied().collect();
    let state = PartitionState { isr: isr.clone(), eligible, ..PartitionState::from(row) };
    Some(match row.leader {
        Some(leader) if isr.contains(&leader) => state,
        _ => led(row, state, next, lives.get(&next).copied().unwrap_or_default()),
    })
}

#[cfg(test)]
#[path = "election_tests.rs"]
mod tests;
