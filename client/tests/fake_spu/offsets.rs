//! The coordinator of the fake: a map in memory.

use prost::Message as _;
use tonic::{Request, Response, Status};
use weir_protocol::{
    ErrorCode,
    ids::{PartitionKey, TopicGenerationId},
    pb::{
        data,
        metadata::GenerationState,
        offsets::{offsets_server::Offsets, *},
    },
};

use super::{FakeSpu, State, error};

/// What happens to one request of a consumer.
#[derive(Clone, Copy, Debug)]
pub enum Coordinate {
    Refuse(ErrorCode),
    /// Another SPU is the coordinator.
    Redirect(u32),
    /// Done, and the answer is lost.
    DoAndBreak,
}

/// What is known of a partition of a consumer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    pub session: Vec<u8>,
    pub sequence: u64,
    pub next: Option<u64>,
    pub leader_epoch: Option<u32>,
    pub metadata: String,
}

fn status(error: data::Error) -> Status {
    Status::with_details(
        tonic::Code::FailedPrecondition,
        error.message.clone(),
        error.encode_to_vec().into(),
    )
}

fn key(partition: Option<&data::PartitionRef>) -> PartitionKey {
    PartitionKey::from_wire(partition.unwrap()).unwrap()
}

/// What the script says comes after the request was done.
fn scripted(state: &mut State) -> Result<bool, Status> {
    match state.offsets_script.pop_front() {
        None => Ok(false),
        Some(Coordinate::DoAndBreak) => Ok(true),
        Some(Coordinate::Refuse(code)) => Err(status(error(code))),
        Some(Coordinate::Redirect(spu)) => {
            let mut error = error(ErrorCode::NotLeader);
            error.leader_spu_id = Some(spu);
            Err(status(error))
        }
    }
}

impl FakeSpu {
    /// As a coordinator reads the map.
    fn refuse_gone(&self, generation: TopicGenerationId) -> Result<(), Status> {
        let map = self.published();
        let of = |id: TopicGenerationId| {
            map.topics.iter().find(|topic| topic.generation_id == id.to_wire())
        };
        let Some(topic) = of(generation) else {
            return Err(status(error(ErrorCode::UnknownGeneration)));
        };
        if topic.state() == GenerationState::Active {
            return Ok(());
        }
        let successor = map
            .topics
            .iter()
            .find(|t| t.name == topic.name && t.state() == GenerationState::Active);
        let mut error = error(match successor {
            Some(_) => ErrorCode::TopicRecreated,
            None => ErrorCode::TopicDeleted,
        });
        error.successor_generation_id =
            successor.map(|topic| topic.generation_id.clone()).unwrap_or_default();
        Err(status(error))
    }

    /// What is committed for a consumer.
    pub fn committed(&self, consumer: &str, key: PartitionKey) -> Option<u64> {
        self.state().offsets.get(&(consumer.to_owned(), key)).and_then(|stored| stored.next)
    }

    /// Commits as another session would, without a claim.
    pub fn commit(&self, consumer: &str, key: PartitionKey, next: u64) {
        let stored = Stored { next: Some(next), ..Stored::default() };
        self.state().offsets.insert((consumer.to_owned(), key), stored);
    }
}

#[tonic::async_trait]
impl Offsets for FakeSpu {
    async fn open_session(
        &self,
        request: Request<OpenSessionRequest>,
    ) -> Result<Response<OpenSessionResponse>, Status> {
        let request = request.into_inner();
        let keys: Vec<_> = request.partitions.iter().map(|p| key(Some(p))).collect();
        self.state().claims.push(keys.clone());
        if let Some(code) = self.state().refuse_claims {
            return Err(status(error(code)));
        }
        let lost = scripted(&mut self.state())?;
        let mut committed = Vec::new();
        for key in keys {
            self.refuse_gone(key.generation)?;
            let mut state = self.state();
            let stored = state.offsets.entry((request.consumer.clone(), key)).or_default();
            stored.session = request.session_id.to_vec();
            stored.sequence = 0;
            committed.extend(stored.next.map(|next_offset| CommittedOffset {
                partition: Some(key.to_wire()),
                next_offset,
                ..CommittedOffset::default()
            }));
        }
        if lost {
            return Err(Status::unavailable("scripted"));
        }
        Ok(Response::new(OpenSessionResponse { committed }))
    }

    async fn commit(
        &self,
        request: Request<CommitRequest>,
    ) -> Result<Response<CommitResponse>, Status> {
        let request = request.into_inner();
        let offsets: Vec<_> = request
            .offsets
            .iter()
            .map(|offset| (key(offset.partition.as_ref()), offset.next_offset))
            .collect();
        // Number 0 commits nothing: it asks whether the session still holds.
        if request.sequence > 0 {
            self.state().commits.push((request.sequence, offsets.clone()));
        }
        loop {
            let changed = self.changed.notified();
            if !self.state().hold_commits {
                break;
            }
            changed.await;
        }
        let lost = request.sequence > 0 && scripted(&mut self.state())?;
        for (key, _) in &offsets {
            self.refuse_gone(key.generation)?;
            let state = self.state();
            let stored = state.offsets.get(&(request.consumer.clone(), *key));
            if stored.is_none_or(|stored| stored.session != request.session_id) {
                return Err(status(error(ErrorCode::ConsumerFenced)));
            }
        }
        for (offset, (key, next)) in request.offsets.iter().zip(offsets) {
            let mut state = self.state();
            let stored = state.offsets.get_mut(&(request.consumer.clone(), key)).unwrap();
            if stored.sequence < request.sequence {
                stored.sequence = request.sequence;
                stored.next = Some(next);
                stored.leader_epoch = offset.leader_epoch;
                stored.metadata = offset.metadata.clone();
            }
        }
        if lost {
            return Err(Status::unavailable("scripted"));
        }
        Ok(Response::new(CommitResponse {}))
    }

    async fn reset(&self, _: Request<ResetRequest>) -> Result<Response<ResetResponse>, Status> {
        Err(Status::unimplemented("no client may"))
    }

    async fn describe(
        &self,
        _: Request<DescribeRequest>,
    ) -> Result<Response<DescribeResponse>, Status> {
        Err(Status::unimplemented("no client may"))
    }

    async fn delete(&self, _: Request<DeleteRequest>) -> Result<Response<DeleteResponse>, Status> {
        Err(Status::unimplemented("no client may"))
    }
}
