//! Named consumers and a scripted coordinator: nothing is committed that was not processed,
//! nothing that was is lost, and what was committed belongs to one generation.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "../fake_spu/mod.rs"]
mod fake_spu;
mod lost;
mod starts;

use std::{collections::BTreeMap, time::Duration};

use fake_spu::{Coordinate, FakeSpu, key, topic};
use futures::FutureExt;
use weir_client::{
    Commit, CommitError, ConsumeError, Consumer, ConsumerConfig, Processed, Resolution, Start,
};
use weir_protocol::{
    ErrorCode, Outcome,
    ids::{Offset, PartitionIndex},
    pb::metadata::GenerationState,
};
use weir_runtime::clock::Clock;

const P0: PartitionIndex = PartitionIndex(0);
const P1: PartitionIndex = PartitionIndex(1);
const SOON: Commit = Commit::Auto { interval: Duration::from_millis(20) };

fn mailer() -> ConsumerConfig {
    ConsumerConfig::new("orders").named("mailer").commit(Commit::Manual)
}

async fn consumer(spu: &FakeSpu, config: ConsumerConfig) -> Consumer {
    spu.client().await.consumer(config).await.unwrap()
}

async fn next(consumer: &mut Consumer) -> Option<Result<u64, ConsumeError>> {
    let next = Clock.timeout(Duration::from_secs(10), consumer.next()).await.expect("in time");
    next.map(|next| next.map(|record| record.offset.0))
}

async fn take(consumer: &mut Consumer, count: usize) -> Vec<u64> {
    let mut offsets = Vec::new();
    while offsets.len() < count {
        offsets.push(next(consumer).await.unwrap().unwrap());
    }
    offsets
}

/// One partition with the records 0 to 9.
async fn ten() -> FakeSpu {
    let spu = FakeSpu::start(1).await;
    spu.fill(key(1, 0), 0..5, 2);
    spu
}

#[tokio::test]
async fn goes_on_at_what_was_committed() {
    let spu = ten().await;
    let config = ConsumerConfig { metadata: "v7".into(), ..mailer() };
    let mut first = consumer(&spu, config).await;
    assert_eq!(take(&mut first, 4).await, [0, 1, 2, 3]);
    assert_eq!(first.starts()[&P0].resolution, Resolution::AsAsked);
    first.processed();
    first.commit().await.unwrap();
    let stored = spu.state().offsets[&("mailer".to_owned(), key(1, 0))].clone();
    let expected = (Some(4), Some(1), "v7");
    assert_eq!((stored.next, stored.leader_epoch, stored.metadata.as_str()), expected);

    let mut second = consumer(&spu, mailer().start(Start::End)).await;
    assert_eq!(next(&mut second).await, Some(Ok(4)));
    let begun = second.starts()[&P0];
    assert_eq!((begun.resolution, begun.committed), (Resolution::Committed, Some(Offset(4))));
}

#[tokio::test]
async fn a_crash_between_processing_and_commit_repeats_that_record_and_skips_none() {
    let spu = ten().await;
    let mut first = consumer(&spu, mailer()).await;
    take(&mut first, 4).await;
    first.commit().await.unwrap();
    // 3 is in hand: whether it is processed nobody has said.
    assert_eq!(spu.committed("mailer", key(1, 0)), Some(3));
    first.processed();
    drop(first);
    let mut second = consumer(&spu, mailer()).await;
    assert_eq!(take(&mut second, 7).await, [3, 4, 5, 6, 7, 8, 9]);
}

#[tokio::test]
async fn a_commit_returns_when_it_is_answered() {
    let spu = ten().await;
    let mut consumer = consumer(&spu, mailer()).await;
    take(&mut consumer, 3).await;
    spu.hold_commits(true);
    let mut commit = Box::pin(consumer.commit());
    spu.until("it arrived", |state| state.commits.len() == 1).await;
    assert!(commit.as_mut().now_or_never().is_none());
    // Reading goes on meanwhile, and what is processed then is not part of it.
    take(&mut consumer, 3).await;
    spu.hold_commits(false);
    commit.await.unwrap();
    assert_eq!(spu.committed("mailer", key(1, 0)), Some(2));
    consumer.commit().await.unwrap();
    assert_eq!(spu.committed("mailer", key(1, 0)), Some(5));
    consumer.commit().await.unwrap();
    assert_eq!(spu.state().commits.len(), 2, "there was nothing new");
}

