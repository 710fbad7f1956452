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
        CommitRequest, CommitResponse, CommittedOffset, DeleteRequest, DeleteResponse,
        DescribeRequest, DescribeResponse, HeldOffset, OpenSessionRequest, OpenSessionResponse,
        ResetRequest, ResetResponse, offsets_server::Offsets,
    },
};

/// What is committed, by consumer and partition; none where it was only claimed.
type Committed = BTreeMap<String, BTreeMap<PartitionKey, Option<u64>>>;
/// Partitions of one part of a description.
const PART: usize = 2;

#[derive(Default)]
struct State {
    coordinator: Option<SpuId>,
    committed: Committed,
    sessions: Vec<Vec<u8>>,
    asked: Vec<SpuId>,
    /// Committed by a running consumer between a description and a reset.
    meanwhile: Vec<(String, PartitionKey, u64)>,
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
        let state = self.state.lock().unwrap();
        let all = state.committed.get(consumer).cloned().unwrap_or_default();
        all.into_iter().filter_map(|(key, next)| Some((key, next?))).collect()
    }

    /// As a consumer commits, or claims.
    pub fn commit(&self, consumer: &str, key: PartitionKey, next: Option<u64>) {
        let mut state = self.state.lock().unwrap();
        state.committed.entry(consumer.to_owned()).or_default().insert(key, next);
    }

    /// The same, but only when the next reset comes, just before it.
    pub fn commit_before_reset(&self, consumer: &str, key: PartitionKey, next: u64) {
        self.state.lock().unwrap().meanwhile.push((consumer.to_owned(), key, next));
    }

    /// The sessions of resets, in their order.
    pub fn sessions(&self) -> Vec<Vec<u8>> {
        self.state.lock().unwrap().sessions.clone()
    }

    /// Which SPUs were ordered something, since this was asked last.
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
        self.offsets.state.lock().unwrap().asked.push(self.spu);
        self.coordinates(request)
    }

    fn coordinates<T>(
        &self,
        request: &Request<T>,
    ) -> Result<std::sync::MutexGuard<'_, State>, Status> {
        let token = request.metadata().get("authorization").expect("a token").to_str().unwrap();
        let claims = token.strip_prefix("Bearer ").unwrap().split('.').nth(1).unwrap();
        let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap();
        assert!(String::from_utf8(claims).unwrap().contains("\"internal\""));
        let state = self.offsets.state.lock().unwrap();
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
        for (consumer, key, next) in std::mem::take(&mut state.meanwhile) {
            state.committed.entry(consumer).or_default().insert(key, Some(next));
        }
        let committed = state.committed.entry(message.consumer).or_default();
        let mut before = Vec::new();
        for offset in message.offsets {
            let key = PartitionKey::from_wire(offset.partition.as_ref().unwrap()).unwrap();
            let had = committed.insert(key, Some(offset.next_offset)).flatten();
            before.extend(had.map(|next_offset| CommittedOffset { next_offset, ..offset }));
        }
        Ok(Response::new(ResetResponse { before }))
    }

    async fn describe(
        &self,
        request: Request<DescribeRequest>,
    ) -> Result<Response<DescribeResponse>, Status> {
        let state = self.coordinates(&request)?;
        let request = request.into_inner();
        let after = request.after.map(|after| PartitionKey::from_wire(&after).unwrap());
        let all = state.committed.get(&request.consumer).cloned().unwrap_or_default();
        let mut rest = all.into_iter().filter(|(key, _)| after.is_none_or(|after| *key > after));
        let offsets: Vec<_> = rest
            .by_ref()
            .take(PART)
            .map(|(key, next_offset)| HeldOffset {
                partition: Some(key.to_wire()),
                next_offset,
                ..HeldOffset::default()
            })
            .collect();
        Ok(Response::new(DescribeResponse { offsets, more: rest.next().is_some() }))
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
