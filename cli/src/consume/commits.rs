//! What a named consumer commits while its records are written: a record is processed when it
//! was handed to standard output, never before.

use std::{collections::BTreeSet, future::Future, pin::Pin, time::Duration};

use futures::{FutureExt as _, future};
use weir_client::{Begun, CommitError, ConsumeError, Consumer, Resolution};
use weir_protocol::{ErrorCode, ids::PartitionIndex};
use weir_runtime::clock::{Clock, Monotonic};

use super::writer::Writer;
use crate::error::{self, CliError, Result};

const INTERVAL: Duration = Duration::from_secs(1);

type Committing = Pin<Box<dyn Future<Output = Result<(), CommitError>> + Send>>;

/// The commits of a named consumer; of one without a name there are none.
pub struct Commits {
    name: Option<String>,
    clock: Clock,
    last: Monotonic,
    /// The one that is not answered yet.
    under_way: Option<Committing>,
    /// Partitions whose beginning was looked at.
    looked: BTreeSet<PartitionIndex>,
    /// It was said that it goes on where it was.
    went_on: bool,
}

impl Commits {
    /// The first is due in a second.
    pub fn new(name: Option<&str>, clock: Clock) -> Self {
        let (name, last) = (name.map(str::to_owned), clock.now());
        Self { name, clock, last, under_way: None, looked: BTreeSet::new(), went_on: false }
    }

    /// Whether it is time for the next.
    pub fn due(&self) -> bool {
        self.name.is_some() && self.clock.now().since(self.last) >= INTERVAL
    }

    /// Commits what is written, unless the last commit is still under way.
    pub fn begin(&mut self, consumer: &mut Consumer, writer: &Writer) {
        self.last = self.clock.now();
        if self.name.is_some() && self.under_way.is_none() {
            processed(consumer, writer);
            self.under_way = Some(Box::pin(consumer.commit()));
        }
    }

    /// The answer to the last commit, if it has come.
    pub fn answer(&mut self) -> Option<Result<(), CommitError>> {
        let answer = self.under_way.as_mut()?.now_or_never()?;
        self.under_way = None;
        Some(answer)
    }

    /// Waits until there is something to do: a second is over (`None`), or a commit was
    /// answered. Cancel safe.
    pub async fn turn(&mut self) -> Option<Result<(), CommitError>> {
        let left = INTERVAL.saturating_sub(self.clock.now().since(self.last));
        let Some(under_way) = &mut self.under_way else {
            self.clock.sleep(left).await;
            return None;
        };
        let answer = under_way.await;
        self.under_way = None;
        Some(answer)
    }

    /// A sentence for each partition that does not begin where it was asked to; and one for all
    /// of them if it was `told` where to begin and goes on where it was instead.
    pub fn moved(&mut self, consumer: &Consumer, told: bool) -> Vec<String> {
        let starts = consumer.starts();
        if starts.len() == self.looked.len() {
            return Vec::new();
        }
        let new = starts.values().filter(|begun| self.looked.insert(begun.partition));
        let new: Vec<_> = new.collect();
        let goes_on = new.iter().any(|begun| begun.resolution == Resolution::Committed);
        let mut sentences = Vec::new();
        if goes_on && told && !std::mem::replace(&mut self.went_on, true) {
            sentences.push(GOES_ON.to_owned());
        }
        let reset = new.into_iter().filter(|begun| begun.resolution == Resolution::Reset);
        sentences.extend(reset.map(moved));
        sentences
    }

    /// Commits what was written, for the last time.
    ///
    /// # Errors
    /// When that is not known to be done.
    pub async fn end(
        self,
        mut consumer: Consumer,
        writer: &Writer,
        limit: Option<Duration>,
    ) -> Result<()> {
        let Some(name) = self.name else { return Ok(()) };
        processed(&mut consumer, writer);
        let under_way = self.under_way.unwrap_or_else(|| future::ready(Ok(())).boxed());
        let close = async {
            let (before, closed) = future::join(under_way, consumer.close()).await;
            // What could not be done in time is part of the last commit.
            before.or_else(|error| if error.retryable() { Ok(()) } else { Err(error) }).and(closed)
        };
        let closed = match limit {
            Some(limit) => self.clock.timeout(limit, close).await,
            None => Ok(close.await),
        };
        match closed {
            Ok(closed) => closed.map_err(|error| not_committed(&name, &error)),
            Err(_) => Err(CliError::new(
                format!("consumer {name}: its last records were not committed in time"),
                AGAIN,
            )),
        }
    }
}

