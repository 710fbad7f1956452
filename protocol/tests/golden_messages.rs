//! Golden bytes of every message of records and of offsets: a field that is renumbered or retyped
//! breaks SPUs and clients of another version, and this test first.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::BTreeSet;

use bytes::Bytes;
use prost::Message;
use prost_types::FileDescriptorSet;
use support::{from_hex, golden};
use weir_protocol::pb::{DESCRIPTORS, data::*, offsets::*};

/// Whether bytes decode to the message.
type Reads = dyn Fn(&[u8]) -> bool;

/// A message with its name and encoding.
struct Sample {
    name: String,
    bytes: Vec<u8>,
    reads: Box<Reads>,
}

/// `case` tells the arms of a oneof apart.
fn sample<M: Message + Default + PartialEq + 'static>(case: &str, message: M) -> Sample {
    let name = std::any::type_name::<M>().rsplit("::").next().unwrap();
    let name = if case.is_empty() { name.to_owned() } else { format!("{name}.{case}") };
    let bytes = message.encode_to_vec();
    Sample { name, bytes, reads: Box::new(move |bytes| M::decode(bytes).unwrap() == message) }
}

fn produce_message(case: &str, message: produce_message::Message) -> Sample {
    sample(case, ProduceMessage { message: Some(message) })
}

fn produce_response(case: &str, result: produce_response::Result) -> Sample {
    sample(case, ProduceResponse { correlation_id: 300, result: Some(result) })
}

fn fetch_message(case: &str, message: fetch_message::Message) -> Sample {
    sample(case, FetchMessage { message: Some(message) })
}

fn fetch_response(case: &str, event: fetch_response::Event) -> Sample {
    sample(case, FetchResponse { subscription_id: 7, event: Some(event) })
}

fn start(case: &str, position: start::Position) -> Sample {
    sample(case, Start { position: Some(position), ..Start::default() })
}

/// A package's samples, and the file of their golden bytes.
fn packages() -> [(&'static str, &'static str, Vec<Sample>); 3] {
    [
        ("weir.data.v1", "data_v1.txt", samples()),
        ("weir.offsets.v1", "offsets_v1.txt", offsets_samples()),
        ("weir.replication.v1", "replication_v1.txt", replication_samples()),
    ]
}

fn replication_samples() -> Vec<Sample> {
    use weir_protocol::pb::replication::*;

    let generation_id = Bytes::from_static(b"generation-id-16");
    let partition = Some(PartitionRef { generation_id, partition: 12 });
    let fetch = Fetch {
        partition: partition.clone(),
        leader_epoch: 7,
        incarnation: 300,
        log_end: 1 << 40,
        last_epoch: Some(0),
        held_end: 1 << 39,
        max_bytes: 1 << 20,
        ping_round: 5,
    };
    let message = |case: &str, message| sample(case, ReplicateMessage { message: Some(message) });
    let response = |case: &str, event| {
        sample(
            case,
            ReplicateResponse {
                partition: partition.clone(),
                leader_epoch: 7,
                high_watermark: 1 << 39,
                log_start: 3,
                event: Some(event),
            },
        )
    };
    let diverged = Diverged { epoch: 6, end_offset: 1 << 38, fetched_end: 1 << 40 };
    let producer = Producer {
        producer_id: 9_000,
        producer_epoch: 1,
        first_sequence: 30,
        last_sequence: 39,
        base_offset: 100,
        last_offset: 109,
    };
    let anew = StartAnew { producers: vec![producer] };
    let token = Authenticate { token: "a.b.c".into() };
    let error = Error { code: 44, message: "not here".into(), ..Error::default() };
    vec![
        sample("", fetch.clone()),
        sample("", diverged),
        sample("", producer),
        sample("", anew.clone()),
        sample("", Ping { round: 5 }),
        message("fetch", replicate_message::Message::Fetch(fetch)),
        message("authenticate", replicate_message::Message::Authenticate(token)),
        response("batches", replicate_response::Event::Batches("batches".into())),
        response("diverged", replicate_response::Event::Diverged(diverged)),
        response("start_anew", replicate_response::Event::StartAnew(anew)),
        response("ping", replicate_response::Event::Ping(Ping { round: 5 })),
        response("error", replicate_response::Event::Error(error)),
    ]
}

