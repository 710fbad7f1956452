use proptest::prelude::*;
use uuid::Uuid;
use weir_protocol::ids::PartitionIndex;

use super::*;

fn key(partition: u32) -> PartitionKey {
    let generation = TopicGenerationId(Uuid::from_u128(1));
    PartitionKey { generation, partition: PartitionIndex(partition) }
}

fn claimed(committed: Option<u64>) -> Progress {
    let mut progress = Progress::default();
    progress.claimed(key(0), committed.map(Offset));
    progress
}

fn yields(progress: &mut Progress, offset: u64) {
    let behind = Mark { next: Offset(offset + 1), leader_epoch: Some(LeaderEpoch(1)) };
    progress.yields(key(0), behind);
}

fn due(progress: &Progress) -> Vec<u64> {
    progress.due().iter().map(|(_, mark)| mark.next.get()).collect()
}

#[test]
fn a_record_is_processed_when_the_next_is_asked_for() {
    let mut progress = claimed(Some(3));
    yields(&mut progress, 3);
    progress.ask();
    assert_eq!(due(&progress), [0; 0]);
    progress.finished();
    assert_eq!(due(&progress), [0; 0], "nobody has asked for a commit");
    progress.ask();
    let taken = progress.due();
    let mark = Mark { next: Offset(4), leader_epoch: Some(LeaderEpoch(1)) };
    assert_eq!(taken, [(key(0), mark)]);
    yields(&mut progress, 4);
    progress.finished();
    progress.committed(&taken);
    assert_eq!(due(&progress), [0; 0], "4 was not asked for");
    progress.ask();
    assert_eq!(due(&progress), [5]);
}

#[test]
fn what_was_handed_on_is_processed_when_that_is_said() {
    let mut progress = claimed(Some(3));
    for offset in 3..6 {
        yields(&mut progress, offset);
        progress.handed_on();
    }
    progress.ask();
    assert_eq!(due(&progress), [0; 0]);
    let behind = |offset| Mark { next: Offset(offset), leader_epoch: Some(LeaderEpoch(1)) };
    progress.through(key(0), behind(5));
    // An older word says nothing new.
    progress.through(key(0), behind(4));
    progress.ask();
    assert_eq!(due(&progress), [5]);
}

// Plants exist in simulation only.
#[cfg(madsim)]
#[test]
fn the_planted_bug_takes_what_is_yielded_for_processed() {
    weir_runtime::plant::activate("commit_on_yield");
    let mut progress = claimed(Some(3));
    yields(&mut progress, 3);
    weir_runtime::plant::clear();
    progress.ask();
    assert_eq!(due(&progress), [4]);
}

#[test]
fn a_start_that_was_not_committed_is_committed_and_one_that_was_is_not() {
    for (committed, resolution, expected) in [
        (None, Resolution::AsAsked, vec![7]),
        (Some(7), Resolution::Committed, vec![]),
        (Some(72), Resolution::Reset, vec![7]),
    ] {
        let mut progress = claimed(committed);
        progress.begun(key(0), Offset(7), resolution);
        progress.ask();
        assert_eq!(due(&progress), expected, "{resolution:?}");
    }
}

#[test]
fn what_the_application_names_goes_back_and_outlives_an_older_answer() {
    let mut progress = claimed(None);
    yields(&mut progress, 9);
    progress.finished();
    progress.ask();
    let under_way = progress.due();
    assert_eq!(progress.name(&[(key(0), Offset(4)), (key(1), Offset(1))]), Err(key(1)));
    assert_eq!(due(&progress), [10]);
    assert_eq!(progress.name(&[(key(0), Offset(4))]), Ok(()));
    progress.committed(&under_way);
    let named = progress.due();
    assert_eq!(named[0].1.next, Offset(4));
    progress.committed(&named);
    progress.ask();
    assert_eq!(due(&progress), [0; 0]);
    yields(&mut progress, 4);
    progress.finished();
    progress.ask();
    assert_eq!(due(&progress), [5]);
}