#[tokio::test]
async fn in_the_background_what_was_processed_is_committed_and_no_more() {
    let spu = FakeSpu::start(2).await;
    spu.fill(key(1, 0), 0..1, 5);
    spu.fill(key(1, 1), 0..1, 5);
    let mut consumer = consumer(&spu, mailer().commit(SOON).until_end()).await;
    take(&mut consumer, 9).await;
    let sum = |state: &fake_spu::State| -> u64 {
        state.offsets.values().filter_map(|stored| stored.next).sum()
    };
    spu.until("8 are committed", |state| sum(state) == 8).await;
    assert_eq!(take(&mut consumer, 1).await.len(), 1);
    spu.until("9 are committed", |state| sum(state) == 9).await;
    assert_eq!(next(&mut consumer).await, None);
    consumer.close().await.unwrap();
    let state = spu.state();
    assert_eq!(sum(&state), 10);
    assert!(state.commits.iter().map(|(sequence, _)| *sequence).eq(1..=state.commits.len() as u64));
    let mut last = BTreeMap::new();
    for (key, next) in state.commits.iter().flat_map(|(_, offsets)| offsets) {
        assert!(last.insert(*key, *next).is_none_or(|before| before < *next), "{key}");
    }
}

#[tokio::test]
async fn dropping_a_consumer_commits_nothing() {
    let spu = ten().await;
    let mut first = consumer(&spu, mailer()).await;
    take(&mut first, 5).await;
    drop(first);
    spu.until("it left", |state| state.open_streams == 0).await;
    assert_eq!(spu.committed("mailer", key(1, 0)), None);
    assert!(spu.state().commits.is_empty());
}

#[tokio::test]
async fn a_newer_consumer_of_the_name_ends_the_older() {
    let spu = ten().await;
    let mut old = consumer(&spu, mailer()).await;
    take(&mut old, 2).await;
    let mut new = consumer(&spu, mailer()).await;
    assert_eq!(next(&mut new).await, Some(Ok(0)));
    let error = old.commit().await.unwrap_err();
    assert_eq!((error.code(), error.outcome()), ("CONSUMER_FENCED", Outcome::NotDone));
    let Some(Err(error)) = next(&mut old).await else { panic!("records of somebody else") };
    assert_eq!((error.code(), error.is_terminal()), ("CONSUMER_FENCED", true));
    assert!(error.to_string().contains("\"mailer\"") && error.hint().is_some(), "{error}");
    assert_eq!(next(&mut old).await, None);
    assert_eq!(old.commit().await.unwrap_err().code(), "CONSUMER_FENCED");
    new.processed();
    new.close().await.unwrap();
    assert_eq!(spu.committed("mailer", key(1, 0)), Some(1));
}

#[tokio::test]
async fn one_that_is_fenced_in_the_background_ends_while_it_waits() {
    let spu = FakeSpu::start(1).await;
    let mut old = consumer(&spu, mailer().commit(SOON)).await;
    assert!(old.next().now_or_never().is_none());
    spu.until("claimed", |state| state.subscriptions == 1).await;
    let new = consumer(&spu, mailer()).await;
    spu.until("claimed again", |state| state.claims.len() == 2).await;
    spu.fill(key(1, 0), 0..1, 1);
    // The record, or the end before it; then the end.
    let mut last = next(&mut old).await;
    while matches!(last, Some(Ok(_))) {
        last = next(&mut old).await;
    }
    assert_eq!(last.unwrap().unwrap_err().code(), "CONSUMER_FENCED");
    drop(new);
}

