//! The decisions as a whole: a random walk against a model, and the log read back.

use std::collections::BTreeMap;

use proptest::prelude::*;
use uuid::Uuid;
use weir_protocol::{
    ErrorCode, WireError,
    ids::{Offset, PartitionIndex, PartitionKey, TopicGenerationId},
    pb::metadata::{GenerationState, Partition},
};

use super::{
    decide::{Bounds, decide},
    fold::Fold,
    record::{Committed, Record, SessionId, Value},
    request::{Answer, Request, Verb},
    staged::Staged,
    unsent::Unsent,
};
use crate::metadata::{
    ClusterMap,
    map::tests::{topic, update},
};

const BOUNDS: Bounds = Bounds { keys_max: 6, metadata_bytes_max: 1 << 20 };

fn map() -> ClusterMap {
    let mut map = ClusterMap::default();
    let topics = vec![
        topic(1, 1, "t", GenerationState::Tombstone),
        topic(2, 2, "t", GenerationState::Active),
        topic(3, 1, "u", GenerationState::Active),
    ];
    map.apply(&update(1, true, topics)).unwrap();
    map
}

fn key(generation: u128, partition: u32) -> PartitionKey {
    PartitionKey {
        generation: TopicGenerationId(Uuid::from_u128(generation)),
        partition: PartitionIndex(partition),
    }
}

fn committed(next: u64) -> Committed {
    let next_offset = Offset(next);
    Committed { next_offset, leader_epoch: None, metadata: "m".into(), at_unix_ms: 0 }
}

fn session(n: u8) -> SessionId {
    SessionId([n; 16])
}

/// One step of the walk. Partitions are numbered: two of each active topic.
#[derive(Clone, Debug)]
enum Step {
    Open(u8, u8, Vec<u8>),
    Commit(u8, u8, u64, u64, Vec<u8>),
    Reset(u8, u8, u64, Vec<u8>),
    Delete(u8, Vec<u8>),
    /// The group is written, or the disk refuses it.
    End(bool),
}

fn partition(n: u8) -> PartitionKey {
    key(2 + u128::from(n / 2), u32::from(n % 2))
}

fn step() -> impl Strategy<Value = Step> {
    let some = || proptest::sample::subsequence(vec![0_u8, 1, 2, 3], 1..4);
    prop_oneof![
        (0..3_u8, 0..3_u8, some()).prop_map(|(c, s, p)| Step::Open(c, s, p)),
        (0..3_u8, 0..3_u8, 1..6_u64, 0..100_u64, some())
            .prop_map(|(c, s, n, o, p)| Step::Commit(c, s, n, o, p)),
        (0..3_u8, 3..5_u8, 0..100_u64, some()).prop_map(|(c, s, o, p)| Step::Reset(c, s, o, p)),
        (0..3_u8, proptest::sample::subsequence(vec![0_u8, 1, 2, 3], 0..4))
            .prop_map(|(c, p)| Step::Delete(c, p)),
        proptest::bool::weighted(0.8).prop_map(Step::End),
    ]
}

fn request(step: &Step) -> Option<Request> {
    let partitions = |of: &[u8]| of.iter().copied().map(partition).collect::<Vec<_>>();
    let offsets = |of: &[u8], next: u64| {
        partitions(of).into_iter().map(|key| (key, committed(next))).collect()
    };
    let (consumer, verb) = match step {
        Step::Open(c, s, of) => {
            (c, Verb::OpenSession { session: session(*s), partitions: partitions(of) })
        }
        Step::Commit(c, s, sequence, next, of) => {
            let (session, sequence) = (session(*s), *sequence);
            (c, Verb::Commit { session, sequence, offsets: offsets(of, *next) })
        }
        Step::Reset(c, s, next, of) => {
            (c, Verb::Reset { session: session(*s), offsets: offsets(of, *next) })
        }
        Step::Delete(c, of) => (c, Verb::Delete { partitions: partitions(of) }),
        Step::End(_) => return None,
    };
    Some(Request { consumer: format!("c{consumer}").into(), verb })
}

/// (session, sequence, committed offset) by (consumer, partition).
type Model = BTreeMap<(u8, u8), (u8, u64, Option<u64>)>;

fn at((key, next): (PartitionKey, u64)) -> (PartitionKey, Committed) {
    (key, Committed { at_unix_ms: 7, ..committed(next) })
}

