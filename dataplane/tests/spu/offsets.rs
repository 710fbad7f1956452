//! Named consumers: sessions, commits, fences, generations, and what is no request.

use std::{sync::Arc, time::Duration};

use tempfile::TempDir;
use weir_protocol::{
    ErrorCode,
    ids::PartitionKey,
    pb::offsets::{CommittedOffset, DescribeResponse, HeldOffset},
    token::Scope,
};
use weir_runtime::{clock::Clock, disk::counting::CountingDisk};

use crate::{
    client::{code_of, soon},
    consumer::{
        Consumer, OFFSETS, again, at, committed, coordinating, error_of, offsets_topic, quick,
        start, start_with,
    },
    control_plane::{key, led, tombstone, topic},
    node::{Node, real_disk},
};

#[tokio::test]
async fn what_was_committed_is_where_the_next_session_begins() {
    let node = start().await;
    let mut first = Consumer::new(&node.client, "c", 1);
    assert_eq!(first.open(&[key(1, 0), key(1, 1)]).await.unwrap(), []);
    let with_all =
        CommittedOffset { leader_epoch: Some(3), metadata: "mine".to_owned(), ..at(key(1, 1), 9) };
    first.commit(vec![at(key(1, 0), 5), with_all]).await.unwrap();
    first.commit(vec![at(key(1, 0), 7)]).await.unwrap();
    let next = Consumer::new(&node.client, "c", 2);
    let found = next.open(&[key(1, 0), key(1, 1)]).await.unwrap();
    assert_eq!(found, [(key(1, 0), 7), (key(1, 1), 9)]);
    let other = Consumer::new(&node.client, "other", 3);
    assert_eq!(other.open(&[key(1, 0)]).await.unwrap(), [], "consumers share nothing");
}

#[tokio::test]
async fn a_newer_session_fences_the_older_on_what_it_claims_only() {
    let node = start().await;
    let mut old = Consumer::new(&node.client, "c", 1);
    old.open(&[key(1, 0), key(1, 1)]).await.unwrap();
    let mut new = Consumer::new(&node.client, "c", 2);
    new.open(&[key(1, 0)]).await.unwrap();
    let refused = old.commit(vec![at(key(1, 1), 3), at(key(1, 0), 4)]).await.unwrap_err();
    let error = error_of(&refused);
    assert_eq!(error.code, ErrorCode::ConsumerFenced);
    assert!(error.message().contains(&key(1, 0).to_string()), "{error}");
    old.commit(vec![at(key(1, 1), 5)]).await.unwrap();
    new.commit(vec![at(key(1, 0), 6)]).await.unwrap();
    let found = new.open(&[key(1, 0), key(1, 1)]).await.unwrap();
    assert_eq!(found, [(key(1, 0), 6), (key(1, 1), 5)], "a refused request changes nothing");
}

#[tokio::test]
async fn a_commit_that_comes_again_late_changes_nothing() {
    let node = start().await;
    let consumer = committed(&node, "c", 1, 5).await;
    consumer.commit_as(2, vec![at(key(1, 0), 8)]).await.unwrap();
    consumer.commit_as(1, vec![at(key(1, 0), 5)]).await.unwrap();
    // A session that asks anew goes on counting where it was.
    assert_eq!(consumer.open(&[key(1, 0)]).await.unwrap(), [(key(1, 0), 8)]);
    consumer.commit_as(2, vec![at(key(1, 0), 1)]).await.unwrap();
    assert_eq!(consumer.open(&[key(1, 0)]).await.unwrap(), [(key(1, 0), 8)]);
}

