//! One stream to one leader: fetches out, batches in. It is opened again for as long as
//! something is followed there.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use weir_protocol::{
    ErrorCode, WireError,
    ids::{LeaderEpoch, Offset, PartitionKey, SpuId},
    pb::{
        data::Authenticate,
        replication::{ReplicateMessage, ReplicateResponse, replicate_message, replicate_response},
    },
    streams::REPLICATE_PATH,
};
use weir_runtime::{
    clock::{Clock, Monotonic},
    rpc::{
        Channel,
        stream::{self, Incoming, whole},
    },
    task::CancellationToken,
};

use super::{board::Board, wire};
use crate::{
    config::{Limits, MESSAGE_BYTES_MAX},
    partition::Registry,
    session::backoff::Backoff,
};

/// How long a leader may take to accept the stream.
const OPEN_TIMEOUT: Duration = Duration::from_secs(3);
/// The longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Messages that may wait for the connection.
const OUTBOX: usize = 64;

/// One leader's.
pub(super) struct Link {
    pub leader: SpuId,
    pub channel: Channel,
    pub board: Arc<Board>,
    pub registry: Registry,
    pub limits: Limits,
    pub clock: Clock,
    pub token: watch::Receiver<String>,
    pub stop: CancellationToken,
    /// Set when no stream is to be opened again after the next attempt.
    pub ends_with_leader: CancellationToken,
}

