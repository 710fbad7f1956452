//! From a topic to the output, until the end, the count, Ctrl-C or an error.

use std::{collections::BTreeSet, io, time::Duration};

use futures::FutureExt as _;
use weir_client::{CommitError, ConsumeError, Consumer, ConsumerRecord};
use weir_protocol::ids::PartitionIndex;
use weir_runtime::task::CancellationToken;

use super::{
    commits::{self, Commits},
    sink::{Chunk, Sink},
    writer::Writer,
};
use crate::{
    connect,
    context::Context,
    error::{self, CliError, Result},
    home::target::Target,
    out, signal,
};

/// How long the last writes may take after Ctrl-C, and then the last commit: together less than
/// until the process is ended.
const LAST_WRITES: Duration = Duration::from_millis(300);
const LAST_COMMIT: Duration = Duration::from_millis(1_500);

/// After so many records that are not wanted it is looked whether Ctrl-C was pressed.
const PASSED_BY_MAX: u64 = 1 << 16;

/// What the command line asks for.
pub struct Wanted<'a> {
    /// Of which cluster.
    pub target: Target,
    /// The topic's name.
    pub topic: &'a str,
    /// The consumer's name, if it has one.
    pub name: Option<&'a str>,
    /// It is said where to begin.
    pub begin: bool,
    /// To stop at the end.
    pub until_end: bool,
    /// To stop each partition at its first record from this time on, in milliseconds since 1970.
    pub until: Option<i64>,
    /// To stop after so many records.
    pub count: Option<u64>,
}

/// Copies records.
pub struct Copy<'a> {
    wanted: Wanted<'a>,
    context: &'a Context,
    told: CancellationToken,
    consumer: Consumer,
    sink: Sink,
    /// Gathered, and not handed over yet.
    pending: Option<Chunk>,
    writer: Writer,
    commits: Commits,
    /// Partitions of which all was read that was asked for.
    over: BTreeSet<PartitionIndex>,
    /// Records of these that came after.
    passed_by: u64,
}

impl<'a> Copy<'a> {
    /// Nothing is copied yet. From here on Ctrl-C is heard.
    pub fn new(
        wanted: Wanted<'a>,
        context: &'a Context,
        consumer: Consumer,
        sink: Sink,
        writer: Writer,
    ) -> Self {
        let commits = Commits::new(wanted.name, context.clock);
        let told = signal::on_signal_or_ended();
        let over = BTreeSet::new();
        let pending = None;
        Self { wanted, context, told, consumer, sink, pending, writer, commits, over, passed_by: 0 }
    }

    /// Does it.
    ///
    /// # Errors
    /// When not all that was asked for was read, written and committed.
    pub async fn run(mut self) -> Result<()> {
        let read = self.read().await;
        if matches!(read, Err(CliError::BrokenPipe)) {
            return read;
        }
        // What was read before an error is printed before the error.
        let written = self.write_rest().await;
        let Self { consumer, writer, commits, told, context, .. } = self;
        let limit = if told.is_cancelled() { Some(LAST_COMMIT) } else { context.timeout };
        let committed = commits.end(consumer, &writer, limit).await;
        // Why reading stopped explains most commits that fail.
        read.and(written).and(committed)
    }

    async fn read(&mut self) -> Result<()> {
        while self.wanted.count.is_none_or(|count| self.sink.records < count) {
            let next = match self.consumer.next().now_or_never() {
                Some(next) => next,
                // Nothing is there: what was read is shown before more is waited for.
                None => {
                    self.hand_over().await?;
                    tokio::select! {
                        biased;
                        () = self.told.cancelled() => return self.interrupted(),
                        error = self.writer.failed() => return Err(out::from_stdout(&error)),
                        next = self.consumer.next() => next,
                        turn = self.commits.turn() => {
                            self.turned(turn)?;
                            continue;
                        }
                    }
                }
            };
            self.tell_moved();
            match next {
                None => return Ok(()),
                Some(Ok(record)) if self.is_over(&record) => {
                    if self.consumer.live().is_subset(&self.over) {
                        return Ok(());
                    }
                    self.passed_by += 1;
                    if self.passed_by.is_multiple_of(PASSED_BY_MAX) {
                        self.hand_over().await?;
                    }
                }
                Some(Ok(record)) => {
                    if self.sink.take(&record).map_err(|e| out::from_stdout(&e))? {
                        self.hand_over().await?;
                    }
                }
                Some(Err(error)) => self.failed(&error).await?,
            }
        }
        Ok(())
    }

    /// Whether the record lies behind the end of what was asked for of its partition.
    fn is_over(&mut self, record: &ConsumerRecord) -> bool {
        let Some(until) = self.wanted.until else { return false };
        if record.timestamp_ms >= until {
            self.over.insert(record.partition);
        }
        self.over.contains(&record.partition)
    }

