use std::collections::BTreeMap;

use proptest::prelude::*;
use weir_protocol::{
    batch::{BatchConfig, NewRecord, verify},
    ids::{PartitionIndex, TopicGenerationId},
};

use super::*;

const T0: Duration = Duration::ZERO;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn sequencer(idempotent: bool) -> Sequencer {
    let generation = TopicGenerationId(uuid::Uuid::nil());
    let key = PartitionKey { generation, partition: PartitionIndex(0) };
    let window = ProducerConfig { in_flight_per_partition_max: 5, ..Default::default() };
    let config = ProducerConfig { idempotent, ..window }.bounded();
    let backoff = BackoffConfig { first: ms(10), max: ms(10) };
    Sequencer::new(key, "t".into(), config, backoff)
}

fn ready() -> Sequencer {
    let mut s = sequencer(true);
    s.give_id(ProducerId(7), ProducerEpoch(0));
    s
}

fn sealed(s: &Sequencer, id: u64, records: u32, deadline: Duration) -> Sealed {
    let mut builder = BatchBuilder::new(BatchConfig::default());
    for _ in 0..records {
        builder.push(NewRecord::default()).unwrap();
    }
    Sealed { state: BatchState::new(id, s.key), builder, deadline, queued_bytes: 10 }
}

fn push(s: &mut Sequencer, ids: std::ops::RangeInclusive<u64>) {
    for id in ids {
        let batch = sealed(s, id, 3, ms(30_000));
        s.push(batch);
    }
}

#[test]
fn what_collects_goes_at_once_waits_a_moment_or_waits_for_room() {
    let mut s = ready();
    assert_eq!(s.patience(), Patience::None);
    push(&mut s, 1..=1);
    assert_eq!(s.patience(), Patience::None);
    push(&mut s, 2..=2);
    assert_eq!(s.patience(), Patience::Some, "two keep the partition busy");
    push(&mut s, 3..=5);
    assert_eq!(s.patience(), Patience::Endless, "five may be in flight");
    let mut one_at_a_time = sequencer(false);
    push(&mut one_at_a_time, 1..=1);
    assert_eq!(one_at_a_time.patience(), Patience::Endless);

    let mut s = ready();
    push(&mut s, 1..=1);
    sent(&mut s, T0);
    assert!(s.answer(1, 1, failed(ErrorCode::NotLeader), T0).is_empty());
    assert_eq!(s.patience(), Patience::Endless, "it is sent again first");
}

/// What is sent now: batch, attempt, producer id and base sequence.
fn sent(s: &mut Sequencer, now: Duration) -> Vec<(u64, u32, u64, u32)> {
    let mut out = Vec::new();
    while let Some(next) = s.next(now) {
        let attempt = next.expect("encodes");
        assert!(attempt.departure.depart());
        let stamp = verify(&attempt.bytes).unwrap().producer.expect("stamped");
        out.push((attempt.batch_id, attempt.number, stamp.id.0, stamp.base_sequence));
    }
    out
}

fn ack(offset: u64) -> Result<Acked, Failure> {
    Ok(Acked { base_offset: Offset(offset), duplicate: false })
}

fn failed(code: ErrorCode) -> Result<Acked, Failure> {
    Err(Failure { code, message: "m".into(), may_have_arrived: true })
}

type Known = Result<u64, (ErrorCode, Outcome)>;

fn outcomes(done: &[Resolution]) -> Vec<(u64, Known)> {
    let read = |r: &Resolution| {
        let outcome = r.outcome.as_ref().map(|a| a.base_offset.0).map_err(|e| (e.code, e.outcome));
        (r.state.id, outcome)
    };
    done.iter().map(read).collect()
}

#[test]
fn what_was_never_written_is_told_to_be_so_and_is_not_written_later() {
    let mut s = ready();
    push(&mut s, 1..=2);
    let gone = s.next(T0).unwrap().unwrap().departure;
    let waits = s.next(T0).unwrap().unwrap().departure;
    assert!(gone.depart());
    let timed_out = |id, outcome| (id, Err((ErrorCode::TimedOut, outcome)));
    let expected = [timed_out(1, Outcome::Unknown), timed_out(2, Outcome::NotDone)];
    assert_eq!(outcomes(&s.expire(ms(30_000))), expected);
    assert!(!waits.depart());
}