#[tokio::test]
async fn a_reset_holds_against_late_commits_and_may_go_back() {
    let node = start().await;
    let mut running = committed(&node, "c", 1, 50).await;
    let nobody = Consumer::new(&node.client, "c", 7);
    let with_metadata = CommittedOffset { metadata: "mine".to_owned(), ..at(key(1, 0), 10) };
    let before = nobody.reset(vec![with_metadata, at(key(1, 1), 3)]).await.unwrap();
    let brief = |all: Vec<CommittedOffset>| -> Vec<_> {
        assert!(all.iter().all(|it| it.metadata.is_empty() && it.committed_at_unix_ms > 0));
        all.into_iter().map(|it| (it.partition.unwrap().partition, it.next_offset)).collect()
    };
    assert_eq!(brief(before), [(0, 50)], "nothing was committed for the other");
    let again = nobody.reset(vec![at(key(1, 0), 10), at(key(1, 1), 3)]).await.unwrap();
    assert_eq!(brief(again), [(0, 10), (1, 3)], "what is then true");
    let refused = running.commit(vec![at(key(1, 0), 51)]).await.unwrap_err();
    assert_eq!(code_of(&refused), ErrorCode::ConsumerFenced);
    let next = Consumer::new(&node.client, "c", 2);
    assert_eq!(next.open(&[key(1, 0)]).await.unwrap(), [(key(1, 0), 10)]);
}

#[tokio::test]
async fn a_consumer_is_described_as_it_is_by_parts_and_nothing_changes_by_it() {
    let node = start().await;
    let mut running = Consumer::new(&node.client, "c", 1);
    assert_eq!(running.describe(1, None, 0).await.unwrap(), DescribeResponse::default());
    running.open(&[key(1, 0), key(1, 1)]).await.unwrap();
    let metadata =
        CommittedOffset { metadata: "mine".to_owned(), leader_epoch: Some(3), ..at(key(1, 1), 9) };
    running.commit(vec![metadata]).await.unwrap();
    let first = running.describe(1, None, 1).await.unwrap();
    let claimed = HeldOffset { partition: Some(key(1, 0).to_wire()), ..HeldOffset::default() };
    assert_eq!((first.offsets, first.more), (vec![claimed], true));
    let rest = running.describe(1, Some(key(1, 0)), 1).await.unwrap();
    let [committed] = rest.offsets.as_slice() else { panic!("{rest:?}") };
    assert_eq!((committed.next_offset, committed.leader_epoch), (Some(9), Some(3)));
    assert_eq!((committed.metadata.as_str(), rest.more), ("mine", false));
    assert!(committed.committed_at_unix_ms > 0);
    // A deleted generation keeps what it has, and nobody was fenced.
    node.control_plane.change(vec![tombstone(topic(1, 1, "t")), topic(3, 1, "after")]).await;
    node.leads(3, 0).await;
    assert_eq!(running.describe(1, None, 0).await.unwrap().offsets.len(), 2);
    running.open(&[key(3, 0)]).await.unwrap();
    assert_eq!(running.describe(1, None, 0).await.unwrap().offsets.len(), 3);
}

#[tokio::test]
async fn a_coordinator_that_was_replaced_without_knowing_tells_nothing() {
    let node = start().await;
    let consumer = committed(&node, "c", 1, 5).await;
    let refused = error_of(&consumer.describe(2, None, 0).await.unwrap_err());
    assert_eq!((refused.code, refused.wire.leader_epoch), (ErrorCode::UnknownLeaderEpoch, Some(1)));
    assert_eq!(consumer.describe(1, None, 0).await.unwrap().offsets.len(), 1);
}

#[tokio::test]
async fn nothing_is_described_before_it_is_committed() {
    let folder = Arc::new(TempDir::new().unwrap());
    let (disk, journal) = CountingDisk::new(real_disk(&folder).await);
    let node = start_with(folder, disk, quick).await;
    let mut consumer = committed(&node, "c", 1, 5).await;
    let reader = Consumer::new(&node.client, "c", 2);
    journal.hold_syncs();
    let mut held = std::pin::pin!(consumer.commit(vec![at(key(1, 0), 6)]));
    let described = async {
        let told = reader.describe(1, None, 0).await.unwrap();
        told.offsets[0].next_offset
    };
    let mut described = std::pin::pin!(described);
    // Asked before the commit's fsync: either of before, or only after it.
    let early = tokio::select! {
        biased;
        _ = &mut held => panic!("committed before its fsync"),
        told = &mut described => told,
        () = Clock.sleep(Duration::from_millis(200)) => {
            journal.release_syncs();
            let (done, told) = tokio::join!(held, described);
            done.unwrap();
            assert!(told >= Some(5));
            return;
        }
    };
    assert_eq!(early, Some(5));
    journal.release_syncs();
    soon(held).await.unwrap();
    assert_eq!(reader.describe(1, None, 0).await.unwrap().offsets[0].next_offset, Some(6));
}