    /// Hands over what was gathered, and commits while there is no room for it. It also looks
    /// whether Ctrl-C was pressed: while records keep coming, nothing else does.
    async fn hand_over(&mut self) -> Result<()> {
        self.pending = self.sink.chunk();
        loop {
            tokio::select! {
                biased;
                () = self.told.cancelled() => return self.interrupted(),
                handed = self.writer.hand_over(&mut self.pending) => {
                    handed.map_err(|e| out::from_stdout(&e))?;
                    break;
                }
                turn = self.commits.turn() => self.turned(turn)?,
            }
        }
        if let Some(answer) = self.commits.answer() {
            self.answered(answer)?;
        }
        if self.commits.due() {
            self.commits.begin(&mut self.consumer, &self.writer);
        }
        Ok(())
    }

    /// Writes what was read. After Ctrl-C a slow reader does not hold up the end.
    async fn write_rest(&mut self) -> Result<()> {
        while !self.told.is_cancelled() {
            tokio::select! {
                biased;
                written = rest(&mut self.pending, &mut self.sink, &mut self.writer) => {
                    return written.map_err(|e| out::from_stdout(&e));
                }
                () = self.told.cancelled() => {}
                turn = self.commits.turn() => self.turned(turn)?,
            }
        }
        let rest = rest(&mut self.pending, &mut self.sink, &mut self.writer);
        match self.context.clock.timeout(LAST_WRITES, rest).await {
            Ok(written) => written.map_err(|e| out::from_stdout(&e)),
            Err(_) => self.interrupted(),
        }
    }

    /// A second is over, or a commit was answered.
    fn turned(&mut self, turn: Option<Result<(), CommitError>>) -> Result<()> {
        self.tell_moved();
        match turn {
            None => {
                self.commits.begin(&mut self.consumer, &self.writer);
                Ok(())
            }
            Some(answer) => self.answered(answer),
        }
    }

    /// Says of each partition that does not begin where it was asked to that it does not.
    fn tell_moved(&mut self) {
        for moved in self.commits.moved(&self.consumer, self.wanted.begin) {
            self.context.ui.warn(&format!("topic {}: {moved}", self.wanted.topic));
        }
    }

    /// A commit was answered. What ends the consumer is told by the consumer itself.
    fn answered(&self, answer: Result<(), CommitError>) -> Result<()> {
        let (Some(name), Err(error)) = (self.wanted.name, answer) else { return Ok(()) };
        match error {
            CommitError::NotInTime { .. } => {
                let error = error::rounded(&error.to_string());
                self.context.ui.warn(&format!("consumer {name}: {error}; still trying"));
                Ok(())
            }
            CommitError::Refused { .. } => Err(commits::not_committed(name, &error)),
            _ => Ok(()),
        }
    }

    /// The consumer has an error.
    async fn failed(&self, error: &ConsumeError) -> Result<()> {
        let Wanted { topic, name, .. } = &self.wanted;
        match error {
            // Whoever says how long to wait is told when that is over.
            ConsumeError::Unavailable { .. } if self.context.timeout.is_some() => {
                Err(error::not_read(topic, error))
            }
            ConsumeError::Unavailable { .. } | ConsumeError::NotCommitted { .. } => {
                let error = error::rounded(&error.to_string());
                let why = tokio::select! {
                    biased;
                    () = self.told.cancelled() => None,
                    why = connect::why_gone(self.context, &self.wanted.target) => why?,
                };
                let why = why.map_or_else(String::new, |why| format!("{why}; "));
                self.context.ui.warn(&format!("topic {topic}: {why}{error}; still trying"));
                Ok(())
            }
            _ => Err(match name {
                Some(name) => commits::not_read(name, topic, error),
                None => error::not_read(topic, error),
            }),
        }
    }

    /// A tail has no end that one could miss; what was asked for up to an end or a count has.
    fn interrupted(&self) -> Result<()> {
        let Wanted { name, until_end, count, .. } = &self.wanted;
        if !until_end && count.is_none() {
            return Ok(());
        }
        let records = out::count(self.writer.records(), "record");
        let again = if name.is_some() { "goes on where it was" } else { "begins where it began" };
        Err(CliError::interrupted(
            format!("interrupted after {records}, before all that was asked for was read"),
            format!("run the command again; it {again}"),
        ))
    }
}

/// Writes what was gathered. Cancel safe.
async fn rest(pending: &mut Option<Chunk>, sink: &mut Sink, writer: &mut Writer) -> io::Result<()> {
    writer.hand_over(pending).await?;
    *pending = sink.chunk();
    writer.hand_over(pending).await?;
    writer.drained().await
}