fn offsets_samples() -> Vec<Sample> {
    let generation_id = Bytes::from_static(b"generation-id-16");
    let session_id = Bytes::from_static(b"session-id-of-16");
    let partition = PartitionRef { generation_id, partition: 12 };
    let consumer = "billing".to_owned();
    let committed = CommittedOffset {
        partition: Some(partition.clone()),
        next_offset: 1 << 40,
        leader_epoch: Some(0),
        metadata: "mine".into(),
        committed_at_unix_ms: 1_700_000_000_000,
    };
    let held = HeldOffset {
        partition: Some(partition.clone()),
        next_offset: Some(0),
        leader_epoch: Some(5),
        metadata: "mine".into(),
        committed_at_unix_ms: 1_700_000_000_000,
    };
    vec![
        sample(
            "",
            OpenSessionRequest {
                consumer: consumer.clone(),
                session_id: session_id.clone(),
                partitions: vec![partition.clone()],
            },
        ),
        sample("", OpenSessionResponse { committed: vec![committed.clone()] }),
        sample("", committed.clone()),
        sample(
            "",
            CommitRequest {
                consumer: consumer.clone(),
                session_id: session_id.clone(),
                sequence: 300,
                offsets: vec![committed.clone()],
            },
        ),
        sample("", CommitResponse {}),
        sample(
            "",
            ResetRequest {
                consumer: consumer.clone(),
                session_id: session_id.clone(),
                offsets: vec![committed.clone()],
            },
        ),
        sample("", ResetResponse { before: vec![committed] }),
        sample(
            "",
            DeleteRequest { consumer: consumer.clone(), partitions: vec![partition.clone()] },
        ),
        sample("", DeleteResponse { partitions: 300 }),
        sample(
            "",
            DescribeRequest {
                consumer: consumer.clone(),
                leader_epoch: 5,
                after: Some(partition.clone()),
                limit: 300,
            },
        ),
        sample("", DescribeResponse { offsets: vec![held.clone()], more: true }),
        sample("", held),
        sample("", OffsetKey { consumer, partition: Some(partition) }),
        sample(
            "",
            OffsetValue {
                session_id,
                sequence: 300,
                next_offset: Some(0),
                leader_epoch: Some(5),
                metadata: "mine".into(),
                committed_at_unix_ms: 1_700_000_000_000,
            },
        ),
    ]
}

