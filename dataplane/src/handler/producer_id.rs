//! `DataPlane.AllocateProducerId`: a producer id that no one else ever gets.

use tonic::metadata::MetadataMap;
use weir_protocol::{WireError, pb::data::AllocateProducerIdResponse, token::Scope};
use weir_runtime::trace::{self, Kind};

use super::{Shared, auth};
use crate::token;

pub(super) async fn allocate(
    shared: &Shared,
    metadata: &MetadataMap,
) -> Result<AllocateProducerIdResponse, WireError> {
    let claims = auth::bearer(&shared.tokens, metadata)?;
    token::require(&claims, Scope::Produce)?;
    let allocated = shared.producer_ids.next().await;
    trace::line(Kind::Rpc, || match &allocated {
        Ok(id) => format!("allocate_producer_id {id}"),
        Err(error) => format!("allocate_producer_id {}", error.code),
    });
    Ok(AllocateProducerIdResponse { producer_id: allocated?.get(), producer_epoch: 0 })
}