#[tokio::test]
async fn a_deleted_consumer_is_forgotten_and_its_session_fenced() {
    let node = start().await;
    let mut running = committed(&node, "c", 1, 50).await;
    running.open(&[key(1, 1)]).await.unwrap();
    assert_eq!(running.delete(&[key(1, 1)]).await.unwrap(), 1);
    assert_eq!(running.delete(&[key(1, 1)]).await.unwrap(), 0, "nothing is left to forget");
    running.commit(vec![at(key(1, 0), 51)]).await.unwrap();
    assert_eq!(running.delete(&[]).await.unwrap(), 1);
    let refused = running.commit(vec![at(key(1, 0), 52)]).await.unwrap_err();
    assert_eq!(code_of(&refused), ErrorCode::ConsumerFenced);
    assert_eq!(running.open(&[key(1, 0)]).await.unwrap(), []);
}

#[tokio::test]
async fn a_restarted_coordinator_knows_sessions_and_offsets() {
    let node = start().await;
    committed(&node, "c", 1, 5).await;
    committed(&node, "gone", 1, 5).await.delete(&[]).await.unwrap();
    let node = again(node, quick).await;
    let mut running = Consumer::new(&node.client, "c", 1);
    let gone = Consumer::new(&node.client, "gone", 2);
    assert_eq!(gone.open(&[key(1, 0)]).await.unwrap(), []);
    // The first of this is a repetition to the coordinator, which counts on.
    running.commit(vec![at(key(1, 0), 6)]).await.unwrap();
    running.commit(vec![at(key(1, 0), 7)]).await.unwrap();
    let next = Consumer::new(&node.client, "c", 2);
    assert_eq!(next.open(&[key(1, 0)]).await.unwrap(), [(key(1, 0), 7)]);
    let refused = running.commit(vec![at(key(1, 0), 8)]).await.unwrap_err();
    assert_eq!(code_of(&refused), ErrorCode::ConsumerFenced);
}

#[tokio::test]
async fn a_recreated_topic_inherits_nothing_and_a_restored_one_has_its_offsets() {
    let node = start().await;
    let mut old = committed(&node, "c", 1, 72).await;
    let change = vec![tombstone(topic(1, 1, "t")), topic(2, 2, "t")];
    node.control_plane.change(change).await;
    node.leads(2, 0).await;
    let refused = error_of(&old.commit(vec![at(key(1, 0), 73)]).await.unwrap_err());
    assert_eq!(refused.code, ErrorCode::TopicRecreated);
    assert_eq!(refused.wire.successor_generation_id, key(2, 0).generation.to_wire());
    let refused = old.open(&[key(1, 0)]).await.unwrap_err();
    assert_eq!(code_of(&refused), ErrorCode::TopicRecreated);
    assert_eq!(old.open(&[key(2, 0)]).await.unwrap(), [], "another generation");

    node.control_plane.change(vec![tombstone(topic(2, 2, "t"))]).await;
    node.control_plane.change(vec![led(topic(1, 1, "t"), 2, 1)]).await;
    node.leads(1, 0).await;
    assert_eq!(old.open(&[key(1, 0)]).await.unwrap(), [(key(1, 0), 72)]);
    old.commit(vec![at(key(1, 0), 74)]).await.unwrap();
}

