//! What a follower does with what its leader says (KIP-101, KIP-279, KIP-320, KIP-595).
//!
//! A follower asks with all that it is: its epoch, where its log ends, the epoch of its last
//! record, what it holds durably. The leader compares: either the follower's log is the
//! beginning of its own, and it sends what follows, or it says where they part, and the follower
//! cuts there and asks again. Whatever belongs to another epoch than the one followed now is
//! left out, so a follower never answers in an epoch that is over.

use weir_protocol::{
    ErrorCode,
    ids::{Incarnation, LeaderEpoch, Offset, SpuId},
};
use weir_runtime::plant;

use super::{
    event::{Action, Problem, Stamp},
    leader_epoch::LeaderEpochs,
    partition::{Replica, Role},
    producer_state::{LastBatch, ProducerState},
};

/// What a leader said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FromLeader {
    /// In which epoch.
    pub leader_epoch: LeaderEpoch,
    /// How far its log is committed.
    pub high_watermark: Offset,
    /// Where its log starts.
    pub log_start: Offset,
    /// The rest.
    pub news: News,
}

/// What a leader said beside its watermarks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// Nothing.
    None,
    /// Batches that follow on, verified.
    Batches(Taken),
    /// The logs part: see [`super::followers::Verdict::Diverged`].
    Diverged {
        /// The largest epoch there that is not above this log's last one.
        epoch: LeaderEpoch,
        /// One past its last offset there.
        end: Offset,
        /// Where this log ended when it was compared.
        at: Offset,
    },
    /// What this log lacks is not kept any more; what producers wrote before the log start.
    StartAnew {
        /// For the duplicate check.
        producers: Vec<LastBatch>,
    },
}

/// Batches of one answer, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// What the duplicate check and the epochs need of each, never empty.
    pub batches: Vec<TakenBatch>,
}

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TakenBatch {
    /// Offset of its first record.
    pub base_offset: Offset,
    /// Offset of its last record.
    pub last_offset: Offset,
    /// The epoch in which it was appended first.
    pub epoch: LeaderEpoch,
    /// Its place in an idempotent producer's sequence.
    pub stamp: Option<Stamp>,
}

/// What is to go from a follower's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cut {
    /// All from here on.
    From(Offset),
    /// Everything; the log begins anew.
    Anew {
        /// Here.
        at: Offset,
        /// What producers wrote last below that.
        producers: Vec<LastBatch>,
    },
}

/// What a follower asks its leader with. One value, taken in one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Following {
    /// Whom it follows.
    pub leader: SpuId,
    /// In which epoch.
    pub leader_epoch: LeaderEpoch,
    /// In which life of its own.
    pub incarnation: Incarnation,
    /// Next offset that it lacks.
    pub log_end: Offset,
    /// The epoch of its last record; none: it holds no record.
    pub last_epoch: Option<LeaderEpoch>,
    /// First offset that it does not hold as an acknowledgement asks for.
    pub held_end: Offset,
}

impl Replica {
    /// What to ask the leader with, where this replica follows one.
    #[must_use]
    pub fn following(&self) -> Option<Following> {
        if plant::active("answers_old_epoch") && matches!(self.role, Role::Leader { .. }) {
            return self.planted_old_answer();
        }
        let Role::Follower { leader: Some(leader), epoch, incarnation } = self.role else {
            return None;
        };
        Some(Following {
            leader,
            leader_epoch: epoch,
            incarnation,
            log_end: self.log_end,
            last_epoch: self.last_epoch(),
            held_end: self.held_end(),
        })
    }

    /// The planted bug "answers_old_epoch": who leads goes on telling the one before, in the epoch
    /// before, how much it holds, whatever that is by now.
    fn planted_old_answer(&self) -> Option<Following> {
        let Role::Leader { epoch, incarnation, .. } = self.role else { return None };
        let before = LeaderEpoch(epoch.get().checked_sub(1)?);
        let leader = *self.replicas.iter().find(|spu| Some(**spu) != self.me)?;
        Some(Following {
            leader,
            leader_epoch: before,
            incarnation,
            log_end: self.log_end,
            last_epoch: Some(before),
            held_end: self.held_end(),
        })
    }

    /// The epoch of the last record.
    #[must_use]
    pub fn last_epoch(&self) -> Option<LeaderEpoch> {
        let last = Offset(self.log_end.get().checked_sub(1)?);
        if last < self.log_start { None } else { self.epochs.at(last) }
    }

