//! A scripted SPU in the test's process: real gRPC, a log in memory, and misbehaviour on
//! demand.

#![allow(clippy::unwrap_used, clippy::expect_used, dead_code, missing_docs)]

mod fetch;
mod offsets;
mod produce;

use std::{
    collections::{BTreeMap, VecDeque},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use bytes::Bytes;
use futures::Stream;
use secrecy::SecretString;
use tokio::sync::{Notify, watch};
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;
use weir_client::{Client, ClientConfig, retry::BackoffConfig};
use weir_protocol::{
    ErrorCode,
    batch::{BatchBuilder, BatchConfig, NewRecord, assign, verify},
    ids::{ClusterId, LeaderEpoch, Offset, PartitionIndex, PartitionKey, TopicGenerationId},
    pb::{
        data::{self, data_plane_server, *},
        metadata::{self, metadata_server, *},
        offsets::offsets_server,
    },
};
use weir_runtime::{
    clock::Clock,
    http::{HttpError, HttpTransport},
    net::Listener,
    rpc,
    task::{self, CancellationToken},
};

pub use offsets::{Coordinate, Stored};

pub type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What happens to one produce request.
#[derive(Clone, Copy, Debug)]
pub enum Produce {
    Serve,
    Refuse(ErrorCode),
    /// Appended, and the stream breaks before the answer.
    AppendAndBreak,
    Break,
    /// Not read: the SPU stops, and says so.
    StopsBefore,
    Silence,
}

/// What happens to one subscription.
#[derive(Clone, Debug)]
pub enum Fetch {
    Refuse(ErrorCode),
    /// Serves so many batches, then the stream breaks.
    BreakAfter(usize),
    /// Leaves out the batch with this index in the log.
    Without(usize),
    /// Serves each batch twice.
    Twice,
    /// Damages the last byte of the batch with this index.
    Damage(usize),
    /// Is a new leader that knows the log to be committed only so far.
    KnowsOnly(u64),
    Silence,
}

#[derive(Clone, Default)]
pub struct Log {
    pub batches: Vec<Bytes>,
    pub end: u64,
    next_sequence: BTreeMap<u64, u32>,
    seen: BTreeMap<(u64, u32), u64>,
}

impl Log {
    pub fn append(&mut self, batch: &Bytes) -> Result<(u64, bool), ErrorCode> {
        let header = verify(batch).map_err(|error| error.code())?;
        if let Some(stamp) = header.producer {
            let place = (stamp.id.0, stamp.base_sequence);
            if let Some(offset) = self.seen.get(&place) {
                return Ok((*offset, true));
            }
            let next = self.next_sequence.entry(stamp.id.0).or_default();
            if *next != stamp.base_sequence {
                return Err(ErrorCode::OutOfOrderSequence);
            }
            *next += header.record_count;
            self.seen.insert(place, self.end);
        }
        let offset = self.end;
        self.end += u64::from(header.record_count);
        self.batches.push(Bytes::from(assign(batch, Offset(offset), LeaderEpoch(1)).concat()));
        Ok((offset, false))
    }
}

#[derive(Default)]
pub struct State {
    pub logs: BTreeMap<PartitionKey, Log>,
    pub produce_script: VecDeque<Produce>,
    pub fetch_script: VecDeque<Fetch>,
    pub produce_requests: Vec<(PartitionKey, u64)>,
    pub subscriptions: usize,
    pub unsubscribed: usize,
    pub open_streams: usize,
    pub producer_ids: u64,
    pub log_start: u64,
    pub tokens: Vec<String>,
    pub offsets: BTreeMap<(String, PartitionKey), Stored>,
    pub offsets_script: VecDeque<Coordinate>,
    /// Requests to claim, in order.
    pub claims: Vec<Vec<PartitionKey>>,
    /// Requests to commit, in order, with their numbers.
    pub commits: Vec<(u64, Vec<(PartitionKey, u64)>)>,
    /// Claims are refused with this while it is set.
    pub refuse_claims: Option<ErrorCode>,
    /// Commits wait while this is set.
    pub hold_commits: bool,
}

#[derive(Clone)]
pub struct FakeSpu {
    pub endpoint: String,
    state: Arc<Mutex<State>>,
    pub changed: Arc<Notify>,
    map: watch::Sender<MetadataUpdate>,
    stop: CancellationToken,
}

pub fn cluster() -> ClusterId {
    ClusterId(Uuid::from_u128(1))
}

pub fn generation(n: u128) -> TopicGenerationId {
    TopicGenerationId(Uuid::from_u128(n))
}

pub fn key(n: u128, partition: u32) -> PartitionKey {
    PartitionKey { generation: generation(n), partition: PartitionIndex(partition) }
}

/// A generation whose partitions SPU 1 leads.
pub fn topic(n: u128, name: &str, partitions: u32, state: GenerationState) -> TopicGeneration {
    let partition = |index| metadata::Partition {
        index,
        leader_spu_id: Some(1),
        leader_epoch: 1,
        ..Default::default()
    };
    TopicGeneration {
        generation_id: generation(n).to_wire(),
        generation_number: u32::try_from(n).unwrap(),
        name: name.into(),
        state: state.into(),
        internal: false,
        partitions: (0..partitions).map(partition).collect(),
        config: None,
        min_insync_replicas: 1,
    }
}

impl FakeSpu {
    /// SPU 1 of a cluster that has a topic "orders" of generation 1.
    pub async fn start(partitions: u32) -> Self {
        let listener = Listener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = listener.local_addr().unwrap().to_string();
        let update = MetadataUpdate {
            revision: 1,
            snapshot: true,
            database: Some(DatabaseRef { database_id: "db".into(), restore_number: 0 }),
            topics: vec![topic(1, "orders", partitions, GenerationState::Active)],
            spus: vec![metadata::Spu {
                spu_id: 1,
                state: SpuState::Online.into(),
                endpoint: endpoint.clone(),
                incarnation: 1,
                ..metadata::Spu::default()
            }],
            revised_at_unix_ms: 0,
        };
        let spu = Self {
            endpoint,
            state: Arc::default(),
            changed: Arc::default(),
            map: watch::channel(update).0,
            stop: CancellationToken::new(),
        };
        let mut routes = tonic::service::RoutesBuilder::default();
        routes
            .add_service(data_plane_server::DataPlaneServer::new(spu.clone()))
            .add_service(offsets_server::OffsetsServer::new(spu.clone()))
            .add_service(metadata_server::MetadataServer::new(spu.clone()));
        let config =
            rpc::ServerConfig { drain_timeout: Duration::ZERO, ..rpc::ServerConfig::default() };
        task::spawn(rpc::serve(listener, routes.routes(), config, spu.stop.clone()));
        spu
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// What watchers see.
    pub fn published(&self) -> MetadataUpdate {
        self.map.borrow().clone()
    }

    /// Tells watchers of a new state of topics.
    pub fn publish(&self, topics: Vec<TopicGeneration>) {
        self.map.send_modify(|update| {
            update.revision += 1;
            update.topics = topics;
        });
    }

    /// Tells watchers that SPU `leader` of `spus` (1, 2, …) leads everything.
    pub fn publish_leader(&self, revision: u64, leader: u32, spus: &[&FakeSpu]) {
        self.map.send_modify(|update| {
            update.revision = revision;
            update.spus = (1..)
                .zip(spus)
                .map(|(spu_id, spu)| metadata::Spu {
                    spu_id,
                    state: SpuState::Online.into(),
                    endpoint: spu.endpoint.clone(),
                    incarnation: 1,
                    ..metadata::Spu::default()
                })
                .collect();
            for partition in update.topics.iter_mut().flat_map(|t| &mut t.partitions) {
                partition.leader_spu_id = Some(leader);
                partition.leader_epoch += 1;
            }
        });
    }

    /// Tells watchers that an SPU is no longer part of the cluster.
    pub fn publish_without(&self, revision: u64, spu_id: u32) {
        self.map.send_modify(|update| {
            update.revision = revision;
            update.spus.retain(|spu| spu.spu_id != spu_id);
        });
    }

    /// Puts records with values `0..n` as one batch each at the end of a log.
    pub fn fill(&self, key: PartitionKey, batches: std::ops::Range<u32>, records: u32) {
        for n in batches {
            let mut builder = BatchBuilder::new(BatchConfig::default());
            for record in 0..records {
                let value = Some(Bytes::from(format!("{n}.{record}")));
                builder.push(NewRecord { value, ..Default::default() }).unwrap();
            }
            let batch = builder.finish(None).unwrap();
            self.state().logs.entry(key).or_default().append(&batch).unwrap();
        }
        self.changed.notify_waiters();
    }

    /// Takes over all logs of another, producers' sequences included.
    pub fn replicate(&self, from: &FakeSpu) {
        let logs = from.state().logs.clone();
        self.state().logs = logs;
    }

    /// The values of a log, in order.
    pub fn values(&self, key: PartitionKey) -> Vec<String> {
        let batches = self.state().logs.get(&key).map(|log| log.batches.clone());
        let records = batches
            .unwrap_or_default()
            .into_iter()
            .flat_map(|batch| weir_protocol::batch::records(&batch, &Default::default()).unwrap());
        records.map(|r| String::from_utf8(r.unwrap().value.unwrap().to_vec()).unwrap()).collect()
    }

    pub fn script_produce(&self, script: impl IntoIterator<Item = Produce>) {
        self.state().produce_script.extend(script);
    }

    pub fn script_fetch(&self, script: impl IntoIterator<Item = Fetch>) {
        self.state().fetch_script.extend(script);
    }

    pub fn script_offsets(&self, script: impl IntoIterator<Item = Coordinate>) {
        self.state().offsets_script.extend(script);
    }

    /// Refuses claims, or no longer.
    pub fn refuse_claims(&self, code: Option<ErrorCode>) {
        self.state().refuse_claims = code;
    }

    /// Lets commits wait, or go on.
    pub fn hold_commits(&self, hold: bool) {
        self.state().hold_commits = hold;
        self.changed.notify_waiters();
    }

    /// Waits until the state is as wanted.
    pub async fn until(&self, what: &str, wanted: impl Fn(&State) -> bool) {
        let reached = async {
            while !wanted(&self.state()) {
                Clock.sleep(Duration::from_millis(2)).await;
            }
        };
        Clock.timeout(Duration::from_secs(10), reached).await.unwrap_or_else(|_| panic!("{what}"));
    }

    pub fn stop(&self) {
        self.stop.cancel();
    }

    pub fn config(&self) -> ClientConfig {
        let token = SecretString::from("token".to_owned());
        let mut config = ClientConfig::with_token([self.endpoint.clone()], cluster(), token);
        config.topic_timeout = Duration::from_millis(500);
        config.backoff =
            BackoffConfig { first: Duration::from_millis(5), max: Duration::from_millis(50) };
        config
    }

    pub async fn client(&self) -> Client {
        Client::connect(self.config(), Arc::new(NoHttp), Clock).await.unwrap()
    }
}

/// Nothing answers.
pub struct NoHttp;

#[async_trait::async_trait]
impl HttpTransport for NoHttp {
    async fn send(
        &self,
        _: http::Request<Bytes>,
        _: Duration,
    ) -> Result<http::Response<Bytes>, HttpError> {
        Err(HttpError::Unreachable { authority: "none".into(), reason: "no network".into() })
    }
}

#[tonic::async_trait]
impl metadata_server::Metadata for FakeSpu {
    type WatchMetadataStream = Answers<MetadataUpdate>;

    async fn watch_metadata(
        &self,
        request: Request<WatchMetadataRequest>,
    ) -> Result<Response<Self::WatchMetadataStream>, Status> {
        if request.get_ref().cluster_id != cluster().to_string() {
            return Err(Status::not_found("another cluster"));
        }
        let seen =
            futures::stream::unfold((self.map.subscribe(), true), |(mut map, first)| async move {
                if !first {
                    map.changed().await.ok()?;
                }
                let update = map.borrow_and_update().clone();
                Some((Ok(update), (map, false)))
            });
        Ok(Response::new(Box::pin(seen)))
    }
}

#[tonic::async_trait]
impl data_plane_server::DataPlane for FakeSpu {
    type ProduceStream = Answers<ProduceResponse>;
    type FetchStream = Answers<FetchResponse>;

    async fn produce(
        &self,
        request: Request<Streaming<ProduceMessage>>,
    ) -> Result<Response<Self::ProduceStream>, Status> {
        let token = request.metadata().get("authorization").unwrap().to_str().unwrap().to_owned();
        self.state().tokens.push(token);
        Ok(Response::new(produce::serve(self.clone(), request.into_inner())))
    }

    async fn fetch(
        &self,
        request: Request<Streaming<FetchMessage>>,
    ) -> Result<Response<Self::FetchStream>, Status> {
        Ok(Response::new(fetch::serve(self.clone(), request.into_inner())))
    }

    async fn allocate_producer_id(
        &self,
        _: Request<AllocateProducerIdRequest>,
    ) -> Result<Response<AllocateProducerIdResponse>, Status> {
        let mut state = self.state();
        state.producer_ids += 1;
        let producer_id = state.producer_ids;
        Ok(Response::new(AllocateProducerIdResponse { producer_id, producer_epoch: 0 }))
    }

    async fn list_offsets(
        &self,
        _: Request<ListOffsetsRequest>,
    ) -> Result<Response<ListOffsetsResponse>, Status> {
        Err(Status::unimplemented("no test asks for it"))
    }
}

pub fn error(code: ErrorCode) -> data::Error {
    data::Error { code: code.number(), message: "scripted".into(), ..Default::default() }
}
