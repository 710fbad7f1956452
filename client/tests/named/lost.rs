//! What cannot be committed, and who is told.

use std::time::Duration;

use futures::FutureExt;
use weir_client::{CommitError, ConsumeError, ConsumerConfig};
use weir_protocol::{
    ErrorCode,
    ids::{Offset, PartitionIndex},
};

use crate::{
    SOON, consumer,
    fake_spu::{Coordinate, FakeSpu, State, generation, key},
    mailer, next, take, ten,
};

#[tokio::test]
async fn a_late_commit_to_a_recreated_topic_is_refused_and_ends_the_consumer() {
    let spu = ten().await;
    let mut consumer = consumer(&spu, mailer()).await;
    take(&mut consumer, 10).await;
    spu.script_offsets([Coordinate::Refuse(ErrorCode::TopicRecreated)]);
    let error = consumer.commit().await.unwrap_err();
    let expected = CommitError::TopicRecreated { generation: generation(1), successor: None };
    assert_eq!(error, expected);
    let Some(Err(error)) = next(&mut consumer).await else { panic!("there is no more") };
    assert_eq!((error.code(), error.is_terminal()), ("TOPIC_RECREATED", true));
    assert_eq!(spu.committed("mailer", key(1, 0)), None);
}

#[tokio::test]
async fn what_the_background_lost_is_told_to_whoever_commits_later() {
    for code in [ErrorCode::TopicDeleted, ErrorCode::TopicRecreated, ErrorCode::Forbidden] {
        let spu = ten().await;
        let mut consumer = consumer(&spu, mailer().commit(SOON)).await;
        take(&mut consumer, 10).await;
        assert!(consumer.next().now_or_never().is_none());
        let all = |state: &State| state.offsets.values().any(|s| s.next == Some(10));
        spu.until("committed", all).await;
        spu.script_offsets([Coordinate::Refuse(code)]);
        spu.fill(key(1, 0), 5..6, 1);
        take(&mut consumer, 1).await;
        let Some(Err(error)) = next(&mut consumer).await else { panic!("there is no more") };
        assert_eq!((error.code(), error.is_terminal()), (code.as_str(), true));
        for _ in 0..2 {
            assert_eq!(consumer.commit().await.unwrap_err().code(), code.as_str());
        }
        assert_eq!(consumer.close().await.unwrap_err().code(), code.as_str());
        assert_eq!(spu.committed("mailer", key(1, 0)), Some(10));
    }
}

#[tokio::test]
async fn a_commit_that_is_refused_is_told_to_the_one_that_waits_behind_it() {
    let spu = ten().await;
    let mut consumer = consumer(&spu, mailer()).await;
    take(&mut consumer, 3).await;
    spu.hold_commits(true);
    let first = consumer.commit();
    spu.until("it arrived", |state| state.commits.len() == 1).await;
    let second = consumer.commit();
    spu.script_offsets([Coordinate::Refuse(ErrorCode::Forbidden)]);
    spu.hold_commits(false);
    assert_eq!(first.await.unwrap_err().code(), "FORBIDDEN");
    assert_eq!(second.await.unwrap_err().code(), "FORBIDDEN");
    // What is committed later covers it.
    consumer.processed();
    consumer.commit().await.unwrap();
    consumer.close().await.unwrap();
    assert_eq!(spu.committed("mailer", key(1, 0)), Some(3));
}

#[tokio::test]
async fn a_commit_that_nobody_waits_for_is_reported_when_it_cannot_be_done() {
    let spu = ten().await;
    let patience = Duration::from_millis(100);
    let config = ConsumerConfig { unavailable_after: patience, ..mailer() };
    let mut consumer = consumer(&spu, config).await;
    take(&mut consumer, 10).await;
    spu.hold_commits(true);
    drop(consumer.commit());
    let Some(Err(error)) = next(&mut consumer).await else { panic!("there is no more") };
    assert!(matches!(error, ConsumeError::NotCommitted { .. }), "{error}");
}

#[tokio::test]
async fn claims_and_commits_come_in_requests_that_a_coordinator_takes() {
    let spu = FakeSpu::start(1_001).await;
    let config = ConsumerConfig { metadata: "m".repeat(4_096), ..mailer() };
    let mut consumer = consumer(&spu, config).await;
    assert!(consumer.next().now_or_never().is_none());
    spu.until("claimed", |state| state.offsets.len() == 1_001).await;
    assert!(spu.state().claims.iter().all(|claim| claim.len() <= 1_000));
    // The answer to the second claim is there when the first record of its partition is.
    spu.fill(key(1, 1_000), 0..1, 1);
    next(&mut consumer).await.unwrap().unwrap();
    let all = (0..1_001).map(|partition| (PartitionIndex(partition), Offset(1))).collect();
    consumer.commit_offsets(&all).await.unwrap();
    let sizes: Vec<_> = spu.state().commits.iter().map(|(_, offsets)| offsets.len()).collect();
    assert_eq!(sizes, [756, 245]);
}
