//! Hands lines to a producer and follows what becomes of them, with bounded memory.

use std::{
    collections::{BTreeMap, VecDeque},
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::FutureExt as _;
use tokio::sync::mpsc;
use weir_client::{Delivery, Producer};
use weir_protocol::ids::{Offset, PartitionIndex};
use weir_runtime::clock::Clock;

use super::{
    pace::Pace,
    shape::{NoSeparator, Shape},
    source::Block,
    tally::Tally,
};
use crate::{
    error::{self, CliError},
    out,
    ui::Progress,
};

/// Records whose outcome is not looked at yet. The producer bounds what is unacknowledged;
/// this bounds what is acknowledged behind one that is not.
const OPEN_MAX: usize = 1 << 20;
/// Lines between two looks at what became of those before: how many can still be handed over
/// after one has failed.
const LOOK_LINES: u64 = 64;

/// Why no more lines were read.
#[derive(Debug)]
pub enum Ended {
    /// There are no more.
    Input,
    /// Ctrl-C.
    Interrupted,
    /// A line or a record cannot be taken, or the input cannot be read.
    Error(CliError),
    /// A record was not acknowledged; the tally says why.
    Failure,
}

/// Feeds one producer.
pub struct Feed<'a> {
    /// Takes the records; none after one was not acknowledged, so that none is written behind
    /// it.
    pub producer: Option<Producer>,
    /// For messages.
    pub topic: &'a str,
    /// How lines become records.
    pub shape: Shape,
    /// Measures.
    pub clock: Clock,
    /// Shows how far it is.
    pub progress: &'a Progress,
    open: Open,
    /// What became of the records so far.
    pub tally: Tally,
    /// Lines read so far.
    pub lines: u64,
    /// Lines that could be no record, and were passed over.
    pub passed_over: u64,
    /// How fast records may be sent; none: as fast as they come.
    pub pace: Option<Pace>,
}

impl<'a> Feed<'a> {
    /// Nothing is sent yet.
    pub fn new(
        producer: Producer,
        topic: &'a str,
        shape: Shape,
        clock: Clock,
        progress: &'a Progress,
    ) -> Self {
        Self {
            producer: Some(producer),
            topic,
            shape,
            clock,
            progress,
            open: Open::default(),
            tally: Tally::default(),
            lines: 0,
            passed_over: 0,
            pace: None,
        }
    }

    /// Sends all lines that come, until there are no more, or `interrupt`, or an error.
    /// Afterwards [`Feed::finish`] waits for the answers.
    pub async fn run(
        &mut self,
        blocks: &mut mpsc::Receiver<Block>,
        interrupt: impl Future<Output = ()>,
    ) -> Ended {
        tokio::pin!(interrupt);
        let begin = self.clock.now();
        loop {
            let block = tokio::select! {
                biased;
                () = &mut interrupt => return Ended::Interrupted,
                block = blocks.recv() => block,
                // While nothing comes in, answers are still looked at.
                Some(()) = self.open.settle_some(&mut self.tally) => {
                    if !self.tally.is_clean() {
                        return Ended::Failure;
                    }
                    continue;
                }
            };
            let lines = match block {
                None => return Ended::Input,
                Some(Err(error)) => return Ended::Error(error),
                Some(Ok(lines)) => lines,
            };
            let sent = tokio::select! {
                biased;
                () = &mut interrupt => return Ended::Interrupted,
                sent = self.send(lines) => sent,
            };
            if let Err(ended) = sent {
                return ended;
            }
            let seconds = self.clock.now().since(begin).as_secs_f64();
            let tally = &self.tally;
            self.progress.set(|| {
                format!(
                    "{} acknowledged, {}",
                    out::count(tally.acknowledged, "record"),
                    out::rate(tally.bytes, seconds)
                )
            });
        }
    }

