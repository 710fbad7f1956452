//! Consuming: records of one topic, in order per partition.
//!
//! ```text
//! fetch stream of each leader's SPU → reader (one task) → Consumer → the application
//!      ↑ credit ────────────────── follows on? CRC?      decodes
//! ```
//!
//! Offsets must follow on, always: a gap is an error, never passed by. What the application
//! has not taken is bounded by credits; taking records gives them back.
//!
//! A consumer with a name also commits what the application has finished with:
//!
//! ```text
//! Consumer: yielded, next one asked for → progress → session (one task) → coordinator
//! ```
//!
//! | Module | Holds | Pure |
//! |---|---|---|
//! | `config`, `start` | what is read, and from where | all |
//! | `reader`, `subscribe`, `claim` | the task that reads, one `part` per partition | |
//! | `position` | whether what arrives follows on | all |
//! | `item` | what the reader hands on, decoded record by record | |
//! | `progress` | what is processed, and what of it is committed | all |
//! | `session`, `job` | the task that claims partitions and commits | |
//! | `coordinator` | which SPU to ask for that | all |
//! | `commit` | what the application says about commits | |

mod claim;
mod commit;
mod commit_error;
mod config;
mod coordinator;
mod error;
mod item;
mod job;
mod part;
mod position;
mod progress;
mod reader;
mod record;
mod session;
mod start;
mod subscribe;

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures::{Stream, StreamExt};
use tokio::sync::mpsc;
use weir_protocol::{
    batch::DecodeLimits,
    ids::{Offset, PartitionIndex, PartitionKey, TopicGenerationId},
};
use weir_runtime::task;

use self::{
    claim::Claims,
    commit::Committer,
    item::{Item, Reading, SkipTo},
    reader::Reader,
    session::{Named, Session},
};
pub use self::{
    commit_error::CommitError,
    config::{Commit, ConsumerConfig, Isolation, Partitions, Processed},
    error::ConsumeError,
    record::{ConsumerRecord, Place},
    start::{Begun, ResetPolicy, Resolution, Start},
};
use crate::{ClientError, core::Core, metadata::Generation};

/// Reads one topic. A [`Stream`] of records and errors; see [`ConsumeError`] for what each
/// error leads to.
///
/// It ends (`None`) when every partition came to its end (with `until_end`), after a terminal
/// error, or when every partition that is left stopped with an error: after
/// [`Consumer::skip_to`] it goes on.
///
/// With a name it goes on where it had committed, and commits what was processed: a record is
/// processed when the next one is asked for (unless [`Processed::WhenTold`] is configured), or
/// when [`Consumer::processed`] or [`Consumer::processed_through`] says so. Dropping
/// it commits nothing: end it with [`Consumer::close`]. What was processed and not committed
/// is yielded again by the next consumer of the name; nothing is passed by.
pub struct Consumer {
    items: mpsc::UnboundedReceiver<Item>,
    skips: mpsc::UnboundedSender<SkipTo>,
    decode: DecodeLimits,
    generation: TopicGenerationId,
    reading: Option<Reading>,
    /// Partitions from which something may come.
    live: BTreeSet<PartitionIndex>,
    /// Those that stopped with an error.
    halted: BTreeSet<PartitionIndex>,
    /// How often each was told to go on elsewhere: what came before that does not count.
    sessions: BTreeMap<PartitionIndex, u32>,
    starts: BTreeMap<PartitionIndex, Begun>,
    /// Of a named consumer.
    committer: Option<Committer>,
    /// No generation is read just now, and one may come.
    waiting: bool,
    over: bool,
}

impl std::fmt::Debug for Consumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consumer")
            .field("generation", &self.generation)
            .field("live", &self.live)
            .field("halted", &self.halted)
            .finish_non_exhaustive()
    }
}

impl Consumer {
    pub(crate) fn start(
        core: Arc<Core>,
        generation: &Arc<Generation>,
        config: ConsumerConfig,
    ) -> Result<Self, ClientError> {
        let (item_to, items) = mpsc::unbounded_channel();
        let (skips, skips_from) = mpsc::unbounded_channel();
        let decode = config.decode;
        let (claims, committer) = open_session(&core, &config)?.unzip();
        let reader = Reader::new(core, config, item_to, skips_from, claims);
        task::spawn(reader.run(generation.clone()));
        Ok(Self {
            items,
            skips,
            decode,
            generation: generation.id,
            reading: None,
            live: BTreeSet::new(),
            halted: BTreeSet::new(),
            sessions: BTreeMap::new(),
            starts: BTreeMap::new(),
            committer,
            waiting: true,
            over: false,
        })
    }

    /// The generation that is read, as of the last record or error.
    #[must_use]
    pub fn generation(&self) -> TopicGenerationId {
        self.generation
    }

    /// The partitions from which something may still come.
    #[must_use]
    pub const fn live(&self) -> &BTreeSet<PartitionIndex> {
        &self.live
    }

    /// The next record or error; `None` when nothing more will come. Cancel safe: dropping
    /// the future loses nothing.
    pub async fn next(&mut self) -> Option<Result<ConsumerRecord, ConsumeError>> {
        StreamExt::next(self).await
    }

