//! The edges: tonic services that check, translate, and hand on.
//!
//! | Module | Serves |
//! |---|---|
//! | [`produce`] | `DataPlane.Produce`: one stream per pair, requests in order per partition |
//! | [`fetch`] | `DataPlane.Fetch`: subscriptions, byte credits, whole batches |
//! | `replicate` | `Replication.Replicate`: what is appended here, to followers |
//! | [`throttle`] | how fast replicas that are not in sync are fed |
//! | [`producer_id`] | `DataPlane.AllocateProducerId` |
//! | [`list_offsets`] | `DataPlane.ListOffsets` |
//! | [`offsets`] | `Offsets`: sessions and commits of named consumers |
//! | [`metadata`] | `Metadata.WatchMetadata` |
//! | [`promises`] | what was taken and is not answered yet |
//! | `subscription`, `reading`, `at_time` | one reader of a fetch stream; what it may have; a start by time |
//! | [`auth`] | who is asking |
//! | `data_plane` | which call of `DataPlane` is whose |
//! | `driven` | answers that are worked on by whoever reads them |
//! | [`status`] | errors where a message has no room for them |

mod at_time;
pub mod auth;
mod data_plane;
mod driven;
pub mod fetch;
pub mod list_offsets;
pub mod metadata;
pub mod offsets;
pub mod produce;
pub mod producer_id;
pub mod promises;
mod reading;
mod replicate;
pub mod status;
mod subscription;
pub mod throttle;
mod turns;

use std::sync::Arc;

use tokio::sync::watch;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, service::Routes};
use weir_protocol::{
    ErrorCode, WireError,
    ids::{ClusterId, PartitionKey, SpuId},
    pb::{
        metadata::{
            MetadataUpdate, WatchMetadataRequest,
            metadata_server::{Metadata, MetadataServer},
        },
        offsets::{
            CommitRequest, CommitResponse, DeleteRequest, DeleteResponse, DescribeRequest,
            DescribeResponse, OpenSessionRequest, OpenSessionResponse, ResetRequest, ResetResponse,
            offsets_server::{Offsets, OffsetsServer},
        },
    },
};
use weir_runtime::{clock::Clock, task::CancellationToken};

use self::{data_plane::DataPlane, promises::Promises, replicate::Replication, throttle::Throttle};
use crate::{
    config::{BATCH_BYTES_HARD_MAX, BATCH_BYTES_MAX_DEFAULT, Limits, MESSAGE_BYTES_MAX},
    coordinator::Coordinator,
    metadata::{Cache, ClusterMap},
    metrics::Metrics,
    partition::{Partition, Registry},
    producer_ids::ProducerIds,
    session::SessionView,
    token::Tokens,
};

/// What every handler needs.
pub struct Shared {
    /// The cluster that is served.
    pub cluster_id: ClusterId,
    /// Bounds.
    pub limits: Limits,
    /// Time.
    pub clock: Clock,
    /// Judges tokens.
    pub tokens: Tokens,
    /// What is known of the cluster.
    pub cache: Cache,
    /// What this SPU holds.
    pub registry: Registry,
    /// Producer ids.
    pub producer_ids: ProducerIds,
    /// Named consumers.
    pub coordinator: Coordinator,
    /// The session with the control plane.
    pub session: watch::Receiver<SessionView>,
    /// What replicas that are not in sync are fed at.
    pub catch_up: Throttle,
    /// What is counted.
    pub metrics: Metrics,
    /// What was taken to be written and is not acknowledged yet.
    pub promises: Promises,
    /// Set when the SPU goes down.
    pub closing: CancellationToken,
}

impl Shared {
    /// The cluster's largest batch, in bytes.
    fn batch_bytes_max(&self) -> usize {
        let named = self.session.borrow().batch_bytes_max;
        named
            .and_then(|bytes| usize::try_from(bytes).ok())
            .unwrap_or(BATCH_BYTES_MAX_DEFAULT)
            .min(BATCH_BYTES_HARD_MAX)
    }

    /// The replica of a partition here.
    fn partition(&self, map: &ClusterMap, key: PartitionKey) -> Result<Arc<Partition>, WireError> {
        self.registry.get(key).ok_or_else(|| {
            let text = "this SPU has no replica of the partition";
            let mut error = WireError::new(ErrorCode::NotLeader, text);
            if let Some((_, partition)) = map.partition(key) {
                error.wire.leader_spu_id = partition.leader_spu_id.map(SpuId).map(SpuId::get);
                error.wire.leader_epoch = Some(partition.leader_epoch);
            }
            error
        })
    }
}

/// The routes of an SPU's port.
#[must_use]
pub fn routes(shared: Arc<Shared>) -> Routes {
    let offsets = OffsetsServer::new(Service(shared.clone()))
        .max_decoding_message_size(offsets::REQUEST_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    Routes::new(DataPlane(shared.clone()))
        .add_service(Replication(shared.clone()))
        .add_service(MetadataServer::new(Service(shared)))
        .add_service(offsets)
}

/// All services.
struct Service(Arc<Shared>);

/// A response stream, fed by a task.
type Responses<T> = ReceiverStream<Result<T, Status>>;

#[tonic::async_trait]
impl Metadata for Service {
    type WatchMetadataStream = Responses<MetadataUpdate>;

    async fn watch_metadata(
        &self,
        request: Request<WatchMetadataRequest>,
    ) -> Result<Response<Self::WatchMetadataStream>, Status> {
        metadata::open(self.0.clone(), &request).map_err(status::of)
    }
}

#[tonic::async_trait]
impl Offsets for Service {
    async fn open_session(
        &self,
        request: Request<OpenSessionRequest>,
    ) -> Result<Response<OpenSessionResponse>, Status> {
        let (metadata, _, asked) = request.into_parts();
        let answer = offsets::open_session(&self.0, &metadata, asked).await;
        answer.map(Response::new).map_err(status::of)
    }

    async fn commit(
        &self,
        request: Request<CommitRequest>,
    ) -> Result<Response<CommitResponse>, Status> {
        let (metadata, _, asked) = request.into_parts();
        offsets::commit(&self.0, &metadata, asked).await.map(Response::new).map_err(status::of)
    }

    async fn reset(
        &self,
        request: Request<ResetRequest>,
    ) -> Result<Response<ResetResponse>, Status> {
        let (metadata, _, asked) = request.into_parts();
        offsets::reset(&self.0, &metadata, asked).await.map(Response::new).map_err(status::of)
    }

    async fn delete(
        &self,
        request: Request<DeleteRequest>,
    ) -> Result<Response<DeleteResponse>, Status> {
        let (metadata, _, asked) = request.into_parts();
        offsets::delete(&self.0, &metadata, asked).await.map(Response::new).map_err(status::of)
    }

    async fn describe(
        &self,
        request: Request<DescribeRequest>,
    ) -> Result<Response<DescribeResponse>, Status> {
        let (metadata, _, asked) = request.into_parts();
        offsets::describe(&self.0, &metadata, asked).await.map(Response::new).map_err(status::of)
    }
}
