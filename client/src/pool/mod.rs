//! Connections to SPUs: one channel per endpoint, one produce stream and one fetch stream per
//! SPU, shared by all producers and consumers of a client.

mod credit;
mod fetch;
mod offsets;
mod produce;

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::Stream;
use tokio::sync::mpsc;
use tonic::Status;
use weir_protocol::{
    ErrorCode, WireError,
    ids::{ProducerEpoch, ProducerId, SpuId},
    pb::data::{AllocateProducerIdRequest, data_plane_client::DataPlaneClient},
};
use weir_runtime::{
    clock::Clock,
    rpc::{
        Channel, ChannelConfig,
        stream::{self, Encode, Incoming},
    },
    task::CancellationToken,
};

pub(crate) use self::{
    fetch::{FetchCommand, FetchEvent, FetchNews, Gauge, Lease, Subscription},
    produce::{ProduceAnswer, ProduceJob},
};
use crate::{error::from_status, metadata::ClusterMap, token::Tokens};

/// Largest message taken from an SPU: the largest batch that any cluster may allow, sent
/// whole, and then some.
pub(crate) const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// What every stream to an SPU needs.
#[derive(Clone)]
pub(crate) struct Link {
    pub endpoint: String,
    pub channel: Channel,
    pub tokens: Tokens,
    pub clock: Clock,
    pub request_timeout: Duration,
    pub over: CancellationToken,
}

impl Link {
    pub(crate) fn data_plane(&self) -> DataPlaneClient<Channel> {
        DataPlaneClient::new(self.channel.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub(crate) fn request<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        if let Some(header) = self.tokens.header() {
            request.metadata_mut().insert("authorization", header);
        }
        request
    }

    /// Opens a stream of messages to the SPU.
    pub(crate) async fn stream<M: Send + 'static>(
        &self,
        path: &'static str,
        messages: impl Stream<Item = M> + Send + 'static,
        encode: Encode<M>,
    ) -> Result<Incoming, Status> {
        let metadata = self.request(()).into_parts().0;
        stream::call(&self.channel, path, metadata, messages, encode, MESSAGE_BYTES_MAX).await
    }

    /// A request of one call, which tells the SPU how much time it has.
    pub(crate) fn call<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = self.request(message);
        request.set_timeout(self.request_timeout);
        request
    }

    /// The answer to one call, within the time that an SPU has for it.
    pub(crate) async fn answer<T>(
        &self,
        call: impl Future<Output = Result<tonic::Response<T>, Status>>,
    ) -> Result<T, WireError> {
        match self.clock.timeout(self.request_timeout, call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(self.failed(&status)),
            Err(_) => {
                let (endpoint, limit) = (&self.endpoint, self.request_timeout);
                let message = format!("{endpoint} did not answer within {limit:?}");
                Err(WireError::new(ErrorCode::TimedOut, message))
            }
        }
    }

    /// Reads a status as [`Link::read`] reads an error.
    pub(crate) fn failed(&self, status: &Status) -> WireError {
        self.read(from_status(status))
    }

    /// Takes note of an error: where the token was not taken a fresh one is asked for, and if
    /// one can come, trying again is worth while.
    pub(crate) fn read(&self, mut error: WireError) -> WireError {
        if matches!(error.code, ErrorCode::Unauthenticated | ErrorCode::TokenExpired)
            && self.tokens.renew()
        {
            error.code = ErrorCode::TokenExpired;
        }
        error
    }
}

struct Streams {
    endpoint: String,
    // Both bounded by their users: produce jobs by batches in flight, fetch commands by
    // subscriptions and by leases, which credits bound.
    produce: mpsc::UnboundedSender<ProduceJob>,
    fetch: mpsc::UnboundedSender<FetchCommand>,
    over: CancellationToken,
}

#[derive(Default)]
struct State {
    channels: BTreeMap<String, Channel>,
    streams: BTreeMap<SpuId, Streams>,
}

