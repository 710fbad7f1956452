//! A client of generated code: streams, batches, tokens.

use std::{future::Future, time::Duration};

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming};
use uuid::Uuid;
use weir_dataplane::config::MESSAGE_BYTES_MAX;
use weir_protocol::{
    ErrorCode, WireError,
    batch::{self, BatchBuilder, BatchConfig, NewRecord, ProducerStamp},
    ids::{ClusterId, OrgId, PartitionKey, ProducerEpoch, ProducerId},
    pb::data::{
        self, Credit, FetchMessage, FetchResponse, ProduceAck, ProduceMessage, ProduceRequest,
        ProduceResponse, Start, Subscribe, data_plane_client::DataPlaneClient, fetch_message,
        fetch_response::Event, produce_message, produce_response, start::Position,
    },
    token::{Claims, ISSUER, Scope},
};
use weir_runtime::{
    clock::Clock,
    rpc::{Channel, ChannelConfig},
};

pub const ORG: OrgId = OrgId(Uuid::from_u128(1));
pub const CLUSTER: ClusterId = ClusterId(Uuid::from_u128(2));
const SEED: [u8; 32] = [5; 32];

/// Far longer than anything here takes: only a failing test waits for it.
pub async fn soon<F: Future>(future: F) -> F::Output {
    Clock.timeout(Duration::from_secs(30), future).await.expect("within 30 s")
}

pub fn public_key() -> [u8; 32] {
    SigningKey::from_bytes(&SEED).verifying_key().to_bytes()
}

/// A token that expires so many seconds from now.
pub fn token(scopes: &[Scope], expires_in_s: i64) -> String {
    let exp = Clock.unix_ms() / 1000 + expires_in_s;
    let claims = Claims {
        iss: ISSUER.to_owned(),
        sub: "key_test".to_owned(),
        org: ORG,
        cluster: CLUSTER,
        scopes: scopes.to_vec(),
        iat: exp - 3600,
        exp,
    };
    // The seed as PKCS#8, the form that the signer takes.
    let mut der = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20".to_vec();
    der.extend_from_slice(&SEED);
    let mut header = Header::new(Algorithm::EdDSA);
    header.kid = Some("test".to_owned());
    jsonwebtoken::encode(&header, &claims, &EncodingKey::from_ed_der(&der)).unwrap()
}

/// Attaches a token.
pub fn with_token<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

/// The error in a status's details.
pub fn code_of(status: &Status) -> ErrorCode {
    WireError::from(data::Error::decode(status.details()).unwrap()).code
}

/// A batch of records of about `bytes` bytes each.
pub fn batch(records: usize, bytes: usize, producer: Option<(u64, u32)>) -> Bytes {
    let mut builder = BatchBuilder::new(BatchConfig::default());
    for n in 0..records {
        let value = Bytes::from(vec![n as u8; bytes]);
        let timestamp_ms = Clock.unix_ms();
        builder.push(NewRecord { timestamp_ms, value: Some(value), ..Default::default() }).unwrap();
    }
    let stamp = producer.map(|(id, base_sequence)| ProducerStamp {
        id: ProducerId(id),
        epoch: ProducerEpoch(0),
        base_sequence,
    });
    builder.finish(stamp).unwrap()
}

pub struct Client {
    pub endpoint: String,
    pub channel: Channel,
    pub token: String,
}

impl Client {
    pub fn new(endpoint: &str) -> Self {
        let token = token(&[Scope::Produce, Scope::Consume], 600);
        let channel = Channel::new(endpoint, ChannelConfig::default());
        Self { endpoint: endpoint.to_owned(), channel, token }
    }

    pub fn data(&self) -> DataPlaneClient<Channel> {
        DataPlaneClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub async fn produce(&self) -> Producer {
        let (send, messages) = mpsc::channel(64);
        let request = with_token(ReceiverStream::new(messages), &self.token);
        let responses = soon(self.data().produce(request)).await.unwrap().into_inner();
        Producer { send, responses, correlation_id: 0 }
    }

    pub async fn fetch(&self) -> Fetcher {
        let (send, messages) = mpsc::channel(64);
        let request = with_token(ReceiverStream::new(messages), &self.token);
        let responses = soon(self.data().fetch(request)).await.unwrap().into_inner();
        Fetcher { send, responses }
    }
}

pub struct Producer {
    pub send: mpsc::Sender<ProduceMessage>,
    responses: Streaming<ProduceResponse>,
    correlation_id: u64,
}

/// A request with everything as it should be.
pub fn request(key: PartitionKey, batch: Bytes) -> ProduceRequest {
    ProduceRequest {
        correlation_id: 0,
        partition: Some(key.to_wire()),
        leader_epoch: 1,
        acks: data::Acks::All.into(),
        timeout_ms: 20_000,
        batch,
    }
}

impl Producer {
    /// Sends without waiting for the answer; gives the correlation id.
    pub async fn post(&mut self, mut request: ProduceRequest) -> u64 {
        self.correlation_id += 1;
        request.correlation_id = self.correlation_id;
        let message = Some(produce_message::Message::Produce(request));
        soon(self.send.send(ProduceMessage { message })).await.unwrap();
        self.correlation_id
    }

