use bytes::Bytes;
use proptest::prelude::*;
use weir_protocol::ids::{PartitionIndex, TopicGenerationId};

use super::*;

fn key(partition: u32) -> PartitionKey {
    let generation = TopicGenerationId(uuid::Uuid::nil());
    PartitionKey { generation, partition: PartitionIndex(partition) }
}

fn record(bytes: usize) -> NewRecord {
    NewRecord { value: Some(Bytes::from(vec![7; bytes])), timestamp_ms: 1, ..Default::default() }
}

fn config(batch_bytes: usize, linger_ms: u64) -> ProducerConfig {
    ProducerConfig { batch_bytes, linger: Duration::from_millis(linger_ms), ..Default::default() }
}

const T0: Duration = Duration::ZERO;

/// What a record of so many bytes takes of the queue.
fn alone(bytes: usize) -> usize {
    BatchBuilder::bytes_alone(&record(bytes))
}

#[test]
fn seals_by_bytes_and_never_grows_past_them() {
    let mut acc = Accumulator::new(config(1000, 60_000));
    for n in 0..3 {
        acc.push(key(0), record(400), alone(400), || T0).unwrap();
        assert!(acc.open.contains_key(&key(0)), "{n}");
    }
    let taken = acc.take_due(T0, |_| Patience::None);
    assert_eq!(taken.iter().map(|s| s.builder.record_count()).collect::<Vec<_>>(), [2]);
    assert_eq!(taken[0].queued_bytes, 2 * alone(400));
    assert!(taken[0].builder.estimated_bytes() <= 1000);
}

#[test]
fn a_batch_that_a_record_does_not_fit_is_sealed_and_does_not_go_on() {
    let mut acc = Accumulator::new(config(1000, 60_000));
    assert!(!acc.goes_on(key(0), &record(400), alone(400)));
    acc.push(key(0), record(400), alone(400), || T0).unwrap();
    assert!(acc.goes_on(key(0), &record(400), alone(400)));
    assert!(!acc.goes_on(key(0), &record(900), alone(900)));
    assert!(!acc.goes_on(key(0), &record(1), alone(1)), "it was sealed");
    // Nobody goes on lingering for what is sealed.
    assert_eq!(acc.take_due(T0, |_| Patience::Endless).len(), 1);
}

#[test]
fn a_record_larger_than_a_batch_goes_alone() {
    let mut acc = Accumulator::new(config(1000, 60_000));
    acc.push(key(0), record(10), alone(10), || T0).unwrap();
    let pushed = acc.push(key(0), record(5000), alone(5000), || T0).unwrap();
    assert!(pushed.news && pushed.index == 0 && !acc.open.contains_key(&key(0)));
    let counts: Vec<_> =
        acc.take_due(T0, |_| Patience::None).iter().map(|s| s.builder.record_count()).collect();
    assert_eq!(counts, [1, 1]);
}

#[test]
fn lingers_and_then_waits_for_room_but_not_past_its_deadline() {
    let mut acc = Accumulator::new(config(1000, 5));
    acc.push(key(0), record(10), alone(10), || T0).unwrap();
    let (early, late) = (Duration::from_millis(4), Duration::from_millis(5));
    assert!(acc.take_due(early, |_| Patience::None).is_empty());
    assert_eq!(acc.wake_at(|_| Patience::None), Some(late));
    assert!(acc.take_due(late, |_| Patience::Endless).is_empty());
    let deadline = ProducerConfig::default().delivery_timeout;
    assert_eq!(acc.wake_at(|_| Patience::Endless), Some(deadline));
    assert_eq!(acc.take_due(deadline, |_| Patience::Endless).len(), 1);
}

#[test]
fn behind_a_crowd_it_collects_for_a_moment_however_short_it_may_linger() {
    let mut acc = Accumulator::new(config(1000, 0));
    acc.push(key(0), record(10), alone(10), || T0).unwrap();
    assert!(acc.take_due(T0, |_| Patience::Some).is_empty());
    let at = acc.wake_at(|_| Patience::Some).unwrap();
    assert_eq!(at, CROWDED_LINGER);
    assert_eq!(acc.take_due(at, |_| Patience::Some).len(), 1);
    acc.push(key(0), record(10), alone(10), || T0).unwrap();
    assert_eq!(acc.take_due(T0, |_| Patience::None).len(), 1, "the crowd is gone");
}

#[test]
fn a_flush_seals_all() {
    let mut acc = Accumulator::new(config(1000, 60_000));
    for partition in 0..3 {
        acc.push(key(partition), record(10), alone(10), || T0).unwrap();
    }
    acc.seal_all();
    assert_eq!(acc.take_due(T0, |_| Patience::Endless).len(), 3);
    assert_eq!(acc.wake_at(|_| Patience::None), None);
}

#[test]
fn a_record_that_breaks_the_format_leaves_no_empty_batch() {
    let mut acc = Accumulator::new(config(1000, 0));
    let bad = NewRecord { timestamp_ms: -1, ..record(1) };
    assert_eq!(acc.push(key(0), bad, 100, || T0).unwrap_err().code(), "INVALID_RECORD");
    assert!(!acc.open.contains_key(&key(0)));
    assert!(acc.take_due(T0, |_| Patience::None).is_empty());
}

proptest! {
    #[test]
    fn every_record_is_in_exactly_one_batch_in_order_and_in_bounds(
        sizes in proptest::collection::vec((0u32..3, 0usize..600), 1..200),
        batch_bytes in 100usize..1500,
    ) {
        let mut acc = Accumulator::new(config(batch_bytes, 0));
        let mut places = Vec::new();
        let mut batches = VecDeque::new();
        for (n, (partition, bytes)) in sizes.iter().enumerate() {
            let pushed = acc.push(key(*partition), record(*bytes), alone(*bytes), || T0).unwrap();
            places.push((pushed.state.id, pushed.index));
            if n % 17 == 0 {
                batches.extend(acc.take_due(T0, |key| match key.partition.0 {
                    1 => Patience::None,
                    _ => Patience::Endless,
                }));
            }
        }
        acc.seal_all();
        batches.extend(acc.take_due(T0, |_| Patience::None));
        let mut unique = places.clone();
        unique.sort_unstable();
        unique.dedup();
        prop_assert_eq!(unique.len(), places.len());
        let records: u32 = batches.iter().map(|b| b.builder.record_count()).sum();
        prop_assert_eq!(records as usize, sizes.len());
        let queued: usize = batches.iter().map(|b| b.queued_bytes).sum();
        prop_assert_eq!(queued, sizes.iter().map(|(_, bytes)| alone(*bytes)).sum::<usize>());
        for batch in &batches {
            let alone = batch.builder.record_count() == 1;
            prop_assert!(alone || batch.builder.estimated_bytes() <= batch_bytes);
        }
        for partition in 0..3 {
            let ids: Vec<_> = batches.iter()
                .filter(|b| b.state.key.partition.0 == partition).map(|b| b.state.id).collect();
            prop_assert!(ids.is_sorted());
        }
    }
}
