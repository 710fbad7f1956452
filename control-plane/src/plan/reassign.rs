//! How a partition comes to be held by other SPUs while it is served: one step at a time, from
//! what is stored.
//!
//! # Why it is safe
//!
//! - **Who joins** holds nothing and is not in sync: it is neither waited for nor elected until
//!   its leader proposes it ([`super::isr`]).
//! - **Nobody is dropped before all of the target are in sync as stored here**, and there. So
//!   everything that was committed, or will be by a leader that has not read the smaller set
//!   yet, is held by each of the target: a leader commits only what all hold that it ever read
//!   as in sync.
//! - **The leader is one of the target before anybody is dropped**, under an epoch of its own:
//!   one that is deposed commits nothing without those that stay.
//! - **Who is dropped** is out of the replicas, the in-sync and the eligible ones in one
//!   transaction, so that it is never elected again, and only that transaction orders the removal
//!   of its data. The order names a partition epoch that does not name the replica: an SPU that
//!   was given the partition again has seen a higher one and refuses it. It is not given it again
//!   before it has confirmed ([`check`]), and a confirmation counts for its own epoch only.
//! - **Whoever is dropped may come back empty in the same life**, and what its leader heard of it
//!   before must not speak for it then. So the leader goes on under a new epoch: with that it
//!   forgets what it heard, and takes no fetch of the epoch before.
//! - **A cancellation** goes back to who held it at first, without waiting for those of them that
//!   are not in sync: it was asked for so that it is as before. But it takes nobody away whose
//!   loss would stop commits, and never the last in sync.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use weir_protocol::ids::{Incarnation, SpuId};
use weir_runtime::plant;

use super::{election, isr};
use crate::store::{
    partition_state::PartitionState, partitions::PartitionRow, reassignments::Reassignment,
};

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// These are the replicas, in this order: whoever is new to it fetches from the leader.
    Join(Vec<SpuId>),
    /// One of the target leads.
    Lead(PartitionState),
    /// The target are the replicas, and who is in sync is one of them.
    Finish(PartitionState),
    /// Nothing, until something else happens.
    Wait(Wait),
}

/// What a reassignment waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Others move; only so many do at a time.
    Turn,
    /// This one has not caught up, or is not counted yet.
    InSync(SpuId),
    /// This one is in sync, and away or about to stop.
    Online(SpuId),
    /// Nobody of the target can lead now.
    Leader,
    /// Without those that are to go, fewer would be in sync than commit.
    Enough,
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Turn => f.write_str("it waits for its turn"),
            Self::InSync(spu) => write!(f, "SPU {spu} is not in sync yet"),
            Self::Online(spu) => write!(f, "SPU {spu} is in sync, and not there right now"),
            Self::Leader => f.write_str("nobody of those who are to hold it can lead right now"),
            Self::Enough => f.write_str("too few of those who are to hold it are in sync"),
        }
    }
}

/// Decides. `online`: who may lead, in which life. Asked again after a step was stored, the
/// answer is the next step. `None`: nothing was asked for.
#[must_use]
pub fn step(row: &PartitionRow, online: &BTreeMap<SpuId, Incarnation>) -> Option<Step> {
    let goal = row.reassignment.as_ref()?;
    if !goal.moving {
        return Some(Step::Join(joined(&goal.target, row)));
    }
    if plant::active("moved_before_in_sync") {
        let mut hasty = row.clone();
        hasty.replicas.iter_mut().for_each(|replica| replica.in_isr = true);
        return step_moving(&hasty, goal, online);
    }
    step_moving(row, goal, online)
}

/// Whether anybody fetches all of it now: that is what a place among those that move is for. Who
/// waits for one that is away takes none, or others could never begin.
#[must_use]
pub fn takes_a_place(row: &PartitionRow, online: &BTreeMap<SpuId, Incarnation>) -> bool {
    let Some(goal) = row.reassignment.as_ref().filter(|goal| goal.moving) else { return false };
    let isr = row.isr();
    goal.target.iter().any(|spu| !isr.contains(spu) && online.contains_key(spu))
}

/// The replicas of the target are there.
fn step_moving(
    row: &PartitionRow,
    goal: &Reassignment,
    online: &BTreeMap<SpuId, Incarnation>,
) -> Option<Step> {
    let (isr, target) = (row.isr(), goal.target.iter().copied().collect());
    let stay: BTreeSet<_> = isr.intersection(&target).copied().collect();
    if let Some(wait) = lacking(row, goal, &stay, online) {
        return Some(Step::Wait(wait));
    }
    if !row.leader.is_some_and(|leader| target.contains(&leader)) {
        let next = goal.target.iter().filter(|spu| stay.contains(spu));
        let mut next = next.filter_map(|spu| Some((*spu, *online.get(spu)?)));
        let state = next.next().and_then(|(spu, life)| election::hand_over(row, spu, life));
        return Some(state.map_or(Step::Wait(Wait::Leader), Step::Lead));
    }
    let eligible = isr::eligible_after(row, &stay).intersection(&target).copied().collect();
    let goes = row.holders().iter().any(|spu| !target.contains(spu));
    let leader_epoch = if goes { row.leader_epoch.next() } else { row.leader_epoch };
    let state = PartitionState::from(row);
    Some(Step::Finish(PartitionState { isr: stay, eligible, leader_epoch, ..state }))
}

