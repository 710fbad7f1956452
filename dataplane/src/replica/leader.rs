//! What becomes of a produced batch on the leader, from its arrival to its acknowledgement.

use weir_protocol::{
    ids::{LeaderEpoch, Offset},
    topic_config::Flush,
};
use weir_runtime::plant;

use super::{
    event::{Ack, Acks, Action, Produce, Refusal, RequestId},
    partition::{Replica, Role},
    producer_state::Check,
};

impl Replica {
    pub(super) fn produce(&mut self, produce: Produce, actions: &mut Vec<Action>) {
        let request = produce.request;
        let placed =
            self.leads_at(produce.leader_epoch).and_then(|epoch| self.place(produce, epoch));
        match placed {
            Ok(Some((base_offset, epoch))) => {
                actions.push(Action::Append { request, base_offset, epoch });
            }
            Ok(None) => self.commit(actions),
            Err(refusal) => actions.push(Action::Respond { request, answer: Err(refusal) }),
        }
    }

    /// Whether this process leads, at the epoch that the client believes in.
    pub(super) fn leads_at(&self, asked: LeaderEpoch) -> Result<LeaderEpoch, Refusal> {
        match &self.role {
            Role::Leader { epoch, .. } if asked < *epoch => {
                Err(Refusal::FencedEpoch { current: *epoch })
            }
            Role::Leader { epoch, .. } if asked > *epoch => {
                Err(Refusal::UnknownEpoch { current: *epoch })
            }
            Role::Leader { epoch, .. } => Ok(*epoch),
            Role::Offline(problem) => Err(Refusal::Offline(problem.clone())),
            Role::Follower { .. } | Role::None => {
                let (leader, epoch) = self.leader_hint;
                Err(Refusal::NotLeader { leader, epoch })
            }
        }
    }

    /// Gives the batch its offsets; `None` for a duplicate, which only waits.
    fn place(
        &mut self,
        produce: Produce,
        epoch: LeaderEpoch,
    ) -> Result<Option<(Offset, LeaderEpoch)>, Refusal> {
        let request = produce.request;
        if let Some(stamp) = produce.stamp
            && let Check::Duplicate { base_offset, last_offset } = self.producers.check(stamp)?
        {
            if plant::active("duplicate_at_once") {
                self.for_committed.add(Offset::ZERO, request, Ack { base_offset, duplicate: true });
                return Ok(None);
            }
            // Whatever the retry asked to wait for: its original's fate is open until then.
            self.for_committed.add(last_offset, request, Ack { base_offset, duplicate: true });
            return Ok(None);
        }
        let in_sync = self.in_sync();
        if produce.acks == Acks::All && in_sync < self.min_insync {
            return Err(Refusal::NotEnoughReplicas { in_sync, min_insync: self.min_insync });
        }
        let base_offset = self.next_offset;
        let count = u64::from(produce.record_count.max(1));
        let next = base_offset.checked_add(count).ok_or(Refusal::OffsetsExhausted)?;
        let last_offset = Offset(next.get() - 1);
        if let Some(stamp) = produce.stamp {
            self.producers.append(stamp, base_offset, last_offset);
        }
        self.next_offset = next;
        let ack = Ack { base_offset, duplicate: false };
        match produce.acks {
            Acks::None => self.unwritten.push((request, base_offset)),
            Acks::Leader => self.for_durable.add(last_offset, request, ack),
            Acks::All => self.for_committed.add(last_offset, request, ack),
        }
        Ok(Some((base_offset, epoch)))
    }

    pub(super) fn appended(&mut self, actions: &mut Vec<Action>) {
        self.followers.appended(self.log_end);
        self.log_end = self.next_offset;
        self.producers.commit();
        for (request, base_offset) in self.unwritten.drain(..) {
            let answer = Ok(Ack { base_offset, duplicate: false });
            actions.push(Action::Respond { request, answer });
        }
        if matches!(self.flush, Flush::Interval { .. }) {
            self.held(actions);
        }
    }

    /// The disk took nothing and the log is as it was: take back the offsets, and refuse who got
    /// one, duplicates of those included. Reading goes on; the next produce tries again.
    pub(super) fn append_refused(&mut self, refusal: &Refusal, actions: &mut Vec<Action>) {
        self.producers.roll_back();
        self.next_offset = self.log_end;
        let refused: Vec<RequestId> = (self.unwritten.drain(..).map(|(request, _)| request))
            .chain(self.for_durable.take_from(self.log_end))
            .chain(self.for_committed.take_from(self.log_end))
            .collect();
        actions.extend(
            refused
                .into_iter()
                .map(|request| Action::Respond { request, answer: Err(refusal.clone()) }),
        );
    }

    pub(super) fn synced(&mut self, durable_end: Offset, actions: &mut Vec<Action>) {
        self.durable_end = self.durable_end.max(durable_end.min(self.log_end));
        self.held(actions);
    }

    /// This replica holds more than before: answers who waited for that.
    fn held(&mut self, actions: &mut Vec<Action>) {
        if !matches!(self.role, Role::Leader { .. }) {
            return;
        }
        for (request, ack) in self.for_durable.take_below(self.held_end()) {
            actions.push(Action::Respond { request, answer: Ok(ack) });
        }
        self.commit(actions);
    }
}
