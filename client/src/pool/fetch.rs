//! The fetch stream to one SPU: opened when there is something to read, shared by all
//! consumers. When it ends every subscription is told so and has to be made again.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use weir_protocol::{
    ErrorCode, WireError,
    ids::Offset,
    pb::data::{
        Authenticate, Credit, FetchMessage, FetchResponse, Started, Subscribe, Unsubscribe,
        fetch_message::Message, fetch_response::Event,
    },
    streams::FETCH_PATH,
};
use weir_runtime::{
    rpc::stream::{Incoming, whole},
    task,
};

use super::{Link, credit::Ledger};

const OUTBOUND_MAX: usize = 16;

/// One partition to be read. The id is unique among all of the client's.
pub(crate) struct Subscription {
    pub consumer: u64,
    /// Bytes that the consumer is ready to hold of this SPU.
    pub budget: u64,
    pub request: Subscribe,
    /// Bounded by credits.
    pub events: mpsc::UnboundedSender<FetchEvent>,
    pub gauge: Arc<Gauge>,
}

pub(crate) enum FetchCommand {
    Subscribe(Box<Subscription>),
    Unsubscribe(u64),
    Release { connection: u64, consumer: u64, bytes: u64 },
}

/// What a subscription hears.
pub(crate) struct FetchEvent {
    pub subscription: u64,
    pub news: FetchNews,
}

pub(crate) enum FetchNews {
    Started(Started),
    Records {
        batches: Bytes,
        log_start: Offset,
        high_watermark: Offset,
        lease: Lease,
    },
    /// The subscription is over; it may be made again.
    Paused,
    /// The subscription is over.
    Ended(WireError),
}

/// How much a consumer holds, and a bell for when it becomes less.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    bytes: AtomicUsize,
    pub less: Notify,
}

impl Gauge {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// Bytes that a consumer holds. Dropping it gives them back to the SPU as credit.
pub(crate) struct Lease {
    connection: u64,
    consumer: u64,
    bytes: usize,
    gauge: Arc<Gauge>,
    home: mpsc::UnboundedSender<FetchCommand>,
}

impl Lease {
    fn new(
        connection: u64,
        of: &Subscription,
        bytes: usize,
        home: &mpsc::UnboundedSender<FetchCommand>,
    ) -> Self {
        of.gauge.bytes.fetch_add(bytes, Ordering::Relaxed);
        let (consumer, gauge, home) = (of.consumer, of.gauge.clone(), home.clone());
        Self { connection, consumer, bytes, gauge, home }
    }

    /// Takes a part out, to be dropped for itself.
    pub(crate) fn split(&mut self, bytes: usize) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        let Self { connection, consumer, ref gauge, ref home, .. } = *self;
        Self { connection, consumer, bytes, gauge: gauge.clone(), home: home.clone() }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.gauge.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
            self.gauge.less.notify_one();
            let Self { connection, consumer, bytes, .. } = *self;
            // A stream that is gone has no use for credit.
            let _ =
                self.home.send(FetchCommand::Release { connection, consumer, bytes: bytes as u64 });
        }
    }
}

pub(super) fn spawn(link: Link) -> mpsc::UnboundedSender<FetchCommand> {
    let (sender, commands) = mpsc::unbounded_channel();
    let home = sender.downgrade();
    task::spawn(run(link, commands, home));
    sender
}

async fn run(
    link: Link,
    mut commands: mpsc::UnboundedReceiver<FetchCommand>,
    home: mpsc::WeakUnboundedSender<FetchCommand>,
) {
    for connection in 0.. {
        let first = loop {
            let command = tokio::select! { biased;
                () = link.over.cancelled() => None,
                command = commands.recv() => command,
            };
            match command {
                Some(FetchCommand::Subscribe(subscription)) => break Some(subscription),
                // Of a stream that is over.
                Some(_) => {}
                None => break None,
            }
        };
        let (Some(first), Some(home)) = (first, home.upgrade()) else { break };
        match open(&link).await {
            Ok((outbound, inbound)) => {
                let mut conversation = Conversation {
                    link: &link,
                    connection,
                    home: home.downgrade(),
                    ledger: Ledger::default(),
                    subscriptions: BTreeMap::new(),
                    outbox: VecDeque::new(),
                };
                drop(home);
                conversation.command(FetchCommand::Subscribe(first));
                let lost = conversation.run(&mut commands, outbound, inbound).await;
                tracing::debug!(endpoint = link.endpoint, error = %lost, "fetch stream over");
                for subscription in conversation.subscriptions.values() {
                    end(subscription, &lost);
                }
            }
            Err(error) => {
                tracing::debug!(endpoint = link.endpoint, %error, "no fetch stream");
                end(&first, &error);
                while let Ok(command) = commands.try_recv() {
                    if let FetchCommand::Subscribe(subscription) = command {
                        end(&subscription, &error);
                    }
                }
            }
        }
    }
    commands.close();
    while let Ok(command) = commands.try_recv() {
        if let FetchCommand::Subscribe(subscription) = command {
            end(&subscription, &closed());
        }
    }
}

fn closed() -> WireError {
    WireError::new(ErrorCode::Disconnected, "the connection was closed")
}

fn tell(subscription: &Subscription, news: FetchNews) -> bool {
    let id = subscription.request.subscription_id;
    subscription.events.send(FetchEvent { subscription: id, news }).is_ok()
}