/// What the step must do, said once more and without any log.
fn expected(model: &mut Model, graves: usize, step: &Step) -> Result<Answer, ErrorCode> {
    let room = |model: &Model, consumer: u8, of: &[u8]| {
        let fresh = of.iter().filter(|p| !model.contains_key(&(consumer, **p))).count();
        fresh == 0 || model.len() + graves + fresh <= BOUNDS.keys_max
    };
    match step {
        Step::Open(c, _, of) | Step::Reset(c, _, _, of) if !room(model, *c, of) => {
            Err(ErrorCode::Overloaded)
        }
        Step::Open(c, s, of) => {
            let mut found = Vec::new();
            for p in of {
                let entry = model.entry((*c, *p)).or_insert((*s, 0, None));
                if entry.0 != *s {
                    (entry.0, entry.1) = (*s, 0);
                }
                found.extend(entry.2.map(|next| (partition(*p), next)));
            }
            Ok(Answer::Opened(found.into_iter().map(at).collect()))
        }
        Step::Commit(c, s, sequence, next, of) => {
            if of.iter().any(|p| model.get(&(*c, *p)).is_none_or(|entry| entry.0 != *s)) {
                return Err(ErrorCode::ConsumerFenced);
            }
            for p in of {
                let entry = model.get_mut(&(*c, *p)).unwrap();
                if *sequence > entry.1 {
                    *entry = (*s, *sequence, Some(*next));
                }
            }
            Ok(Answer::Committed)
        }
        Step::Reset(c, s, next, of) => {
            let had = |p: &u8| Some((partition(*p), model.get(&(*c, *p))?.2?));
            let before: Vec<_> = of.iter().filter_map(had).map(at).collect();
            model.extend(of.iter().map(|p| ((*c, *p), (*s, 0, Some(*next)))));
            Ok(Answer::Reset(before))
        }
        Step::Delete(c, of) => {
            let before = model.len();
            model.retain(|(of_c, p), _| of_c != c || !(of.is_empty() || of.contains(p)));
            Ok(Answer::Deleted(u32::try_from(before - model.len()).unwrap()))
        }
        Step::End(_) => unreachable!("no request"),
    }
}

fn shown(fold: &Fold) -> Model {
    let entries = fold.live().map(|(key, entry)| {
        let consumer = key.consumer[1..].parse().unwrap();
        let generation = u8::try_from(key.partition.generation.0.as_u128()).unwrap();
        let partition = (generation - 2) * 2 + u8::try_from(key.partition.partition.0).unwrap();
        let next = entry.value.committed.as_ref().map(|committed| committed.next_offset.get());
        ((consumer, partition), (entry.value.session.0[0], entry.value.sequence, next))
    });
    entries.collect()
}

/// The log read from its start, through its bytes.
fn read_back(log: &[Record]) -> Fold {
    let mut fold = Fold::default();
    for (at, record) in log.iter().enumerate() {
        let bytes = record.encode(1);
        let decoded = Record::decode(bytes.key.as_ref(), bytes.value.as_ref()).unwrap();
        fold.apply(Offset(at as u64), decoded);
    }
    fold
}

fn same_cases() -> ProptestConfig {
    use proptest::test_runner::RngSeed;
    ProptestConfig { rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..Default::default() }
}