/// The target, then who is there besides.
fn joined(target: &[SpuId], row: &PartitionRow) -> Vec<SpuId> {
    let besides = row.holders().into_iter().filter(|spu| !target.contains(spu));
    target.iter().copied().chain(besides).collect()
}

/// Why nobody can be dropped yet.
fn lacking(
    row: &PartitionRow,
    goal: &Reassignment,
    stay: &BTreeSet<SpuId>,
    online: &BTreeMap<SpuId, Incarnation>,
) -> Option<Wait> {
    if goal.is_cancelled() {
        let commit = usize::try_from(row.min_insync).unwrap_or(usize::MAX);
        let least = commit.min(row.isr().len()).max(1);
        let there = stay.iter().filter(|spu| online.contains_key(spu)).count();
        return (there < least).then_some(Wait::Enough);
    }
    let not_in_sync = goal.target.iter().find(|spu| !stay.contains(spu)).copied();
    let away = || goal.target.iter().find(|spu| !online.contains_key(spu)).copied();
    not_in_sync.map(Wait::InSync).or_else(|| away().map(Wait::Online))
}

impl Reassignment {
    /// Whether it goes back to where it came from.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.target == self.original
    }
}

/// Who is to hold a partition so that a cancelled reassignment of it ends; `Some(None)`: nothing
/// has happened yet, and nothing need to. `None`: there is nothing to cancel.
#[must_use]
pub fn cancel(row: &PartitionRow) -> Option<Option<Reassignment>> {
    let goal = row.reassignment.as_ref().filter(|goal| !goal.is_cancelled())?;
    let back = Reassignment { target: goal.original.clone(), ..goal.clone() };
    Some(goal.moving.then_some(back))
}

/// Why a partition cannot be held by these.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReassignError {
    /// Another reassignment of it is not done.
    #[error("its replicas are on their way to {} already", told(.0))]
    Running(Vec<SpuId>),
    /// An SPU has not removed yet what it held of it before.
    #[error("SPU {0} is still removing the replica that it held before")]
    BeingRemoved(SpuId),
    /// Another number of SPUs than the topic's partitions have.
    #[error("{named} SPUs are named, and the topic has {replication} replicas of each partition")]
    Count {
        /// How many were named.
        named: usize,
        /// How many there are of each partition.
        replication: u32,
    },
    /// An SPU is named twice.
    #[error("SPU {0} is named twice")]
    Twice(SpuId),
    /// An SPU is not there, or on its way out.
    #[error("SPU {0} is not in the cluster, or on its way out of it")]
    Unknown(SpuId),
}

/// `2, 3, 1`.
#[must_use]
pub fn told(spus: &[SpuId]) -> String {
    spus.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Whether a partition may come to be held by `target`, and what is to be stored for that;
/// `None`: it is, or is on the way to them. `stays`: who may hold replicas. `removing`: who
/// is still to remove one of this partition.
///
/// # Errors
/// [`ReassignError`].
pub fn check(
    row: &PartitionRow,
    target: &[SpuId],
    replication: u32,
    stays: &BTreeSet<SpuId>,
    removing: &BTreeSet<SpuId>,
) -> Result<Option<Reassignment>, ReassignError> {
    check_spus(target, replication, stays)?;
    if row.destined() == target {
        return Ok(None);
    }
    // One that is cancelled may never get back to where it was: it may go somewhere else instead.
    let original = match &row.reassignment {
        Some(goal) if !goal.is_cancelled() => {
            return Err(ReassignError::Running(goal.target.clone()));
        }
        Some(goal) => goal.original.clone(),
        None => row.holders(),
    };
    if let Some(spu) = target.iter().find(|spu| removing.contains(spu)) {
        return Err(ReassignError::BeingRemoved(*spu));
    }
    Ok(Some(Reassignment { target: target.to_vec(), original, moving: false }))
}

/// Whether these can hold a partition, whoever holds it now.
///
/// # Errors
/// [`ReassignError`].
pub fn check_spus(
    target: &[SpuId],
    replication: u32,
    stays: &BTreeSet<SpuId>,
) -> Result<(), ReassignError> {
    let mut seen = BTreeSet::new();
    if let Some(twice) = target.iter().find(|spu| !seen.insert(**spu)) {
        return Err(ReassignError::Twice(*twice));
    }
    if let Some(unknown) = target.iter().find(|spu| !stays.contains(spu)) {
        return Err(ReassignError::Unknown(*unknown));
    }
    if u32::try_from(target.len()) != Ok(replication) {
        return Err(ReassignError::Count { named: target.len(), replication });
    }
    Ok(())
}

#[cfg(test)]
#[path = "reassign_tests.rs"]
mod tests;