#[tokio::test]
async fn a_deleted_topic_takes_no_commits() {
    let node = start().await;
    let mut consumer = committed(&node, "c", 1, 5).await;
    node.control_plane.change(vec![tombstone(topic(1, 1, "t")), topic(3, 1, "after")]).await;
    node.leads(3, 0).await;
    let refused = consumer.commit(vec![at(key(1, 0), 6)]).await.unwrap_err();
    assert_eq!(code_of(&refused), ErrorCode::TopicDeleted);
    let refused = consumer.reset(vec![at(key(1, 0), 6)]).await.unwrap_err();
    assert_eq!(code_of(&refused), ErrorCode::TopicDeleted);
    assert_eq!(consumer.delete(&[key(1, 0)]).await.unwrap(), 1, "it can be forgotten");
}

async fn refused(node: &Node, name: &str, keys: &[PartitionKey]) -> ErrorCode {
    let consumer = Consumer::new(&node.client, name, 1);
    code_of(&consumer.open(keys).await.unwrap_err())
}

#[tokio::test]
async fn what_is_no_request_is_refused() {
    let node = start().await;
    let good = [key(1, 0)];
    for name in ["", "a b", "a/b", "ä", "a\n", &"x".repeat(250)] {
        assert_eq!(refused(&node, name, &good).await, ErrorCode::InvalidRequest, "{name:?}");
    }
    let longest = Consumer::new(&node.client, &"x".repeat(249), 1);
    assert!(longest.open(&good).await.is_ok());
    assert_eq!(refused(&node, "c", &[]).await, ErrorCode::InvalidRequest);
    assert_eq!(refused(&node, "c", &[key(1, 0), key(1, 0)]).await, ErrorCode::InvalidRequest);
    let many: Vec<_> = (0..10_001).map(|index| key(1, index)).collect();
    assert_eq!(refused(&node, "c", &many).await, ErrorCode::InvalidRequest);
    assert_eq!(refused(&node, "c", &[key(1, 2)]).await, ErrorCode::UnknownPartition);
    assert_eq!(refused(&node, "c", &[key(77, 0)]).await, ErrorCode::UnknownGeneration);
    assert_eq!(refused(&node, "c", &[key(OFFSETS, 0)]).await, ErrorCode::Forbidden);

    let mut consumer = committed(&node, "c", 1, 5).await;
    let long = CommittedOffset { metadata: "x".repeat(4097), ..at(key(1, 0), 6) };
    let no_key = CommittedOffset { partition: None, ..at(key(1, 0), 6) };
    for bad in [long, no_key, at(key(1, 0), u64::MAX)] {
        let refused = consumer.commit(vec![bad]).await.unwrap_err();
        assert_eq!(code_of(&refused), ErrorCode::InvalidRequest);
    }
    // Number 0 asks whether the session holds, and commits nothing.
    consumer.commit_as(0, vec![at(key(1, 0), 6)]).await.unwrap();
    let unclaimed = consumer.commit(vec![at(key(1, 1), 6)]).await.unwrap_err();
    assert_eq!(code_of(&unclaimed), ErrorCode::ConsumerFenced);
    let asked = consumer.commit_as(0, vec![at(key(1, 1), 6)]).await.unwrap_err();
    assert_eq!(code_of(&asked), ErrorCode::ConsumerFenced);
    assert_eq!(consumer.open(&good).await.unwrap(), [(key(1, 0), 5)], "nothing was changed");
}

#[tokio::test]
async fn each_call_needs_its_scope() {
    let node = start().await;
    committed(&node, "c", 1, 5).await;
    let with = |scopes: &[Scope]| Consumer::new(&node.client, "c", 1).with_scopes(scopes);
    let offsets = || vec![at(key(1, 0), 1)];
    let producer = with(&[Scope::Produce]);
    let forbidden = ErrorCode::Forbidden;
    assert_eq!(code_of(&producer.open(&[key(1, 0)]).await.unwrap_err()), forbidden);
    assert_eq!(code_of(&producer.commit_as(9, offsets()).await.unwrap_err()), forbidden);
    let reader = with(&[Scope::Consume]);
    assert_eq!(code_of(&reader.reset(offsets()).await.unwrap_err()), forbidden);
    assert_eq!(code_of(&reader.delete(&[]).await.unwrap_err()), forbidden);
    assert_eq!(code_of(&reader.describe(0, None, 0).await.unwrap_err()), forbidden);
    assert_eq!(reader.open(&[key(1, 0)]).await.unwrap(), [(key(1, 0), 5)]);
}

