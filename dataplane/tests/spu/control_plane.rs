//! A control plane that says what a test tells it to, and remembers what it hears.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use prost::Message as _;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status, Streaming, service::Routes};
use uuid::Uuid;
use weir_protocol::{
    ErrorCode, WireError,
    ids::{PartitionIndex, PartitionKey, TopicGenerationId},
    pb::{
        metadata::{
            DatabaseRef, GenerationState, MetadataUpdate, Partition, Spu, SpuState, TopicGeneration,
        },
        session::{
            AllocateProducerIdsRequest, AllocateProducerIdsResponse, ControlMessage, HeartbeatAck,
            Register, Registered, ReplicaStatus, SpuMessage, StoreOffsetsRequest,
            StoreOffsetsResponse, StoredOffset, TokenKey, TokenKeys,
            control_message::Message,
            spu_control_server::{SpuControl, SpuControlServer},
            spu_message::Message as FromSpu,
        },
    },
};
use weir_runtime::{
    clock::Clock,
    net::Listener,
    rpc,
    task::{self, CancellationToken},
};

use crate::client;

/// The largest batch that the cluster takes.
pub const BATCH_BYTES_MAX: u32 = 100_000;

pub struct State {
    pub registers: watch::Sender<Vec<Register>>,
    /// The last status of each replica, from every heartbeat so far.
    pub replicas: watch::Sender<BTreeMap<PartitionKey, ReplicaStatus>>,
    /// How many came so far.
    pub heartbeats: watch::Sender<usize>,
    /// Of its clock before everyone else's, in milliseconds.
    pub clock_ahead_ms: AtomicI64,
    pub topics: Mutex<Vec<TopicGeneration>>,
    pub revision: AtomicU64,
    pub incarnation: AtomicU64,
    pub refusal: Mutex<Option<ErrorCode>>,
    pub next_producer_id: AtomicU64,
    /// What the SPU confirmed as removed, in order.
    pub removed: watch::Sender<Vec<(PartitionKey, u32)>>,
    /// Every upload of offsets that was taken.
    pub uploads: watch::Sender<Vec<StoreOffsetsRequest>>,
    /// What uploads are refused with.
    pub store_refusal: Mutex<Option<ErrorCode>>,
    pub stores_refused: watch::Sender<usize>,
    /// Generations that are purged.
    pub purged: Mutex<BTreeSet<TopicGenerationId>>,
    session: Mutex<Option<mpsc::Sender<Result<ControlMessage, Status>>>>,
}

#[derive(Clone)]
pub struct ControlPlane {
    pub state: Arc<State>,
    pub endpoint: String,
    stop: CancellationToken,
}

pub fn database() -> DatabaseRef {
    DatabaseRef { database_id: Uuid::from_u128(77).to_string(), restore_number: 0 }
}

pub fn key(generation: u128, partition: u32) -> PartitionKey {
    PartitionKey {
        generation: TopicGenerationId(Uuid::from_u128(generation)),
        partition: PartitionIndex(partition),
    }
}

/// A topic of two partitions, led by SPU 1 in incarnation 1 at epoch 1.
pub fn topic(generation: u128, number: u32, name: &str) -> TopicGeneration {
    let partition = |index| Partition {
        index,
        leader_spu_id: Some(1),
        leader_incarnation: 1,
        leader_epoch: 1,
        partition_epoch: 1,
        replica_spu_ids: vec![1],
        isr_spu_ids: vec![1],
        ..Default::default()
    };
    TopicGeneration {
        generation_id: key(generation, 0).generation.to_wire(),
        generation_number: number,
        name: name.to_owned(),
        state: GenerationState::Active.into(),
        internal: name.starts_with("__"),
        partitions: vec![partition(0), partition(1)],
        config: None,
        min_insync_replicas: 1,
    }
}

/// Deleted for good, its data not removed yet.
pub fn purged(topic: TopicGeneration) -> TopicGeneration {
    TopicGeneration { state: GenerationState::Purged.into(), ..topic }
}

pub fn tombstone(topic: TopicGeneration) -> TopicGeneration {
    TopicGeneration { state: GenerationState::Tombstone.into(), ..topic }
}

/// The same topic at another epoch, given to another incarnation.
pub fn led(mut topic: TopicGeneration, epoch: u32, incarnation: u64) -> TopicGeneration {
    for partition in &mut topic.partitions {
        partition.leader_epoch = epoch;
        partition.partition_epoch = epoch;
        partition.leader_incarnation = incarnation;
    }
    topic
}

impl ControlPlane {
    pub async fn start(topics: Vec<TopicGeneration>) -> Self {
        Self::start_at("127.0.0.1:0", topics).await
    }

