//! How the messages of `DataPlane.Produce`, `DataPlane.Fetch` and `Replication.Replicate` are
//! written: a short head, then the batches, which are the message's last bytes and need no copy.
//!
//! The order of fields is free in protobuf, so any decoder reads them: a message is the head and
//! the batches one behind the other.

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::{
    Message as _,
    encoding::{WireType, encode_key, encode_varint},
};

use crate::pb::{
    data::{FetchResponse, ProduceMessage, fetch_response::Event, produce_message::Message},
    replication::{ReplicateResponse, replicate_response},
};

/// Where produce streams are opened.
pub const PRODUCE_PATH: &str = "/weir.data.v1.DataPlane/Produce";
/// Where fetch streams are opened.
pub const FETCH_PATH: &str = "/weir.data.v1.DataPlane/Fetch";
/// Where producer ids are asked for.
pub const ALLOCATE_PRODUCER_ID_PATH: &str = "/weir.data.v1.DataPlane/AllocateProducerId";
/// Where offsets are asked for.
pub const LIST_OFFSETS_PATH: &str = "/weir.data.v1.DataPlane/ListOffsets";

/// Where followers open their streams.
pub const REPLICATE_PATH: &str = "/weir.replication.v1.Replication/Replicate";

/// Numbers of the fields that hold the batches, and of those that hold these.
mod field {
    pub const PRODUCE: u32 = 1;
    pub const BATCH: u32 = 6;
    pub const RECORDS: u32 = 3;
    pub const BATCHES: u32 = 1;
    pub const REPLICATED: u32 = 5;
}

/// Writes the head of a message to an SPU; returns the batch that completes it.
pub fn encode_produce(message: ProduceMessage, out: &mut BytesMut) -> Bytes {
    match message.message {
        Some(Message::Produce(mut request)) => {
            let batch = std::mem::take(&mut request.batch);
            nested(field::PRODUCE, &request, field::BATCH, &batch, out);
            batch
        }
        message => {
            ProduceMessage { message }.encode_raw(out);
            Bytes::new()
        }
    }
}

/// Writes the head of a message from an SPU; returns the batches that complete it.
pub fn encode_fetched(response: FetchResponse, out: &mut BytesMut) -> Bytes {
    match response.event {
        Some(Event::Records(mut records)) => {
            let batches = std::mem::take(&mut records.batches);
            FetchResponse { event: None, ..response }.encode_raw(out);
            nested(field::RECORDS, &records, field::BATCHES, &batches, out);
            batches
        }
        event => {
            FetchResponse { event, ..response }.encode_raw(out);
            Bytes::new()
        }
    }
}

/// Writes the head of a message to a follower; returns the batches that complete it.
pub fn encode_replicated(response: ReplicateResponse, out: &mut BytesMut) -> Bytes {
    match response.event {
        Some(replicate_response::Event::Batches(batches)) => {
            ReplicateResponse { event: None, ..response }.encode_raw(out);
            encode_key(field::REPLICATED, WireType::LengthDelimited, out);
            encode_varint(batches.len() as u64, out);
            batches
        }
        event => {
            ReplicateResponse { event, ..response }.encode_raw(out);
            Bytes::new()
        }
    }
}

/// Field `outer`: a message of which the payload, its field `inner`, is left out at the end.
fn nested(outer: u32, rest: &impl prost::Message, inner: u32, payload: &Bytes, out: &mut BytesMut) {
    let mut head = BytesMut::with_capacity(rest.encoded_len() + 16);
    rest.encode_raw(&mut head);
    encode_key(inner, WireType::LengthDelimited, &mut head);
    encode_varint(payload.len() as u64, &mut head);
    encode_key(outer, WireType::LengthDelimited, out);
    encode_varint((head.len() + payload.len()) as u64, out);
    out.put(head);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::data::{
        Authenticate, Error, PartitionRef, ProduceRequest, Records, Started, fetch_response,
    };

    /// What the generated decoder, which knows nothing of this file, makes of it.
    fn back<M: prost::Message + Default>(encode: impl Fn(&mut BytesMut) -> Bytes) -> M {
        let mut whole = BytesMut::new();
        let payload = encode(&mut whole);
        whole.extend_from_slice(&payload);
        M::decode(whole.freeze()).unwrap()
    }

    #[test]
    fn the_generated_decoder_reads_every_message() {
        let produce = |batch: Bytes| {
            Message::Produce(ProduceRequest {
                correlation_id: 300,
                partition: Some(PartitionRef { generation_id: "0123".into(), partition: 7 }),
                leader_epoch: 9,
                acks: 1,
                timeout_ms: 30_000,
                batch,
            })
        };
        let authenticate = Message::Authenticate(Authenticate { token: "t".into() });
        let messages = [produce(vec![7; 70_000].into()), produce(Bytes::new()), authenticate];
        for message in messages.into_iter().map(Some).chain([None]) {
            let message = ProduceMessage { message };
            assert_eq!(back::<ProduceMessage>(|out| encode_produce(message.clone(), out)), message);
        }
        let records = |batches: Bytes| {
            Event::Records(Records { batches, high_watermark: 1 << 40, log_start: 0 })
        };
        let started = Started { offset: 1, log_start: 0, high_watermark: 9, resolution: 1 };
        let events = [
            records(vec![1; 300].into()),
            records(Bytes::new()),
            fetch_response::Event::Started(started),
            fetch_response::Event::Error(Error { code: 4, ..Error::default() }),
        ];
        for event in events.into_iter().map(Some).chain([None]) {
            let response = FetchResponse { subscription_id: 77, event };
            let read = back::<FetchResponse>(|out| encode_fetched(response.clone(), out));
            assert_eq!(read, response);
        }
    }

    #[test]
    fn the_generated_decoder_reads_what_followers_get() {
        use replicate_response::Event;
        let ping = crate::pb::replication::Ping { round: 9 };
        let events = [
            Event::Batches(vec![1; 300].into()),
            Event::Batches(Bytes::new()),
            Event::Ping(ping),
            Event::Error(Error { code: 4, ..Error::default() }),
        ];
        for event in events.into_iter().map(Some).chain([None]) {
            let partition = Some(PartitionRef { generation_id: "0123".into(), partition: 7 });
            let (high_watermark, log_start) = (1 << 40, 3);
            let response =
                ReplicateResponse { partition, leader_epoch: 5, high_watermark, log_start, event };
            let read = back::<ReplicateResponse>(|out| encode_replicated(response.clone(), out));
            assert_eq!(read, response);
        }
    }

    #[test]
    fn batches_are_not_copied() {
        let batch = Bytes::from(vec![1; 1000]);
        let request = ProduceRequest { batch: batch.clone(), ..ProduceRequest::default() };
        let message = ProduceMessage { message: Some(Message::Produce(request)) };
        let mut head = BytesMut::new();
        let payload = encode_produce(message, &mut head);
        assert!(payload.as_ptr() == batch.as_ptr() && head.len() < 20);
    }
}