    /// Hands the lines to the producer.
    ///
    /// # Errors
    /// Why not all of them could be: those before were.
    pub(super) async fn send(&mut self, lines: Vec<Bytes>) -> Result<(), Ended> {
        let Self { producer, open, tally, pace, clock, .. } = self;
        let Some(producer) = producer else { return Err(Ended::Failure) };
        for line in lines {
            if self.lines.is_multiple_of(LOOK_LINES) {
                open.settle_now(tally);
            }
            if open.count >= OPEN_MAX {
                open.settle_some(tally).await;
            }
            if !tally.is_clean() {
                return Err(Ended::Failure);
            }
            let turn = pace.as_mut().map_or(Duration::ZERO, |pace| pace.wait(clock.now()));
            if !turn.is_zero() {
                let mut turn = std::pin::pin!(clock.sleep(turn));
                // While it waits for its turn, answers are still looked at.
                loop {
                    tokio::select! {
                        biased;
                        () = &mut turn => break,
                        Some(()) = open.settle_some(tally) => {
                            if !tally.is_clean() {
                                return Err(Ended::Failure);
                            }
                        }
                    }
                }
            }
            let number = self.lines + 1;
            let record = self.shape.record(line).map_err(|NoSeparator| {
                Ended::Error(CliError::new(
                    format!("line {number} has no key separator"),
                    "every line needs it: KEY, the separator, VALUE; the lines before were sent",
                ))
            })?;
            let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len) as u64;
            let bytes = length(&record.key) + length(&record.value);
            let mut sending = std::pin::pin!(producer.send(record));
            let sent = match sending.as_mut().now_or_never() {
                Some(sent) => sent,
                // It waits for room, which a failed record makes too: look at the answers first.
                None => loop {
                    tokio::select! {
                        biased;
                        Some(()) = open.settle_some(tally) => {
                            if !tally.is_clean() {
                                return Err(Ended::Failure);
                            }
                        }
                        sent = &mut sending => break sent,
                    }
                },
            };
            let delivery = sent.map_err(|e| {
                Ended::Error(error::not_taken(&format!("line {number}: "), self.topic, &e))
            })?;
            self.lines = number;
            let partition = delivery.partition().partition;
            open.push(partition, Sent { delivery, line: number, bytes });
        }
        open.settle_now(tally);
        if tally.is_clean() { Ok(()) } else { Err(Ended::Failure) }
    }

    /// Keeps where each record went, for [`Feed::take_answers`].
    pub(super) fn remember_answers(&mut self) {
        self.open.answers = Some(Vec::new());
    }

    /// Where records went since the last call.
    pub(super) fn take_answers(&mut self) -> Vec<(PartitionIndex, Offset)> {
        self.open.answers.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Waits for the answers to all that was sent.
    pub(super) async fn answers(&mut self) {
        while self.open.settle_some(&mut self.tally).await.is_some() {}
    }

    /// Waits up to `limit` for the answers to all that was sent. Returns how many did not
    /// come in time.
    ///
    /// After the first record that was not acknowledged nothing more is sent: the producer is
    /// dropped, which tells of the rest what is known of it.
    pub async fn finish(&mut self, limit: Duration) -> u64 {
        let begin = self.clock.now();
        let Self { producer, open, tally, .. } = self;
        let settled = self.clock.timeout(limit, async {
            if let Some(producer) = producer.as_ref().filter(|_| tally.is_clean()) {
                // Sends what lingers; its outcomes are those of the deliveries.
                let mut flush = std::pin::pin!(producer.flush());
                let mut flushed = false;
                while tally.is_clean() && open.count > 0 {
                    tokio::select! {
                        biased;
                        _ = open.settle_some(tally) => {}
                        _ = &mut flush, if !flushed => flushed = true,
                    }
                }
            }
            if !tally.is_clean() {
                *producer = None;
            }
            while open.settle_some(tally).await.is_some() {}
        });
        let _ = settled.await;
        if let Some(line) = open.first_line() {
            tally.unanswered(line);
        }
        tracing::debug!(waited = ?self.clock.now().since(begin), "flushed");
        self.open.count as u64
    }
}

/// A record that was handed over.
struct Sent {
    delivery: Delivery,
    line: u64,
    bytes: u64,
}

/// What was handed over and not looked at yet. By partition: a failure in one is seen although
/// another one's records are still waited for.
#[derive(Default)]
struct Open {
    queues: BTreeMap<PartitionIndex, VecDeque<Sent>>,
    count: usize,
    /// Where records went, if anybody wants to know.
    answers: Option<Vec<(PartitionIndex, Offset)>>,
}

impl Open {
    fn push(&mut self, partition: PartitionIndex, sent: Sent) {
        self.queues.entry(partition).or_default().push_back(sent);
        self.count += 1;
    }

    /// The first line whose outcome is not known.
    fn first_line(&self) -> Option<u64> {
        self.queues.values().filter_map(|queue| queue.front()).map(|sent| sent.line).min()
    }

    /// Counts the outcomes that are there.
    fn settle_now(&mut self, tally: &mut Tally) {
        for queue in self.queues.values_mut() {
            while let Some(result) = queue.front().and_then(|sent| sent.delivery.outcome()) {
                take(queue, &mut self.count, &mut self.answers, tally, result);
            }
        }
    }

    /// Waits until there are outcomes and counts them; `None` when there is none to wait for.
    /// Nothing is lost when it is dropped before.
    async fn settle_some(&mut self, tally: &mut Tally) -> Option<()> {
        if self.count == 0 {
            return None;
        }
        poll_fn(|cx| self.poll_settle(cx, tally)).await;
        Some(())
    }

    fn poll_settle(&mut self, cx: &mut Context<'_>, tally: &mut Tally) -> Poll<()> {
        let before = self.count;
        for queue in self.queues.values_mut() {
            while let Some(sent) = queue.front_mut() {
                let Poll::Ready(result) = Pin::new(&mut sent.delivery).poll(cx) else { break };
                take(queue, &mut self.count, &mut self.answers, tally, result);
            }
        }
        if self.count < before { Poll::Ready(()) } else { Poll::Pending }
    }
}

fn take(
    queue: &mut VecDeque<Sent>,
    count: &mut usize,
    answers: &mut Option<Vec<(PartitionIndex, Offset)>>,
    tally: &mut Tally,
    result: Result<weir_client::RecordMetadata, weir_client::ProduceError>,
) {
    let Some(sent) = queue.pop_front() else { return };
    *count -= 1;
    match result {
        Ok(metadata) => {
            tally.acknowledged(sent.bytes);
            if let Some(answers) = answers {
                answers.push((metadata.partition, metadata.offset));
            }
        }
        Err(error) => tally.not_acknowledged(sent.line, &error),
    }
}
