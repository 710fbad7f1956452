//! What a leader knows of its followers, who counts as in sync, and who it wants to.
//!
//! Safety (KIP-497, KIP-966): what the high watermark waits for is never less than what the
//! control plane elects from. The set is the control plane's, under a partition epoch; the
//! leader proposes another on that epoch, and while the answer is out it waits for **the union**
//! of the set as it was confirmed and everybody whom it proposed on this epoch: the proposal may
//! be stored, and whoever is in the stored set may be elected. So a shrink counts once it comes
//! back with a higher epoch, and an expansion from the moment it was proposed. A refusal does
//! not settle it either: an earlier copy of the proposal may be on its way. What settles it is a
//! higher epoch, so after a refusal the set as it is is proposed again, which makes the older
//! one void.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use weir_protocol::ids::{Incarnation, LeaderEpoch, Offset, PartitionEpoch, SpuId};
use weir_runtime::plant;

use super::{
    event::{Action, Refusal, RequestId},
    high_watermark,
    partition::{Replica, Role},
};

/// After a refusal nobody new is proposed for so long, ms.
const REFUSED_PAUSE_MS: u64 = 1_000;
/// A follower that has been behind for so long is named as who stalls the partition, ms.
const STALL_MS: u64 = 1_000;

/// Why nothing is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stall {
    /// This one is in sync and does not hold what there is.
    #[error(
        "SPU {0} is in sync and lacks some of it; it is dropped from the in-sync replicas once the \
         control plane agrees"
    )]
    Follower(SpuId),
    /// The in-sync set is too small.
    #[error(
        "too few replicas are in sync: {in_sync}, and it takes {min_insync} (min_insync_replicas)"
    )]
    NotEnough {
        /// How many are.
        in_sync: u32,
        /// How many commit.
        min_insync: u32,
    },
}

/// What a follower says: all that it is to the partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FollowerFetch {
    /// To answer it by.
    pub request: RequestId,
    /// Which SPU.
    pub spu: SpuId,
    /// In which life.
    pub incarnation: Incarnation,
    /// The leader epoch that it follows.
    pub leader_epoch: LeaderEpoch,
    /// The next offset that it lacks.
    pub log_end: Offset,
    /// The epoch of its last record; none: it holds no record.
    pub last_epoch: Option<LeaderEpoch>,
    /// First offset that it does not hold as an acknowledgement asks for.
    pub held_end: Offset,
    /// The last ping that it heard.
    pub ping_round: u64,
    /// On this process's own clock, ms.
    pub now_ms: u64,
}

/// What a leader does for a follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Its log is the beginning of this one: send what follows.
    Feed,
    /// The logs part: this is where the largest epoch that is not above its last one ends here.
    Diverged {
        /// That epoch.
        epoch: LeaderEpoch,
        /// One past its last offset here.
        end: Offset,
        /// Where the follower's log ends.
        at: Offset,
    },
    /// What it lacks is not kept any more.
    StartAnew {
        /// Where this log starts.
        log_start: Offset,
    },
}

/// One follower, as its leader knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Follower {
    incarnation: Incarnation,
    held_end: Offset,
    ping_round: u64,
    /// Since when it does not hold all that there is; none: it does.
    behind_since_ms: Option<u64>,
    /// When it was heard last, and where the log ended then.
    heard: (u64, Offset),
}

/// An in-sync set that the control plane is asked to store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// At which this process leads.
    pub leader_epoch: LeaderEpoch,
    /// That it was made on.
    pub partition_epoch: PartitionEpoch,
    /// The set: the leader too, each in the life in which it was heard.
    pub members: BTreeMap<SpuId, Incarnation>,
}

/// A leader's followers. Those that never fetched are not in it.
#[derive(Clone, Debug, Default)]
pub(super) struct Followers {
    known: BTreeMap<SpuId, Follower>,
    proposal: Option<Proposal>,
    /// Everybody who was proposed on the present partition epoch: see the module.
    proposed: BTreeSet<SpuId>,
    /// Nobody new before.
    quiet_until_ms: u64,
    now_ms: u64,
    /// Since when those who were never heard are waited for.
    since_ms: u64,
    /// Counts the pings of this process.
    ping_round: u64,
    /// Who wants to know whether this process leads, from which round on.
    confirming: VecDeque<(RequestId, u64)>,
}

