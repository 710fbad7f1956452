//! The state of one replica, and the decision whether this process leads.

use std::collections::{BTreeMap, BTreeSet};

use weir_protocol::{
    ids::{Incarnation, LeaderEpoch, Offset, PartitionEpoch, PartitionKey, SpuId},
    topic_config::Flush,
};
use weir_runtime::plant;

use super::{
    event::{Ack, Action, Assignment, Event, Problem, Refusal, RequestId, Stamp},
    followers::Followers,
    leader_epoch::LeaderEpochs,
    producer_state::{LastBatch, ProducerState},
    start_offset::Readable,
    waits::Waits,
};

/// What this process is to the partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Appends and answers.
    Leader {
        /// Its leadership, which belongs to `incarnation` alone.
        epoch: LeaderEpoch,
        /// This process's incarnation.
        incarnation: Incarnation,
        /// The log end when it began: until the high watermark is there, the predecessor
        /// may have committed more than is known here.
        began_at: Offset,
    },
    /// Holds a copy.
    Follower {
        /// Whom it follows; none: nobody leads.
        leader: Option<SpuId>,
        /// In which epoch.
        epoch: LeaderEpoch,
        /// This process's incarnation.
        incarnation: Incarnation,
    },
    /// Out of service until the process starts again.
    Offline(Problem),
    /// Holds data that is not served: a tombstone, or before the first assignment.
    None,
}

/// Bounds of a replica's memory.
#[derive(Clone, Copy, Debug)]
pub struct ReplicaLimits {
    /// Idempotent producers remembered.
    pub producers_max: usize,
    /// A follower that has not held all that there is for so long is not in sync, ms.
    pub replica_lag_max_ms: u64,
}

/// One replica: [`Replica::handle`] takes what happened and says what to do.
#[derive(Clone, Debug)]
pub struct Replica {
    pub(super) key: PartitionKey,
    pub(super) role: Role,
    pub(super) log_start: Offset,
    pub(super) high_watermark: Offset,
    /// First offset known not to be on this disk.
    pub(super) durable_end: Offset,
    /// Next offset of what was written.
    pub(super) log_end: Offset,
    /// Next offset to give away: beyond `log_end` while appends are under way.
    pub(super) next_offset: Offset,
    pub(super) leader_hint: (Option<SpuId>, LeaderEpoch),
    pub(super) partition_epoch: PartitionEpoch,
    /// The newest election that may have cut what was committed.
    pub(super) unclean_epoch: LeaderEpoch,
    pub(super) min_insync: u32,
    pub(super) flush: Flush,
    pub(super) me: Option<SpuId>,
    pub(super) limits: ReplicaLimits,
    pub(super) replicas: BTreeSet<SpuId>,
    pub(super) online: BTreeMap<SpuId, Incarnation>,
    /// The in-sync set as the control plane confirmed it.
    pub(super) isr: BTreeSet<SpuId>,
    /// On a leader: what it knows of the others.
    pub(super) followers: Followers,
    /// On a follower: what its leader said is committed there, and where the log starts there.
    pub(super) heard_high_watermark: Offset,
    pub(super) leader_log_start: Offset,
    pub(super) epochs: LeaderEpochs,
    /// The leadership that this process holds or held last.
    pub(super) led: Option<(LeaderEpoch, Incarnation)>,
    pub(super) producers: ProducerState,
    pub(super) unwritten: Vec<(RequestId, Offset)>,
    pub(super) for_durable: Waits,
    pub(super) for_committed: Waits,
}

impl Replica {
    /// A replica as its log was found. Nothing is committed before it leads or hears of it.
    #[must_use]
    pub fn recovered(
        key: PartitionKey,
        log_start: Offset,
        log_end: Offset,
        durable_end: Offset,
        limits: ReplicaLimits,
    ) -> Self {
        Self {
            key,
            role: Role::None,
            log_start,
            high_watermark: log_start,
            durable_end,
            log_end,
            next_offset: log_end,
            leader_hint: (None, LeaderEpoch(0)),
            partition_epoch: PartitionEpoch(0),
            unclean_epoch: LeaderEpoch(0),
            min_insync: 1,
            flush: Flush::BeforeAck,
            me: None,
            limits,
            replicas: BTreeSet::new(),
            online: BTreeMap::new(),
            isr: BTreeSet::new(),
            followers: Followers::default(),
            heard_high_watermark: Offset::ZERO,
            leader_log_start: Offset::ZERO,
            epochs: LeaderEpochs::default(),
            led: None,
            producers: ProducerState::new(limits.producers_max),
            unwritten: Vec::new(),
            for_durable: Waits::default(),
            for_committed: Waits::default(),
        }
    }

    /// A replica whose log cannot be opened.
    #[must_use]
    pub fn offline(key: PartitionKey, problem: Problem) -> Self {
        let zero = Offset::ZERO;
        let limits = ReplicaLimits { producers_max: 1, replica_lag_max_ms: 0 };
        let replica = Self::recovered(key, zero, zero, zero, limits);
        Self { role: Role::Offline(problem), ..replica }
    }

