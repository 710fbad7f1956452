//! `Offsets.Reset` and `Offsets.Delete`: what coordinators of consumers are ordered.

use weir_protocol::pb::offsets::{DeleteRequest, ResetRequest, offsets_client::OffsetsClient};
use weir_runtime::clock::Clock;

use super::{CallError, Spu};

/// An order to a consumer's coordinator. Each is safe to repeat.
#[derive(Clone, Debug)]
pub enum Order {
    /// Sets offsets.
    Reset(ResetRequest),
    /// Forgets.
    Delete(DeleteRequest),
}

/// Gives the order to this SPU; how many partitions it was about.
///
/// # Errors
/// [`CallError`]; `NOT_LEADER` when another SPU is the coordinator.
pub async fn order(clock: Clock, spu: Spu<'_>, order: &Order) -> Result<u32, CallError> {
    let mut client = OffsetsClient::new(spu.channel());
    match order {
        Order::Reset(message) => {
            let count = u32::try_from(message.offsets.len()).unwrap_or(u32::MAX);
            let request = spu.request(message.clone())?;
            spu.answer(clock, client.reset(request)).await?;
            Ok(count)
        }
        Order::Delete(message) => {
            let request = spu.request(message.clone())?;
            Ok(spu.answer(clock, client.delete(request)).await?.partitions)
        }
    }
}
