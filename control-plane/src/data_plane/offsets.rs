//! `Offsets.Reset`, `Offsets.Delete` and `Offsets.Describe`: what coordinators of consumers
//! are ordered and asked.

use std::future::Future;

use weir_protocol::pb::offsets::{
    CommittedOffset, DeleteRequest, DescribeRequest, HeldOffset, ResetRequest,
    offsets_client::OffsetsClient,
};
use weir_runtime::clock::Clock;

use super::{CallError, Spu};

/// Parts of one description: far more than a consumer has.
const PARTS_MAX: usize = 200;

/// What a consumer's coordinator is asked or ordered. Each is safe to repeat.
pub trait Ask: Sync {
    /// What it answers.
    type Answer: Send;

    /// Asks this SPU: `NOT_LEADER` when another one is the coordinator.
    fn ask(
        &self,
        clock: Clock,
        spu: Spu<'_>,
    ) -> impl Future<Output = Result<Self::Answer, CallError>> + Send;
}

impl Ask for ResetRequest {
    /// What was committed before.
    type Answer = Vec<CommittedOffset>;

    async fn ask(&self, clock: Clock, spu: Spu<'_>) -> Result<Self::Answer, CallError> {
        let mut client = OffsetsClient::new(spu.channel());
        let request = spu.request(self.clone())?;
        Ok(spu.answer(clock, client.reset(request)).await?.before)
    }
}

impl Ask for DeleteRequest {
    /// How many partitions were forgotten.
    type Answer = u32;

    async fn ask(&self, clock: Clock, spu: Spu<'_>) -> Result<Self::Answer, CallError> {
        let mut client = OffsetsClient::new(spu.channel());
        let request = spu.request(self.clone())?;
        Ok(spu.answer(clock, client.delete(request)).await?.partitions)
    }
}

impl Ask for DescribeRequest {
    /// All parts, from the one that is asked for on.
    type Answer = Vec<HeldOffset>;

    async fn ask(&self, clock: Clock, spu: Spu<'_>) -> Result<Self::Answer, CallError> {
        let mut client = OffsetsClient::new(spu.channel());
        let (mut held, mut next) = (Vec::new(), self.clone());
        for _ in 0..PARTS_MAX {
            let request = spu.request(next.clone())?;
            let part = spu.answer(clock, client.describe(request)).await?;
            let last = part.offsets.last().and_then(|last| last.partition.clone());
            held.extend(part.offsets);
            if !part.more {
                return Ok(held);
            }
            next.after = Some(last.ok_or(CallError::Unexpected("an empty part and no end"))?);
        }
        Err(CallError::Unexpected("more partitions than a consumer has"))
    }
}
