//! What the coordinator's answers mean for a session.

use std::{collections::BTreeMap, time::Duration};

use weir_protocol::{
    ErrorCode, WireError,
    ids::{Offset, PartitionIndex, PartitionKey, TopicGenerationId},
    pb::offsets::CommittedOffset,
};

use super::{Aim, Answer, BEAT, Claim, Lost, News, Session, is_gone};
use crate::{consumer::CommitError, error::contradicts_map};

impl Session {
    pub(super) fn answered(&mut self, answer: Answer) {
        let Some(flight) = self.flight.take() else { return };
        match &answer {
            Ok(_) => {
                self.coordinator.found();
                self.backoff.reset();
            }
            Err(error) => {
                let at_once = self.coordinator.failed(error);
                if contradicts_map(error.code) {
                    self.core.metadata.suspect();
                }
                let wait = if at_once { Duration::ZERO } else { self.backoff.next_wait() };
                self.not_before = self.now() + wait;
            }
        }
        self.beat_at = self.now() + BEAT;
        self.commit_first = flight.aim == Aim::Claim && answer.is_err();
        match flight.aim {
            Aim::Claim => self.claim_answered(answer),
            Aim::Commit => self.commit_answered(answer),
            Aim::Beat => self.beat_answered(answer),
        }
    }

    /// Whatever else is wrong, a commit will meet it too, and say so.
    fn beat_answered(&mut self, answer: Answer) {
        if let (Err(error), Some(generation)) = (answer, self.claimed)
            && error.code == ErrorCode::ConsumerFenced
        {
            self.refused(generation, error);
        }
    }

    fn claim_answered(&mut self, answer: Answer) {
        let Some(claim) = self.claims.pop_front() else { return };
        match answer {
            Ok(committed) => {
                let committed = committed_of(&claim, &committed);
                if self.claimed.replace(claim.generation) != Some(claim.generation) {
                    self.lost = None;
                }
                let mut progress = self.named.progress();
                for partition in &claim.partitions {
                    let (generation, partition) = (claim.generation, *partition);
                    let key = PartitionKey { generation, partition };
                    progress.claimed(key, committed.get(&partition).copied());
                }
                drop(progress);
                self.tell(News::Claimed(claim, committed));
            }
            // With `follow_name` the map will say what comes next.
            Err(error) if error.code.retriable() || (self.follow_name && is_gone(error.code)) => {
                self.tell(News::NotClaimed(claim.clone(), error));
                self.claims.push_front(claim);
            }
            Err(error) => self.refused(claim.generation, error),
        }
    }

    fn commit_answered(&mut self, answer: Answer) {
        let Some(mut job) = self.job.take() else { return };
        let error = match answer {
            Ok(_) => {
                let taken = job.taken();
                self.named.progress().committed(&taken);
                self.told = false;
                if let Some(lost) = &mut self.lost {
                    lost.partitions.retain(|lost| taken.iter().all(|(key, _)| key != lost));
                }
                self.lost = self.lost.take().filter(|lost| !lost.partitions.is_empty());
                if job.done() {
                    job.answer(&self.all_committed());
                } else {
                    self.job = Some(job);
                }
                return;
            }
            Err(error) if error.code.retriable() => {
                job.failed(error);
                self.job = Some(job);
                return;
            }
            Err(error) => error,
        };
        let Some(generation) = job.generation() else { return };
        let mine = job.callers.is_empty();
        let taken = job.taken();
        if is_gone(error.code) {
            self.named.progress().gone(generation);
        } else {
            self.named.progress().refused(&taken);
        }
        let fenced = error.code == ErrorCode::ConsumerFenced;
        let told = CommitError::from_wire(&self.named.name, generation, &error);
        if self.claimed == Some(generation) {
            let before = self.lost.take().into_iter().flat_map(|lost| lost.partitions);
            let partitions = taken.iter().map(|(key, _)| *key).chain(before).collect();
            self.lost = Some(Lost { partitions, error: told.clone() });
        }
        // What the application commits itself it hears of itself, and its reading goes on.
        if fenced || mine || is_gone(error.code) {
            self.refused(generation, error);
        }
        job.answer(&Err(told.clone()));
        if fenced {
            for (caller, _) in self.callers.drain(..) {
                let _ = caller.send(Err(told.clone()));
            }
        }
    }

    fn refused(&mut self, generation: TopicGenerationId, error: WireError) {
        if error.code == ErrorCode::ConsumerFenced {
            // The first to say so is believed.
            let _ = self.named.fenced.set(error.message().to_owned());
        }
        self.tell(News::Refused(generation, error));
    }
}

/// What is committed for the partitions of a claim, and nothing else.
fn committed_of(claim: &Claim, offsets: &[CommittedOffset]) -> BTreeMap<PartitionIndex, Offset> {
    let of = |offset: &CommittedOffset| {
        let key = PartitionKey::from_wire(offset.partition.as_ref()?)?;
        let wanted =
            key.generation == claim.generation && claim.partitions.contains(&key.partition);
        wanted.then_some((key.partition, Offset(offset.next_offset)))
    };
    offsets.iter().filter_map(of).collect()
}
