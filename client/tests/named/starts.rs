//! Where reading begins, and goes on.

use std::{collections::BTreeMap, time::Duration};

use futures::FutureExt;
use weir_client::{CommitError, ConsumerConfig, ResetPolicy, Resolution, Start};
use weir_protocol::{ids::Offset, pb::metadata::GenerationState};
use weir_runtime::clock::Clock;

use crate::{
    P0, P1, SOON, consumer,
    fake_spu::{Fetch, Stored, generation, key, topic},
    mailer, next, take, ten,
};

#[tokio::test]
async fn one_that_follows_the_name_begins_the_new_generation_anew() {
    let spu = ten().await;
    spu.fill(key(2, 0), 0..1, 2);
    spu.commit("mailer", key(1, 0), 7);
    let config = ConsumerConfig { follow_name: true, ..mailer().commit(SOON) };
    let mut consumer = consumer(&spu, config).await;
    assert_eq!(take(&mut consumer, 3).await, [7, 8, 9]);
    spu.until("committed", |state| state.commits.len() == 1).await;
    spu.publish(vec![
        topic(1, "orders", 1, GenerationState::Tombstone),
        topic(2, "orders", 1, GenerationState::Active),
    ]);
    let record = consumer.next().await.unwrap().unwrap();
    assert_eq!((record.generation, record.offset), (generation(2), Offset(0)));
    consumer.processed();
    consumer.close().await.unwrap();
    assert_eq!(spu.committed("mailer", key(2, 0)), Some(1));
    assert!(spu.committed("mailer", key(1, 0)).unwrap() <= 10, "of its own");
}

#[tokio::test]
async fn offsets_beyond_the_log_are_reset_and_the_reset_holds() {
    let spu = ten().await;
    for (reset, first) in [(None, 10), (Some(ResetPolicy::Earliest), 0)] {
        spu.commit("mailer", key(1, 0), 72);
        let config = ConsumerConfig { reset, ..mailer().until_end() };
        let mut consumer = consumer(&spu, config).await;
        let read = next(&mut consumer).await;
        assert_eq!(read, (first < 10).then_some(Ok(first)));
        let begun = consumer.starts()[&P0];
        let found = (begun.offset, begun.resolution, begun.committed);
        assert_eq!(found, (Offset(first), Resolution::Reset, Some(Offset(72))));
        consumer.close().await.unwrap();
        assert_eq!(spu.committed("mailer", key(1, 0)), Some(first));
    }
    spu.commit("mailer", key(1, 0), 72);
    let mut consumer = consumer(&spu, mailer().reset(ResetPolicy::Error)).await;
    assert_eq!(next(&mut consumer).await.unwrap().unwrap_err().code(), "OFFSET_OUT_OF_RANGE");
}

#[tokio::test]
async fn a_first_start_at_the_end_passes_nothing_by_later() {
    let spu = ten().await;
    let mut first = consumer(&spu, mailer().start(Start::End)).await;
    assert!(first.next().now_or_never().is_none());
    spu.until("subscribed", |state| state.subscriptions == 1).await;
    while first.starts().is_empty() {
        let _ = Clock.timeout(Duration::from_millis(5), first.next()).await;
    }
    first.close().await.unwrap();
    spu.fill(key(1, 0), 0..1, 1);
    let mut second = consumer(&spu, mailer().start(Start::End)).await;
    assert_eq!(next(&mut second).await, Some(Ok(10)));
}

#[tokio::test]
async fn counted_and_timed_starts_lie_within_the_log() {
    let spu = ten().await;
    let cases = [
        (Start::FromBeginning(3), Some(3)),
        (Start::FromBeginning(99), None),
        (Start::FromEnd(2), Some(8)),
        (Start::FromEnd(99), Some(0)),
        (Start::Timestamp(4), Some(4)),
        (Start::Timestamp(99), None),
    ];
    for (start, first) in cases {
        let config = ConsumerConfig::new("orders").start(start).until_end();
        let mut consumer = consumer(&spu, config).await;
        assert_eq!(next(&mut consumer).await, first.map(Ok), "{start:?}");
    }
}

#[tokio::test]
async fn named_offsets_are_committed_as_they_are_and_only_of_claimed_partitions() {
    let spu = ten().await;
    let mut consumer = consumer(&spu, mailer()).await;
    take(&mut consumer, 6).await;
    consumer.commit().await.unwrap();
    consumer.commit_offsets(&BTreeMap::from([(P0, Offset(2))])).await.unwrap();
    assert_eq!(spu.committed("mailer", key(1, 0)), Some(2));
    let wrong = BTreeMap::from([(P0, Offset(4)), (P1, Offset(0))]);
    let error = consumer.commit_offsets(&wrong).await.unwrap_err();
    assert_eq!(error, CommitError::NotClaimed { partition: P1 });
    let wrong = BTreeMap::from([(P0, Offset(u64::MAX))]);
    assert!(consumer.commit_offsets(&wrong).await.is_err());
    assert_eq!(spu.committed("mailer", key(1, 0)), Some(2));
}

#[tokio::test]
async fn nothing_from_before_a_skip_back_is_committed_and_nothing_goes_back() {
    let spu = ten().await;
    spu.script_fetch([Fetch::Damage(4)]);
    let mut consumer = consumer(&spu, mailer()).await;
    take(&mut consumer, 5).await;
    consumer.commit().await.unwrap();
    take(&mut consumer, 3).await;
    assert_eq!(next(&mut consumer).await.unwrap().unwrap_err().code(), "MALFORMED_BATCH");
    assert!(consumer.skip_to(P0, Offset(2)));
    consumer.commit().await.unwrap();
    assert_eq!(spu.committed("mailer", key(1, 0)), Some(4), "5 to 7 are read again");
    assert_eq!(take(&mut consumer, 2).await, [2, 3]);
    consumer.commit().await.unwrap();
    assert_eq!(spu.committed("mailer", key(1, 0)), Some(4));
    assert_eq!(take(&mut consumer, 6).await, [4, 5, 6, 7, 8, 9]);
    consumer.commit().await.unwrap();
    assert_eq!(spu.committed("mailer", key(1, 0)), Some(9));
    assert_eq!(spu.state().commits.len(), 2);
}

#[tokio::test]
async fn what_has_no_name_or_a_bad_one_is_told_so() {
    let spu = ten().await;
    let mut unnamed = consumer(&spu, ConsumerConfig::new("orders")).await;
    assert_eq!(next(&mut unnamed).await, Some(Ok(0)));
    assert_eq!(unnamed.commit().await, Err(CommitError::NotNamed));
    assert_eq!(unnamed.commit_offsets(&BTreeMap::new()).await, Err(CommitError::NotNamed));
    unnamed.close().await.unwrap();
    assert!(spu.state().claims.is_empty());
    let client = spu.client().await;
    let long = "x".repeat(250);
    for name in ["", "a b", "ä", long.as_str()] {
        let error = client.consumer(ConsumerConfig::new("orders").named(name)).await.unwrap_err();
        assert_eq!(error.code(), "INVALID_CONFIGURATION", "{name}");
    }
    assert_eq!(spu.state().offsets.values().next(), None::<&Stored>);
}