impl Followers {
    /// A leadership begins.
    pub fn begin(&mut self) {
        let (now_ms, ping_round) = (self.now_ms, self.ping_round);
        *self = Self { now_ms, since_ms: now_ms, ping_round, ..Self::default() };
    }

    /// The control plane's word has a higher partition epoch: whatever was proposed is settled.
    pub fn settled(&mut self, replicas: &BTreeSet<SpuId>) {
        self.proposal = None;
        self.proposed.clear();
        self.known.retain(|spu, _| replicas.contains(spu));
    }

    /// What the follower holds, as far as is known in this leadership.
    fn held_end(&self, spu: SpuId) -> Offset {
        self.known.get(&spu).map_or(Offset::ZERO, |follower| follower.held_end)
    }

    /// Records were appended: whoever held everything is behind from now on.
    pub fn appended(&mut self, before: Offset) {
        for follower in self.known.values_mut().filter(|f| f.held_end >= before) {
            follower.behind_since_ms.get_or_insert(self.now_ms);
        }
    }

    /// Takes those who wait to hear that this process leads.
    pub fn unconfirmed(&mut self) -> impl Iterator<Item = RequestId> + use<> {
        std::mem::take(&mut self.confirming).into_iter().map(|(request, _)| request)
    }

    pub const fn proposal(&self) -> Option<&Proposal> {
        self.proposal.as_ref()
    }
}

impl Replica {
    pub(super) fn fetch(&mut self, fetch: FollowerFetch, actions: &mut Vec<Action>) {
        self.followers.now_ms = self.followers.now_ms.max(fetch.now_ms);
        let request = fetch.request;
        let verdict = self.heard(&fetch);
        if verdict == Ok(Verdict::Feed) {
            self.note(&fetch);
        }
        actions.push(Action::Feed { request, verdict });
        self.commit(actions);
        self.propose();
    }

    /// Whether the follower's log is the beginning of this one.
    fn heard(&self, fetch: &FollowerFetch) -> Result<Verdict, Refusal> {
        self.leads_at(fetch.leader_epoch)?;
        let known = self.followers.known.get(&fetch.spu);
        if !self.replicas.contains(&fetch.spu)
            || known.is_some_and(|known| known.incarnation > fetch.incarnation)
        {
            return Err(Refusal::NoFollower { spu: fetch.spu });
        }
        if fetch.log_end < self.log_start {
            return Ok(Verdict::StartAnew { log_start: self.log_start });
        }
        let at = fetch.log_end;
        let Some(last) = fetch.last_epoch else {
            return Ok(if fetch.log_end <= self.log_end {
                Verdict::Feed
            } else {
                let epoch = self.epochs.latest().unwrap_or_default();
                Verdict::Diverged { epoch, end: self.log_end, at }
            });
        };
        match self.epochs.end_of(last, self.log_end) {
            Some((epoch, end)) if epoch == last && end >= fetch.log_end => Ok(Verdict::Feed),
            Some((epoch, end)) => Ok(Verdict::Diverged { epoch, end, at }),
            // All of this log is younger than the follower's last record.
            None => Ok(Verdict::Diverged { epoch: LeaderEpoch(0), end: self.log_start, at }),
        }
    }

    fn note(&mut self, fetch: &FollowerFetch) {
        let (now_ms, log_end) = (self.followers.now_ms, self.log_end);
        let before = self.followers.known.get(&fetch.spu);
        let before = before.filter(|known| known.incarnation == fetch.incarnation).copied();
        let claimed =
            if plant::active("fetched_is_durable") { fetch.log_end } else { fetch.held_end };
        let held_end = claimed.min(fetch.log_end);
        let behind_since_ms = match before {
            _ if held_end >= log_end => None,
            // It holds all that there was when it was heard last: no older lag is left.
            Some(known) if held_end >= known.heard.1 => Some(known.heard.0),
            Some(known) => known.behind_since_ms.or(Some(now_ms)),
            None => Some(now_ms),
        };
        let follower = Follower {
            incarnation: fetch.incarnation,
            held_end: before.map_or(held_end, |known| known.held_end.max(held_end)),
            ping_round: before.map_or(0, |known| known.ping_round).max(fetch.ping_round),
            behind_since_ms,
            heard: (now_ms, log_end),
        };
        self.followers.known.insert(fetch.spu, follower);
    }

