//! Three SPUs with their disks, what is on its way between them, and what can happen next.

use std::collections::BTreeMap;

use uuid::Uuid;
use weir_protocol::ids::{
    Incarnation, LeaderEpoch, Offset, PartitionIndex, PartitionKey, ProducerEpoch, ProducerId,
    SpuId, TopicGenerationId,
};

use super::{
    super::{
        Acks, Action, Event, Produce, Replica, ReplicaLimits, RequestId, Role, Stamp,
        follower::{Cut, Following, FromLeader, News, Taken, TakenBatch},
        followers::{FollowerFetch, Proposal, Verdict},
    },
    checks::Checks,
    control_plane::ControlPlane,
};

const LAG_MAX_MS: u64 = 10;
/// Bounds of the search, not of the machine.
const RECORDS_MAX: u64 = 40;
const ANSWERS_MAX: usize = 2;
const RETRIES_MAX: u64 = 20;
const CRASHES_MAX: usize = 12;
const DEPOSITIONS_MAX: usize = 12;

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A client sends a record to the SPU, which may believe that it leads.
    Produce(usize),
    /// The newest record is sent again, to the same SPU or another.
    Retry(usize),
    /// The SPU fsyncs what it has.
    Sync(usize),
    /// It hears the control plane's present word.
    Hear(usize),
    /// It writes a fetch; until it is delivered it may become something else.
    Fetch(usize),
    /// The fetch arrives, and is answered.
    Deliver(usize),
    /// An answer of the newest stream arrives: in the order in which they were sent.
    Answer(usize),
    /// An answer of an older stream arrives first.
    LateAnswer(usize),
    /// The SPU's proposal of an in-sync set is sent.
    Propose(usize),
    /// It arrives.
    Decide(usize),
    /// Whoever is behind there has been so for too long.
    Wait(usize),
    /// The control plane takes the SPU for dead.
    Depose(usize),
    /// The machine loses power and comes back.
    Crash(usize),
}

impl Step {
    /// Whether it leads nowhere by itself.
    pub fn is_fault(self) -> bool {
        matches!(self, Self::Wait(_) | Self::Depose(_) | Self::Crash(_))
    }
}

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub spu: SpuId,
    pub incarnation: Incarnation,
    pub replica: Replica,
    /// Epoch and value of each record.
    pub log: Vec<(LeaderEpoch, u64)>,
    pub durable: usize,
    /// Epochs that this disk knows to have been led.
    noted: Vec<(LeaderEpoch, Offset)>,
    now_ms: u64,
    fetch: Option<(Incarnation, Following)>,
    /// On their way here, the oldest first.
    answers: Vec<(FromLeader, Vec<(LeaderEpoch, u64)>)>,
    proposal: Option<Proposal>,
}

impl Node {
    /// Where the answers of the newest stream begin: one leadership has one stream at a time.
    fn newest_stream(&self) -> usize {
        let epoch = self.answers.last().map(|(said, _)| said.leader_epoch);
        self.answers.iter().position(|(said, _)| Some(said.leader_epoch) == epoch).unwrap_or(0)
    }
}

#[derive(Clone, Debug)]
pub(super) struct World {
    pub nodes: Vec<Node>,
    pub control_plane: ControlPlane,
    pub checks: Checks,
    produced: u64,
    retries: u64,
    crashes: usize,
    depositions: usize,
}

fn key() -> PartitionKey {
    PartitionKey { generation: TopicGenerationId(Uuid::nil()), partition: PartitionIndex(0) }
}

/// Each record has a producer of its own, so that any of them may be retried at any time.
fn stamp(value: u64) -> Stamp {
    let id = ProducerId(value + 1);
    Stamp { id, epoch: ProducerEpoch(0), first_sequence: 0, last_sequence: 0 }
}

fn recovered(end: usize) -> Replica {
    let producers_max = RECORDS_MAX as usize;
    let limits = ReplicaLimits { producers_max, replica_lag_max_ms: LAG_MAX_MS };
    let end = Offset(end as u64);
    Replica::recovered(key(), Offset::ZERO, end, end, limits)
}

impl World {
    /// One leader with two followers, all of whom know it.
    pub fn new() -> Self {
        let spus = [1, 2, 3].map(SpuId);
        let node = |spu: &SpuId| Node {
            spu: *spu,
            incarnation: Incarnation(1),
            replica: recovered(0),
            log: Vec::new(),
            durable: 0,
            noted: Vec::new(),
            now_ms: 0,
            fetch: None,
            answers: Vec::new(),
            proposal: None,
        };
        let mut world = Self {
            nodes: spus.iter().map(node).collect(),
            control_plane: ControlPlane::new(&spus),
            checks: Checks::default(),
            produced: 0,
            retries: 0,
            crashes: 0,
            depositions: 0,
        };
        for n in 0..3 {
            world.hear(n);
        }
        world
    }

    pub fn acknowledged(&self) -> usize {
        self.checks.acknowledged.len()
    }

    pub fn elections(&self) -> usize {
        self.control_plane.elections
    }

