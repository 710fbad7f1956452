//! The produce stream to one SPU: opened when there is something to send, opened again after
//! it broke, shared by all producers.

use std::{collections::BTreeMap, pin::pin, time::Duration};

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use weir_protocol::{
    ErrorCode, WireError,
    ids::PartitionKey,
    pb::data::{
        Authenticate, ProduceMessage, ProduceRequest, ProduceResponse, produce_message::Message,
        produce_response::Result as Answer,
    },
    streams::{PRODUCE_PATH, encode_produce},
};
use weir_runtime::{clock::Monotonic, rpc::stream::Incoming, task};

use super::Link;
use crate::producer::{Acked, Departure, Failure};

/// Messages handed to the transport and not written yet.
const OUTBOUND_MAX: usize = 16;
/// How much later than its own deadline an answer may come before the stream counts as stuck.
const GRACE: Duration = Duration::from_secs(3);
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// What became of one attempt.
pub(crate) struct ProduceAnswer {
    pub key: PartitionKey,
    pub batch_id: u64,
    pub attempt: u32,
    pub result: Result<Acked, Failure>,
}

/// One attempt to send one batch. Its correlation id is the stream's to choose.
pub(crate) struct ProduceJob {
    pub request: ProduceRequest,
    pub key: PartitionKey,
    pub batch_id: u64,
    pub attempt: u32,
    pub left: Duration,
    /// Asked before it is written.
    pub departure: Departure,
    /// Bounded by the batches in flight.
    pub answers: mpsc::UnboundedSender<ProduceAnswer>,
}

impl ProduceJob {
    fn answer(self, result: Result<Acked, Failure>) {
        let Self { key, batch_id, attempt, answers, .. } = self;
        // A producer that is gone needs no answer.
        let _ = answers.send(ProduceAnswer { key, batch_id, attempt, result });
    }

    fn fail(self, error: &WireError, may_have_arrived: bool) {
        let (code, message) = (error.code, error.message().to_owned());
        self.answer(Err(Failure { code, message, may_have_arrived }));
    }

    /// The stream's task is gone: nothing was sent.
    pub(super) fn answer_lost(self) {
        self.fail(&WireError::new(ErrorCode::Unreachable, "the connection is closed"), false);
    }
}

pub(super) fn spawn(link: Link) -> mpsc::UnboundedSender<ProduceJob> {
    let (sender, jobs) = mpsc::unbounded_channel();
    task::spawn(run(link, jobs));
    sender
}

async fn run(link: Link, mut jobs: mpsc::UnboundedReceiver<ProduceJob>) {
    loop {
        let first = tokio::select! { biased;
            () = link.over.cancelled() => break,
            job = jobs.recv() => job,
        };
        let Some(first) = first else { break };
        match open(&link).await {
            Ok((outbound, inbound)) => {
                converse(&link, first, &mut jobs, outbound, inbound).await;
            }
            Err(error) => {
                tracing::debug!(endpoint = link.endpoint, %error, "no produce stream");
                // The stream was never there: nothing can have arrived.
                first.fail(&error, false);
                while let Ok(job) = jobs.try_recv() {
                    job.fail(&error, false);
                }
            }
        }
    }
    jobs.close();
    while let Ok(job) = jobs.try_recv() {
        job.answer_lost();
    }
}

type Outbound = mpsc::Sender<ProduceMessage>;

/// Requests are written only after the SPU accepted the stream, so that a failure to open it
/// is known to have changed nothing.
async fn open(link: &Link) -> Result<(Outbound, Incoming), WireError> {
    let (outbound, messages) = mpsc::channel(OUTBOUND_MAX);
    let call = link.stream(PRODUCE_PATH, ReceiverStream::new(messages), encode_produce);
    let opened = tokio::select! { biased;
        () = link.over.cancelled() => {
            return Err(WireError::new(ErrorCode::Unreachable, "the connection is closed"));
        }
        opened = link.clock.timeout(link.request_timeout, call) => opened,
    };
    match opened {
        Ok(Ok(inbound)) => Ok((outbound, inbound)),
        Ok(Err(status)) => {
            let error = link.failed(&status);
            // Without a stream a broken connection is one that was never there.
            let unreached = error.code == ErrorCode::Disconnected;
            let code = if unreached { ErrorCode::Unreachable } else { error.code };
            Err(WireError::new(code, format!("{}: {}", link.endpoint, error.message())))
        }
        Err(_) => {
            let limit = link.request_timeout;
            let message = format!("{} accepted no stream within {limit:?}", link.endpoint);
            Err(WireError::new(ErrorCode::Unreachable, message))
        }
    }
}