impl Link {
    pub async fn run(mut self) {
        let mut backoff = Backoff::new(PAUSE_MAX);
        let (stop, last) = (self.stop.clone(), self.ends_with_leader.clone());
        while !stop.is_cancelled() {
            let last_attempt = last.is_cancelled();
            let ended = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                opened = self.open() => opened,
            };
            let reason = match ended {
                Ok((outbox, inbound)) => {
                    backoff.reset();
                    self.converse(outbox, inbound).await
                }
                Err(reason) => reason,
            };
            if last_attempt {
                return;
            }
            let pause = backoff.next_pause();
            tracing::debug!(leader = %self.leader, reason, pause_ms = pause.as_millis(), "no replication stream");
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                // One more: the leader may wait for what is fetched here.
                () = last.cancelled() => {}
                () = self.clock.sleep(pause) => {}
            }
        }
    }

    async fn open(&mut self) -> Result<(mpsc::Sender<ReplicateMessage>, Incoming), String> {
        let token = self.token.borrow_and_update().clone();
        if token.is_empty() {
            return Err("the control plane has given no token yet".to_owned());
        }
        let mut metadata = MetadataMap::new();
        let header = format!("Bearer {token}").parse().map_err(|_| "the token is none")?;
        metadata.insert("authorization", header);
        let (outbox, messages) = mpsc::channel(OUTBOX);
        let messages = ReceiverStream::new(messages);
        let call = stream::call(
            &self.channel,
            REPLICATE_PATH,
            metadata,
            messages,
            whole,
            MESSAGE_BYTES_MAX,
        );
        match self.clock.timeout(OPEN_TIMEOUT, call).await {
            Ok(Ok(inbound)) => Ok((outbox, inbound)),
            Ok(Err(status)) => Err(status.to_string()),
            Err(_) => Err(format!("the stream was not accepted within {OPEN_TIMEOUT:?}")),
        }
    }

    /// Until the stream breaks; why it did.
    async fn converse(
        &mut self,
        outbox: mpsc::Sender<ReplicateMessage>,
        mut inbound: Incoming,
    ) -> String {
        self.board.all_news(self.leader);
        let Some(news) = self.board.notify(self.leader) else {
            return "nothing is followed there any more".to_owned();
        };
        let stop = self.stop.clone();
        let mut talk = Talk::default();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return "not needed any more".to_owned(),
                message = inbound.message::<ReplicateResponse>() => match message {
                    Ok(Some(response)) => self.take(response, &mut talk),
                    Ok(None) => return "the leader ended the stream".to_owned(),
                    Err(status) => return status.to_string(),
                },
                place = outbox.reserve(), if !talk.queue.is_empty() => {
                    let (Ok(place), Some(message)) = (place, talk.queue.pop_front()) else {
                        return "the stream was closed".to_owned();
                    };
                    place.send(ReplicateMessage { message: Some(message) });
                }
                () = news.notified(), if talk.queue.is_empty() => self.gather(&mut talk),
                () = talk.paused(self.clock) => {
                    for key in talk.after_pause(self.clock) {
                        self.board.again(self.leader, key);
                    }
                }
                Ok(()) = self.token.changed() => {
                    let token = self.token.borrow_and_update().clone();
                    let fresh = replicate_message::Message::Authenticate(Authenticate { token });
                    talk.queue.push_back(fresh);
                }
            }
        }
    }

    /// Everything that the leader has not heard of. Batches that were asked for are on their way:
    /// until they are written there is only something to report.
    fn gather(&self, talk: &mut Talk) {
        for (key, following, again) in self.board.take(self.leader) {
            let at = (following.leader_epoch, following.log_end);
            let asked = talk.asked.insert(key, at) == Some(at) && !again;
            let max_bytes = if asked { 0 } else { self.limits.replica_fetch_bytes };
            let round = talk.pings.get(&key).copied().unwrap_or_default();
            let fetch = wire::fetch(key, &following, max_bytes, round);
            talk.queue.push_back(replicate_message::Message::Fetch(fetch));
        }
    }

    fn take(&self, response: ReplicateResponse, talk: &mut Talk) {
        let Some(key) = response.partition.as_ref().and_then(PartitionKey::from_wire) else {
            tracing::warn!(leader = %self.leader, "an answer without a partition");
            return;
        };
        match &response.event {
            Some(replicate_response::Event::Ping(ping)) => {
                talk.pings.insert(key, ping.round);
                self.board.report(self.leader, key);
                return;
            }
            Some(replicate_response::Event::Error(error)) => {
                let error = WireError::from(error.clone());
                self.refused(key, &error);
                talk.pause(key, self.clock.now().plus(self.limits.replica_pause));
                return;
            }
            _ => {}
        }
        let heard = match wire::from_leader(response) {
            Ok(Some((said, batches))) => {
                self.registry.get(key).is_some_and(|partition| partition.hear(said, batches))
            }
            Ok(None) => true,
            Err(error) => {
                tracing::warn!(partition = %key, leader = %self.leader, %error, "what the leader sent is damaged; asking again");
                false
            }
        };
        if !heard {
            talk.pause(key, self.clock.now().plus(self.limits.replica_pause));
        }
    }

    fn refused(&self, key: PartitionKey, error: &WireError) {
        let passing = matches!(
            error.code,
            ErrorCode::NotLeader
                | ErrorCode::ReplicaOffline
                | ErrorCode::UnknownLeaderEpoch
                | ErrorCode::FencedLeaderEpoch
                | ErrorCode::NotYetAvailable
                | ErrorCode::UnknownGeneration
                | ErrorCode::UnknownPartition
        );
        if passing {
            tracing::debug!(partition = %key, leader = %self.leader, %error, "not fed yet");
        } else {
            tracing::warn!(partition = %key, leader = %self.leader, %error, "not fed; asking again");
        }
    }
}

/// What one stream has to say, and when.
#[derive(Default)]
struct Talk {
    queue: VecDeque<replicate_message::Message>,
    pings: BTreeMap<PartitionKey, u64>,
    /// Where batches were asked for last.
    asked: BTreeMap<PartitionKey, (LeaderEpoch, Offset)>,
    /// In the order of their times: all pauses have one length.
    pauses: VecDeque<(Monotonic, PartitionKey)>,
}

impl Talk {
    fn pause(&mut self, key: PartitionKey, until: Monotonic) {
        if !self.pauses.iter().any(|(_, paused)| *paused == key) {
            self.pauses.push_back((until, key));
        }
    }

    /// Until somebody's pause is over; for ever, if nobody pauses.
    async fn paused(&self, clock: Clock) {
        match self.pauses.front() {
            Some((until, _)) => clock.sleep(until.since(clock.now())).await,
            None => std::future::pending().await,
        }
    }

    fn after_pause(&mut self, clock: Clock) -> Vec<PartitionKey> {
        let now = clock.now();
        let over = self.pauses.iter().take_while(|(until, _)| *until <= now).count();
        self.pauses.drain(..over).map(|(_, key)| key).collect()
    }
}
