//! The producer's one task: takes due batches, sends them to leaders, takes in answers.

use std::{collections::BTreeMap, future::Future, pin::Pin, sync::Arc, time::Duration};

use tokio::sync::{mpsc, watch};
use weir_protocol::{
    ErrorCode, WireError,
    ids::{PartitionKey, ProducerEpoch, ProducerId},
    pb::data::ProduceRequest,
};

use super::{
    SendError,
    accumulator::Patience,
    partitioner::Routing,
    sequencer::{Attempt, Resolution, Sequencer},
    shared::Shared,
};
use crate::{
    core::Core,
    error::contradicts_map,
    metadata::{ClusterMap, Fate},
    pool::{ProduceAnswer, ProduceJob},
    retry::Backoff,
};

/// An SPU is to answer so much before a batch's time is over that its answer, which says why, is
/// here by then: a share of what is left, and at most that.
const ANSWER_SHARE: u32 = 16;
const ANSWER_TIME_MAX: Duration = Duration::from_secs(1);

type Identity = (ProducerId, ProducerEpoch);
type Allocation = Pin<Box<dyn Future<Output = Result<Identity, WireError>> + Send>>;

pub(super) struct Driver {
    shared: Arc<Shared>,
    core: Arc<Core>,
    map: watch::Receiver<Arc<ClusterMap>>,
    sequencers: BTreeMap<PartitionKey, Sequencer>,
    answers: mpsc::UnboundedReceiver<ProduceAnswer>,
    answer_to: mpsc::UnboundedSender<ProduceAnswer>,
    identity: Option<Identity>,
    allocation: Option<Allocation>,
    allocation_backoff: Backoff,
    /// Takes turns over SPUs.
    allocations: usize,
}

impl Driver {
    pub(super) fn new(shared: Arc<Shared>, core: Arc<Core>) -> Self {
        let (answer_to, answers) = mpsc::unbounded_channel();
        let allocation_backoff = Backoff::new(core.config.backoff);
        Self {
            map: core.metadata.map.clone(),
            shared,
            core,
            sequencers: BTreeMap::new(),
            answers,
            answer_to,
            identity: None,
            allocation: None,
            allocation_backoff,
            allocations: 0,
        }
    }