#[test]
fn what_is_refused_is_not_asked_for_again() {
    let mut progress = claimed(Some(3));
    assert_eq!(progress.name(&[(key(0), Offset(99))]), Ok(()));
    let taken = progress.due();
    progress.refused(&taken);
    progress.ask();
    assert_eq!(due(&progress), [0; 0]);
}

#[test]
fn another_generation_is_another_log() {
    let mut progress = claimed(None);
    let other = PartitionKey { generation: TopicGenerationId(Uuid::from_u128(2)), ..key(0) };
    yields(&mut progress, 5);
    progress.claimed(other, None);
    progress.only(other.generation);
    progress.finished();
    progress.ask();
    assert_eq!(due(&progress), [0; 0]);
    progress.yields(other, Mark { next: Offset(1), leader_epoch: Some(LeaderEpoch(1)) });
    progress.finished();
    progress.ask();
    assert_eq!(due(&progress), [1]);
    progress.gone(other.generation);
    assert_eq!(due(&progress), [0; 0]);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Yield(u32),
    Finish,
    Skip(u32, u64),
    Ask,
    Take,
    Answer,
    Lose,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..2_u32).prop_map(Step::Yield),
        4 => Just(Step::Finish),
        1 => (0..2_u32, 0..20_u64).prop_map(|(partition, to)| Step::Skip(partition, to)),
        2 => Just(Step::Ask),
        2 => Just(Step::Take),
        2 => Just(Step::Answer),
        1 => Just(Step::Lose),
    ]
}

proptest! {
    /// Whatever happens: all that is committed was finished with before, in the run of the
    /// partition that it belongs to, and nothing goes back.
    #[test]
    fn never_beyond_what_was_processed_and_never_back(
        steps in prop::collection::vec(step(), 1..120),
        committed in 0..5_u64,
    ) {
        let mut progress = Progress::default();
        for partition in 0..2 {
            progress.claimed(key(partition), Some(Offset(committed)));
        }
        let mut reads = [committed; 2];
        let mut finished = [committed; 2];
        let mut durable = [committed; 2];
        let mut hand: Option<u32> = None;
        let mut flight: Option<Vec<(PartitionKey, Mark)>> = None;
        for step in steps {
            match step {
                Step::Yield(partition) => {
                    // A record is only yielded when it was asked for.
                    progress.finished();
                    if let Some(partition) = hand.take() {
                        finished[partition as usize] = reads[partition as usize];
                    }
                    let offset = Offset(reads[partition as usize]);
                    let leader_epoch = Some(LeaderEpoch(1));
                    progress.yields(key(partition), Mark { next: offset.next(), leader_epoch });
                    reads[partition as usize] += 1;
                    hand = Some(partition);
                }
                Step::Finish => {
                    progress.finished();
                    if let Some(partition) = hand.take() {
                        finished[partition as usize] = reads[partition as usize];
                    }
                }
                Step::Skip(partition, to) => {
                    progress.skipped(key(partition), Offset(to));
                    let at = partition as usize;
                    if hand == Some(partition) && reads[at] > to {
                        hand = None;
                    }
                    if hand != Some(partition) {
                        reads[at] = to;
                    }
                    finished[at] = finished[at].min(to);
                }
                Step::Ask => progress.ask(),
                Step::Take if flight.is_none() => {
                    let due = progress.due();
                    for (key, mark) in &due {
                        let at = key.partition.get() as usize;
                        prop_assert!(mark.next.get() <= finished[at], "beyond what is processed");
                        prop_assert!(mark.next.get() > durable[at], "not ahead");
                    }
                    flight = Some(due);
                }
                Step::Take => {}
                Step::Answer => if let Some(taken) = flight.take() {
                    for (key, mark) in &taken {
                        durable[key.partition.get() as usize] = mark.next.get();
                    }
                    progress.committed(&taken);
                },
                Step::Lose => flight = None,
            }
        }
    }
}