    /// What can happen now and would change anything.
    pub fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut add = |step: fn(usize) -> Step, may: &dyn Fn(&Node) -> bool| {
            let nodes = self.nodes.iter().enumerate();
            steps.extend(nodes.filter(|(_, node)| may(node)).map(|(n, _)| step(n)));
        };
        let leads = |node: &Node| matches!(node.replica.role(), Role::Leader { .. });
        add(Step::Produce, &|node| leads(node) && self.produced < RECORDS_MAX);
        add(Step::Retry, &|node| leads(node) && self.produced > 0 && self.retries < RETRIES_MAX);
        add(Step::Sync, &|node| node.durable < node.log.len());
        add(Step::Hear, &|node| {
            node.replica.partition_epoch() < self.control_plane.partition_epoch
        });
        add(Step::Fetch, &|node| {
            let asks = node.replica.following().map(|following| (node.incarnation, following));
            asks.is_some() && node.fetch != asks
        });
        add(Step::Deliver, &|node| node.fetch.is_some() && node.answers.len() < ANSWERS_MAX);
        add(Step::Answer, &|node| !node.answers.is_empty());
        add(Step::LateAnswer, &|node| node.newest_stream() > 0);
        add(Step::Propose, &|node| {
            node.replica.proposal().is_some() && node.proposal.as_ref() != node.replica.proposal()
        });
        add(Step::Decide, &|node| node.proposal.is_some());
        add(Step::Wait, &|node| node.replica.time_due_ms().is_some());
        add(Step::Depose, &|node| {
            let control = &self.control_plane;
            self.depositions < DEPOSITIONS_MAX
                && (control.isr.contains(&node.spu) || control.leader == node.spu)
        });
        add(Step::Crash, &|_| self.crashes < CRASHES_MAX);
        steps
    }

    /// Lets it happen.
    ///
    /// # Errors
    /// The promise that is broken now.
    pub fn take(&mut self, step: Step) -> Result<(), String> {
        match step {
            Step::Produce(n) => {
                self.produced += 1;
                self.produce(n);
            }
            Step::Retry(n) => {
                self.retries += 1;
                self.produce(n);
            }
            Step::Sync(n) => {
                let node = &mut self.nodes[n];
                node.durable = node.log.len();
                let durable_end = Offset(node.durable as u64);
                self.handle(n, Event::Synced { durable_end });
            }
            Step::Hear(n) => self.hear(n),
            Step::Fetch(n) => {
                let node = &mut self.nodes[n];
                node.fetch = node.replica.following().map(|asks| (node.incarnation, asks));
            }
            Step::Deliver(n) => self.deliver(n),
            Step::Answer(n) => {
                let at = self.nodes[n].newest_stream();
                self.answer(n, at);
            }
            Step::LateAnswer(n) if self.nodes[n].newest_stream() > 0 => self.answer(n, 0),
            Step::LateAnswer(_) => {}
            Step::Propose(n) => self.nodes[n].proposal = self.nodes[n].replica.proposal().cloned(),
            Step::Decide(n) => {
                let Some(proposal) = self.nodes[n].proposal.take() else { return Ok(()) };
                if !self.control_plane.decide(self.nodes[n].spu, &proposal) {
                    self.handle(n, Event::IsrRefused(proposal.partition_epoch));
                }
            }
            Step::Wait(n) => {
                self.nodes[n].now_ms += LAG_MAX_MS + 1;
                let now_ms = self.nodes[n].now_ms;
                self.handle(n, Event::Tick { now_ms });
            }
            Step::Depose(n) => {
                self.depositions += 1;
                self.control_plane.depose(self.nodes[n].spu);
            }
            Step::Crash(n) => self.crash(n),
        }
        let World { nodes, control_plane, checks, .. } = self;
        checks.look(nodes, control_plane)
    }

    fn hear(&mut self, n: usize) {
        let node = &self.nodes[n];
        let word = self.control_plane.word(node.spu, node.incarnation);
        self.handle(n, Event::Assign(word));
        let node = &mut self.nodes[n];
        if let Role::Leader { epoch, .. } = node.replica.role()
            && node.noted.last().is_none_or(|(noted, _)| noted < epoch)
        {
            node.noted.push((*epoch, Offset(node.log.len() as u64)));
        }
    }

    /// The newest record arrives.
    fn produce(&mut self, n: usize) {
        let Some(value) = self.produced.checked_sub(1) else { return };
        let leader_epoch = self.nodes[n].replica.leader_hint().1;
        let produce = Produce {
            request: RequestId(self.retries * RECORDS_MAX + value),
            leader_epoch,
            acks: Acks::All,
            record_count: 1,
            stamp: Some(stamp(value)),
        };
        self.handle(n, Event::Produce(produce));
    }

    /// The fetch reaches whom it was meant for, in whatever life that is now.
    fn deliver(&mut self, n: usize) {
        let Some((incarnation, asks)) = self.nodes[n].fetch.take() else { return };
        let follower = self.nodes[n].spu;
        let Some(to) = self.nodes.iter().position(|node| node.spu == asks.leader) else { return };
        let now_ms = self.nodes[to].now_ms;
        let fetch = FollowerFetch {
            request: RequestId(u64::MAX),
            spu: follower,
            incarnation,
            leader_epoch: asks.leader_epoch,
            log_end: asks.log_end,
            last_epoch: asks.last_epoch,
            held_end: asks.held_end,
            ping_round: 0,
            now_ms,
        };
        let verdict = self.handle(to, Event::Fetch(fetch));
        let leader = &self.nodes[to];
        let Some(verdict) = verdict else { return };
        let from = asks.log_end.get() as usize;
        let records: Vec<_> = leader.log.iter().copied().skip(from).take(2).collect();
        let batch = |(offset, (epoch, value)): (u64, &(LeaderEpoch, u64))| TakenBatch {
            base_offset: Offset(offset),
            last_offset: Offset(offset),
            epoch: *epoch,
            stamp: Some(stamp(*value)),
        };
        let batches = (asks.log_end.get()..).zip(&records).map(batch);
        let news = match verdict {
            Verdict::Feed if records.is_empty() => News::None,
            Verdict::Feed => News::Batches(Taken { batches: batches.collect() }),
            Verdict::Diverged { epoch, end, at } => News::Diverged { epoch, end, at },
            Verdict::StartAnew { .. } => News::StartAnew { producers: Vec::new() },
        };
        let readable = leader.replica.readable();
        let said = FromLeader {
            leader_epoch: leader.replica.leader_hint().1,
            high_watermark: readable.high_watermark,
            log_start: readable.log_start,
            news,
        };
        // An answer reaches only the process that asked.
        if self.nodes[n].incarnation == incarnation {
            self.nodes[n].answers.push((said, records));
        }
    }

    fn answer(&mut self, n: usize, at: usize) {
        if at < self.nodes[n].answers.len() {
            let (said, records) = self.nodes[n].answers.remove(at);
            self.hear_leader(n, said, &records);
        }
    }

    fn hear_leader(&mut self, n: usize, said: FromLeader, records: &[(LeaderEpoch, u64)]) {
        let node = &mut self.nodes[n];
        let mut actions = Vec::new();
        node.replica.handle(Event::FromLeader(said), &mut actions);
        for action in actions {
            let event = match action {
                Action::Take(taken) => {
                    let end = node.log.len() as u64;
                    node.noted.retain(|(_, start)| start.get() < end);
                    node.log.extend_from_slice(records);
                    Event::Taken(taken)
                }
                Action::Cut(cut @ (Cut::From(offset) | Cut::Anew { at: offset, .. })) => {
                    node.log.truncate(offset.get() as usize);
                    node.durable = node.durable.min(node.log.len());
                    node.noted.retain(|(_, start)| start.get() < offset.get());
                    Event::WasCut { cut, log_end: offset }
                }
                _ => continue,
            };
            node.replica.handle(event, &mut Vec::new());
        }
    }

    fn crash(&mut self, n: usize) {
        self.crashes += 1;
        let incarnation = self.control_plane.register(self.nodes[n].spu);
        let node = &mut self.nodes[n];
        node.log.truncate(node.durable);
        node.noted.retain(|(_, start)| start.get() <= node.durable as u64);
        node.incarnation = incarnation;
        node.replica = recovered(node.durable);
        let mut known: BTreeMap<LeaderEpoch, Offset> = BTreeMap::new();
        for (offset, (epoch, _)) in (0..).zip(&node.log) {
            known.entry(*epoch).or_insert(Offset(offset));
        }
        known.extend(node.noted.iter().copied());
        for (epoch, start) in known {
            node.replica.replay_epoch(epoch, start);
        }
        for (offset, (epoch, value)) in (0..).map(Offset).zip(&node.log) {
            node.replica.replay(*epoch, Some(stamp(*value)), offset, offset);
        }
        (node.fetch, node.proposal) = (None, None);
        node.answers.clear();
        self.checks.forget(self.nodes[n].spu);
    }

    /// Performs what a leader decides; a fetch's verdict.
    fn handle(&mut self, n: usize, event: Event) -> Option<Verdict> {
        let mut actions = Vec::new();
        let node = &mut self.nodes[n];
        node.replica.handle(event, &mut actions);
        let mut verdict = None;
        let mut next = 0;
        while let Some(action) = actions.get(next).cloned() {
            next += 1;
            match action {
                Action::Append { request, base_offset, epoch } => {
                    assert_eq!(base_offset.get() as usize, node.log.len(), "offsets are dense");
                    node.log.push((epoch, request.0 % RECORDS_MAX));
                    node.replica.handle(Event::Appended, &mut actions);
                }
                Action::Respond { request, answer: Ok(ack) } => {
                    self.checks.acknowledge(ack.base_offset, request.0 % RECORDS_MAX);
                }
                Action::Feed { verdict: Ok(said), .. } => verdict = Some(said),
                Action::Respond { .. } | Action::Feed { .. } => {}
                Action::Take(_) | Action::Cut(_) => panic!("not as a leader: {action:?}"),
            }
        }
        verdict
    }
}