#[test]
fn a_generation_that_is_back_is_sent_to_again() {
    let mut s = ready();
    push(&mut s, 1..=1);
    let gone = (1, Err((ErrorCode::TopicDeleted, Outcome::NotDone)));
    assert_eq!(outcomes(&s.doom(ErrorCode::TopicDeleted, "gone")), [gone]);
    push(&mut s, 2..=2);
    assert!(sent(&mut s, T0).is_empty());
    s.revive();
    assert_eq!(sent(&mut s, T0), [(2, 1, 7, 0)]);
    assert_eq!(outcomes(&s.answer(2, 1, ack(5), T0)), [(2, Ok(5))]);
}

#[test]
fn sends_in_order_up_to_the_window_with_sequences_that_follow_on() {
    let mut s = sequencer(true);
    push(&mut s, 1..=7);
    assert_eq!(s.wants_id(), Some(None));
    assert!(s.next(T0).is_none(), "no id, nothing sent");
    s.give_id(ProducerId(7), ProducerEpoch(0));
    let expected: Vec<_> = (1..=5).map(|id| (id, 1, 7, (id as u32 - 1) * 3)).collect();
    assert_eq!(sent(&mut s, T0), expected);
    assert_eq!(outcomes(&s.answer(1, 1, ack(100), T0)), [(1, Ok(100))]);
    assert_eq!(sent(&mut s, T0), [(6, 1, 7, 15)]);
}

#[test]
fn after_a_failure_everything_is_answered_before_it_is_sent_again_in_order() {
    let mut s = ready();
    push(&mut s, 1..=3);
    sent(&mut s, T0);
    assert!(s.answer(2, 1, failed(ErrorCode::OutOfOrderSequence), T0).is_empty());
    assert!(s.answer(1, 1, failed(ErrorCode::NotLeader), T0).is_empty());
    assert!(sent(&mut s, ms(1000)).is_empty(), "3 is still under way");
    assert!(s.answer(3, 1, failed(ErrorCode::OutOfOrderSequence), T0).is_empty());
    assert!(sent(&mut s, T0).is_empty(), "not before the wait is over");
    let at = s.wake_at(T0).expect("a wait");
    assert!(at <= ms(10));
    assert_eq!(s.wake_at(at), Some(ms(30_000)), "no second alarm for the same thing");
    assert_eq!(sent(&mut s, at), [(1, 2, 7, 0), (2, 2, 7, 3), (3, 2, 7, 6)]);
    assert!(s.answer(1, 1, ack(5), at).is_empty(), "an answer to an old attempt");
    assert_eq!(outcomes(&s.answer(1, 2, ack(5), at)), [(1, Ok(5))]);
}

#[test]
fn a_later_batch_that_was_acknowledged_is_not_sent_again() {
    let mut s = ready();
    push(&mut s, 1..=2);
    sent(&mut s, T0);
    assert!(s.answer(1, 1, failed(ErrorCode::TimedOut), T0).is_empty());
    assert_eq!(outcomes(&s.answer(2, 1, ack(3), T0)), [(2, Ok(3))]);
    assert_eq!(sent(&mut s, ms(10)), [(1, 2, 7, 0)]);
    let duplicate = Ok(Acked { base_offset: Offset(0), duplicate: true });
    assert_eq!(outcomes(&s.answer(1, 2, duplicate, ms(10))), [(1, Ok(0))]);
}

#[test]
fn a_batch_that_is_given_up_takes_the_producer_id_along() {
    let mut s = ready();
    push(&mut s, 1..=2);
    sent(&mut s, T0);
    push(&mut s, 3..=3);
    let done = s.answer(1, 1, failed(ErrorCode::InvalidBatch), T0);
    assert_eq!(outcomes(&done), [(1, Err((ErrorCode::InvalidBatch, Outcome::NotDone)))]);
    assert!(!s.wants_to_send(T0), "2 is under way with the old id");
    let done = s.answer(2, 1, failed(ErrorCode::OutOfOrderSequence), T0);
    assert_eq!(outcomes(&done), [(2, Err((ErrorCode::OutOfOrderSequence, Outcome::NotDone)))]);
    assert_eq!(s.wants_id(), Some(Some(ProducerId(7))));
    s.give_id(ProducerId(7), ProducerEpoch(0));
    assert!(s.wants_id().is_some(), "not the old one again");
    s.give_id(ProducerId(8), ProducerEpoch(0));
    sent_is(&mut s, &[(3, 1, 8, 0)]);
}