    /// Tells of a leadership that the log knows, oldest first, before any event.
    pub fn replay_epoch(&mut self, epoch: LeaderEpoch, start: Offset) {
        self.epochs.begin(epoch, start);
    }

    /// Tells of a batch that is in the log already, oldest first, before any event.
    pub fn replay(
        &mut self,
        epoch: LeaderEpoch,
        stamp: Option<Stamp>,
        base_offset: Offset,
        last_offset: Offset,
    ) {
        self.epochs.begin(epoch, base_offset);
        if let Some(stamp) = stamp {
            self.producers.append(stamp, base_offset, last_offset);
            self.producers.commit();
        }
    }

    /// Takes what happened; appends what to do to `actions`.
    pub fn handle(&mut self, event: Event, actions: &mut Vec<Action>) {
        match event {
            Event::Assign(assignment) => self.assign(&assignment, actions),
            Event::Produce(produce) => self.produce(produce, actions),
            Event::Appended => self.appended(actions),
            Event::AppendRefused(refusal) => self.append_refused(&refusal, actions),
            Event::AppendFailed(problem) | Event::Broken(problem) => self.broken(problem, actions),
            Event::Synced { durable_end } => self.synced(durable_end, actions),
            Event::StartMoved { log_start } => {
                self.log_start = self.log_start.max(log_start.min(self.high_watermark));
            }
            Event::Fetch(fetch) => self.fetch(fetch, actions),
            Event::FromLeader(said) => self.hear_leader(said, actions),
            Event::Taken(taken) => self.taken(&taken.batches),
            Event::WasCut { cut, log_end } => self.was_cut(cut, log_end),
            Event::IsrRefused(on) => self.isr_refused(on),
            Event::Confirm(request) => self.confirm(request, actions),
            Event::Tick { now_ms } => self.tick(now_ms, actions),
        }
    }

    /// Which log.
    #[must_use]
    pub const fn key(&self) -> PartitionKey {
        self.key
    }

    /// What this process is to it.
    #[must_use]
    pub const fn role(&self) -> &Role {
        &self.role
    }

    /// The newest partition epoch heard.
    #[must_use]
    pub const fn partition_epoch(&self) -> PartitionEpoch {
        self.partition_epoch
    }

    /// Who leads at which epoch, as far as is known here.
    #[must_use]
    pub const fn leader_hint(&self) -> (Option<SpuId>, LeaderEpoch) {
        self.leader_hint
    }

    /// Whether others are in sync, as far as is known here.
    #[must_use]
    pub fn others_are_in_sync(&self) -> bool {
        self.isr.iter().any(|spu| Some(*spu) != self.me)
    }

    /// What of it can be read.
    #[must_use]
    pub fn readable(&self) -> Readable {
        let settled = match self.role {
            Role::Leader { began_at, .. } => self.high_watermark >= began_at,
            _ => false,
        };
        let (log_start, high_watermark) = (self.log_start, self.high_watermark);
        Readable { log_start, high_watermark, settled }
    }

    /// How many replicas there are, and how many of them are in sync, as confirmed.
    #[must_use]
    pub fn replicas(&self) -> (u32, u32) {
        (u32::try_from(self.replicas.len()).unwrap_or(u32::MAX), self.in_sync())
    }

    /// How far the log of the leader that is followed is committed, as was heard.
    #[must_use]
    pub const fn heard_high_watermark(&self) -> Offset {
        self.heard_high_watermark
    }

    /// Where the leader that is followed has its log start.
    #[must_use]
    pub const fn leader_log_start(&self) -> Offset {
        self.leader_log_start
    }

    /// Next offset of what was written.
    #[must_use]
    pub const fn log_end(&self) -> Offset {
        self.log_end
    }

    /// First offset not known to be on this disk.
    #[must_use]
    pub const fn durable_end(&self) -> Offset {
        self.durable_end
    }

    /// The epoch of the last record that was written, also where that was removed for its age; none:
    /// there never was one.
    #[must_use]
    pub fn newest_epoch(&self) -> Option<LeaderEpoch> {
        let last = self.log_end.get().checked_sub(1).map(Offset);
        last.and_then(|last| self.epochs.at(last))
    }

    /// First offset that this replica does not yet hold as an acknowledgement asks for: on its
    /// disk, or, where the topic says that this is enough, in its log.
    #[must_use]
    pub const fn held_end(&self) -> Offset {
        match self.flush {
            Flush::BeforeAck => self.durable_end,
            Flush::Interval { .. } => self.log_end,
        }
    }

    /// What each producer wrote last, in the order of the log, of what is in it.
    #[must_use]
    pub fn last_batches(&self) -> Vec<LastBatch> {
        self.producers.last_batches()
    }