proptest! {
    #![proptest_config(same_cases())]

    #[test]
    fn any_walk_does_what_the_model_does_and_the_log_says_so(
        steps in proptest::collection::vec(step(), 0..60),
    ) {
        let map = map();
        let (mut fold, mut log, mut model) = (Fold::default(), Vec::new(), Model::new());
        for group in steps.split_inclusive(|step| matches!(step, Step::End(_))) {
            let mut staged = Staged::on(&fold);
            let mut next = model.clone();
            for step in group {
                let Some(request) = request(step) else { continue };
                let answer = decide(&mut staged, &map, BOUNDS, 7, &request);
                let wanted = expected(&mut next, fold.graves().len(), step);
                prop_assert_eq!(answer.map_err(|error| error.code), wanted, "{:?}", step);
            }
            let records = staged.into_records();
            if matches!(group.last(), Some(Step::End(false))) {
                continue;
            }
            for record in records {
                fold.apply(Offset(log.len() as u64), record.clone());
                log.push(record);
            }
            model = next;
            prop_assert_eq!(shown(&fold), model.clone());
        }
        let again = read_back(&log);
        prop_assert_eq!(&again, &fold);
        // Written anew, it says the same.
        let anew = read_back(&fold.to_records());
        prop_assert_eq!(shown(&anew), model);
        let graves = |fold: &Fold| fold.graves().map(|(key, _)| key.clone()).collect::<Vec<_>>();
        prop_assert_eq!(graves(&anew), graves(&fold));
        prop_assert_eq!(anew.metadata_bytes(), fold.metadata_bytes());
    }

    #[test]
    fn the_newest_of_each_key_is_uploaded_once_and_in_order(
        steps in proptest::collection::vec((0..6_u32, any::<bool>(), any::<bool>()), 0..60),
    ) {
        let (mut fold, mut unsent, mut told) = (Fold::default(), Unsent::default(), BTreeMap::new());
        for (at, (partition, deleted, uploads)) in steps.iter().enumerate() {
            let at = Offset(at as u64);
            let value = (!deleted).then(|| Value {
                session: session(1),
                sequence: at.get(),
                committed: Some(committed(at.get())),
            });
            let key = super::record::Key { consumer: "c".into(), partition: key(2, *partition) };
            let former = fold.apply(at, Record { key: key.clone(), value });
            unsent.mark(former, at, key);
            if *uploads {
                let upload = unsent.next_upload(&fold);
                prop_assert!(upload.is_sorted_by_key(|stored| stored.position));
                for (key, position) in unsent.sent() {
                    fold.bury(&key, position);
                }
                prop_assert!(unsent.is_empty() && fold.graves().len() == 0);
                for stored in upload {
                    told.insert(stored.partition.clone().unwrap().partition, stored);
                }
                for (partition, stored) in &told {
                    let entry = fold.get("c", key_of(*partition));
                    prop_assert_eq!(stored.deleted, entry.is_none());
                    let next = entry.and_then(|entry| entry.value.committed.as_ref());
                    prop_assert_eq!(stored.next_offset, next.map(|it| it.next_offset.get()));
                }
            }
        }
    }
}

#[test]
fn a_doubt_is_not_settled_by_an_upload_that_began_before_it() {
    let (mut fold, mut unsent) = (Fold::default(), Unsent::default());
    let open = Verb::OpenSession { session: session(1), partitions: vec![key(2, 0), key(2, 1)] };
    for record in ask(&fold, open).unwrap().1 {
        let (at, key) = (fold.end(), record.key.clone());
        let former = fold.apply(at, record);
        unsent.mark(former, at, key);
    }
    assert_eq!(unsent.next_upload(&fold).len(), 2);
    let key = super::record::Key { consumer: "c".into(), partition: key(2, 1) };
    unsent.doubt(Offset(1), key.clone());
    assert_eq!(unsent.sent().len(), 1);
    let again = unsent.next_upload(&fold);
    assert_eq!(again.iter().map(|stored| stored.position).collect::<Vec<_>>(), [1]);
    assert_eq!(unsent.sent(), [(key, Offset(1))]);
    assert!(unsent.is_empty());
}

#[test]
fn a_claim_of_more_than_one_batch_takes_is_refused_before_anything_is_written() {
    let mut map = ClusterMap::default();
    let mut wide = topic(2, 2, "t", GenerationState::Active);
    let first = wide.partitions[0].clone();
    wide.partitions = (0..2_100).map(|index| Partition { index, ..first.clone() }).collect();
    map.apply(&update(1, true, vec![wide])).unwrap();
    let mut fold = Fold::default();
    let all: Vec<_> = (0..2_100).map(|partition| key(2, partition)).collect();
    for (at, partition) in (0..).map(Offset).zip(&all) {
        let committed = Committed { metadata: "m".repeat(4_096).into(), ..committed(7) };
        let value = Value { session: session(1), sequence: 1, committed: Some(committed) };
        let key = super::record::Key { consumer: "c".into(), partition: *partition };
        fold.apply(at, Record { key, value: Some(value) });
    }
    let bounds = Bounds { keys_max: 10_000, metadata_bytes_max: 64 << 20 };
    let claim = |partitions: &[PartitionKey]| {
        let mut staged = Staged::on(&fold);
        let verb = Verb::OpenSession { session: session(2), partitions: partitions.to_vec() };
        let request = Request { consumer: "c".into(), verb };
        let answer = decide(&mut staged, &map, bounds, 7, &request).map(|_| ());
        (answer, staged.into_records().len())
    };
    let (refused, written) = claim(&all);
    let refused = refused.unwrap_err();
    assert_eq!((refused.code, written), (ErrorCode::InvalidRequest, 0));
    assert!(refused.message().contains("claim fewer partitions"), "{refused}");
    assert_eq!(claim(&all[..1_000]), (Ok(()), 1_000));
}