fn sent_is(s: &mut Sequencer, expected: &[(u64, u32, u64, u32)]) {
    assert_eq!(sent(s, T0), expected);
}

#[test]
fn at_the_deadline_the_outcome_is_what_is_known() {
    let mut s = ready();
    push(&mut s, 1..=6);
    sent(&mut s, T0);
    assert!(s.expire(ms(29_999)).is_empty());
    let done = outcomes(&s.expire(ms(30_000)));
    let outcome = |id| match id {
        1..=5 => Outcome::Unknown,
        _ => Outcome::NotDone,
    };
    let expected: Vec<_> =
        (1..=6).map(|id| (id, Err((ErrorCode::TimedOut, outcome(id))))).collect();
    assert_eq!(done, expected);
    assert!(s.is_empty());
    assert!(s.answer(1, 1, ack(0), ms(30_001)).is_empty());
    assert_eq!(s.wants_id(), Some(Some(ProducerId(7))));
}

#[test]
fn a_refusal_after_an_unknown_attempt_stays_unknown() {
    let mut s = ready();
    push(&mut s, 1..=1);
    sent(&mut s, T0);
    s.answer(1, 1, failed(ErrorCode::Disconnected), T0);
    assert_eq!(sent(&mut s, ms(10)).len(), 1);
    let done = s.answer(1, 2, failed(ErrorCode::TopicDeleted), ms(10));
    assert_eq!(outcomes(&done), [(1, Err((ErrorCode::TopicDeleted, Outcome::Unknown)))]);

    let mut s = ready();
    push(&mut s, 1..=1);
    sent(&mut s, T0);
    let unreached =
        Failure { code: ErrorCode::Disconnected, message: "m".into(), may_have_arrived: false };
    s.answer(1, 1, Err(unreached), T0);
    let done = s.expire(ms(30_000));
    assert_eq!(outcomes(&done), [(1, Err((ErrorCode::TimedOut, Outcome::NotDone)))]);
}

#[test]
fn a_generation_that_is_gone_fails_what_waits_and_then_what_is_answered() {
    let mut s = ready();
    push(&mut s, 1..=1);
    sent(&mut s, T0);
    push(&mut s, 2..=2);
    let done = s.doom(ErrorCode::TopicRecreated, "gone");
    assert_eq!(outcomes(&done), [(2, Err((ErrorCode::TopicRecreated, Outcome::NotDone)))]);
    let done = s.answer(1, 1, failed(ErrorCode::UnknownGeneration), T0);
    assert_eq!(outcomes(&done), [(1, Err((ErrorCode::TopicRecreated, Outcome::NotDone)))]);
    assert!(s.is_empty() && sent(&mut s, T0).is_empty());
}

#[test]
fn without_idempotence_only_what_was_surely_not_appended_is_sent_again() {
    let mut s = sequencer(false);
    push(&mut s, 1..=2);
    let first = s.next(T0).unwrap().unwrap();
    assert_eq!(verify(&first.bytes).unwrap().producer, None);
    assert!(s.next(T0).is_none(), "one at a time");
    assert!(s.answer(1, 1, failed(ErrorCode::NotLeader), T0).is_empty());
    assert_eq!(s.next(ms(10)).unwrap().unwrap().batch_id, 1);
    let done = s.answer(1, 2, failed(ErrorCode::Disconnected), ms(10));
    assert_eq!(outcomes(&done), [(1, Err((ErrorCode::Disconnected, Outcome::Unknown)))]);
    assert_eq!(s.next(ms(10)).unwrap().unwrap().batch_id, 2);
}

#[test]
fn a_producer_that_ends_tells_sent_from_unsent() {
    let mut s = ready();
    push(&mut s, 1..=6);
    sent(&mut s, T0);
    let done = outcomes(&s.abandon(ErrorCode::ShuttingDown, "bye"));
    assert_eq!(done[0], (1, Err((ErrorCode::ShuttingDown, Outcome::Unknown))));
    assert_eq!(done[5], (6, Err((ErrorCode::ShuttingDown, Outcome::NotDone))));
}

/// An SPU that appends, forgets to answer, refuses, and knows sequences.
#[derive(Default)]
struct Spu {
    log: Vec<(u64, u64)>,
    next_sequence: BTreeMap<u64, u32>,
    seen: BTreeMap<(u64, u32), u64>,
}