    /// Requests that were appended and not yet answered.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.unwritten.len() + self.for_durable.len() + self.for_committed.len()
    }

    fn assign(&mut self, word: &Assignment, actions: &mut Vec<Action>) {
        if matches!(self.role, Role::Offline(_)) || word.partition_epoch < self.partition_epoch {
            return;
        }
        if word.partition_epoch > self.partition_epoch {
            self.followers.settled(&word.replicas);
        }
        self.partition_epoch = word.partition_epoch;
        self.leader_hint = (word.leader, word.leader_epoch);
        self.min_insync = word.min_insync;
        self.flush = word.config.flush;
        self.me = Some(word.me);
        self.replicas.clone_from(&word.replicas);
        self.isr.clone_from(&word.isr);
        self.online.clone_from(&word.online);

        let held = match self.role {
            Role::Leader { epoch, incarnation, .. } => Some((epoch, incarnation)),
            _ => None,
        };
        let given = self.leadership_given(word);
        match given {
            Some(leadership) if held == given => {
                debug_assert_eq!(self.led, Some(leadership));
            }
            Some((epoch, incarnation)) => {
                self.epochs.begin(epoch, self.log_end);
                self.led = Some((epoch, incarnation));
                self.role = Role::Leader { epoch, incarnation, began_at: self.log_end };
                self.followers.begin();
            }
            None => {
                if held.is_some() {
                    self.give_up(actions);
                }
                self.forget_what_was_cut(word.unclean_epoch);
                self.follow(word);
            }
        }
        self.unclean_epoch = self.unclean_epoch.max(word.unclean_epoch);
        self.commit(actions);
        self.propose();
    }

    /// Somebody leads who may lack what this replica knew to be committed: it knows as little of
    /// that now as after a start, so it may be told to cut below.
    fn forget_what_was_cut(&mut self, unclean_epoch: LeaderEpoch) {
        if unclean_epoch > self.unclean_epoch {
            self.high_watermark = self.log_start;
            (self.heard_high_watermark, self.leader_log_start) = (Offset::ZERO, Offset::ZERO);
        }
    }

    fn follow(&mut self, word: &Assignment) {
        let before = std::mem::replace(&mut self.role, Role::None);
        let Some(incarnation) = word.incarnation else { return };
        if word.serving && word.replicas.contains(&word.me) {
            let leader = word.leader.filter(|leader| *leader != word.me);
            self.role = Role::Follower { leader, epoch: word.leader_epoch, incarnation };
        }
        if self.role != before {
            // What another leader said of its log says nothing of this one's.
            (self.heard_high_watermark, self.leader_log_start) = (Offset::ZERO, Offset::ZERO);
        }
    }

    /// The leadership that the assignment gives to this very process. An epoch belongs to
    /// one incarnation: a new one never leads in an old epoch, not even alone, because its
    /// log may lack what the epoch acknowledged.
    fn leadership_given(&self, word: &Assignment) -> Option<(LeaderEpoch, Incarnation)> {
        let mine = word.serving
            && word.leader == Some(word.me)
            && word.incarnation == Some(word.leader_incarnation);
        let leadership = (word.leader_epoch, word.leader_incarnation);
        let unused = self.epochs.latest().is_none_or(|latest| latest < word.leader_epoch)
            || plant::active("incarnation_leads_on");
        (mine && (unused || self.led == Some(leadership))).then_some(leadership)
    }

    /// What was appended may yet be committed by the next leader: unknown, not failed.
    fn give_up(&mut self, actions: &mut Vec<Action>) {
        let (leader, epoch) = self.leader_hint;
        self.answer_all(&Refusal::LeaderLost { leader, epoch }, actions);
    }

    pub(super) fn broken(&mut self, problem: Problem, actions: &mut Vec<Action>) {
        if matches!(self.role, Role::Offline(_)) {
            return;
        }
        self.answer_all(&Refusal::StorageFailed(problem.clone()), actions);
        self.producers.roll_back();
        self.next_offset = self.log_end;
        self.role = Role::Offline(problem);
    }

    fn answer_all(&mut self, refusal: &Refusal, actions: &mut Vec<Action>) {
        let all = std::mem::take(&mut self.unwritten).into_iter().map(|(request, _)| request);
        let all = all.chain(self.for_durable.take_from(Offset::ZERO));
        let all = all.chain(self.for_committed.take_from(Offset::ZERO));
        let all: Vec<_> = all.chain(self.followers.unconfirmed()).collect();
        actions.extend(
            all.into_iter()
                .map(|request| Action::Respond { request, answer: Err(refusal.clone()) }),
        );
    }

    /// Moves the high watermark on and answers who waited for it.
    pub(super) fn commit(&mut self, actions: &mut Vec<Action>) {
        if !matches!(self.role, Role::Leader { .. }) {
            return;
        }
        self.high_watermark = self.committed();
        for (request, ack) in self.for_committed.take_below(self.high_watermark) {
            actions.push(Action::Respond { request, answer: Ok(ack) });
        }
        for request in self.confirmed() {
            let ack = Ack { base_offset: self.high_watermark, duplicate: false };
            actions.push(Action::Respond { request, answer: Ok(ack) });
        }
    }
}