#[tokio::test]
async fn who_is_not_the_coordinator_says_who_is() {
    let node = Node::start().await;
    let consumer = Consumer::new(&node.client, "c", 1);
    let early = consumer.try_open(&[key(1, 0)]).await.unwrap_err();
    assert_eq!(code_of(&early), ErrorCode::NotYetAvailable, "there is no offsets topic yet");

    let mut elsewhere = led(offsets_topic(), 4, 1);
    for partition in &mut elsewhere.partitions {
        partition.leader_spu_id = Some(2);
        partition.replica_spu_ids = vec![2];
        partition.isr_spu_ids = vec![2];
    }
    node.control_plane.change(vec![elsewhere, topic(3, 1, "after")]).await;
    node.leads(3, 0).await;
    let refused = error_of(&consumer.try_open(&[key(1, 0)]).await.unwrap_err());
    assert_eq!(refused.code, ErrorCode::NotLeader);
    assert_eq!((refused.wire.leader_spu_id, refused.wire.leader_epoch), (Some(2), Some(4)));
    let refused = error_of(&consumer.describe(0, None, 0).await.unwrap_err());
    assert_eq!((refused.code, refused.wire.leader_spu_id), (ErrorCode::NotLeader, Some(2)));

    node.control_plane.change(vec![led(offsets_topic(), 5, 1)]).await;
    coordinating(&node).await;
    let opened = soon(consumer.open(&[key(1, 0)])).await;
    assert_eq!(opened.unwrap(), []);
}

#[tokio::test]
async fn a_deposed_coordinator_forgets_and_a_new_one_reads_anew() {
    let node = start().await;
    let mut consumer = committed(&node, "c", 1, 5).await;
    let mut deposed = led(offsets_topic(), 2, 9);
    for partition in &mut deposed.partitions {
        partition.leader_spu_id = Some(2);
        partition.replica_spu_ids = vec![1, 2];
    }
    node.control_plane.change(vec![deposed, topic(3, 1, "after")]).await;
    node.leads(3, 0).await;
    let refused = error_of(&consumer.commit(vec![at(key(1, 0), 6)]).await.unwrap_err());
    assert_eq!(refused.code, ErrorCode::NotLeader);
    assert_eq!(refused.wire.leader_spu_id, Some(2));
    node.control_plane.change(vec![led(offsets_topic(), 3, 1)]).await;
    coordinating(&node).await;
    assert_eq!(consumer.open(&[key(1, 0)]).await.unwrap(), [(key(1, 0), 5)]);
}

#[tokio::test]
async fn a_coordinator_that_is_full_says_so_and_goes_on() {
    let folder = Arc::new(TempDir::new().unwrap());
    let disk = real_disk(&folder).await;
    let node = start_with(folder, disk, |config| {
        config.limits.consumer_keys_max = 2;
        config.limits.consumer_metadata_bytes_max = 10;
    })
    .await;
    let mut first = committed(&node, "c", 1, 5).await;
    first.open(&[key(1, 1)]).await.unwrap();
    node.control_plane.change(vec![topic(3, 1, "after")]).await;
    node.leads(3, 0).await;
    let full = error_of(&first.open(&[key(3, 0)]).await.unwrap_err());
    assert_eq!(full.code, ErrorCode::Overloaded);
    assert!(full.message().contains("delete consumers"), "{full}");
    let metadata = |text: &str| CommittedOffset { metadata: text.to_owned(), ..at(key(1, 0), 6) };
    first.commit(vec![metadata("0123456789")]).await.unwrap();
    let full = first.commit(vec![metadata("0123456789a")]).await.unwrap_err();
    assert_eq!(code_of(&full), ErrorCode::Overloaded);
    first.commit(vec![metadata("9876543210")]).await.unwrap();
    assert_eq!(first.open(&[key(1, 0)]).await.unwrap(), [(key(1, 0), 6)]);
}