fn key_of(partition: u32) -> PartitionKey {
    key(2, partition)
}

fn ask(fold: &Fold, verb: Verb) -> Result<(Answer, Vec<Record>), WireError> {
    let mut staged = Staged::on(fold);
    let request = Request { consumer: "c".into(), verb };
    let answer = decide(&mut staged, &map(), BOUNDS, 7, &request)?;
    Ok((answer, staged.into_records()))
}

/// Of generation 1, which was deleted, 72 are committed.
fn with_72_of_the_deleted_one() -> Fold {
    let mut fold = Fold::default();
    let mut before = ClusterMap::default();
    let topics = vec![topic(1, 1, "t", GenerationState::Active)];
    before.apply(&update(1, true, topics)).unwrap();
    let mut staged = Staged::on(&fold);
    let verb = Verb::Reset { session: session(1), offsets: vec![(key(1, 0), committed(72))] };
    let request = Request { consumer: "c".into(), verb };
    decide(&mut staged, &before, BOUNDS, 7, &request).unwrap();
    for (at, record) in staged.into_records().into_iter().enumerate() {
        fold.apply(Offset(at as u64), record);
    }
    fold
}

#[test]
fn a_generation_of_the_same_name_inherits_nothing() {
    let fold = with_72_of_the_deleted_one();
    let open = Verb::OpenSession { session: session(2), partitions: vec![key(2, 0)] };
    assert_eq!(ask(&fold, open).unwrap().0, Answer::Opened(vec![]));
    let late = Verb::Commit {
        session: session(1),
        sequence: 9,
        offsets: vec![(key(1, 0), committed(73))],
    };
    assert_eq!(ask(&fold, late).unwrap_err().code, ErrorCode::TopicRecreated);
}

// Plants are compiled into simulation builds only.
#[cfg(madsim)]
#[test]
fn the_planted_bug_goes_by_the_name() {
    use weir_runtime::plant;

    let fold = with_72_of_the_deleted_one();
    plant::activate("offsets_by_name");
    let open = Verb::OpenSession { session: session(2), partitions: vec![key(2, 0)] };
    let opened = ask(&fold, open);
    let late = Verb::Commit {
        session: session(1),
        sequence: 9,
        offsets: vec![(key(1, 0), committed(73))],
    };
    let taken = ask(&fold, late);
    plant::clear();
    let inherited = vec![(key(2, 0), Committed { at_unix_ms: 7, ..committed(72) })];
    assert_eq!(opened.unwrap().0, Answer::Opened(inherited));
    assert_eq!(taken.unwrap().0, Answer::Committed);
}

#[test]
fn a_claim_is_written_even_where_it_changes_nothing() {
    let mut fold = Fold::default();
    let open = || Verb::OpenSession { session: session(1), partitions: vec![key(2, 0)] };
    let (_, first) = ask(&fold, open()).unwrap();
    fold.apply(Offset(0), first[0].clone());
    let (_, again) = ask(&fold, open()).unwrap();
    assert_eq!(first, again);
}

#[test]
fn keys_of_a_generation_are_found_and_counted_down() {
    let mut fold = with_72_of_the_deleted_one();
    let id = key(1, 0).generation;
    let found = fold.of_generations(&[id].into());
    assert_eq!(found.len(), 1);
    assert_eq!(fold.generations().collect::<Vec<_>>(), [id]);
    let (key, _) = found[0].clone();
    fold.apply(fold.end(), Record { key, value: None });
    assert_eq!(fold.generations().next(), None);
    assert_eq!(fold.of_generations(&[id].into()), []);
    assert_eq!((fold.keys(), fold.metadata_bytes(), fold.graves().len()), (0, 0, 1));
}