fn end(subscription: &Subscription, error: &WireError) {
    // A consumer that is gone need not know.
    let _ = tell(subscription, FetchNews::Ended(error.clone()));
}

type Outbound = mpsc::Sender<FetchMessage>;

async fn open(link: &Link) -> Result<(Outbound, Incoming), WireError> {
    let (outbound, messages) = mpsc::channel(OUTBOUND_MAX);
    let call = link.stream(FETCH_PATH, ReceiverStream::new(messages), whole);
    let opened = tokio::select! { biased;
        () = link.over.cancelled() => return Err(closed()),
        opened = link.clock.timeout(link.request_timeout, call) => opened,
    };
    match opened {
        Ok(Ok(inbound)) => Ok((outbound, inbound)),
        Ok(Err(status)) => Err(link.failed(&status)),
        Err(_) => {
            let limit = link.request_timeout;
            let message = format!("{} accepted no stream within {limit:?}", link.endpoint);
            Err(WireError::new(ErrorCode::Unreachable, message))
        }
    }
}

struct Conversation<'a> {
    link: &'a Link,
    connection: u64,
    /// Weak, or the stream would keep itself alive.
    home: mpsc::WeakUnboundedSender<FetchCommand>,
    ledger: Ledger,
    subscriptions: BTreeMap<u64, Box<Subscription>>,
    /// Written when the transport has room, so that reading never waits for writing. Bounded
    /// by subscriptions; of credits and tokens at most one each is added per command.
    outbox: VecDeque<Message>,
}

impl Conversation<'_> {
    async fn run(
        &mut self,
        commands: &mut mpsc::UnboundedReceiver<FetchCommand>,
        outbound: Outbound,
        mut inbound: Incoming,
    ) -> WireError {
        let link = self.link;
        let mut tokens = link.tokens.changes();
        loop {
            if let Some(bytes) = self.ledger.take_due() {
                self.outbox.push_front(Message::Credit(Credit { bytes }));
            }
            tokio::select! { biased;
                () = link.over.cancelled() => return closed(),
                place = outbound.reserve(), if !self.outbox.is_empty() => {
                    let Ok(place) = place else { return closed() };
                    place.send(FetchMessage { message: self.outbox.pop_front() });
                }
                command = commands.recv() => match command {
                    Some(command) => self.command(command),
                    None => return closed(),
                },
                response = inbound.message() => match response {
                    Ok(Some(response)) => self.response(response),
                    Err(status) => return link.failed(&status),
                    Ok(None) => {
                        return WireError::new(ErrorCode::Disconnected, "the SPU ended the stream");
                    }
                },
                () = tokens.next() => {
                    let token = link.tokens.plain();
                    self.outbox.push_front(Message::Authenticate(Authenticate { token }));
                }
            }
        }
    }

    fn command(&mut self, command: FetchCommand) {
        match command {
            FetchCommand::Subscribe(subscription) => {
                self.ledger.subscribe(subscription.consumer, subscription.budget);
                self.outbox.push_back(Message::Subscribe(subscription.request.clone()));
                self.subscriptions.insert(subscription.request.subscription_id, subscription);
            }
            FetchCommand::Unsubscribe(id) => self.unsubscribe(id),
            FetchCommand::Release { connection, consumer, bytes } => {
                if connection == self.connection {
                    self.ledger.released(consumer, bytes);
                }
            }
        }
    }

    fn unsubscribe(&mut self, id: u64) {
        if let Some(subscription) = self.subscriptions.remove(&id) {
            self.ledger.unsubscribe(subscription.consumer);
            self.outbox.push_back(Message::Unsubscribe(Unsubscribe { subscription_id: id }));
        }
    }

    fn response(&mut self, response: FetchResponse) {
        let id = response.subscription_id;
        let Some(subscription) = self.subscriptions.get(&id) else {
            // Sent before the SPU heard that nobody wants it.
            if let Some(Event::Records(records)) = response.event {
                self.ledger.discarded(records.batches.len() as u64);
            }
            return;
        };
        let wanted = match response.event {
            Some(Event::Started(started)) => tell(subscription, FetchNews::Started(started)),
            Some(Event::Records(records)) => {
                let bytes = records.batches.len();
                let slack = u64::from(subscription.request.max_bytes);
                let pause = self.ledger.received(subscription.consumer, bytes as u64, slack);
                let Some(home) = self.home.upgrade() else { return };
                let lease = Lease::new(self.connection, subscription, bytes, &home);
                let news = FetchNews::Records {
                    batches: records.batches,
                    log_start: Offset(records.log_start),
                    high_watermark: Offset(records.high_watermark),
                    lease,
                };
                let wanted = tell(subscription, news);
                if pause && wanted {
                    tell(subscription, FetchNews::Paused);
                }
                wanted && !pause
            }
            Some(Event::Error(error)) => {
                end(subscription, &self.link.read(error.into()));
                self.ledger.unsubscribe(subscription.consumer);
                self.subscriptions.remove(&id);
                return;
            }
            None => {
                tracing::warn!(endpoint = self.link.endpoint, "a fetch response without an event");
                true
            }
        };
        if !wanted {
            self.unsubscribe(id);
        }
    }
}