impl Spu {
    fn produce(&mut self, batch: u64, bytes: &[u8]) -> Result<Acked, Failure> {
        let header = verify(bytes).unwrap();
        let stamp = header.producer.unwrap();
        let place = (stamp.id.0, stamp.base_sequence);
        if let Some(offset) = self.seen.get(&place) {
            return Ok(Acked { base_offset: Offset(*offset), duplicate: true });
        }
        let next = self.next_sequence.entry(stamp.id.0).or_default();
        if *next != stamp.base_sequence {
            return failed(ErrorCode::OutOfOrderSequence);
        }
        *next += header.record_count;
        let offset = self.log.len() as u64;
        self.log.push((stamp.id.0, batch));
        self.seen.insert(place, offset);
        ack(offset)
    }
}

/// An attempt under way.
enum Flight {
    /// To be written to the stream yet.
    Waits(Bytes, Departure),
    Answered(Result<Acked, Failure>),
}

proptest! {
    /// Whatever a leader answers, in whatever order: each batch gets one outcome, what was
    /// acknowledged is in the log once, what is said not to be there is not, and the log has
    /// the order of the producer.
    #[test]
    fn outcomes_are_true_whatever_happens(
        steps in proptest::collection::vec((0u8..10, 0usize..5), 1..300),
        batches in 1u64..25,
    ) {
        let mut s = ready();
        let mut spu = Spu::default();
        let (mut now, mut ids, mut next_batch) = (T0, 8, 1);
        let mut flying: Vec<(u64, u32, Flight)> = Vec::new();
        let mut results: BTreeMap<u64, Result<u64, Outcome>> = BTreeMap::new();
        let settle = |done: Vec<Resolution>, results: &mut BTreeMap<_, _>| {
            for r in done {
                let outcome = r.outcome.map(|a| a.base_offset.0).map_err(|e| e.outcome);
                assert!(results.insert(r.state.id, outcome).is_none(), "one outcome each");
            }
        };
        for (step, pick) in steps {
            now += ms(7);
            if next_batch <= batches && pick % 2 == 0 {
                let batch = sealed(&s, next_batch, 2, now + ms(400));
                s.push(batch);
                next_batch += 1;
            }
            if s.wants_id().is_some() {
                s.give_id(ProducerId(ids), ProducerEpoch(0));
                ids += 1;
            }
            while let Some(Ok(attempt)) = s.next(now) {
                let (id, number) = (attempt.batch_id, attempt.number);
                if step == 4 {
                    flying.push((id, number, Flight::Waits(attempt.bytes, attempt.departure)));
                    continue;
                }
                prop_assert!(attempt.departure.depart());
                let answer = match step {
                    0 => failed(ErrorCode::NotLeader),
                    // Appended, and nobody hears of it.
                    1 => {
                        let _ = spu.produce(id, &attempt.bytes);
                        failed(ErrorCode::TimedOut)
                    }
                    2 => failed(ErrorCode::Disconnected),
                    3 => failed(ErrorCode::InvalidRequest),
                    _ => spu.produce(id, &attempt.bytes),
                };
                flying.push((id, number, Flight::Answered(answer)));
            }
            if !flying.is_empty() && step != 9 {
                let (id, number, flight) = flying.remove(pick % flying.len());
                let answer = match flight {
                    Flight::Answered(answer) => Some(answer),
                    Flight::Waits(bytes, departure) => {
                        departure.depart().then(|| spu.produce(id, &bytes))
                    }
                };
                let done = answer.map(|answer| s.answer(id, number, answer, now));
                settle(done.unwrap_or_default(), &mut results);
            }
            let done = s.expire(now);
            settle(done, &mut results);
        }
        let done = s.expire(now + ms(1000));
        settle(done, &mut results);
        prop_assert!(s.is_empty());
        prop_assert_eq!(results.len() as u64, next_batch - 1);
        let in_log = |id: u64| spu.log.iter().filter(|(_, batch)| *batch == id).count();
        for (id, result) in &results {
            match result {
                Ok(offset) => prop_assert_eq!(spu.log[*offset as usize].1, *id),
                Err(Outcome::NotDone) => prop_assert_eq!(in_log(*id), 0),
                Err(Outcome::Unknown) => {}
            }
            prop_assert!(in_log(*id) <= 1);
        }
        let order: Vec<u64> = spu.log.iter().map(|(_, batch)| *batch).collect();
        prop_assert!(order.is_sorted(), "{:?}", order);
    }
}
