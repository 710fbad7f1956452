//! Does an SPU serve? One record is produced to its partition of `__probe` and fetched back,
//! over the data plane as any client would.

use std::time::Duration;

use bytes::Bytes;
use secrecy::SecretString;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Streaming};
use weir_protocol::{
    WireError,
    batch::{self, BatchBuilder, BatchConfig, BatchError, DecodeLimits, NewRecord},
    ids::{LeaderEpoch, Offset, PartitionKey},
    pb::data::{
        self, Acks, FetchMessage, FetchResponse, ProduceMessage, ProduceRequest,
        data_plane_client::DataPlaneClient, fetch_message, fetch_response, produce_message,
        produce_response,
    },
};
use weir_runtime::{
    clock::{Clock, Elapsed},
    rpc::{Channel, ChannelConfig},
};

pub use crate::plan::names::PROBE_TOPIC;

use crate::data_plane::bearer;
/// What is asked for, and the bound of what a probe decodes. Batches of probes are tiny.
const FETCH_BYTES: u32 = 64 << 10;

/// Where a probe goes.
#[derive(Clone, Debug)]
pub struct Target {
    /// `host:port` of the SPU's data plane.
    pub endpoint: String,
    /// The SPU's own partition of the probe topic.
    pub partition: PartitionKey,
    /// Its leader epoch as the database has it.
    pub leader_epoch: LeaderEpoch,
}

