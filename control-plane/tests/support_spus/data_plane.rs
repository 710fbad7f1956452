//! A data plane that keeps batches in memory: enough for a probe.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use weir_protocol::{
    ErrorCode, WireError, batch,
    ids::{LeaderEpoch, Offset},
    pb::data::{
        AllocateProducerIdRequest, AllocateProducerIdResponse, FetchMessage, FetchResponse,
        ListOffsetsRequest, ListOffsetsResponse, ListedOffset, ProduceAck, ProduceMessage,
        ProduceResponse, Records, Resolution, Started, data_plane_server::DataPlane, fetch_message,
        fetch_response, listed_offset, produce_message, produce_response, start,
    },
};
use weir_runtime::task;

/// Clones share the records.
#[derive(Clone, Default)]
pub struct MemoryDataPlane {
    stored: Arc<Mutex<Vec<Bytes>>>,
    /// While set, every produce is refused.
    pub broken: Arc<AtomicBool>,
    /// While set, what is fetched is not what was produced.
    pub lying: Arc<AtomicBool>,
    /// While set, nobody is told where logs end.
    pub mute: Arc<AtomicBool>,
}

fn with_token<T>(request: &Request<T>) -> Result<(), Status> {
    match request.metadata().get("authorization").map(|value| value.as_bytes()) {
        Some(value) if value.starts_with(b"Bearer ey") => Ok(()),
        _ => Err(Status::unauthenticated("no token")),
    }
}

#[tonic::async_trait]
impl DataPlane for MemoryDataPlane {
    type ProduceStream = ReceiverStream<Result<ProduceResponse, Status>>;
    type FetchStream = ReceiverStream<Result<FetchResponse, Status>>;

    async fn produce(
        &self,
        request: Request<Streaming<ProduceMessage>>,
    ) -> Result<Response<Self::ProduceStream>, Status> {
        with_token(&request)?;
        let (sender, receiver) = mpsc::channel(4);
        let (this, mut incoming) = (self.clone(), request.into_inner());
        task::spawn(async move {
            while let Ok(Some(message)) = incoming.message().await {
                let Some(produce_message::Message::Produce(produce)) = message.message else {
                    continue;
                };
                let result = if this.broken.load(Ordering::Relaxed) {
                    let error = WireError::new(ErrorCode::NotLeader, "not now");
                    produce_response::Result::Error(error.into())
                } else {
                    let mut stored = this.stored.lock().unwrap();
                    let offset = Offset(stored.len() as u64);
                    let parts = batch::assign(&produce.batch, offset, LeaderEpoch(1));
                    stored.push(Bytes::from(parts.concat()));
                    let ack =
                        ProduceAck { base_offset: offset.get(), duplicate: false, log_start: 0 };
                    produce_response::Result::Ack(ack)
                };
                let response = ProduceResponse {
                    correlation_id: produce.correlation_id,
                    result: Some(result),
                };
                if sender.send(Ok(response)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn fetch(
        &self,
        request: Request<Streaming<FetchMessage>>,
    ) -> Result<Response<Self::FetchStream>, Status> {
        with_token(&request)?;
        let (sender, receiver) = mpsc::channel(4);
        let (this, mut incoming) = (self.clone(), request.into_inner());
        task::spawn(async move {
            while let Ok(Some(message)) = incoming.message().await {
                let Some(fetch_message::Message::Subscribe(subscribe)) = message.message else {
                    continue;
                };
                let Some(weir_protocol::pb::data::start::Position::Absolute(from)) =
                    subscribe.start.and_then(|start| start.position)
                else {
                    continue;
                };
                let batches = this.read(from);
                let records = Records { batches, high_watermark: from + 1, log_start: 0 };
                let response = FetchResponse {
                    subscription_id: subscribe.subscription_id,
                    event: Some(fetch_response::Event::Records(records)),
                };
                if sender.send(Ok(response)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn allocate_producer_id(
        &self,
        _: Request<AllocateProducerIdRequest>,
    ) -> Result<Response<AllocateProducerIdResponse>, Status> {
        Err(Status::unimplemented("no probe asks for it"))
    }

    async fn list_offsets(
        &self,
        request: Request<ListOffsetsRequest>,
    ) -> Result<Response<ListOffsetsResponse>, Status> {
        with_token(&request)?;
        if self.mute.load(Ordering::Relaxed) {
            return Err(Status::unavailable("it is mute"));
        }
        let partitions = request.into_inner().partitions;
        let partitions = partitions
            .into_iter()
            .map(|asked| ListedOffset {
                result: Some(readable(asked.start.and_then(|start| start.position).unwrap())),
                partition: asked.partition,
            })
            .collect();
        Ok(Response::new(ListOffsetsResponse { partitions }))
    }
}

/// As if every log went from 2 to 10.
fn readable(position: start::Position) -> listed_offset::Result {
    let (log_start, high_watermark): (u64, u64) = (2, 10);
    let offset = match position {
        start::Position::Beginning(_) => log_start,
        start::Position::End(_) => high_watermark,
        start::Position::Absolute(offset) => offset,
        start::Position::FromBeginning(count) => log_start.saturating_add(count),
        // Records as old as their offsets say.
        start::Position::TimestampMs(ms) => {
            u64::try_from(ms).unwrap().clamp(log_start, high_watermark)
        }
        start::Position::FromEnd(count) => high_watermark.saturating_sub(count),
    };
    if (log_start..=high_watermark).contains(&offset) {
        let resolution = Resolution::AsAsked.into();
        return listed_offset::Result::Found(Started {
            offset,
            log_start,
            high_watermark,
            resolution,
        });
    }
    let mut error = WireError::new(ErrorCode::OffsetOutOfRange, "not there");
    error.wire.log_start = Some(log_start);
    error.wire.high_watermark = Some(high_watermark);
    listed_offset::Result::Error(error.into())
}

impl MemoryDataPlane {
    fn read(&self, from: u64) -> Bytes {
        if !self.lying.load(Ordering::Relaxed) {
            return self.stored.lock().unwrap()[usize::try_from(from).unwrap()].clone();
        }
        let mut other = batch::BatchBuilder::new(batch::BatchConfig::default());
        let value = Some(Bytes::from_static(b"somebody else's"));
        other
            .push(batch::NewRecord { timestamp_ms: 1, key: None, value, headers: vec![] })
            .unwrap();
        let parts = batch::assign(&other.finish(None).unwrap(), Offset(from), LeaderEpoch(1));
        Bytes::from(parts.concat())
    }
}