fn samples() -> Vec<Sample> {
    let generation_id = Bytes::from_static(b"generation-id-16");
    let partition = PartitionRef { generation_id: generation_id.clone(), partition: 12 };
    let authenticate = Authenticate { token: "header.claims.signature".into() };
    let produce = ProduceRequest {
        correlation_id: 300,
        partition: Some(partition.clone()),
        leader_epoch: 5,
        acks: Acks::All.into(),
        timeout_ms: 30_000,
        batch: Bytes::from_static(b"batch"),
    };
    let ack = ProduceAck { base_offset: 1 << 40, duplicate: true, log_start: 9 };
    let error = Error {
        code: 41,
        message: "deleted and created again".into(),
        successor_generation_id: generation_id,
        leader_spu_id: Some(0),
        leader_epoch: Some(6),
        log_start: Some(9),
        high_watermark: Some(u64::MAX),
    };
    let subscribe = Subscribe {
        subscription_id: 7,
        partition: Some(partition.clone()),
        leader_epoch: 5,
        start: Some(Start {
            position: Some(start::Position::Absolute(77)),
            committed: Some(78),
            reset_policy: ResetPolicy::Nearest.into(),
        }),
        max_bytes: 1 << 20,
        uncommitted: true,
        from_follower: true,
        settled: true,
    };
    let unsubscribe = Unsubscribe { subscription_id: 7 };
    let credit = Credit { bytes: 1 << 33 };
    let started = Started {
        offset: 77,
        log_start: 9,
        high_watermark: 80,
        resolution: Resolution::Committed.into(),
    };
    let question =
        ListOffset { partition: Some(partition.clone()), leader_epoch: 5, start: subscribe.start };
    let listed = |result| ListedOffset { partition: Some(partition.clone()), result: Some(result) };
    let (found, lost) = (
        listed(listed_offset::Result::Found(started)),
        listed(listed_offset::Result::Error(error.clone())),
    );
    let records =
        Records { batches: Bytes::from_static(b"batches"), high_watermark: 80, log_start: 9 };
    vec![
        sample("", partition.clone()),
        sample("", error.clone()),
        sample("", authenticate.clone()),
        produce_message("produce", produce_message::Message::Produce(produce.clone())),
        produce_message(
            "authenticate",
            produce_message::Message::Authenticate(authenticate.clone()),
        ),
        sample("", produce),
        produce_response("ack", produce_response::Result::Ack(ack)),
        produce_response("error", produce_response::Result::Error(error.clone())),
        sample("", ack),
        fetch_message("subscribe", fetch_message::Message::Subscribe(subscribe.clone())),
        fetch_message("unsubscribe", fetch_message::Message::Unsubscribe(unsubscribe)),
        fetch_message("credit", fetch_message::Message::Credit(credit)),
        fetch_message("authenticate", fetch_message::Message::Authenticate(authenticate)),
        start("beginning", start::Position::Beginning(true)),
        start("end", start::Position::End(true)),
        start("absolute", start::Position::Absolute(0)),
        start("from_beginning", start::Position::FromBeginning(6)),
        start("from_end", start::Position::FromEnd(5)),
        start("timestamp_ms", start::Position::TimestampMs(1_700_000_000_000)),
        sample("", subscribe),
        sample("", unsubscribe),
        sample("", credit),
        fetch_response("started", fetch_response::Event::Started(started)),
        fetch_response("records", fetch_response::Event::Records(records.clone())),
        fetch_response("error", fetch_response::Event::Error(error)),
        sample("", started),
        sample("", records),
        sample("", AllocateProducerIdRequest {}),
        sample("", AllocateProducerIdResponse { producer_id: 4_000, producer_epoch: 3 }),
        sample("", ListOffsetsRequest { partitions: vec![question.clone()] }),
        sample("", question),
        sample("", ListOffsetsResponse { partitions: vec![found.clone()] }),
        sample("found", found),
        sample("error", lost),
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn messages_are_written_and_read_as_ever() {
    for (_, file, samples) in packages() {
        let text = golden(file, || {
            samples.iter().map(|s| format!("{}: {}\n", s.name, hex(&s.bytes))).collect()
        });
        let lines: Vec<_> = text.lines().map(|line| line.split_once(':').unwrap()).collect();
        let names: Vec<_> = lines.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, samples.iter().map(|s| s.name.as_str()).collect::<Vec<_>>());
        for (sample, (name, bytes)) in samples.iter().zip(lines) {
            assert_eq!(hex(&sample.bytes), bytes.trim(), "{name} is written otherwise");
            assert!((sample.reads)(&from_hex(bytes)), "{name} is read otherwise");
        }
    }
}

#[test]
fn every_message_and_every_arm_has_golden_bytes() {
    let set = FileDescriptorSet::decode(DESCRIPTORS).unwrap();
    for (package, _, samples) in packages() {
        let expected = expected(&set, package);
        assert_eq!(samples.into_iter().map(|s| s.name).collect::<BTreeSet<_>>(), expected);
    }
    let data = expected(&set, "weir.data.v1");
    assert!(data.contains("FetchResponse.records") && data.contains("Error"));
}

fn expected(set: &FileDescriptorSet, package: &str) -> BTreeSet<String> {
    let file = set.file.iter().find(|f| f.package() == package).unwrap();
    let mut expected = BTreeSet::new();
    for message in &file.message_type {
        // proto3 `optional` makes a oneof of one; those are plain fields here.
        let arms = message.field.iter().filter(|f| f.oneof_index.is_some() && !f.proto3_optional());
        let arms: Vec<_> = arms.map(|f| format!("{}.{}", message.name(), f.name())).collect();
        if arms.is_empty() {
            expected.insert(message.name().to_owned());
        }
        expected.extend(arms);
    }
    expected
}
