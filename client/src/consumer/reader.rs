//! The consumer's one task: subscribes to leaders, checks what comes, hands it on.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::sync::{mpsc, watch};
use weir_protocol::{
    ErrorCode, WireError,
    batch::{split_first, verify},
    ids::{Offset, PartitionIndex, TopicGenerationId},
    pb::data::Started,
};
use weir_runtime::clock::Monotonic;

use super::{
    Begun, ConsumeError, ConsumerConfig, Partitions, Resolution, Start,
    claim::Claims,
    item::{Batch, Item, SkipTo, malformed},
    part::{Part, Phase},
    subscribe::server,
};
use crate::{
    core::Core,
    error::contradicts_map,
    metadata::{ClusterMap, Fate, Generation},
    pool::{FetchEvent, FetchNews, Gauge, Lease},
};

/// The consumer is over: dropped, or its last error was handed on.
pub(super) struct Over;

pub(super) struct Reader {
    pub(super) core: Arc<Core>,
    pub(super) config: ConsumerConfig,
    pub(super) topic: Arc<str>,
    /// Unique within the client.
    pub(super) id: u64,
    pub(super) began: Monotonic,
    pub(super) generation: Option<Arc<Generation>>,
    pub(super) parts: BTreeMap<PartitionIndex, Part>,
    pub(super) subscriptions: BTreeMap<u64, PartitionIndex>,
    pub(super) events: mpsc::UnboundedReceiver<FetchEvent>,
    pub(super) event_to: mpsc::UnboundedSender<FetchEvent>,
    pub(super) gauge: Arc<Gauge>,
    pub(super) map: watch::Receiver<Arc<ClusterMap>>,
    // Bounded by the credits given for what is in it.
    pub(super) items: mpsc::UnboundedSender<Item>,
    pub(super) skips: mpsc::UnboundedReceiver<SkipTo>,
    /// Of a named consumer.
    pub(super) claims: Option<Claims>,
}

impl Reader {
    pub(super) fn new(
        core: Arc<Core>,
        config: ConsumerConfig,
        items: mpsc::UnboundedSender<Item>,
        skips: mpsc::UnboundedReceiver<SkipTo>,
        claims: Option<Claims>,
    ) -> Self {
        let (event_to, events) = mpsc::unbounded_channel();
        Self {
            topic: config.topic.as_str().into(),
            id: core.next_id(),
            began: core.clock.now(),
            generation: None,
            parts: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            events,
            event_to,
            gauge: Arc::default(),
            map: core.metadata.map.clone(),
            items,
            skips,
            claims,
            config,
            core,
        }
    }

    pub(super) async fn run(mut self, generation: Arc<Generation>) {
        let start = self.config.start;
        // Over is no error: there is nobody left to tell.
        let _ = self.read(generation, start).await;
    }