    /// Until the last handle to the producer is gone.
    pub(super) async fn run(mut self) {
        while !self.shared.abandoned() {
            let now = self.shared.now();
            self.take_due(now);
            self.expire(now);
            self.send(now);
            let wake_at = self.wake_at(now);
            let clock = self.core.clock;
            let nap = wake_at.map(|at| at.saturating_sub(self.shared.now()));
            let allocated = async {
                match &mut self.allocation {
                    Some(allocation) => allocation.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! { biased;
                answer = self.answers.recv() => if let Some(answer) = answer {
                    self.answered(answer);
                    while let Ok(answer) = self.answers.try_recv() {
                        self.answered(answer);
                    }
                },
                identity = allocated => {
                    self.allocation = None;
                    self.allocated(identity);
                }
                changed = self.map.changed() => if changed.is_ok() { self.map_changed() },
                () = self.shared.wake.notified() => {}
                () = clock.sleep(nap.unwrap_or_default()), if nap.is_some() => {}
            }
        }
    }

    fn take_due(&mut self, now: Duration) {
        let Self { sequencers, shared, core, .. } = self;
        let due = shared.take_due(now, |key| patience(sequencers, key));
        let mut stale = false;
        for sealed in due {
            let key = sealed.state.key;
            let new = || {
                let (topic, config) = (shared.topic.clone(), shared.config);
                Sequencer::new(key, topic, config, core.config.backoff)
            };
            sequencers.entry(key).or_insert_with(new).push(sealed);
            stale |= self.map.borrow().generation(key.generation).is_none_or(|g| !g.active);
        }
        if stale {
            self.check_generations();
        }
    }

    fn expire(&mut self, now: Duration) {
        let expired: Vec<_> =
            self.sequencers.values_mut().flat_map(|sequencer| sequencer.expire(now)).collect();
        self.resolve(expired);
    }

    fn send(&mut self, now: Duration) {
        let map = self.map.borrow().clone();
        let mut refused = Vec::new();
        for (key, sequencer) in &mut self.sequencers {
            if !sequencer.wants_to_send(now) {
                continue;
            }
            if let Some(retired) = sequencer.wants_id() {
                match self.identity.filter(|(id, _)| retired != Some(*id)) {
                    Some((id, epoch)) => sequencer.give_id(id, epoch),
                    None => {
                        self.identity = None;
                        if self.allocation.is_none() {
                            self.allocation =
                                Some(allocate(self.core.clone(), self.allocations, Duration::ZERO));
                        }
                        continue;
                    }
                }
            }
            let partition = map.generation(key.generation).and_then(|g| g.partition(key.partition));
            let Some(partition) = partition else {
                sequencer.blocked(ErrorCode::UnknownPartition, "not in the cluster's metadata");
                continue;
            };
            let Some((leader, endpoint, epoch)) = map.leader(partition) else {
                sequencer.blocked(ErrorCode::NotLeader, "the partition has no leader");
                continue;
            };
            while let Some(next) = sequencer.next(now) {
                let Attempt { batch_id, number, bytes, left, departure } = match next {
                    Ok(attempt) => attempt,
                    Err(resolution) => {
                        refused.push(resolution);
                        continue;
                    }
                };
                let answered_in = left - (left / ANSWER_SHARE).min(ANSWER_TIME_MAX);
                let timeout_ms = u32::try_from(answered_in.as_millis()).unwrap_or(u32::MAX).max(1);
                let request = ProduceRequest {
                    correlation_id: 0,
                    partition: Some(key.to_wire()),
                    leader_epoch: epoch.0,
                    acks: self.shared.config.acks.to_wire().into(),
                    timeout_ms,
                    batch: bytes,
                };
                let (key, attempt, answers) = (*key, number, self.answer_to.clone());
                let job = ProduceJob { request, key, batch_id, attempt, left, departure, answers };
                self.core.pool.produce(leader, endpoint, job);
            }
        }
        self.resolve(refused);
        // What has nothing under way and is of an older generation need not be kept.
        let current = self.shared.generation();
        self.sequencers.retain(|key, s| !s.is_empty() || key.generation == current);
    }

    fn answered(&mut self, answer: ProduceAnswer) {
        let ProduceAnswer { key, batch_id, attempt, result } = answer;
        if let Err(failure) = &result {
            tracing::debug!(partition = %key, batch_id, attempt, code = %failure.code,
                message = failure.message, "batch not acknowledged");
            if contradicts_map(failure.code) {
                self.core.metadata.suspect();
            }
        }
        let now = self.shared.now();
        let Some(sequencer) = self.sequencers.get_mut(&key) else { return };
        let done = sequencer.answer(batch_id, attempt, result, now);
        self.resolve(done);
    }

    fn allocated(&mut self, identity: Result<Identity, WireError>) {
        match identity {
            Ok(identity) => {
                tracing::debug!(producer_id = identity.0.0, "producer id allocated");
                self.allocation_backoff.reset();
                self.identity = Some(identity);
            }
            Err(error) => {
                tracing::debug!(%error, "no producer id");
                self.allocations = self.allocations.wrapping_add(1);
                let mut refused = Vec::new();
                let waiting = self.sequencers.values_mut().filter(|s| s.wants_id().is_some());
                for sequencer in waiting {
                    let message = format!("no producer id: {}", error.message());
                    if error.code.retriable() {
                        sequencer.blocked(error.code, message);
                    } else {
                        refused.extend(sequencer.refuse(error.code, &message));
                    }
                }
                self.resolve(refused);
                let wait = self.allocation_backoff.next_wait();
                self.allocation = Some(allocate(self.core.clone(), self.allocations, wait));
            }
        }
    }

    fn map_changed(&mut self) {
        let map = self.map.borrow_and_update().clone();
        let follow_name = self.shared.config.follow_name;
        let (generation, topic) = (self.shared.generation(), self.shared.topic.clone());
        match map.fate(generation, &topic) {
            Fate::Active(generation) => self.shared.route(Routing::new(&generation, &map)),
            Fate::Recreated(successor) if follow_name => {
                self.shared.route(Routing::new(&successor, &map));
            }
            Fate::Recreated(successor) => {
                self.shared.close(SendError::TopicRecreated { topic, successor: successor.id });
            }
            // A new generation may come. What is sent until then fails with `TOPIC_DELETED`.
            Fate::Deleted if follow_name => {}
            Fate::Deleted => self.shared.close(SendError::TopicDeleted { topic }),
        }
        self.check_generations();
    }

    /// Fails what is queued for generations that are gone; those that are there go on.
    fn check_generations(&mut self) {
        let map = self.map.borrow().clone();
        let mut done = Vec::new();
        for (key, sequencer) in &mut self.sequencers {
            let (code, message) = match map.fate(key.generation, &self.shared.topic) {
                Fate::Active(_) => {
                    sequencer.revive();
                    continue;
                }
                Fate::Recreated(successor) => (
                    ErrorCode::TopicRecreated,
                    format!("the topic was created again as {}", successor.id),
                ),
                Fate::Deleted => (ErrorCode::TopicDeleted, "the topic was deleted".to_owned()),
            };
            done.extend(sequencer.doom(code, &message));
        }
        self.resolve(done);
    }

    fn resolve(&self, resolutions: Vec<Resolution>) {
        for resolution in resolutions {
            if let Err(error) = &resolution.outcome {
                tracing::warn!(partition = %error.key, %error, "batch failed");
            }
            self.shared.resolve(resolution);
        }
    }

    fn wake_at(&self, now: Duration) -> Option<Duration> {
        let batches = self.sequencers.values().filter_map(|sequencer| sequencer.wake_at(now));
        let open = self.shared.wake_at(|key| patience(&self.sequencers, key));
        batches.chain(open).min()
    }
}

fn patience(sequencers: &BTreeMap<PartitionKey, Sequencer>, key: &PartitionKey) -> Patience {
    sequencers.get(key).map_or(Patience::None, Sequencer::patience)
}

impl Drop for Driver {
    /// Whatever ends the task, no record is left without an outcome.
    fn drop(&mut self) {
        self.shared.close(SendError::Closed);
        let now = self.shared.now();
        self.shared.seal_all();
        for sealed in self.shared.take_due(now, |_| Patience::None) {
            let key = sealed.state.key;
            let (topic, config) = (self.shared.topic.clone(), self.shared.config);
            let new = || Sequencer::new(key, topic, config, self.core.config.backoff);
            self.sequencers.entry(key).or_insert_with(new).push(sealed);
        }
        let message = "the producer was dropped before an answer came";
        for sequencer in self.sequencers.values_mut() {
            for resolution in sequencer.abandon(ErrorCode::ShuttingDown, message) {
                self.shared.resolve(resolution);
            }
        }
    }
}

/// Asks an SPU, one that is online if there is any, for a producer id, after a wait.
fn allocate(core: Arc<Core>, turn: usize, wait: Duration) -> Allocation {
    Box::pin(async move {
        core.clock.sleep(wait).await;
        let map = core.metadata.current();
        let endpoints = map.endpoints();
        match endpoints.get(turn % endpoints.len().max(1)) {
            Some(endpoint) => core.pool.allocate_producer_id(endpoint).await,
            None => Err(WireError::new(ErrorCode::Unreachable, "no SPU is known")),
        }
    })
}
