//! Hands lines to a producer and follows what becomes of them, with bounded memory.

use std::{collections::VecDeque, future::Future, time::Duration};

use bytes::Bytes;
use futures::FutureExt as _;
use tokio::sync::mpsc;
use weir_client::{Delivery, Producer, ProducerRecord};
use weir_protocol::ids::PartitionIndex;
use weir_runtime::clock::Clock;

use super::{source::Block, tally::Tally};
use crate::{
    error::{self, CliError},
    out,
    ui::Progress,
};

/// Records whose outcome is not looked at yet. The producer bounds what is unacknowledged;
/// this bounds what is acknowledged behind one that is not.
const OPEN_MAX: usize = 1 << 20;

/// How lines become records.
#[derive(Clone, Debug, Default)]
pub struct Shape {
    /// Where all records go; none: as the producer decides.
    pub partition: Option<PartitionIndex>,
    /// What stands between key and value.
    pub key_separator: Option<Vec<u8>>,
}

/// A line without the separator that every line should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSeparator;

impl Shape {
    /// The record of a line.
    ///
    /// # Errors
    /// When the line lacks the key separator.
    pub fn record(&self, line: Bytes) -> Result<ProducerRecord, NoSeparator> {
        let (key, value) = match &self.key_separator {
            None => (None, line),
            Some(separator) => {
                let at = memchr::memmem::find(&line, separator).ok_or(NoSeparator)?;
                (Some(line.slice(..at)), line.slice(at + separator.len()..))
            }
        };
        Ok(ProducerRecord {
            key,
            value: Some(value),
            partition: self.partition,
            ..ProducerRecord::default()
        })
    }
}

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
    /// Takes the records.
    pub producer: &'a Producer,
    /// For messages.
    pub topic: &'a str,
    /// How lines become records.
    pub shape: Shape,
    /// Measures.
    pub clock: Clock,
    /// Shows how far it is.
    pub progress: &'a Progress,
    open: VecDeque<(Delivery, u64)>,
    /// What became of the records so far.
    pub tally: Tally,
    /// Lines read so far.
    pub lines: u64,
}

impl<'a> Feed<'a> {
    /// Nothing is sent yet.
    pub fn new(
        producer: &'a Producer,
        topic: &'a str,
        shape: Shape,
        clock: Clock,
        progress: &'a Progress,
    ) -> Self {
        Self {
            producer,
            topic,
            shape,
            clock,
            progress,
            open: VecDeque::new(),
            tally: Tally::default(),
            lines: 0,
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
                Some(()) = settle_front(&mut self.open, &mut self.tally) => {
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

    async fn send(&mut self, lines: Vec<Bytes>) -> Result<(), Ended> {
        for line in lines {
            self.lines += 1;
            let record = self.shape.record(line).map_err(|NoSeparator| {
                Ended::Error(CliError::new(
                    format!("line {} has no key separator", self.lines),
                    "every line needs it: KEY, the separator, VALUE; the lines before were sent",
                ))
            })?;
            let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len) as u64;
            let bytes = length(&record.key) + length(&record.value);
            let delivery = self.producer.send(record).await.map_err(|e| {
                Ended::Error(error::not_taken(&format!("line {}: ", self.lines), self.topic, &e))
            })?;
            self.open.push_back((delivery, bytes));
            if self.open.len() >= OPEN_MAX {
                settle_front(&mut self.open, &mut self.tally).await;
            }
        }
        while let Some((delivery, bytes)) = self.open.front_mut() {
            let Some(result) = delivery.now_or_never() else { break };
            count(&mut self.tally, result, *bytes);
            self.open.pop_front();
        }
        if self.tally.is_clean() { Ok(()) } else { Err(Ended::Failure) }
    }

    /// Waits up to `limit` for the answers to all that was sent. Returns how many did not
    /// come in time.
    pub async fn finish(&mut self, limit: Duration) -> u64 {
        let begin = self.clock.now();
        let tally = &mut self.tally;
        let open = &mut self.open;
        let (clock, producer) = (self.clock, self.producer);
        let settled = clock.timeout(limit, async {
            // Sends what lingers; its outcomes are those of the deliveries.
            let _ = producer.flush().await;
            while settle_front(open, tally).await.is_some() {}
        });
        let _ = settled.await;
        tracing::debug!(waited = ?self.clock.now().since(begin), "flushed");
        self.open.len() as u64
    }
}

/// Waits for the oldest record's outcome; `None` when there is none to wait for. Nothing is
/// lost when it is dropped before.
async fn settle_front(open: &mut VecDeque<(Delivery, u64)>, tally: &mut Tally) -> Option<()> {
    let (delivery, bytes) = open.front_mut()?;
    let result = delivery.await;
    count(tally, result, *bytes);
    open.pop_front();
    Some(())
}

fn count(
    tally: &mut Tally,
    result: Result<weir_client::RecordMetadata, weir_client::ProduceError>,
    bytes: u64,
) {
    match result {
        Ok(_) => tally.acknowledged(bytes),
        Err(error) => tally.not_acknowledged(&error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(separator: &str) -> Shape {
        Shape { key_separator: Some(separator.into()), ..Shape::default() }
    }

    #[test]
    fn a_line_is_the_value_unless_a_separator_is_given() {
        let line = Bytes::from_static(b"a:b:c\r");
        let record = Shape::default().record(line.clone()).unwrap();
        assert_eq!((record.key, record.value), (None, Some(line.clone())));
        let record = shape(":").record(line.clone()).unwrap();
        assert_eq!(record.key.as_deref(), Some(&b"a"[..]));
        assert_eq!(record.value.as_deref(), Some(&b"b:c\r"[..]));
        let record = shape("b:c\r").record(line.clone()).unwrap();
        assert_eq!(record.value.as_deref(), Some(&b""[..]));
        assert_eq!(shape("=>").record(line), Err(NoSeparator));
    }
}