    pub async fn start_at(address: &str, topics: Vec<TopicGeneration>) -> Self {
        let state = Arc::new(State {
            registers: watch::Sender::default(),
            replicas: watch::Sender::default(),
            heartbeats: watch::Sender::default(),
            clock_ahead_ms: AtomicI64::default(),
            topics: Mutex::new(topics),
            revision: AtomicU64::new(10),
            incarnation: AtomicU64::new(1),
            refusal: Mutex::default(),
            next_producer_id: AtomicU64::new(1000),
            removed: watch::Sender::default(),
            uploads: watch::Sender::default(),
            store_refusal: Mutex::default(),
            stores_refused: watch::Sender::default(),
            purged: Mutex::default(),
            session: Mutex::default(),
        });
        Self::serve(state, address).await
    }

    /// Serves again what was stopped, at the same address.
    pub async fn restart(&self) -> Self {
        Self::serve(self.state.clone(), &self.endpoint).await
    }

    async fn serve(state: Arc<State>, address: &str) -> Self {
        let listener = Listener::bind(address).await.unwrap();
        let endpoint = listener.local_addr().unwrap().to_string();
        let routes = Routes::new(SpuControlServer::new(Service(state.clone())));
        let stop = CancellationToken::new();
        let config = rpc::ServerConfig { drain_timeout: Default::default(), ..Default::default() };
        task::spawn(rpc::serve(listener, routes, config, stop.clone()));
        Self { state, endpoint, stop }
    }

    /// Ends every session and refuses connections.
    pub fn stop(&self) {
        self.stop.cancel();
        self.state.session.lock().unwrap().take();
    }

    /// Ends the session only.
    pub fn hang_up(&self) {
        self.state.session.lock().unwrap().take();
    }

    /// Changes topics, and tells the SPU.
    pub async fn change(&self, topics: Vec<TopicGeneration>) {
        let revision = self.state.revision.fetch_add(1, Ordering::SeqCst) + 1;
        {
            let mut known = self.state.topics.lock().unwrap();
            for topic in &topics {
                known.retain(|old| old.generation_id != topic.generation_id);
                known.push(topic.clone());
            }
        }
        self.tell(Message::Metadata(update(revision, false, topics))).await;
    }

    pub async fn tell(&self, message: Message) {
        let session = self.state.session.lock().unwrap().clone().expect("a session");
        session.send(Ok(ControlMessage { message: Some(message) })).await.unwrap();
    }

    /// Waits until the SPU has reported a replica as `wanted` says.
    pub async fn reported(&self, key: PartitionKey, wanted: impl Fn(&ReplicaStatus) -> bool) {
        let mut replicas = self.state.replicas.subscribe();
        let there = replicas.wait_for(|all| all.get(&key).is_some_and(&wanted));
        client::soon(there).await.unwrap();
    }

    /// Waits for the n-th confirmation of a removal.
    pub async fn confirmed(&self, nth: usize) -> (PartitionKey, u32) {
        let mut removed = self.state.removed.subscribe();
        let all = client::soon(removed.wait_for(|all| all.len() >= nth)).await.unwrap();
        all[nth - 1]
    }

    /// What the uploads say of a consumer's partition, where they say anything.
    pub fn stored(
        uploads: &[StoreOffsetsRequest],
        consumer: &str,
        key: PartitionKey,
    ) -> Option<StoredOffset> {
        let all = uploads.iter().flat_map(|request| &request.offsets);
        let of_key =
            all.filter(|it| it.consumer == consumer && it.partition == Some(key.to_wire()));
        of_key.max_by_key(|stored| stored.position).cloned()
    }

    /// Waits until the uploads say of a consumer's partition what is `wanted`.
    pub async fn uploaded(
        &self,
        consumer: &str,
        key: PartitionKey,
        wanted: impl Fn(&StoredOffset) -> bool,
    ) -> StoredOffset {
        let mut uploads = self.state.uploads.subscribe();
        let there =
            uploads.wait_for(|all| Self::stored(all, consumer, key).is_some_and(|it| wanted(&it)));
        let all = client::soon(there).await.unwrap().clone();
        Self::stored(&all, consumer, key).unwrap()
    }

    /// Waits for the n-th registration.
    pub async fn registered(&self, nth: usize) -> Register {
        let mut registers = self.state.registers.subscribe();
        let all = client::soon(registers.wait_for(|all| all.len() >= nth)).await.unwrap();
        all[nth - 1].clone()
    }
}

pub fn update(revision: u64, snapshot: bool, topics: Vec<TopicGeneration>) -> MetadataUpdate {
    // One that is there, and cannot be reached.
    let online = SpuState::Online.into();
    let other = Spu { spu_id: 2, state: online, incarnation: 1, ..Spu::default() };
    let database = Some(database());
    let spus = vec![other];
    MetadataUpdate { revision, snapshot, database, topics, spus, ..MetadataUpdate::default() }
}