    /// The high watermark waits for all of these: see the module.
    fn waited_for(&self) -> impl Iterator<Item = SpuId> + '_ {
        let proposed = self.followers.proposed.iter().copied();
        let proposed = proposed
            .filter(|spu| !self.isr.contains(spu) && !plant::active("expansion_counts_confirmed"));
        self.isr.iter().copied().chain(proposed).filter(|spu| !self.planted_shrink(*spu))
    }

    /// The planted bug "local_shrink": a leader that stops waiting for whoever is slow without
    /// asking anybody.
    fn planted_shrink(&self, spu: SpuId) -> bool {
        plant::active("local_shrink") && Some(spu) != self.me && self.lags(spu)
    }

    /// How many are in sync, as the control plane confirmed it: what is proposed does not count.
    pub(super) fn in_sync(&self) -> u32 {
        u32::try_from(self.isr.len()).unwrap_or(u32::MAX)
    }

    /// How far the log is committed now.
    pub(super) fn committed(&self) -> Offset {
        let me = self.me;
        let held = |spu| match Some(spu) == me {
            true => self.held_end(),
            false => self.followers.held_end(spu),
        };
        if plant::active("commit_at_append") {
            return self.high_watermark.max(self.log_end);
        }
        if self.in_sync() < self.min_insync && !plant::active("commit_below_min_insync") {
            return self.high_watermark;
        }
        let ends = self.waited_for().map(held).chain([self.held_end()]);
        high_watermark::advance(self.high_watermark, ends)
    }

    /// Since when the follower does not hold all that there is; none: it does.
    fn behind_since_ms(&self, spu: SpuId) -> Option<u64> {
        match self.followers.known.get(&spu) {
            Some(follower) => follower.behind_since_ms,
            None => (self.log_end > self.log_start).then_some(self.followers.since_ms),
        }
    }

    /// Whether it has been behind for longer than that.
    fn behind_for(&self, spu: SpuId, longer_than_ms: u64) -> bool {
        let since = self.behind_since_ms(spu);
        since.is_some_and(|since| self.followers.now_ms.saturating_sub(since) > longer_than_ms)
    }

    fn lags(&self, spu: SpuId) -> bool {
        self.behind_for(spu, self.limits.replica_lag_max_ms)
    }

    /// Why nothing is committed, where that has gone on for a while.
    #[must_use]
    pub fn stall(&self) -> Option<Stall> {
        if !matches!(self.role, Role::Leader { .. }) || self.high_watermark >= self.log_end {
            return None;
        }
        let (in_sync, min_insync) = (self.in_sync(), self.min_insync);
        if in_sync < min_insync {
            return Some(Stall::NotEnough { in_sync, min_insync });
        }
        let mut others = self.waited_for().filter(|spu| Some(*spu) != self.me);
        others.find(|spu| self.behind_for(*spu, STALL_MS)).map(Stall::Follower)
    }

    /// Whether the follower holds all that is committed, and all that there was when this
    /// leadership began, so that it may lead next.
    fn caught_up(&self, follower: &Follower) -> bool {
        let Role::Leader { began_at, .. } = self.role else { return false };
        follower.held_end >= self.high_watermark.max(began_at)
    }

    /// The set that this leader wants, if it is another than the one that there is.
    fn wanted(&self) -> Option<BTreeMap<SpuId, Incarnation>> {
        let Role::Leader { incarnation, .. } = self.role else { return None };
        let me = self.me?;
        let followers = &self.followers;
        let life = |spu: &SpuId| followers.known.get(spu).map(|f| f.incarnation);
        let mut wanted = BTreeMap::from([(me, incarnation)]);
        for spu in self.isr.iter().filter(|spu| **spu != me && !self.lags(**spu)) {
            wanted.insert(*spu, life(spu).unwrap_or_default());
        }
        if followers.now_ms >= followers.quiet_until_ms {
            for (spu, follower) in &followers.known {
                // One that is gone may have held everything: it would be refused, and whoever is
                // proposed with it. (To be silent proves nothing: who has everything waits.)
                let online = self.online.get(spu) == Some(&follower.incarnation);
                if !self.isr.contains(spu) && online && self.caught_up(follower) {
                    wanted.insert(*spu, follower.incarnation);
                }
            }
        }
        (!wanted.keys().eq(self.isr.iter())).then_some(wanted)
    }

    /// Proposes another set where one is wanted and nothing is being decided.
    pub(super) fn propose(&mut self) {
        let Role::Leader { epoch, .. } = self.role else { return };
        if self.followers.proposal.is_some() {
            return;
        }
        let Some(members) = self.wanted() else { return };
        self.ask(epoch, members);
    }

    fn ask(&mut self, leader_epoch: LeaderEpoch, members: BTreeMap<SpuId, Incarnation>) {
        self.followers.proposed.extend(members.keys().copied());
        let partition_epoch = self.partition_epoch;
        self.followers.proposal = Some(Proposal { leader_epoch, partition_epoch, members });
    }

    pub(super) fn isr_refused(&mut self, on: PartitionEpoch) {
        let Role::Leader { epoch, incarnation, .. } = self.role else { return };
        let followers = &mut self.followers;
        if on != self.partition_epoch || followers.proposal.take().is_none() {
            return;
        }
        followers.quiet_until_ms = followers.now_ms + REFUSED_PAUSE_MS;
        if followers.proposed.iter().any(|spu| !self.isr.contains(spu)) {
            let life = |spu: &SpuId| match Some(*spu) == self.me {
                true => incarnation,
                false => followers.known.get(spu).map_or(Incarnation::default(), |f| f.incarnation),
            };
            let as_it_is = self.isr.iter().map(|spu| (*spu, life(spu))).collect();
            self.ask(epoch, as_it_is);
        }
    }

    pub(super) fn confirm(&mut self, request: RequestId, actions: &mut Vec<Action>) {
        if let Err(refusal) = self.leads_at(self.leader_hint.1) {
            actions.push(Action::Respond { request, answer: Err(refusal) });
            return;
        }
        let in_sync = self.in_sync();
        if in_sync < self.min_insync {
            let refusal = Refusal::NotEnoughReplicas { in_sync, min_insync: self.min_insync };
            actions.push(Action::Respond { request, answer: Err(refusal) });
            return;
        }
        self.followers.ping_round += 1;
        let round = self.followers.ping_round;
        self.followers.confirming.push_back((request, round));
        self.commit(actions);
    }

    /// Takes those who may be told that this process leads: every replica in sync said so after
    /// they had asked, and there are as many as it takes to commit. (With fewer, another may
    /// have been elected from outside of the set, and have committed since.)
    pub(super) fn confirmed(&mut self) -> Vec<RequestId> {
        if self.followers.confirming.is_empty() || self.in_sync() < self.min_insync {
            return Vec::new();
        }
        let others = self.isr.iter().filter(|spu| Some(**spu) != self.me);
        let round = |spu: &SpuId| self.followers.known.get(spu).map_or(0, |f| f.ping_round);
        let heard = others.map(round).min().unwrap_or(u64::MAX);
        let waiting = &mut self.followers.confirming;
        let done = waiting.iter().take_while(|(_, round)| *round <= heard).count();
        waiting.drain(..done).map(|(request, _)| request).collect()
    }

    /// The newest ping, and whether somebody waits until every follower in sync has repeated it.
    #[must_use]
    pub fn ping(&self) -> (u64, bool) {
        (self.followers.ping_round, !self.followers.confirming.is_empty())
    }

    pub(super) fn tick(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        self.followers.now_ms = self.followers.now_ms.max(now_ms);
        self.commit(actions);
        self.propose();
    }

    /// The set that the control plane is to be asked for, until its answer is here.
    #[must_use]
    pub fn proposal(&self) -> Option<&Proposal> {
        self.followers.proposal()
    }

    /// When time alone changes something, ms: somebody comes to lag, or to be named as who stalls
    /// the partition, or may be proposed after a pause.
    #[must_use]
    pub fn time_due_ms(&self) -> Option<u64> {
        if !matches!(self.role, Role::Leader { .. }) || self.replicas.len() < 2 {
            return None;
        }
        let followers = &self.followers;
        let others = self.isr.iter().filter(|spu| Some(**spu) != self.me);
        let behind = others.filter_map(|spu| self.behind_since_ms(*spu));
        let limits = [STALL_MS, self.limits.replica_lag_max_ms];
        let lags = behind.flat_map(|since| limits.map(|limit| since + limit + 1));
        let quiet = Some(followers.quiet_until_ms);
        let waits = lags.chain(quiet).filter(|due| *due > followers.now_ms);
        waits.min()
    }
}