/// Why a probe did not pass. All of them are worth another try.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// It took too long.
    #[error("the probe did not end in time")]
    TimedOut(#[from] Elapsed),
    /// The SPU could not be reached, or broke off.
    #[error("the data plane answered {:?}: {}", .0.code(), .0.message())]
    Rpc(#[from] tonic::Status),
    /// The SPU refused.
    #[error("the SPU refused the probe: {0}")]
    Refused(#[from] WireError),
    /// What came is no batch.
    #[error("what was fetched is no record batch: {0}")]
    Batch(#[from] BatchError),
    /// The SPU ended the stream, or answered something else than asked.
    #[error("the SPU did not answer the probe: {0}")]
    Unanswered(&'static str),
    /// Another record lies where this one was acknowledged.
    #[error("the record at offset {offset} is not the one that was acknowledged there")]
    Different {
        /// Where.
        offset: Offset,
    },
    /// The token cannot travel in a header.
    #[error("the token has characters that no header can carry")]
    Token,
}

/// Produces `payload` to the target and fetches it back, in at most `limit`.
///
/// # Errors
/// See [`ProbeError`]. The record may have been written all the same.
pub async fn probe(
    clock: Clock,
    target: &Target,
    token: &SecretString,
    payload: Bytes,
    limit: Duration,
) -> Result<Offset, ProbeError> {
    clock.timeout(limit, round_trip(clock, target, token, payload, limit)).await?
}

async fn round_trip(
    clock: Clock,
    target: &Target,
    token: &SecretString,
    payload: Bytes,
    limit: Duration,
) -> Result<Offset, ProbeError> {
    let config =
        ChannelConfig { connect_timeout: limit, call_timeout: limit, ..ChannelConfig::default() };
    let mut client = DataPlaneClient::new(Channel::new(&target.endpoint, config));

    let mut builder = BatchBuilder::new(BatchConfig::default());
    builder.push(NewRecord {
        timestamp_ms: clock.unix_ms(),
        key: None,
        value: Some(payload.clone()),
        headers: Vec::new(),
    })?;
    let produce = ProduceRequest {
        correlation_id: 1,
        partition: Some(target.partition.to_wire()),
        leader_epoch: target.leader_epoch.get(),
        acks: Acks::All.into(),
        timeout_ms: u32::try_from(limit.as_millis()).unwrap_or(u32::MAX),
        batch: builder.finish(None)?,
    };
    let message = ProduceMessage { message: Some(produce_message::Message::Produce(produce)) };
    // The sending half stays open until the answer came: its end would end the stream.
    let (open, request) = outgoing(token, vec![message])?;
    let mut answers = client.produce(request).await?.into_inner();
    let offset = match next(&mut answers).await?.result {
        Some(produce_response::Result::Ack(ack)) => Offset(ack.base_offset),
        Some(produce_response::Result::Error(error)) => return Err(WireError::from(error).into()),
        None => return Err(ProbeError::Unanswered("an empty answer to a produce")),
    };
    drop((open, answers));

    let subscribe = data::Subscribe {
        subscription_id: 1,
        partition: Some(target.partition.to_wire()),
        leader_epoch: target.leader_epoch.get(),
        start: Some(data::Start {
            position: Some(data::start::Position::Absolute(offset.get())),
            ..data::Start::default()
        }),
        max_bytes: FETCH_BYTES,
        ..data::Subscribe::default()
    };
    let credit = data::Credit { bytes: u64::from(FETCH_BYTES) };
    let messages =
        [fetch_message::Message::Subscribe(subscribe), fetch_message::Message::Credit(credit)]
            .map(|message| FetchMessage { message: Some(message) });
    let (open, request) = outgoing(token, messages.to_vec())?;
    let mut answers = client.fetch(request).await?.into_inner();
    let batches = fetched(&mut answers).await?;
    drop(open);
    if value_at(&batches, offset)? == Some(payload) {
        Ok(offset)
    } else {
        Err(ProbeError::Different { offset })
    }
}

/// A request stream that stays open until its sender is dropped, with the token.
fn outgoing<T: Send + 'static>(
    token: &SecretString,
    messages: Vec<T>,
) -> Result<(mpsc::Sender<T>, Request<ReceiverStream<T>>), ProbeError> {
    let (sender, receiver) = mpsc::channel(messages.len().max(1));
    for message in messages {
        // There is room for each.
        let _ = sender.try_send(message);
    }
    let mut request = Request::new(ReceiverStream::new(receiver));
    let value = bearer(token).ok_or(ProbeError::Token)?;
    request.metadata_mut().insert("authorization", value);
    Ok((sender, request))
}

async fn next<T>(answers: &mut Streaming<T>) -> Result<T, ProbeError> {
    answers.message().await?.ok_or(ProbeError::Unanswered("the stream ended"))
}

/// The first batches that come; what else a subscription begins with is passed over.
async fn fetched(answers: &mut Streaming<FetchResponse>) -> Result<Bytes, ProbeError> {
    loop {
        match next(answers).await?.event {
            Some(fetch_response::Event::Records(records)) if !records.batches.is_empty() => {
                return Ok(records.batches);
            }
            Some(fetch_response::Event::Error(error)) => return Err(WireError::from(error).into()),
            Some(_) | None => {}
        }
    }
}

/// The value of the record at `offset`, if it is in there.
fn value_at(batches: &Bytes, offset: Offset) -> Result<Option<Bytes>, BatchError> {
    let limits = DecodeLimits { uncompressed_bytes_max: FETCH_BYTES as usize };
    let mut rest = batches.clone();
    while let Some((header, batch, after)) = batch::split_first(&rest)? {
        if header.base_offset <= offset && offset <= header.last_offset() {
            batch::verify(&batch)?;
            for record in batch::records(&batch, &limits)? {
                let record = record?;
                if record.offset == offset {
                    return Ok(record.value);
                }
            }
        }
        rest = after;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(value: &'static [u8], at: u64) -> Bytes {
        let mut builder = BatchBuilder::new(BatchConfig::default());
        builder
            .push(NewRecord {
                timestamp_ms: 1,
                key: None,
                value: Some(Bytes::from_static(value)),
                headers: vec![],
            })
            .unwrap();
        let parts = batch::assign(&builder.finish(None).unwrap(), Offset(at), LeaderEpoch(1));
        Bytes::from(parts.concat())
    }

    #[test]
    fn the_record_at_the_offset_is_found_among_its_neighbours() {
        let all = Bytes::from([stored(b"a", 4), stored(b"b", 5), stored(b"c", 6)].concat());
        assert_eq!(value_at(&all, Offset(5)).unwrap().unwrap(), "b");
        assert_eq!(value_at(&all, Offset(7)).unwrap(), None);
        assert!(value_at(&all.slice(..all.len() - 1), Offset(6)).is_err());
    }
}
