//! `DataPlane.ListOffsets`: where readers would begin, without reading.

use tonic::metadata::MetadataMap;
use weir_protocol::{
    ErrorCode, WireError,
    ids::LeaderEpoch,
    pb::data::{
        ListOffset, ListOffsetsRequest, ListOffsetsResponse, ListedOffset, Started,
        listed_offset::Result as Found,
    },
    token::{Claims, Scope},
};
use weir_runtime::trace::{self, Kind};

use super::{Shared, at_time, auth, subscription::started};
use crate::{metadata::resolve::resolve, replica::start_offset, token};

/// Questions of one request.
const PARTITIONS_MAX: usize = 1_000;

pub(super) async fn list(
    shared: &Shared,
    metadata: &MetadataMap,
    request: &ListOffsetsRequest,
) -> Result<ListOffsetsResponse, WireError> {
    let claims = auth::bearer(&shared.tokens, metadata)?;
    token::require(&claims, Scope::Consume)?;
    if request.partitions.len() > PARTITIONS_MAX {
        let text = format!("a request may name {PARTITIONS_MAX} partitions");
        return Err(WireError::new(ErrorCode::InvalidRequest, text));
    }
    trace::line(Kind::Rpc, || format!("list_offsets of {}", request.partitions.len()));
    let mut partitions = Vec::with_capacity(request.partitions.len());
    for asked in &request.partitions {
        let result = Some(match one(shared, &claims, asked).await {
            Ok(started) => Found::Found(started),
            Err(error) => Found::Error(error.into()),
        });
        partitions.push(ListedOffset { partition: asked.partition.clone(), result });
    }
    Ok(ListOffsetsResponse { partitions })
}

async fn one(shared: &Shared, claims: &Claims, asked: &ListOffset) -> Result<Started, WireError> {
    let start = start_offset::Request::from_wire(asked.start.as_ref())
        .ok_or_else(|| WireError::new(ErrorCode::InvalidRequest, "the question names no start"))?;
    let cached = shared.cache.current();
    let key = resolve(&cached.map, asked.partition.as_ref(), claims)?;
    let partition = shared.partition(&cached.map, key)?;
    let view = partition.view().borrow().clone();
    let readable = view.serves(LeaderEpoch(asked.leader_epoch))?;
    started(at_time::locate(&partition, start, readable).await?, readable)
}