#[tokio::test]
async fn one_that_is_fenced_and_has_nothing_to_commit_is_told_too() {
    let spu = FakeSpu::start(1).await;
    let mut old = consumer(&spu, mailer()).await;
    assert!(old.next().now_or_never().is_none());
    spu.until("claimed", |state| state.subscriptions == 1).await;
    let _new = consumer(&spu, mailer()).await;
    spu.until("claimed again", |state| state.claims.len() == 2).await;
    let Some(Err(error)) = next(&mut old).await else { panic!("nothing is there to read") };
    assert_eq!(error.code(), "CONSUMER_FENCED");
    assert!(spu.state().commits.is_empty());
}

#[tokio::test]
async fn the_coordinator_is_found_and_found_again() {
    let (one, two) = (ten().await, FakeSpu::start(1).await);
    one.publish_leader(2, 1, &[&one, &two]);
    two.publish_leader(2, 1, &[&one, &two]);
    one.script_offsets([Coordinate::Redirect(2)]);
    let mut consumer = consumer(&one, mailer()).await;
    take(&mut consumer, 3).await;
    consumer.commit().await.unwrap();
    assert_eq!(two.committed("mailer", key(1, 0)), Some(2));
    // It moves, and says so.
    let moved = two.state().offsets.clone();
    one.state().offsets = moved;
    two.script_offsets([Coordinate::Redirect(1)]);
    consumer.processed();
    consumer.commit().await.unwrap();
    assert_eq!(one.committed("mailer", key(1, 0)), Some(3));
    assert_eq!((one.state().claims.len(), two.state().claims.len()), (1, 1));
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_under_the_same_number() {
    let spu = ten().await;
    spu.script_offsets([Coordinate::DoAndBreak]);
    let mut consumer = consumer(&spu, mailer()).await;
    take(&mut consumer, 3).await;
    assert_eq!(spu.state().claims.len(), 2);
    spu.script_offsets([
        Coordinate::DoAndBreak,
        Coordinate::Refuse(ErrorCode::NotYetAvailable),
        Coordinate::DoAndBreak,
    ]);
    consumer.commit().await.unwrap();
    let sequences = |spu: &FakeSpu| -> Vec<u64> {
        spu.state().commits.iter().map(|(sequence, _)| *sequence).collect()
    };
    assert_eq!(sequences(&spu), [1, 1, 1, 1]);
    consumer.processed();
    consumer.commit().await.unwrap();
    assert_eq!(sequences(&spu), [1, 1, 1, 1, 2]);
    assert_eq!(spu.committed("mailer", key(1, 0)), Some(3));
}

#[tokio::test]
async fn what_stays_unknown_is_said_to_be_and_is_part_of_the_next_commit() {
    let spu = ten().await;
    let config = ConsumerConfig { unavailable_after: Duration::from_millis(200), ..mailer() };
    let mut consumer = consumer(&spu, config).await;
    take(&mut consumer, 3).await;
    spu.hold_commits(true);
    let error = consumer.commit().await.unwrap_err();
    assert!(matches!(error, CommitError::NotInTime { outcome: Outcome::Unknown, .. }), "{error}");
    assert!(error.retryable());
    spu.hold_commits(false);
    consumer.commit().await.unwrap();
    assert_eq!(spu.state().commits.last(), Some(&(2, vec![(key(1, 0), 2)])));
    assert_eq!(spu.committed("mailer", key(1, 0)), Some(2));
}

#[tokio::test]
async fn a_background_that_cannot_commit_is_reported_once_and_goes_on() {
    let spu = ten().await;
    let patience = Duration::from_millis(100);
    let config = ConsumerConfig { unavailable_after: patience, ..mailer().commit(SOON) };
    let mut consumer = consumer(&spu, config).await;
    take(&mut consumer, 10).await;
    spu.hold_commits(true);
    let Some(Err(error)) = next(&mut consumer).await else { panic!("there is no more") };
    assert!(matches!(error, ConsumeError::NotCommitted { lasted, .. } if lasted == patience));
    assert!(!error.is_terminal());
    spu.hold_commits(false);
    spu.until("committed", |state| state.offsets.values().any(|stored| stored.next == Some(10)))
        .await;
}

#[tokio::test]
async fn partitions_added_later_are_claimed_before_they_are_read() {
    let spu = ten().await;
    spu.fill(key(1, 1), 0..1, 3);
    spu.commit("mailer", key(1, 1), 2);
    spu.commit("mailer", key(1, 0), 10);
    let mut consumer = consumer(&spu, mailer()).await;
    spu.until("subscribed", |state| state.subscriptions == 1).await;
    spu.publish(vec![topic(1, "orders", 2, GenerationState::Active)]);
    let record = consumer.next().await.unwrap().unwrap();
    assert_eq!((record.partition, record.offset), (P1, Offset(2)));
    assert_eq!(spu.state().claims, [vec![key(1, 0)], vec![key(1, 1)]]);
    consumer.processed();
    consumer.close().await.unwrap();
    assert_eq!(spu.committed("mailer", key(1, 1)), Some(3));
}

#[tokio::test]
async fn a_partition_that_cannot_be_claimed_is_reported_and_read_when_it_can() {
    let spu = ten().await;
    spu.script_offsets(vec![Coordinate::Refuse(ErrorCode::NotYetAvailable); 12]);
    let config = ConsumerConfig { unavailable_after: Duration::from_millis(60), ..mailer() };
    let mut consumer = consumer(&spu, config).await;
    let Some(Err(ConsumeError::Unavailable { partition: P0, code, .. })) =
        next(&mut consumer).await
    else {
        panic!("read without a claim")
    };
    assert_eq!(code, ErrorCode::NotYetAvailable);
    assert_eq!(next(&mut consumer).await, Some(Ok(0)));
}

#[tokio::test]
async fn a_claim_that_is_refused_for_long_holds_up_no_commit() {
    let spu = ten().await;
    let mut consumer = consumer(&spu, mailer()).await;
    take(&mut consumer, 3).await;
    spu.refuse_claims(Some(ErrorCode::UnknownPartition));
    spu.publish(vec![topic(1, "orders", 2, GenerationState::Active)]);
    spu.until("refused", |state| state.claims.len() > 2).await;
    consumer.commit().await.unwrap();
    assert_eq!(spu.committed("mailer", key(1, 0)), Some(2));
    // Nor does a commit hold up the claim.
    spu.fill(key(1, 1), 0..1, 1);
    spu.refuse_claims(None);
    while next(&mut consumer).await != Some(Ok(0)) {}
}

#[tokio::test]
async fn a_claim_that_is_refused_ends_the_consumer() {
    let spu = ten().await;
    spu.script_offsets([Coordinate::Refuse(ErrorCode::Forbidden)]);
    let mut consumer = consumer(&spu, mailer()).await;
    let Some(Err(error)) = next(&mut consumer).await else { panic!("read without a claim") };
    assert_eq!((error.code(), error.is_terminal()), ("FORBIDDEN", true));
    assert_eq!(next(&mut consumer).await, None);
}

#[tokio::test]
async fn what_was_handed_on_is_committed_when_that_is_said() {
    let spu = ten().await;
    let config = || mailer().processed(Processed::WhenTold);
    let mut first = consumer(&spu, config()).await;
    let mut places = Vec::new();
    while places.len() < 6 {
        places.push(first.next().await.unwrap().unwrap().place());
    }
    first.commit().await.unwrap();
    // Only that it begins here.
    assert_eq!(spu.committed("mailer", key(1, 0)), Some(0));
    first.processed_through(places[3]);
    first.commit().await.unwrap();
    assert_eq!(spu.committed("mailer", key(1, 0)), Some(4));
    // The end says nothing of what is still under way.
    first.close().await.unwrap();
    assert_eq!(spu.committed("mailer", key(1, 0)), Some(4));
    let mut second = consumer(&spu, config()).await;
    assert_eq!(take(&mut second, 6).await, [4, 5, 6, 7, 8, 9]);
}