    /// Goes on with a partition at `offset`, whether or not it stopped with an error. What was
    /// received of it and not yielded is dropped. False if the partition is not read.
    ///
    /// A named consumer commits nothing by this, and nothing behind `offset` any more; it
    /// commits on when it has processed more than is committed.
    pub fn skip_to(&mut self, partition: PartitionIndex, offset: Offset) -> bool {
        let known = self.live.contains(&partition) || self.halted.remove(&partition);
        if !known || self.over {
            return false;
        }
        self.live.insert(partition);
        let session = self.sessions.entry(partition).or_default();
        *session += 1;
        if self.reading.as_ref().is_some_and(|reading| reading.partition() == partition) {
            self.reading = None;
        }
        let (generation, session) = (self.generation, *session);
        if let Some(committer) = &self.committer {
            committer.skipped(PartitionKey { generation, partition }, offset);
        }
        self.skips.send(SkipTo { generation, partition, offset, session }).is_ok()
    }

    fn halt(&mut self, error: &ConsumeError) {
        if let Some(partition) = error.halted() {
            self.live.remove(&partition);
            self.halted.insert(partition);
        }
        self.over |= error.is_terminal();
    }

    fn current(&self, partition: PartitionIndex, session: u32) -> bool {
        self.sessions.get(&partition).copied().unwrap_or_default() == session
    }

    /// Takes in what the task says; an error is for the application.
    fn take(&mut self, item: Item) -> Option<ConsumeError> {
        match item {
            Item::Generation(generation, partitions) => {
                self.generation = generation;
                self.begin(false);
                if let Some(committer) = &self.committer {
                    committer.only(generation);
                }
                self.live.extend(partitions);
            }
            Item::Waiting => self.begin(true),
            Item::Assigned(partition) => {
                self.live.insert(partition);
            }
            Item::Begun(begun, session) => {
                self.starts.insert(begun.partition, begun);
                // What was begun before a skip says nothing of what is processed after it.
                if self.current(begun.partition, session)
                    && let Some(committer) = &self.committer
                {
                    committer.begun(self.generation, &begun);
                }
            }
            // One from before a skip is not the end of what comes after it.
            Item::Done(partition, session) => {
                if self.current(partition, session) {
                    self.live.remove(&partition);
                }
            }
            Item::Batch(batch) => {
                let (partition, session) = (batch.partition, batch.session);
                if self.live.contains(&partition) && self.current(partition, session) {
                    match Reading::begin(self.generation, *batch, &self.decode) {
                        Ok(reading) => self.reading = Some(reading),
                        Err(error) => return Some(error),
                    }
                }
            }
            Item::Error { error, session } => {
                let stale = error.halted().is_some_and(|partition| {
                    !self.live.contains(&partition) || !self.current(partition, session)
                });
                return Some(error).filter(|_| !stale);
            }
        }
        None
    }

    fn begin(&mut self, waiting: bool) {
        self.waiting = waiting;
        self.live.clear();
        self.halted.clear();
        self.sessions.clear();
        self.starts.clear();
    }

    /// The application asks for the next record. An error if the partitions were taken away.
    fn asked_next(&mut self) -> Option<ConsumeError> {
        let committer = self.committer.as_ref().filter(|_| !self.over)?;
        if let Some(error) = committer.fenced() {
            self.reading = None;
            self.over = true;
            return Some(error);
        }
        committer.asked_next();
        None
    }
}

/// Begins the session of a named consumer.
fn open_session(
    core: &Arc<Core>,
    config: &ConsumerConfig,
) -> Result<Option<(Claims, Committer)>, ClientError> {
    let Some(name) = &config.name else { return Ok(None) };
    let id = weir_runtime::rng::bytes().map_err(|error| {
        ClientError::Configuration(format!("no randomness for the consumer's session: {error}"))
    })?;
    let named = Arc::new(Named::new(name, id, config.metadata.clone()));
    // Bounded by claims and by calls that are waited for.
    let (commands, commands_from) = mpsc::unbounded_channel();
    let (news_to, news) = mpsc::unbounded_channel();
    let session = Session::new(core.clone(), named.clone(), config, commands_from, news_to);
    task::spawn(session.run());
    let claims = Claims { name: named.name.clone(), commands: commands.clone(), news };
    Ok(Some((claims, Committer::new(named, commands, config.processed))))
}

impl Stream for Consumer {
    type Item = Result<ConsumerRecord, ConsumeError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if let Some(error) = this.asked_next() {
            return Poll::Ready(Some(Err(error)));
        }
        loop {
            if let Some(reading) = &mut this.reading {
                match reading.next() {
                    Some(Ok(record)) => {
                        if let Some(committer) = &this.committer {
                            committer.yields(record.place());
                        }
                        return Poll::Ready(Some(Ok(record)));
                    }
                    Some(Err(error)) => {
                        this.reading = None;
                        this.halt(&error);
                        return Poll::Ready(Some(Err(error)));
                    }
                    None => this.reading = None,
                }
            }
            if this.over {
                return Poll::Ready(None);
            }
            match this.items.poll_recv(cx) {
                Poll::Ready(Some(item)) => {
                    if let Some(error) = this.take(item) {
                        this.halt(&error);
                        return Poll::Ready(Some(Err(error)));
                    }
                }
                Poll::Ready(None) => {
                    this.over = true;
                    // The task goes on until it is told to end or says why it does: if
                    // something was still to come, its end must not look like the stream's.
                    if this.waiting || !this.live.is_empty() {
                        return Poll::Ready(Some(Err(ConsumeError::Stopped)));
                    }
                }
                Poll::Pending if this.live.is_empty() && !this.waiting => {
                    return Poll::Ready(None);
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

#[cfg(test)]
#[path = "consumer_tests.rs"]
mod tests;
