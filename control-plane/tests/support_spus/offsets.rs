//! A coordinator of consumers that remembers what it was ordered.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use prost::Message as _;
use tonic::{Request, Response, Status};
use weir_protocol::{
    ErrorCode, WireError,
    ids::{PartitionKey, SpuId},
    pb::offsets::{
        CommitRequest, CommitResponse, DeleteRequest, DeleteResponse, OpenSessionRequest,
        OpenSessionResponse, ResetRequest, ResetResponse, offsets_server::Offsets,
    },
};

/// What is committed, by consumer and partition.
type Committed = BTreeMap<String, BTreeMap<PartitionKey, u64>>;

#[derive(Default)]
struct State {
    coordinator: Option<SpuId>,
    committed: Committed,
    sessions: Vec<Vec<u8>>,
    asked: Vec<SpuId>,
}

/// Clones are the same offsets.
#[derive(Clone, Default)]
pub struct MemoryOffsets {
    state: Arc<Mutex<State>>,
}

impl MemoryOffsets {
    /// From now on this SPU is the coordinator of every consumer; none: nobody is yet.
    pub fn coordinate(&self, spu: Option<SpuId>) {
        self.state.lock().unwrap().coordinator = spu;
    }

    pub fn committed(&self, consumer: &str) -> BTreeMap<PartitionKey, u64> {
        self.state.lock().unwrap().committed.get(consumer).cloned().unwrap_or_default()
    }

    /// The sessions of resets, in their order.
    pub fn sessions(&self) -> Vec<Vec<u8>> {
        self.state.lock().unwrap().sessions.clone()
    }

    /// Which SPUs were asked, since this was asked last.
    pub fn asked(&self) -> Vec<SpuId> {
        std::mem::take(&mut self.state.lock().unwrap().asked)
    }

    /// As this SPU serves it.
    pub fn at(&self, spu: SpuId) -> At {
        At { spu, offsets: self.clone() }
    }
}

/// One SPU's side of it.
pub struct At {
    spu: SpuId,
    offsets: MemoryOffsets,
}

impl At {
    /// The state, if the request has an internal token and this is the coordinator.
    fn admit<T>(&self, request: &Request<T>) -> Result<std::sync::MutexGuard<'_, State>, Status> {
        let token = request.metadata().get("authorization").expect("a token").to_str().unwrap();
        let claims = token.strip_prefix("Bearer ").unwrap().split('.').nth(1).unwrap();
        let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap();
        assert!(String::from_utf8(claims).unwrap().contains("\"internal\""));
        let mut state = self.offsets.state.lock().unwrap();
        state.asked.push(self.spu);
        let coordinator = state.coordinator;
        let error = match coordinator {
            Some(coordinator) if coordinator == self.spu => return Ok(state),
            Some(coordinator) => {
                let mut error = WireError::new(ErrorCode::NotLeader, "another one coordinates");
                error.wire.leader_spu_id = Some(coordinator.get());
                error
            }
            None => WireError::new(ErrorCode::NotYetAvailable, "it is loading"),
        };
        let details = error.wire.encode_to_vec().into();
        Err(Status::with_details(tonic::Code::Unknown, error.to_string(), details))
    }
}

#[tonic::async_trait]
impl Offsets for At {
    async fn open_session(
        &self,
        _: Request<OpenSessionRequest>,
    ) -> Result<Response<OpenSessionResponse>, Status> {
        Err(Status::unimplemented("the control plane reads nothing"))
    }

    async fn commit(&self, _: Request<CommitRequest>) -> Result<Response<CommitResponse>, Status> {
        Err(Status::unimplemented("the control plane reads nothing"))
    }

    async fn reset(
        &self,
        request: Request<ResetRequest>,
    ) -> Result<Response<ResetResponse>, Status> {
        let mut state = self.admit(&request)?;
        let message = request.into_inner();
        state.sessions.push(message.session_id.to_vec());
        let committed = state.committed.entry(message.consumer).or_default();
        for offset in message.offsets {
            let key = PartitionKey::from_wire(&offset.partition.unwrap()).unwrap();
            committed.insert(key, offset.next_offset);
        }
        Ok(Response::new(ResetResponse {}))
    }

    async fn delete(
        &self,
        request: Request<DeleteRequest>,
    ) -> Result<Response<DeleteResponse>, Status> {
        let mut state = self.admit(&request)?;
        let gone = state.committed.remove(&request.into_inner().consumer).unwrap_or_default();
        let partitions = u32::try_from(gone.len()).unwrap();
        Ok(Response::new(DeleteResponse { partitions }))
    }
}
