//! Who is in sync with a partition's leader, and who may lead without being so.
//!
//! # Why it is safe
//!
//! Committed is what every in-sync replica holds, while at least `min_insync` are in sync. A
//! leader is elected from the in-sync replicas as they are stored here, or from the eligible
//! ones. So each of either set must hold all that any leader ever committed:
//!
//! - A proposal names the leader epoch and the partition epoch that it was made on, and is
//!   stored under compare-and-set on them: a leader that was deposed, or that has not seen the
//!   newest set, changes nothing.
//! - **Who joins** counts for its leader from the proposal on: the high watermark waits for the
//!   union of what is stored and what is proposed until a map with a higher partition epoch
//!   settles it. Stored or not, whoever may be elected holds what was committed meanwhile. It
//!   joins in the life in which the leader heard it: one that died since may have lost what it
//!   then held, and has to be heard anew.
//! - **Who is dropped** is waited for until the leader has read the smaller set back, so nothing
//!   is committed without it before it is out of the running. It is elected no more, unless it
//!   is eligible.
//! - **Eligible** (KIP-966) is who was in sync, or eligible, before a change that leaves fewer in
//!   sync than commit. From then on nothing is committed, so what it held is all there is. For
//!   that the leader counts the *stored* set against `min_insync`, never the union. Once
//!   enough are in sync again, more will be committed, and nobody is eligible any more.
//! - Who is in sync never becomes nobody: the last one stays, wherever it is.

use std::collections::{BTreeMap, BTreeSet};

use weir_protocol::{
    ErrorCode,
    ids::{Incarnation, LeaderEpoch, PartitionEpoch, SpuId},
};

use crate::store::partitions::PartitionRow;

/// What a leader wants the in-sync replicas of a partition to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// At which it leads.
    pub leader_epoch: LeaderEpoch,
    /// That it was made on.
    pub partition_epoch: PartitionEpoch,
    /// The leader included, each in the life in which it was heard.
    pub members: Vec<(SpuId, Incarnation)>,
}

/// What becomes of a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is to be stored, under the next partition epoch.
    Store {
        /// Who is in sync.
        isr: BTreeSet<SpuId>,
        /// Who may lead without being in sync.
        eligible: BTreeSet<SpuId>,
    },
    /// It was stored before, and nothing changed since.
    AlreadySo,
    /// It is not to be.
    Refuse {
        /// Why, for machines.
        code: ErrorCode,
        /// Why, for people.
        reason: String,
    },
}

fn refuse(code: ErrorCode, reason: impl Into<String>) -> Decision {
    Decision::Refuse { code, reason: reason.into() }
}

/// Decides on a proposal of `asker`, in its current life. `may_join`: who is online with a
/// standing session and not about to stop, each in its current life.
#[must_use]
pub fn decide(
    row: &PartitionRow,
    asker: (SpuId, Incarnation),
    proposal: &Proposal,
    may_join: &BTreeMap<SpuId, Incarnation>,
) -> Decision {
    if row.leader != Some(asker.0) {
        return refuse(ErrorCode::NotLeader, format!("SPU {} does not lead it", asker.0));
    }
    let isr: BTreeSet<_> = proposal.members.iter().map(|(spu, _)| *spu).collect();
    if isr.len() != proposal.members.len() {
        return refuse(ErrorCode::InvalidRequest, "an SPU is named twice");
    }
    if let Some(stranger) = isr.iter().find(|spu| !row.is_held_by(**spu)) {
        let reason = format!("SPU {stranger} holds no replica of it");
        return refuse(ErrorCode::InvalidRequest, reason);
    }
    if !isr.contains(&asker.0) {
        return refuse(ErrorCode::InvalidRequest, "the leader is always in sync");
    }
    if let Some(decision) = epochs(row, asker.1, proposal, &isr) {
        return decision;
    }
    let before = row.isr();
    for (spu, heard) in proposal.members.iter().filter(|(spu, _)| !before.contains(spu)) {
        match may_join.get(spu) {
            Some(current) if current == heard => {}
            Some(current) => {
                let reason = format!("SPU {spu} is in incarnation {current}, not {heard}");
                return refuse(ErrorCode::IneligibleReplica, reason);
            }
            None => {
                let reason = format!("SPU {spu} is not online, or about to stop");
                return refuse(ErrorCode::IneligibleReplica, reason);
            }
        }
    }
    let eligible = eligible_after(row, &isr);
    Decision::Store { isr, eligible }
}

/// What the epochs alone decide; `None`: they are the stored ones.
fn epochs(
    row: &PartitionRow,
    incarnation: Incarnation,
    proposal: &Proposal,
    isr: &BTreeSet<SpuId>,
) -> Option<Decision> {
    let (asked, stored) = (proposal.leader_epoch, row.leader_epoch);
    if asked > stored {
        let reason = format!("leader epoch {asked} is not known; it is at {stored}");
        return Some(refuse(ErrorCode::UnknownLeaderEpoch, reason));
    }
    if asked < stored || row.leader_incarnation != incarnation {
        let reason = format!("the leader epoch is {stored}, not {asked}, or another life's");
        return Some(refuse(ErrorCode::FencedLeaderEpoch, reason));
    }
    let (asked, stored) = (proposal.partition_epoch, row.partition_epoch);
    if asked == stored {
        return None;
    }
    // Asked again, because the answer to the commit, or to the proposal, was lost.
    if asked < stored && asked.next() == stored && row.isr() == *isr {
        return Some(Decision::AlreadySo);
    }
    let reason = format!("the partition epoch is {stored}, not {asked}");
    Some(refuse(ErrorCode::FencedPartitionEpoch, reason))
}

/// Who may lead without being in sync once `isr` is in sync: see the module.
#[must_use]
pub fn eligible_after(row: &PartitionRow, isr: &BTreeSet<SpuId>) -> BTreeSet<SpuId> {
    eligible(&row.isr(), &row.eligible(), isr, row.min_insync)
}

/// As [`eligible_after`], of what was in sync and eligible before.
#[must_use]
pub fn eligible(
    isr_before: &BTreeSet<SpuId>,
    eligible_before: &BTreeSet<SpuId>,
    isr: &BTreeSet<SpuId>,
    min_insync: u32,
) -> BTreeSet<SpuId> {
    if isr.len() >= usize::try_from(min_insync).unwrap_or(usize::MAX) {
        return BTreeSet::new();
    }
    isr_before.union(eligible_before).filter(|spu| !isr.contains(spu)).copied().collect()
}

#[cfg(test)]
#[path = "isr_tests.rs"]
pub(crate) mod tests;