    pub(super) fn hear_leader(&mut self, said: FromLeader, actions: &mut Vec<Action>) {
        let Role::Follower { epoch, .. } = self.role else { return };
        if said.leader_epoch != epoch && !plant::active("any_leader_epoch") {
            return;
        }
        match said.news {
            News::None => self.hear(said.high_watermark, said.log_start),
            News::Batches(taken) => {
                if self.take(taken, actions) {
                    self.hear(said.high_watermark, said.log_start);
                }
            }
            // What is committed there says nothing of this log before it is cut.
            News::Diverged { epoch, end, at } if at == self.log_end => {
                self.diverged(epoch, end, actions);
            }
            // It is of a log that was cut since.
            News::Diverged { .. } => {}
            News::StartAnew { producers } => {
                if said.log_start > self.log_end {
                    actions.push(Action::Cut(Cut::Anew { at: said.log_start, producers }));
                }
            }
        }
    }

    /// This log is the beginning of the leader's: of what is committed there, all that is here
    /// is committed. Of the rest this replica knows only that it exists.
    fn hear(&mut self, high_watermark: Offset, log_start: Offset) {
        self.heard_high_watermark = self.heard_high_watermark.max(high_watermark);
        self.leader_log_start = self.leader_log_start.max(log_start);
        self.follow_high_watermark();
    }

    fn follow_high_watermark(&mut self) {
        let here = self.heard_high_watermark.min(self.log_end);
        self.high_watermark = self.high_watermark.max(here);
    }

    /// Whether it was taken.
    fn take(&mut self, taken: Taken, actions: &mut Vec<Action>) -> bool {
        let (Some(first), Some(last)) = (taken.batches.first(), taken.batches.last()) else {
            return false;
        };
        let follows = first.base_offset == self.log_end
            && taken.batches.windows(2).all(|pair| {
                pair[0].last_offset.next() == pair[1].base_offset && pair[0].epoch <= pair[1].epoch
            });
        // What does not follow on answers an older question.
        if self.next_offset != self.log_end || !follows {
            return false;
        }
        for batch in &taken.batches {
            if let Some(stamp) = batch.stamp {
                self.producers.append(stamp, batch.base_offset, batch.last_offset);
            }
        }
        self.next_offset = last.last_offset.next();
        actions.push(Action::Take(taken));
        true
    }

    /// The batches of [`Action::Take`] are in the log.
    pub(super) fn taken(&mut self, taken: &[TakenBatch]) {
        // An epoch in which this replica led and wrote nothing leaves no trace.
        self.epochs.truncate_to(self.log_end);
        for batch in taken {
            self.epochs.begin(batch.epoch, batch.base_offset);
        }
        self.log_end = self.next_offset;
        self.producers.commit();
        self.follow_high_watermark();
    }

    fn diverged(&mut self, epoch: LeaderEpoch, end: Offset, actions: &mut Vec<Action>) {
        // The end of the leader's epoch in this log; where it has none of it, all that is of a
        // later one goes.
        let own = self.epochs.end_of(epoch, self.log_end).map_or(self.log_start, |(_, end)| end);
        let to = match plant::active("truncate_to_high_watermark") {
            true => self.high_watermark,
            false => own.min(end).max(self.log_start),
        };
        if to < self.high_watermark || to >= self.log_end {
            let reason = format!(
                "the leader's log parts from this one at {to}, which holds {} to {} and knows \
                 all below {} to be committed",
                self.log_start, self.log_end, self.high_watermark
            );
            self.broken(Problem::new(ErrorCode::ReplicaOffline, reason), actions);
            return;
        }
        actions.push(Action::Cut(Cut::From(to)));
    }

    pub(super) fn was_cut(&mut self, cut: Cut, log_end: Offset) {
        if let Cut::Anew { producers, .. } = cut {
            self.epochs = LeaderEpochs::default();
            self.producers = ProducerState::new(self.limits.producers_max);
            for batch in producers {
                self.producers.append(batch.stamp, batch.base_offset, batch.last_offset);
            }
            self.producers.commit();
            (self.log_start, self.high_watermark) = (log_end, log_end);
            self.durable_end = log_end;
        } else {
            self.producers.truncate_to(log_end);
            self.epochs.truncate_to(log_end);
            self.durable_end = self.durable_end.min(log_end);
        }
        self.log_end = log_end;
        self.next_offset = log_end;
    }
}