struct Pending {
    job: ProduceJob,
    due: Monotonic,
}

async fn converse(
    link: &Link,
    first: ProduceJob,
    jobs: &mut mpsc::UnboundedReceiver<ProduceJob>,
    outbound: Outbound,
    mut inbound: Incoming,
) {
    let mut pending: BTreeMap<u64, Pending> = BTreeMap::new();
    let mut correlation = 0;
    let mut next = Some(first);
    let (mut fresh_token, mut writable) = (false, true);
    let mut tokens = link.tokens.changes();
    let mut watch = pin!(link.clock.sleep(WATCH_INTERVAL));
    let lost = loop {
        let wanted = async {
            // A place in the outbound queue first: a job taken is a job written.
            let place = outbound.reserve().await;
            let job = if fresh_token || next.is_some() { None } else { jobs.recv().await };
            (place, job)
        };
        tokio::select! { biased;
            () = link.over.cancelled() => {
                break WireError::new(ErrorCode::Disconnected, "the connection was closed");
            }
            response = inbound.message() => match response {
                Ok(Some(response)) => answer(link, &mut pending, response),
                Err(status) => break link.failed(&status),
                Ok(None) => break WireError::new(ErrorCode::Disconnected, "the SPU ended the stream"),
            },
            () = &mut watch => {
                if !writable {
                    break WireError::new(ErrorCode::Disconnected, "the stream was closed");
                }
                let now = link.clock.now();
                if pending.values().any(|p| p.due <= now) {
                    // Ended here, so that no late copy of what is sent again can overtake it.
                    break WireError::new(ErrorCode::TimedOut, "the SPU did not answer in time");
                }
                watch.set(link.clock.sleep(WATCH_INTERVAL));
            }
            () = tokens.next(), if !fresh_token => fresh_token = true,
            (place, job) = wanted, if writable => {
                let Ok(place) = place else {
                    // The other half says why, after the answers that are on their way.
                    writable = false;
                    next = next.or(job);
                    continue;
                };
                if std::mem::take(&mut fresh_token) {
                    let token = link.tokens.plain();
                    let message = Message::Authenticate(Authenticate { token });
                    place.send(ProduceMessage { message: Some(message) });
                    continue;
                }
                // No sender is left and nobody waits: the client is going.
                let Some(mut job) = next.take().or(job) else { break closed() };
                if !job.departure.depart() {
                    continue;
                }
                correlation += 1;
                job.request.correlation_id = correlation;
                let request = std::mem::take(&mut job.request);
                place.send(ProduceMessage { message: Some(Message::Produce(request)) });
                let due = link.clock.now().plus(job.left.saturating_add(GRACE));
                pending.insert(correlation, Pending { job, due });
            }
        }
    };
    tracing::debug!(endpoint = link.endpoint, error = %lost, pending = pending.len(),
        "produce stream over");
    // An SPU that ends in order answers all that it has read, and then says so.
    let unread = lost.code == ErrorCode::ShuttingDown;
    for (_, Pending { job, .. }) in pending {
        if unread {
            job.fail(&lost, false);
        } else {
            job.fail(&unknown(&lost), true);
        }
    }
    if let Some(job) = next {
        job.fail(&lost, false);
    }
}

fn closed() -> WireError {
    WireError::new(ErrorCode::Disconnected, "the client is closed")
}

/// What the end of a stream means for a request that had been written: whatever the reason,
/// nobody knows, and it may be sent again.
fn unknown(lost: &WireError) -> WireError {
    WireError::new(ErrorCode::Disconnected, format!("{}: {}", lost.code, lost.message()))
}

fn answer(link: &Link, pending: &mut BTreeMap<u64, Pending>, response: ProduceResponse) {
    let Some(Pending { job, .. }) = pending.remove(&response.correlation_id) else {
        tracing::warn!(
            endpoint = link.endpoint,
            correlation_id = response.correlation_id,
            "an answer that nobody waits for"
        );
        return;
    };
    match response.result {
        Some(Answer::Ack(ack)) => job.answer(Ok(Acked::from_wire(&ack))),
        Some(Answer::Error(error)) => {
            job.fail(&link.read(error.into()), true);
        }
        None => job.fail(&WireError::new(ErrorCode::Internal, "an answer without a result"), true),
    }
}