    async fn read(&mut self, generation: Arc<Generation>, start: Start) -> Result<(), Over> {
        self.begin(&generation, start)?;
        self.map_changed()?;
        loop {
            let now = self.now();
            self.subscribe_due(now)?;
            let (clock, gauge) = (self.core.clock, self.gauge.clone());
            let nap = self.wake_at(now).map(|at| at.saturating_sub(now));
            let waits_for_room = self.waits_for_room();
            let items = self.items.clone();
            tokio::select! { biased;
                () = items.closed() => return Err(Over),
                skip = self.skips.recv() => match skip {
                    Some(skip) => self.skip(&skip),
                    None => return Err(Over),
                },
                changed = self.map.changed() => match changed {
                    Ok(()) => self.map_changed()?,
                    Err(_) => return Err(Over),
                },
                news = Claims::next(&mut self.claims) => self.news(news)?,
                event = self.events.recv() => if let Some(event) = event {
                    self.event(event)?;
                },
                () = gauge.less.notified(), if waits_for_room => {}
                () = clock.sleep(nap.unwrap_or_default()), if nap.is_some() => {}
            }
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.core.clock.now().since(self.began)
    }

    pub(super) fn hand_on(&self, item: Item) -> Result<(), Over> {
        self.items.send(item).map_err(|_| Over)
    }

    fn begin(&mut self, generation: &Arc<Generation>, start: Start) -> Result<(), Over> {
        self.generation = Some(generation.clone());
        let wanted = |index| match &self.config.partitions {
            Partitions::All => true,
            Partitions::List(list) => list.contains(&index),
        };
        let indexes = generation.partitions.iter().map(|partition| partition.index);
        let indexes: Vec<_> = indexes.filter(|index| wanted(*index)).collect();
        for index in &indexes {
            self.assign(*index, start);
        }
        self.claim(generation.id, &indexes);
        self.hand_on(Item::Generation(generation.id, indexes))
    }

    fn assign(&mut self, index: PartitionIndex, start: Start) {
        let (opening, phase) = (self.config.opening(start), self.first_phase());
        let (until_end, backoff) = (self.config.until_end, self.core.config.backoff);
        self.parts.insert(index, Part::new(index, opening, until_end, phase, backoff));
    }

    fn map_changed(&mut self) -> Result<(), Over> {
        let map = self.map.borrow_and_update().clone();
        let Some(current) = self.generation.clone() else {
            return match map.active(&self.topic) {
                Some(generation) => self.begin(&generation.clone(), Start::Beginning),
                None => Ok(()),
            };
        };
        match map.fate(current.id, &self.topic) {
            Fate::Active(generation) => {
                let grows = self.config.partitions == Partitions::All && !self.config.until_end;
                let born = generation.partitions.iter().skip(current.partitions.len());
                let born: Vec<_> = born.filter(|_| grows).map(|born| born.index).collect();
                for index in &born {
                    self.assign(*index, Start::Beginning);
                    self.hand_on(Item::Assigned(*index))?;
                }
                self.claim(generation.id, &born);
                self.generation = Some(generation.clone());
                self.check_servers(&generation);
                Ok(())
            }
            Fate::Recreated(successor) => self.recreated(Some(successor)),
            Fate::Deleted => self.deleted(),
        }
    }

    fn recreated(&mut self, successor: Option<Arc<Generation>>) -> Result<(), Over> {
        let Some(generation) = self.generation.clone() else { return Ok(()) };
        if !self.config.follow_name {
            let topic = self.topic.clone();
            let successor = successor.map(|successor| successor.id);
            let generation = generation.id;
            return self.fail(ConsumeError::TopicRecreated { topic, generation, successor });
        }
        self.forget()?;
        match successor {
            Some(successor) => {
                tracing::info!(topic = %self.topic, generation = %successor.id,
                    "consuming the topic's new generation");
                self.begin(&successor, Start::Beginning)
            }
            None => Ok(()),
        }
    }

    /// An SPU says that the topic is no longer there.
    pub(super) fn gone(&mut self, error: &WireError) -> Result<(), Over> {
        if error.code == ErrorCode::TopicDeleted {
            return self.deleted();
        }
        let Some(generation) = &self.generation else { return Ok(()) };
        let (topic, generation) = (self.topic.clone(), generation.id);
        let successor = TopicGenerationId::from_wire(&error.wire.successor_generation_id);
        self.fail(ConsumeError::TopicRecreated { topic, generation, successor })
    }

    fn deleted(&mut self) -> Result<(), Over> {
        if self.config.follow_name && !self.config.until_end {
            return self.forget();
        }
        let Some(generation) = &self.generation else { return Ok(()) };
        let (topic, generation) = (self.topic.clone(), generation.id);
        self.fail(ConsumeError::TopicDeleted { topic, generation })
    }

    /// Lets go of a generation, and waits for the next.
    fn forget(&mut self) -> Result<(), Over> {
        self.generation = None;
        self.parts.clear();
        self.subscriptions.clear();
        self.hand_on(Item::Waiting)
    }

    /// The stream is over with this.
    pub(super) fn fail(&mut self, error: ConsumeError) -> Result<(), Over> {
        self.hand_on(Item::Error { error, session: 0 })?;
        Err(Over)
    }

    /// A partition stops with this until the application says where to go on.
    fn halt(&mut self, index: PartitionIndex, error: ConsumeError) -> Result<(), Over> {
        tracing::warn!(topic = %self.topic, partition = %index, %error, "partition halted");
        let Some(part) = self.parts.get_mut(&index) else { return Ok(()) };
        part.phase = Phase::Halted;
        let session = part.session;
        self.hand_on(Item::Error { error, session })
    }

    fn skip(&mut self, skip: &SkipTo) {
        // Said of a generation that was left meanwhile, it means nothing here; and its session
        // would make strangers of this generation's batches.
        if self.generation.as_ref().is_none_or(|now_read| now_read.id != skip.generation) {
            return;
        }
        let now = self.now();
        if let Some(part) = self.parts.get_mut(&skip.partition) {
            part.session = skip.session;
            part.position.skip_to(skip.offset);
            if !matches!(part.phase, Phase::Claiming) {
                part.phase = Phase::Waiting { until: now, paused: false };
            }
        }
    }

    /// Moves subscriptions to whom the map wants to serve them: an old leader may be cut off and
    /// know nothing of it.
    fn check_servers(&mut self, generation: &Generation) {
        let indexes: Vec<_> = self.parts.keys().copied().collect();
        for index in indexes {
            if let Some(part) = self.parts.get_mut(&index) {
                part.avoids = None;
            }
            self.check_server(index, generation);
        }
    }

    fn check_server(&mut self, index: PartitionIndex, generation: &Generation) {
        let (now, map) = (self.now(), self.map.borrow().clone());
        let Some(part) = self.parts.get_mut(&index) else { return };
        let Phase::Subscribed(subscribed) = &part.phase else { return };
        let Some(partition) = generation.partition(index) else { return };
        let Some((spu, _, epoch)) = server(&map, partition, part, &self.config) else { return };
        if (spu, epoch) != (subscribed.spu, subscribed.epoch) {
            part.phase = Phase::Waiting { until: now, paused: false };
        }
    }

    fn event(&mut self, event: FetchEvent) -> Result<(), Over> {
        let FetchEvent { subscription, news } = event;
        let Some(index) = self.subscriptions.get(&subscription).copied() else { return Ok(()) };
        let now = self.now();
        let Some(part) = self.parts.get_mut(&index) else { return Ok(()) };
        let Phase::Subscribed(subscribed) = &mut part.phase else { return Ok(()) };
        if subscribed.id != subscription {
            return Ok(());
        }
        match news {
            FetchNews::Started(started) => {
                subscribed.started = true;
                self.started(index, &started)
            }
            FetchNews::Records { batches, log_start, high_watermark, lease } => {
                let halted = self.records(index, batches, lease)?;
                halted.map_or(Ok(()), |error| {
                    let error = explained(error, log_start, high_watermark);
                    self.halt(index, error)
                })
            }
            FetchNews::Paused => {
                part.phase = Phase::Waiting { until: now, paused: true };
                Ok(())
            }
            FetchNews::Ended(error) => self.ended(index, error, now),
        }
    }

    fn started(&mut self, index: PartitionIndex, started: &Started) -> Result<(), Over> {
        let Some(part) = self.parts.get_mut(&index) else { return Ok(()) };
        part.up();
        let (first, asked) = (!part.position.begun(), part.position.opening());
        let begun = Begun {
            partition: index,
            offset: Offset(started.offset),
            resolution: Resolution::from_wire(started.resolution()),
            committed: asked.committed,
            log_start: Offset(started.log_start),
            high_watermark: Offset(started.high_watermark),
        };
        let Begun { offset, resolution, high_watermark, .. } = begun;
        if let Err(error) = part.position.started(offset, resolution, high_watermark) {
            return self.halt(index, error);
        }
        if first {
            let session = part.session;
            if resolution == Resolution::Reset {
                tracing::warn!(topic = %self.topic, partition = %index, asked = ?asked.offset(),
                    %offset, log_start = %begun.log_start, %high_watermark,
                    "the offset to begin at is out of range: reset");
            }
            self.hand_on(Item::Begun(begun, session))?;
        }
        self.finish_if_done(index)?;
        // Now that it has begun, one that is nearer may serve it.
        if let Some(generation) = self.generation.clone() {
            self.check_server(index, &generation);
        }
        Ok(())
    }

    fn ended(
        &mut self,
        index: PartitionIndex,
        error: WireError,
        now: Duration,
    ) -> Result<(), Over> {
        if contradicts_map(error.code) {
            self.core.metadata.suspect();
        }
        let partition = self.generation.as_ref().and_then(|generation| generation.partition(index));
        let leader = partition.and_then(|partition| partition.leader);
        let Some(part) = self.parts.get_mut(&index) else { return Ok(()) };
        let topic_is_there =
            !matches!(error.code, ErrorCode::TopicRecreated | ErrorCode::TopicDeleted);
        if let Phase::Subscribed(subscribed) = &part.phase
            && Some(subscribed.spu) != leader
            && topic_is_there
        {
            // The leader knows more, and says what is to be said.
            part.avoids = Some(subscribed.spu);
            part.again(error, now);
            return Ok(());
        }
        match error.code {
            ErrorCode::OffsetOutOfRange => {
                let error = part.out_of_range(&error);
                self.halt(index, error)
            }
            // With `follow_name` the map will say what comes next.
            ErrorCode::TopicRecreated | ErrorCode::TopicDeleted if self.config.follow_name => {
                part.again(error, now);
                Ok(())
            }
            ErrorCode::TopicRecreated | ErrorCode::TopicDeleted => self.gone(&error),
            code if !code.retriable() => {
                let message = error.message().to_owned();
                self.fail(ConsumeError::Refused { partition: index, code, message })
            }
            _ => {
                part.again(error, now);
                Ok(())
            }
        }
    }

    /// Checks batch after batch and hands it on; the error that stops the partition.
    fn records(
        &mut self,
        index: PartitionIndex,
        mut rest: bytes::Bytes,
        mut lease: Lease,
    ) -> Result<Option<ConsumeError>, Over> {
        loop {
            let Some(part) = self.parts.get_mut(&index) else { return Ok(None) };
            let offset = part.position.offset();
            let (header, batch) = match split_first(&rest) {
                Ok(None) => break,
                Ok(Some((header, batch, after))) => {
                    rest = after;
                    (header, batch)
                }
                Err(error) => return Ok(Some(malformed(index, offset, None, &error))),
            };
            if let Err(error) = verify(&batch) {
                // Where the header says that it ends; nobody but the application believes it.
                let next = Some(header.next_offset()).filter(|next: &Offset| *next > offset);
                return Ok(Some(malformed(index, offset, next, &error)));
            }
            let span = match part.position.accept(&header) {
                Ok(span) => span,
                Err(error) => return Ok(Some(error)),
            };
            let done = part.position.done();
            let lease = lease.split(batch.len());
            if let Some(span) = span.filter(|_| !header.is_control()) {
                let (session, next_offset) = (part.session, header.next_offset());
                let batch =
                    Batch { partition: index, session, bytes: batch, span, next_offset, lease };
                self.hand_on(Item::Batch(Box::new(batch)))?;
            }
            if done {
                break;
            }
        }
        self.finish_if_done(index)?;
        Ok(None)
    }

    fn finish_if_done(&mut self, index: PartitionIndex) -> Result<(), Over> {
        match self.parts.get_mut(&index) {
            Some(part) if part.position.done() => {
                part.phase = Phase::Done;
                let session = part.session;
                self.hand_on(Item::Done(index, session))
            }
            _ => Ok(()),
        }
    }
}

/// A gap below the log start is no riddle: what is missing was removed.
fn explained(error: ConsumeError, log_start: Offset, high_watermark: Offset) -> ConsumeError {
    match error {
        ConsumeError::Gap { partition, expected, .. } if expected < log_start => {
            ConsumeError::OutOfRange { partition, requested: expected, log_start, high_watermark }
        }
        error => error,
    }
}