/// The connections of one client.
pub(crate) struct Pool {
    tokens: Tokens,
    clock: Clock,
    config: ChannelConfig,
    request_timeout: Duration,
    over: CancellationToken,
    state: Mutex<State>,
}

impl Pool {
    pub(crate) fn new(
        tokens: Tokens,
        clock: Clock,
        config: ChannelConfig,
        request_timeout: Duration,
        over: CancellationToken,
    ) -> Self {
        Self { tokens, clock, config, request_timeout, over, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is needed to call the SPU at `endpoint`.
    pub(crate) fn link(&self, endpoint: &str) -> Link {
        self.link_with(&mut self.state(), endpoint, self.over.clone())
    }

    fn link_with(&self, state: &mut State, endpoint: &str, over: CancellationToken) -> Link {
        let channel = state
            .channels
            .entry(endpoint.to_owned())
            .or_insert_with(|| Channel::new(endpoint, self.config))
            .clone();
        Link {
            endpoint: endpoint.to_owned(),
            channel,
            tokens: self.tokens.clone(),
            clock: self.clock,
            request_timeout: self.request_timeout,
            over,
        }
    }

    /// Sends a batch. The answer goes where the job says, always, exactly once.
    pub(crate) fn produce(&self, spu: SpuId, endpoint: &str, job: ProduceJob) {
        let sender = self.streams(spu, endpoint, |streams| streams.produce.clone());
        if let Err(mpsc::error::SendError(job)) = sender.send(job) {
            job.answer_lost();
        }
    }

    /// Where to send subscriptions for `spu`. Every subscription hears of its end.
    pub(crate) fn fetch(&self, spu: SpuId, endpoint: &str) -> mpsc::UnboundedSender<FetchCommand> {
        self.streams(spu, endpoint, |streams| streams.fetch.clone())
    }

    fn streams<T>(&self, spu: SpuId, endpoint: &str, take: impl FnOnce(&Streams) -> T) -> T {
        let mut state = self.state();
        let moved = state.streams.get(&spu).is_some_and(|streams| streams.endpoint != endpoint);
        if moved && let Some(old) = state.streams.remove(&spu) {
            // The SPU came back elsewhere: what waits for the old place is told so.
            old.over.cancel();
            state.channels.remove(&old.endpoint);
        }
        if let Some(streams) = state.streams.get(&spu) {
            return take(streams);
        }
        let over = self.over.child_token();
        let link = self.link_with(&mut state, endpoint, over.clone());
        let streams = Streams {
            endpoint: endpoint.to_owned(),
            produce: produce::spawn(link.clone()),
            fetch: fetch::spawn(link),
            over,
        };
        take(state.streams.entry(spu).or_insert(streams))
    }

    /// Lets go of the connections to SPUs that are no longer part of the cluster. What waits
    /// for one is told so.
    pub(crate) fn retain(&self, map: &ClusterMap) {
        let mut state = self.state();
        let State { channels, streams } = &mut *state;
        streams.retain(|spu, streams| {
            let kept = map.spus().any(|(known, _)| known == *spu);
            if !kept {
                streams.over.cancel();
                channels.remove(&streams.endpoint);
            }
            kept
        });
    }

    /// A producer id that no one else ever gets, from the SPU at `endpoint`.
    pub(crate) async fn allocate_producer_id(
        &self,
        endpoint: &str,
    ) -> Result<(ProducerId, ProducerEpoch), WireError> {
        let link = self.link(endpoint);
        let mut client = link.data_plane();
        let request = link.call(AllocateProducerIdRequest {});
        let answer = link.answer(client.allocate_producer_id(request)).await?;
        let epoch = u16::try_from(answer.producer_epoch).map_err(|_| {
            WireError::new(ErrorCode::InvalidRequest, "a producer epoch beyond 16 bits")
        })?;
        Ok((ProducerId(answer.producer_id), ProducerEpoch(epoch)))
    }
}
