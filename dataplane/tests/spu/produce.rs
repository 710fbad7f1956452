//! What a producer is told.

use weir_protocol::{ErrorCode, batch::HEADER_BYTES, pb::data};

use crate::{
    client::{at, batch, request},
    control_plane::{BATCH_BYTES_MAX, key},
    node::Node,
};

#[tokio::test]
async fn what_was_acknowledged_is_fetched() {
    let node = Node::start().await;
    let mut producer = node.client.produce().await;
    for n in 0..3 {
        let ack = producer.send(request(key(1, 0), batch(2, 100, None))).await.unwrap();
        assert_eq!((ack.base_offset, ack.duplicate, ack.log_start), (2 * n, false, 0));
    }
    let mut fetcher = node.client.fetch().await;
    fetcher.credit(1 << 20).await;
    fetcher.subscribe(1, key(1, 0), at(0), 1 << 20).await;
    assert_eq!(fetcher.started(1).await, 0);
    assert_eq!(fetcher.records(1).await, [0, 2, 4]);
}

#[tokio::test]
async fn every_kind_of_acks_is_acknowledged() {
    let node = Node::start().await;
    let mut producer = node.client.produce().await;
    for acks in [data::Acks::None, data::Acks::Leader, data::Acks::All, data::Acks::Unspecified] {
        let request =
            data::ProduceRequest { acks: acks.into(), ..request(key(1, 0), batch(1, 10, None)) };
        assert!(producer.send(request).await.is_ok(), "{acks:?}");
    }
    let odd = data::ProduceRequest { acks: 77, ..request(key(1, 0), batch(1, 10, None)) };
    assert_eq!(producer.refused(odd).await.code, ErrorCode::InvalidRequest);
}

#[tokio::test]
async fn requests_of_one_partition_are_appended_in_order() {
    let node = Node::start().await;
    let mut producer = node.client.produce().await;
    for n in 0..50 {
        producer.post(request(key(1, n % 2), batch(1, 10, Some((9, n / 2))))).await;
    }
    for _ in 0..50 {
        let (correlation_id, answer) = producer.answer().await;
        assert_eq!(answer.unwrap().base_offset, (correlation_id - 1) / 2);
    }
}

#[tokio::test]
async fn a_retry_is_known_again_and_a_gap_refused() {
    let node = Node::start().await;
    let mut producer = node.client.produce().await;
    let first = batch(3, 10, Some((7, 0)));
    let ack = producer.send(request(key(1, 0), first.clone())).await.unwrap();
    assert_eq!((ack.base_offset, ack.duplicate), (0, false));
    let ack = producer.send(request(key(1, 0), first)).await.unwrap();
    assert_eq!((ack.base_offset, ack.duplicate), (0, true));
    let gap = producer.refused(request(key(1, 0), batch(1, 10, Some((7, 9))))).await;
    assert_eq!(gap.code, ErrorCode::OutOfOrderSequence);
    let next = producer.send(request(key(1, 0), batch(1, 10, Some((7, 3))))).await.unwrap();
    assert_eq!(next.base_offset, 3, "nothing was written twice");
}

#[tokio::test]
async fn another_epoch_generation_or_partition_is_refused() {
    let node = Node::start().await;
    let mut producer = node.client.produce().await;
    let good = request(key(1, 0), batch(1, 10, None));
    let at_epoch = |leader_epoch| data::ProduceRequest { leader_epoch, ..good.clone() };
    let fenced = producer.refused(at_epoch(0)).await;
    assert_eq!((fenced.code, fenced.wire.leader_epoch), (ErrorCode::FencedLeaderEpoch, Some(1)));
    assert_eq!(producer.refused(at_epoch(2)).await.code, ErrorCode::UnknownLeaderEpoch);
    let unknown = producer.refused(request(key(99, 0), good.batch.clone())).await;
    assert_eq!(unknown.code, ErrorCode::UnknownGeneration);
    let partition = producer.refused(request(key(1, 2), good.batch.clone())).await;
    assert_eq!(partition.code, ErrorCode::UnknownPartition);
    let nowhere = data::ProduceRequest { partition: None, ..good.clone() };
    assert_eq!(producer.refused(nowhere).await.code, ErrorCode::InvalidRequest);
    assert_eq!(producer.send(good).await.unwrap().base_offset, 0, "nothing was appended");
}

#[tokio::test]
async fn a_bad_batch_is_refused_by_what_is_wrong_with_it() {
    let node = Node::start().await;
    let mut producer = node.client.produce().await;
    let good = batch(1, 100, None);
    let mut flipped = good.to_vec();
    *flipped.last_mut().unwrap() ^= 1;
    let mut offset = good.to_vec();
    offset[7] = 5;
    let cases = [
        (flipped, ErrorCode::CorruptBatch),
        (offset, ErrorCode::InvalidBatch),
        (Vec::new(), ErrorCode::InvalidBatch),
        (vec![0xff; HEADER_BYTES], ErrorCode::InvalidBatch),
        (good[..good.len() - 1].to_vec(), ErrorCode::InvalidBatch),
        ([&good[..], &good[..]].concat(), ErrorCode::InvalidBatch),
        (batch(1, BATCH_BYTES_MAX as usize, None).to_vec(), ErrorCode::BatchTooLarge),
    ];
    for (n, (bytes, code)) in cases.into_iter().enumerate() {
        let refused = producer.refused(request(key(1, 0), bytes.into())).await;
        assert_eq!(refused.code, code, "case {n}: {refused}");
    }
    assert_eq!(producer.send(request(key(1, 0), good)).await.unwrap().base_offset, 0);
}

#[tokio::test]
async fn a_message_without_content_ends_the_stream() {
    let node = Node::start().await;
    let mut producer = node.client.produce().await;
    producer.send.send(data::ProduceMessage { message: None }).await.unwrap();
    let status = producer.end().await.unwrap_err();
    assert_eq!(crate::client::code_of(&status), ErrorCode::InvalidRequest);
    let mut fresh = node.client.produce().await;
    assert!(fresh.send(request(key(1, 0), batch(1, 10, None))).await.is_ok());
}

#[tokio::test]
async fn producer_ids_are_never_given_twice() {
    let node = Node::start().await;
    let mut ids = std::collections::BTreeSet::new();
    let mut client = node.client.data();
    for _ in 0..250 {
        let request = crate::client::with_token(Default::default(), &node.client.token);
        let id = client.allocate_producer_id(request).await.unwrap().into_inner();
        assert!(ids.insert(id.producer_id), "{} twice", id.producer_id);
    }
    let (ended, control_plane, folder, disk) = node.stop().await;
    ended.unwrap();
    let node = Node::on(folder, disk, control_plane).await;
    let request = crate::client::with_token(Default::default(), &node.client.token);
    let id = node.client.data().allocate_producer_id(request).await.unwrap().into_inner();
    assert!(ids.insert(id.producer_id), "{} again by the next process", id.producer_id);
    let register = node.control_plane.registered(2).await;
    assert!(register.highest_producer_id >= *ids.iter().nth(249).unwrap());
}
