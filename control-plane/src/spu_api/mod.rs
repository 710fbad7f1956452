//! What SPUs say to the control plane: one long session each, and blocks of producer ids.
//!
//! | Module | Holds |
//! |---|---|
//! | [`register`] | who may have a session, decided and stored in one transaction |
//! | `went_back` | one that has seen more than the database holds: freezes its cluster |
//! | `admit` | the beginning of a session |
//! | `boot` | what is told of a machine that was started anew |
//! | [`session`] | registration, the metadata snapshot, then deltas and heartbeats |
//! | `claim` | who calls outside of a session, and the proof of it |
//! | `removals` | orders to remove replicas, until they are confirmed |
//! | `replication` | other in-sync replicas, other leaders |
//! | `live` | at most one session per SPU |
//! | [`producer_ids`] | ids for idempotent producers, never given out twice |
//! | [`store_offsets`] | what consumers have committed, into SQL |
//!
//! Heartbeats stay in memory. The database hears of transitions only: of a registration
//! here, and of an SPU that stayed away from the reconciler.

mod admit;
mod boot;
mod claim;
mod live;
pub mod producer_ids;
pub mod register;
mod removals;
mod replication;
pub mod session;
pub mod store_offsets;
mod went_back;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use weir_protocol::pb::session::{
    AllocateProducerIdsRequest, AllocateProducerIdsResponse, ControlMessage, SpuMessage,
    StoreOffsetsRequest, StoreOffsetsResponse,
    spu_control_server::{SpuControl, SpuControlServer},
};
use weir_runtime::task::{self, CancellationToken};

use crate::{app::App, store::DbError};

/// Largest message of an SPU, in bytes: a registration or first heartbeat names every
/// replica that the SPU holds, in less than 200 bytes each.
const MESSAGE_BYTES_MAX: usize = 8 << 20;
/// Messages that may wait for a slow SPU.
const OUTGOING_MAX: usize = 16;
/// How often a transaction is tried.
const TRIES: u32 = 5;
/// Pause between tries.
const PAUSE: Duration = Duration::from_millis(50);

/// The service. Clones are the same one.
#[derive(Clone)]
pub struct SpuApi {
    app: Arc<App>,
    live: live::Live,
    shutdown: CancellationToken,
}

impl SpuApi {
    /// Sessions end when `shutdown` is cancelled.
    #[must_use]
    pub fn new(app: Arc<App>, shutdown: CancellationToken) -> Self {
        Self { app, live: live::Live::default(), shutdown }
    }

    /// As a route of the gRPC server, with its size limits.
    #[must_use]
    pub fn into_service(self) -> SpuControlServer<Self> {
        SpuControlServer::new(self).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }
}

#[async_trait]
impl SpuControl for SpuApi {
    type SessionStream = ReceiverStream<Result<ControlMessage, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<SpuMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (sender, receiver) = mpsc::channel(OUTGOING_MAX);
        let api = self.clone();
        task::spawn(async move {
            session::run(&api, request.into_inner(), session::Outgoing::new(sender)).await;
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn store_offsets(
        &self,
        request: Request<StoreOffsetsRequest>,
    ) -> Result<Response<StoreOffsetsResponse>, Status> {
        store_offsets::store(&self.app, request.into_inner()).await.map(Response::new)
    }

    async fn allocate_producer_ids(
        &self,
        request: Request<AllocateProducerIdsRequest>,
    ) -> Result<Response<AllocateProducerIdsResponse>, Status> {
        producer_ids::allocate(&self.app, request.into_inner()).await.map(Response::new)
    }
}

/// Whether a transaction that is safe to repeat should be.
fn worth_repeating(error: &DbError) -> bool {
    error.retriable() || matches!(error, DbError::CommitUnknown { .. })
}