    /// The next answer.
    pub async fn answer(&mut self) -> (u64, Result<ProduceAck, WireError>) {
        let response = soon(self.responses.message()).await.unwrap().expect("an answer");
        let result = match response.result.expect("a result") {
            produce_response::Result::Ack(ack) => Ok(ack),
            produce_response::Result::Error(error) => Err(error.into()),
        };
        (response.correlation_id, result)
    }

    /// Sends, and takes the answer, which must be to this.
    pub async fn send(&mut self, request: ProduceRequest) -> Result<ProduceAck, WireError> {
        let sent = self.post(request).await;
        let (answered, result) = self.answer().await;
        assert_eq!(answered, sent);
        result
    }

    /// Sends, and takes the answer, unless the stream breaks.
    pub async fn try_send(&mut self, mut request: ProduceRequest) -> Option<ProduceAck> {
        self.correlation_id += 1;
        request.correlation_id = self.correlation_id;
        let message = Some(produce_message::Message::Produce(request));
        self.send.send(ProduceMessage { message }).await.ok()?;
        let response = soon(self.responses.message()).await.ok()??;
        match response.result {
            Some(produce_response::Result::Ack(ack)) => Some(ack),
            other => panic!("not acknowledged: {other:?}"),
        }
    }

    /// Sends what must be refused.
    pub async fn refused(&mut self, request: ProduceRequest) -> WireError {
        self.send(request).await.expect_err("a refusal")
    }

    /// What the stream ends with.
    pub async fn end(&mut self) -> Result<Option<ProduceResponse>, Status> {
        soon(self.responses.message()).await
    }
}

pub struct Fetcher {
    pub send: mpsc::Sender<FetchMessage>,
    responses: Streaming<FetchResponse>,
}

pub fn at(offset: u64) -> Position {
    Position::Absolute(offset)
}

impl Fetcher {
    pub async fn tell(&self, message: fetch_message::Message) {
        soon(self.send.send(FetchMessage { message: Some(message) })).await.unwrap();
    }

    pub async fn credit(&self, bytes: u64) {
        self.tell(fetch_message::Message::Credit(Credit { bytes })).await;
    }

    pub async fn subscribe(&self, id: u64, key: PartitionKey, position: Position, max_bytes: u32) {
        self.subscribe_at(id, key, position, max_bytes, 1).await;
    }

    pub async fn subscribe_at(
        &self,
        id: u64,
        key: PartitionKey,
        position: Position,
        max_bytes: u32,
        leader_epoch: u32,
    ) {
        let subscribe = Subscribe {
            subscription_id: id,
            partition: Some(key.to_wire()),
            leader_epoch,
            start: Some(Start { position: Some(position), ..Start::default() }),
            max_bytes,
            ..Subscribe::default()
        };
        self.tell(fetch_message::Message::Subscribe(subscribe)).await;
    }

    /// From the beginning, once the leader knows the end.
    pub async fn subscribe_settled(&self, id: u64, key: PartitionKey, leader_epoch: u32) {
        let position = Some(Position::Beginning(true));
        let subscribe = Subscribe {
            subscription_id: id,
            partition: Some(key.to_wire()),
            leader_epoch,
            start: Some(Start { position, ..Start::default() }),
            settled: true,
            ..Subscribe::default()
        };
        self.tell(fetch_message::Message::Subscribe(subscribe)).await;
    }

    /// From the beginning, with what is not committed.
    pub async fn subscribe_uncommitted(&self, id: u64, key: PartitionKey) {
        let position = Some(Position::Beginning(true));
        let subscribe = Subscribe {
            subscription_id: id,
            partition: Some(key.to_wire()),
            leader_epoch: 1,
            start: Some(Start { position, ..Start::default() }),
            uncommitted: true,
            ..Subscribe::default()
        };
        self.tell(fetch_message::Message::Subscribe(subscribe)).await;
    }

    pub async fn event(&mut self) -> (u64, Event) {
        let response = soon(self.responses.message()).await.unwrap().expect("an event");
        (response.subscription_id, response.event.expect("an event"))
    }

    pub async fn started(&mut self, id: u64) -> u64 {
        match self.event().await {
            (of, Event::Started(started)) if of == id => started.offset,
            other => panic!("not a start of {id}: {other:?}"),
        }
    }

    /// The base offsets of the next response's batches.
    pub async fn records(&mut self, id: u64) -> Vec<u64> {
        match self.event().await {
            (of, Event::Records(records)) if of == id => bases(&records.batches),
            other => panic!("no records of {id}: {other:?}"),
        }
    }

    pub async fn error(&mut self, id: u64) -> WireError {
        match self.event().await {
            (of, Event::Error(error)) if of == id => error.into(),
            other => panic!("no error of {id}: {other:?}"),
        }
    }

    pub async fn end(&mut self) -> Result<Option<FetchResponse>, Status> {
        soon(self.responses.message()).await
    }
}

/// The base offset of each batch; every one is verified.
pub fn bases(batches: &Bytes) -> Vec<u64> {
    let (mut rest, mut bases) = (batches.clone(), Vec::new());
    while let Some((header, whole, after)) = batch::split_first(&rest).unwrap() {
        batch::verify(&whole).unwrap();
        bases.push(header.base_offset.get());
        rest = after;
    }
    bases
}
