//! Between the wire's messages and the words of `replica`.

use bytes::Bytes;
use weir_protocol::{
    batch::{self, BatchError},
    ids::{LeaderEpoch, Offset, PartitionKey, ProducerEpoch, ProducerId, SpuId},
    pb::replication::{
        self, Fetch, Producer, ReplicateResponse, StartAnew, replicate_response::Event,
    },
};

use crate::{
    log::Assigned,
    replica::{
        RequestId, Stamp,
        follower::{Following, FromLeader, News, Taken, TakenBatch},
        followers::FollowerFetch,
        producer_state::LastBatch,
    },
};

/// What a follower sends.
#[must_use]
pub fn fetch(key: PartitionKey, following: &Following, max_bytes: u32, ping_round: u64) -> Fetch {
    Fetch {
        partition: Some(key.to_wire()),
        leader_epoch: following.leader_epoch.get(),
        incarnation: following.incarnation.get(),
        log_end: following.log_end.get(),
        last_epoch: following.last_epoch.map(LeaderEpoch::get),
        held_end: following.held_end.get(),
        max_bytes,
        ping_round,
    }
}

/// What a leader makes of it. Request and time are filled in by the replica's task.
#[must_use]
pub fn follower_fetch(spu: SpuId, sent: &Fetch) -> FollowerFetch {
    FollowerFetch {
        request: RequestId(0),
        spu,
        incarnation: sent.incarnation.into(),
        leader_epoch: LeaderEpoch(sent.leader_epoch),
        log_end: Offset(sent.log_end),
        last_epoch: sent.last_epoch.map(LeaderEpoch),
        held_end: Offset(sent.held_end),
        ping_round: sent.ping_round,
        now_ms: 0,
    }
}

/// What a leader says, with its batches ready to be appended; `None`: nothing that concerns the
/// replica.
///
/// # Errors
/// A batch is damaged: nothing of the answer is to be believed.
pub fn from_leader(
    response: ReplicateResponse,
) -> Result<Option<(FromLeader, Vec<Assigned>)>, BatchError> {
    let mut assigned = Vec::new();
    let news = match response.event {
        None | Some(Event::Ping(_) | Event::Error(_)) => return Ok(None),
        Some(Event::Batches(bytes)) if bytes.is_empty() => News::None,
        Some(Event::Batches(bytes)) => {
            let (taken, batches) = split(bytes)?;
            assigned = batches;
            News::Batches(taken)
        }
        Some(Event::Diverged(diverged)) => News::Diverged {
            epoch: LeaderEpoch(diverged.epoch),
            end: Offset(diverged.end_offset),
            at: Offset(diverged.fetched_end),
        },
        Some(Event::StartAnew(anew)) => {
            News::StartAnew { producers: anew.producers.iter().filter_map(last_batch).collect() }
        }
    };
    let said = FromLeader {
        leader_epoch: LeaderEpoch(response.leader_epoch),
        high_watermark: Offset(response.high_watermark),
        log_start: Offset(response.log_start),
        news,
    };
    Ok(Some((said, assigned)))
}

/// Each batch of an answer, verified.
fn split(mut rest: Bytes) -> Result<(Taken, Vec<Assigned>), BatchError> {
    let (mut batches, mut assigned) = (Vec::new(), Vec::new());
    while let Some((header, bytes, after)) = batch::split_first(&rest)? {
        batch::verify(&bytes)?;
        batches.push(TakenBatch {
            base_offset: header.base_offset,
            last_offset: header.last_offset(),
            epoch: header.partition_leader_epoch,
            stamp: header.producer.map(|producer| Stamp {
                id: producer.id,
                epoch: producer.epoch,
                first_sequence: producer.base_sequence,
                last_sequence: header.last_sequence().unwrap_or(producer.base_sequence),
            }),
        });
        assigned.push(Assigned { header, parts: [bytes, Bytes::new()] });
        rest = after;
    }
    Ok((Taken { batches }, assigned))
}

/// What a follower that begins anew is told of producers.
#[must_use]
pub fn start_anew(producers: &[LastBatch]) -> StartAnew {
    let producer = |batch: &LastBatch| Producer {
        producer_id: batch.stamp.id.get(),
        producer_epoch: batch.stamp.epoch.get().into(),
        first_sequence: batch.stamp.first_sequence,
        last_sequence: batch.stamp.last_sequence,
        base_offset: batch.base_offset.get(),
        last_offset: batch.last_offset.get(),
    };
    StartAnew { producers: producers.iter().map(producer).collect() }
}

/// `None`: no producer has such an epoch.
fn last_batch(sent: &replication::Producer) -> Option<LastBatch> {
    Some(LastBatch {
        stamp: Stamp {
            id: ProducerId(sent.producer_id),
            epoch: ProducerEpoch(u16::try_from(sent.producer_epoch).ok()?),
            first_sequence: sent.first_sequence,
            last_sequence: sent.last_sequence,
        },
        base_offset: Offset(sent.base_offset),
        last_offset: Offset(sent.last_offset),
    })
}