struct Service(Arc<State>);

#[tonic::async_trait]
impl SpuControl for Service {
    type SessionStream = ReceiverStream<Result<ControlMessage, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<SpuMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let state = self.0.clone();
        let mut inbound = request.into_inner();
        let (out, responses) = mpsc::channel(64);
        task::spawn(async move {
            let Ok(Some(SpuMessage { message: Some(FromSpu::Register(register)) })) =
                inbound.message().await
            else {
                panic!("the first message is a registration")
            };
            state.registers.send_modify(|all| all.push(register));
            let send = |message| Ok(ControlMessage { message: Some(message) });
            if let Some(code) = *state.refusal.lock().unwrap() {
                let error = WireError::new(code, "scripted");
                let _ = out.try_send(send(Message::Refused(error.into())));
                return;
            }
            let keys = vec![TokenKey {
                key_id: "test".to_owned(),
                public_key: client::public_key().to_vec().into(),
            }];
            let registered = Registered {
                incarnation: state.incarnation.load(Ordering::SeqCst),
                lease_ms: 60_000,
                heartbeat_interval_ms: 50,
                database: Some(database()),
                token_keys: Some(TokenKeys { keys }),
                batch_bytes_max: BATCH_BYTES_MAX,
                replication_token: String::new(),
            };
            let topics = state.topics.lock().unwrap().clone();
            let snapshot = update(state.revision.load(Ordering::SeqCst), true, topics);
            let _ = out.try_send(send(Message::Registered(registered)));
            let _ = out.try_send(send(Message::Metadata(snapshot)));
            // Only this holds the stream open: dropping it hangs up.
            *state.session.lock().unwrap() = Some(out);
            while let Ok(Some(SpuMessage { message: Some(message) })) = inbound.message().await {
                let heartbeat = match message {
                    FromSpu::ProposeIsr(_) | FromSpu::Leaving(_) => continue,
                    FromSpu::Heartbeat(heartbeat) => heartbeat,
                    FromSpu::ReplicaRemoved(removed) => {
                        let key = PartitionKey::from_wire(removed.partition.as_ref().unwrap());
                        let confirmed = (key.unwrap(), removed.partition_epoch);
                        state.removed.send_modify(|all| all.push(confirmed));
                        continue;
                    }
                    FromSpu::Register(_) => panic!("a second registration"),
                };
                let control_plane_unix_ms =
                    Clock.unix_ms() + state.clock_ahead_ms.load(Ordering::SeqCst);
                let ack = HeartbeatAck { control_plane_unix_ms, replication_token: String::new() };
                if let Some(out) = &*state.session.lock().unwrap() {
                    let _ = out.try_send(send(Message::HeartbeatAck(ack)));
                }
                state.heartbeats.send_modify(|count| *count += 1);
                state.replicas.send_modify(|all| {
                    for status in heartbeat.replicas {
                        let key = PartitionKey::from_wire(status.partition.as_ref().unwrap());
                        all.insert(key.unwrap(), status);
                    }
                });
            }
        });
        Ok(Response::new(ReceiverStream::new(responses)))
    }

    async fn store_offsets(
        &self,
        request: Request<StoreOffsetsRequest>,
    ) -> Result<Response<StoreOffsetsResponse>, Status> {
        let request = request.into_inner();
        if let Some(code) = *self.0.store_refusal.lock().unwrap() {
            self.0.stores_refused.send_modify(|count| *count += 1);
            let error = WireError::new(code, "scripted").wire.encode_to_vec();
            return Err(Status::with_details(Code::FailedPrecondition, "scripted", error.into()));
        }
        let of = request.offsets.iter().map(|stored| stored.partition.as_ref().unwrap());
        let named: BTreeSet<_> =
            of.map(|of| PartitionKey::from_wire(of).unwrap().generation).collect();
        let purged = self.0.purged.lock().unwrap();
        let gone = named.intersection(&purged).map(|id| id.to_wire()).collect();
        self.0.uploads.send_modify(|all| all.push(request));
        Ok(Response::new(StoreOffsetsResponse { gone_generation_ids: gone }))
    }

    async fn allocate_producer_ids(
        &self,
        _: Request<AllocateProducerIdsRequest>,
    ) -> Result<Response<AllocateProducerIdsResponse>, Status> {
        let first = self.0.next_producer_id.fetch_add(100, Ordering::SeqCst);
        Ok(Response::new(AllocateProducerIdsResponse { first, count: 100 }))
    }
}