fn processed(consumer: &mut Consumer, writer: &Writer) {
    writer.written().into_values().for_each(|place| consumer.processed_through(place));
}

const GOES_ON: &str = "goes on where this consumer had come to: where to begin is said to a new \
                       one; weir consumer reset moves it";
const AGAIN: &str = "run the command again: records that were written and not committed come again";

fn moved(begun: &Begun) -> String {
    let Begun { partition, offset, log_start, high_watermark, .. } = begun;
    let wanted = match begun.committed {
        Some(committed) => format!("offset {committed} is committed, but"),
        None => "the offset asked for is out of range:".to_owned(),
    };
    format!(
        "partition {partition}: {wanted} the partition has {log_start} to {high_watermark}; begins \
         at {offset}"
    )
}

/// Why what was written is not committed, or not known to be.
pub fn not_committed(name: &str, error: &CommitError) -> CliError {
    match error {
        CommitError::Fenced { .. } => fenced(name),
        CommitError::TopicRecreated { .. } | CommitError::TopicDeleted { .. } => {
            CliError::new(format!("consumer {name}: {error}"), "see: weir topic list --deleted")
        }
        other => {
            CliError::new(format!("consumer {name}: {}", error::rounded(&other.to_string())), AGAIN)
        }
    }
}

fn fenced(name: &str) -> CliError {
    CliError::new(
        format!(
            "consumer {name} lost its partitions: another consumer of this name has taken them, or \
             it was reset or deleted"
        ),
        format!(
            "see: weir consumer describe {name}; run one of a name at a time, or give each \
             partitions of its own with -p"
        ),
    )
}

/// Why a named consumer stopped reading.
pub fn not_read(name: &str, topic: &str, error: &ConsumeError) -> CliError {
    match error {
        ConsumeError::Fenced { .. } => fenced(name),
        ConsumeError::SessionRefused { code, message, .. } => CliError::new(
            format!("consumer {name} cannot read topic {topic}: {message}"),
            match code {
                ErrorCode::Forbidden => "use an API key that may consume",
                ErrorCode::InvalidRequest => {
                    "read fewer partitions at once with -p, or as another consumer with -c"
                }
                _ => "see: weir cluster status",
            },
        ),
        ConsumeError::OutOfRange { .. } => error::not_read(topic, error).hinted(format!(
            "go on elsewhere with --reset-policy earliest, latest or nearest, or: weir consumer \
             reset {name}"
        )),
        ConsumeError::TopicRecreated { .. } => error::not_read(topic, error).hinted(
            "run the command again: it begins the new one where -B, -T, -H or --start-offset say, \
             by default at its beginning; what was committed belongs to the old one",
        ),
        other => error::not_read(topic, other),
    }
}

#[cfg(test)]
mod tests {
    use weir_protocol::ids::{Offset, PartitionIndex};

    use super::*;

    #[test]
    fn hints_go_by_what_was_refused() {
        let hint = |code| {
            let consumer = "billing".into();
            let error = ConsumeError::SessionRefused { consumer, code, message: "no".into() };
            match not_read("billing", "orders", &error) {
                CliError::Told { hint, .. } => hint,
                CliError::BrokenPipe => unreachable!(),
            }
        };
        assert!(hint(ErrorCode::Forbidden).contains("may consume"));
        assert!(hint(ErrorCode::InvalidRequest).contains("-p"));
        assert!(hint(ErrorCode::UnsupportedVersion).contains("cluster status"));
    }

    #[test]
    fn a_reset_says_what_was_wanted_and_what_is_there() {
        let begun = Begun {
            partition: PartitionIndex(3),
            offset: Offset(2),
            resolution: Resolution::Reset,
            committed: Some(Offset(72)),
            log_start: Offset(0),
            high_watermark: Offset(2),
        };
        assert_eq!(
            moved(&begun),
            "partition 3: offset 72 is committed, but the partition has 0 to 2; begins at 2"
        );
        let begun = Begun { committed: None, ..begun };
        assert!(moved(&begun).contains("asked for is out of range: the partition has 0 to 2"));
    }
}
