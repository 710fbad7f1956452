//! The replica as a whole: stories first, then a random walk against a model of the disk.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use uuid::Uuid;
use weir_protocol::{
    ErrorCode, Outcome,
    ids::{
        Incarnation, LeaderEpoch, Offset, PartitionEpoch, PartitionIndex, PartitionKey,
        ProducerEpoch, ProducerId, SpuId, TopicGenerationId,
    },
    topic_config::{Flush, TopicConfig},
};

use super::*;

const ME: SpuId = SpuId(1);
const OTHER: SpuId = SpuId(2);

fn key() -> PartitionKey {
    PartitionKey { generation: TopicGenerationId(Uuid::from_u128(7)), partition: PartitionIndex(0) }
}

fn leads(epoch: u32, incarnation: u64, partition_epoch: u32) -> Assignment {
    Assignment {
        me: ME,
        incarnation: Some(Incarnation(1)),
        serving: true,
        leader: Some(ME),
        leader_incarnation: Incarnation(incarnation),
        leader_epoch: LeaderEpoch(epoch),
        partition_epoch: PartitionEpoch(partition_epoch),
        replicas: BTreeSet::from([ME]),
        isr: BTreeSet::from([ME]),
        min_insync: 1,
        config: TopicConfig::default(),
    }
}

fn recovered(end: u64) -> Replica {
    let limits = ReplicaLimits { producers_max: 100 };
    Replica::recovered(key(), Offset(0), Offset(end), Offset(end), limits)
}

fn leader() -> Replica {
    let mut replica = recovered(0);
    assert_eq!(handle(&mut replica, Event::Assign(leads(1, 1, 1))), []);
    replica
}

fn handle(replica: &mut Replica, event: Event) -> Vec<Action> {
    let mut actions = Vec::new();
    replica.handle(event, &mut actions);
    actions
}

fn produce(request: u64, epoch: u32, acks: Acks, first: u32) -> Event {
    Event::Produce(Produce {
        request: RequestId(request),
        leader_epoch: LeaderEpoch(epoch),
        acks,
        record_count: 2,
        stamp: Some(Stamp {
            id: ProducerId(9),
            epoch: ProducerEpoch(0),
            first_sequence: first,
            last_sequence: first + 1,
        }),
    })
}

fn append(request: u64, base: u64) -> Action {
    let (base_offset, epoch) = (Offset(base), LeaderEpoch(1));
    Action::Append { request: RequestId(request), base_offset, epoch }
}

fn acked(request: u64, base: u64, duplicate: bool) -> Action {
    let answer = Ok(Ack { base_offset: Offset(base), duplicate });
    Action::Respond { request: RequestId(request), answer }
}

fn refused(actions: &[Action]) -> Vec<(u64, ErrorCode)> {
    let refusal = |action: &Action| match action {
        Action::Respond { request, answer: Err(refusal) } => Some((request.0, refusal.code())),
        _ => None,
    };
    actions.iter().filter_map(refusal).collect()
}

fn synced(end: u64) -> Event {
    Event::Synced { durable_end: Offset(end) }
}

fn full() -> Problem {
    Problem::new(ErrorCode::StorageFailed, "EIO")
}

#[test]
fn each_kind_of_acks_waits_for_its_own() {
    let mut replica = leader();
    assert_eq!(handle(&mut replica, produce(1, 1, Acks::None, 0)), [append(1, 0)]);
    assert_eq!(handle(&mut replica, produce(2, 1, Acks::Leader, 2)), [append(2, 2)]);
    assert_eq!(handle(&mut replica, produce(3, 1, Acks::All, 4)), [append(3, 4)]);
    assert_eq!(handle(&mut replica, Event::Appended), [acked(1, 0, false)]);
    assert_eq!(handle(&mut replica, synced(4)), [acked(2, 2, false)]);
    assert_eq!(replica.readable().high_watermark, Offset(4));
    assert_eq!(handle(&mut replica, synced(6)), [acked(3, 4, false)]);
    assert_eq!(replica.waiting(), 0);
}

#[test]
fn where_the_topic_says_so_the_log_is_enough() {
    let mut replica = leader();
    let later = TopicConfig { flush: Flush::Interval { ms: 5 }, ..TopicConfig::default() };
    let word = Assignment { config: later, ..leads(1, 1, 1) };
    assert_eq!(handle(&mut replica, Event::Assign(word)), []);
    handle(&mut replica, produce(1, 1, Acks::Leader, 0));
    handle(&mut replica, produce(2, 1, Acks::All, 2));
    assert_eq!(replica.readable().high_watermark, Offset(0));
    let both = [acked(1, 0, false), acked(2, 2, false)];
    assert_eq!(handle(&mut replica, Event::Appended), both);
    assert_eq!(replica.readable().high_watermark, Offset(4));
    assert_eq!(replica.durable_end(), Offset(0), "and nothing else is said of the disk");

    // Back again: what was told stays told, what comes waits.
    assert_eq!(handle(&mut replica, Event::Assign(leads(1, 1, 1))), []);
    handle(&mut replica, produce(3, 1, Acks::All, 4));
    assert_eq!(handle(&mut replica, Event::Appended), []);
    assert_eq!(handle(&mut replica, synced(4)), []);
    assert_eq!(handle(&mut replica, synced(6)), [acked(3, 4, false)]);
}

#[test]
fn with_a_follower_only_acks_all_waits_for_it() {
    let mut replica = recovered(0);
    let both = BTreeSet::from([ME, OTHER]);
    let word = Assignment { replicas: both.clone(), isr: both, min_insync: 2, ..leads(1, 1, 1) };
    handle(&mut replica, Event::Assign(word));
    handle(&mut replica, produce(1, 1, Acks::Leader, 0));
    handle(&mut replica, produce(2, 1, Acks::All, 2));
    handle(&mut replica, Event::Appended);
    assert_eq!(handle(&mut replica, synced(4)), [acked(1, 0, false)]);
    let follower = |end| Event::FollowerDurable { spu: OTHER, durable_end: Offset(end) };
    assert_eq!(handle(&mut replica, follower(3)), []);
    assert_eq!(replica.readable().high_watermark, Offset(3));
    assert_eq!(handle(&mut replica, follower(4)), [acked(2, 2, false)]);
}

#[test]
fn a_duplicate_is_acknowledged_once_its_original_is_committed() {
    let mut replica = leader();
    handle(&mut replica, produce(1, 1, Acks::All, 0));
    handle(&mut replica, Event::Appended);
    for (request, acks) in [(2, Acks::All), (3, Acks::None)] {
        assert_eq!(handle(&mut replica, produce(request, 1, acks, 0)), [], "not yet: {acks:?}");
    }
    let answers = handle(&mut replica, synced(2));
    assert_eq!(answers, [acked(1, 0, false), acked(2, 0, true), acked(3, 0, true)]);
    assert_eq!(handle(&mut replica, produce(4, 1, Acks::All, 0)), [acked(4, 0, true)]);
    assert_eq!(replica.log_end(), Offset(2), "written once");
}

#[test]
fn epochs_that_differ_are_refused_and_say_which_is_current() {
    let mut replica = recovered(0);
    handle(&mut replica, Event::Assign(leads(5, 1, 1)));
    let actions = handle(&mut replica, produce(1, 4, Acks::All, 0));
    assert_eq!(refused(&actions), [(1, ErrorCode::FencedLeaderEpoch)]);
    let actions = handle(&mut replica, produce(2, 6, Acks::All, 0));
    assert_eq!(refused(&actions), [(2, ErrorCode::UnknownLeaderEpoch)]);
}

#[test]
fn only_the_incarnation_that_an_epoch_belongs_to_leads() {
    let mut replica = recovered(0);
    handle(&mut replica, Event::Assign(leads(1, 2, 1)));
    assert_eq!(*replica.role(), Role::Follower);
    let actions = handle(&mut replica, produce(1, 1, Acks::All, 0));
    assert_eq!(refused(&actions), [(1, ErrorCode::NotLeader)]);
    handle(&mut replica, Event::Assign(Assignment { incarnation: None, ..leads(1, 1, 1) }));
    assert_eq!(*replica.role(), Role::Follower, "not before the first registration");
}

#[test]
fn a_new_process_never_leads_in_an_epoch_that_its_log_knows() {
    let mut replica = recovered(2);
    replica.replay(LeaderEpoch(3), None, Offset(0), Offset(1));
    handle(&mut replica, Event::Assign(leads(3, 1, 1)));
    assert_eq!(*replica.role(), Role::Follower);
    handle(&mut replica, Event::Assign(leads(4, 1, 2)));
    assert!(matches!(replica.role(), Role::Leader { epoch: LeaderEpoch(4), .. }));
}

#[test]
fn an_older_word_of_the_control_plane_changes_nothing() {
    let mut replica = recovered(0);
    handle(&mut replica, Event::Assign(leads(5, 1, 9)));
    handle(&mut replica, Event::Assign(Assignment { leader: None, ..leads(4, 1, 8) }));
    assert!(matches!(replica.role(), Role::Leader { epoch: LeaderEpoch(5), .. }));
}

#[test]
fn losing_the_leadership_leaves_what_was_appended_unknown() {
    let mut replica = leader();
    handle(&mut replica, produce(1, 1, Acks::All, 0));
    handle(&mut replica, Event::Appended);
    let word = Assignment { leader: Some(OTHER), ..leads(2, 1, 2) };
    let actions = handle(&mut replica, Event::Assign(word));
    assert_eq!(refused(&actions), [(1, ErrorCode::LeaderLost)]);
    assert_eq!(ErrorCode::LeaderLost.outcome(), Outcome::Unknown);
    assert_eq!(handle(&mut replica, synced(2)), [], "answered once");
}

#[test]
fn a_tombstone_is_kept_but_not_served_and_can_come_back() {
    let mut replica = leader();
    handle(&mut replica, Event::Assign(Assignment { serving: false, ..leads(1, 1, 1) }));
    assert_eq!(*replica.role(), Role::None);
    handle(&mut replica, Event::Assign(leads(1, 1, 1)));
    assert!(matches!(replica.role(), Role::Leader { .. }), "this process held that very epoch");
}

#[test]
fn a_full_disk_refuses_the_group_and_takes_everything_back() {
    let mut replica = leader();
    handle(&mut replica, produce(1, 1, Acks::All, 0));
    handle(&mut replica, produce(2, 1, Acks::None, 2));
    handle(&mut replica, produce(3, 1, Acks::All, 0));
    let actions = handle(&mut replica, Event::AppendRefused(Refusal::StorageFull));
    let mut who = refused(&actions);
    who.sort_unstable();
    let full = ErrorCode::StorageFull;
    assert_eq!(who, [(1, full), (2, full), (3, full)], "the duplicate too");
    assert_eq!(full.outcome(), Outcome::NotDone);
    assert_eq!(handle(&mut replica, produce(4, 1, Acks::All, 0)), [append(4, 0)], "as if new");
}

#[test]
fn a_full_disk_leaves_alone_what_was_written_before() {
    let mut replica = leader();
    handle(&mut replica, produce(1, 1, Acks::All, 0));
    handle(&mut replica, Event::Appended);
    handle(&mut replica, produce(2, 1, Acks::All, 2));
    assert_eq!(
        refused(&handle(&mut replica, Event::AppendRefused(Refusal::StorageFull))),
        [(2, ErrorCode::StorageFull)]
    );
    assert_eq!(handle(&mut replica, synced(2)), [acked(1, 0, false)]);
}

#[test]
fn failed_storage_takes_the_replica_offline_with_the_outcome_unknown() {
    for event in [Event::AppendFailed(full()), Event::Broken(full())] {
        let mut replica = leader();
        handle(&mut replica, produce(1, 1, Acks::All, 0));
        assert_eq!(refused(&handle(&mut replica, event)), [(1, ErrorCode::StorageFailed)]);
        let actions = handle(&mut replica, produce(2, 1, Acks::All, 0));
        assert_eq!(refused(&actions), [(2, ErrorCode::ReplicaOffline)]);
        handle(&mut replica, Event::Assign(leads(2, 1, 2)));
        assert_eq!(*replica.role(), Role::Offline(full()), "until the process starts again");
    }
}

#[test]
fn the_log_start_moves_up_to_the_high_watermark_and_never_back() {
    let mut replica = leader();
    handle(&mut replica, produce(1, 1, Acks::All, 0));
    handle(&mut replica, Event::Appended);
    let start = |replica: &mut Replica, log_start| {
        assert_eq!(handle(replica, Event::StartMoved { log_start: Offset(log_start) }), []);
        replica.readable().log_start.get()
    };
    assert_eq!(start(&mut replica, 1), 0, "nothing is committed yet");
    handle(&mut replica, synced(1));
    assert_eq!(start(&mut replica, 1), 1);
    assert_eq!(start(&mut replica, 0), 1);
}

#[test]
fn offsets_end_where_the_format_does() {
    let mut replica = recovered(Offset::MAX.get() - 1);
    handle(&mut replica, Event::Assign(leads(1, 1, 1)));
    let actions = handle(&mut replica, produce(1, 1, Acks::All, 0));
    assert_eq!(refused(&actions), [(1, ErrorCode::InvalidBatch)]);
}

#[test]
fn a_new_leader_is_settled_once_its_first_log_end_is_committed() {
    let limits = ReplicaLimits { producers_max: 1 };
    let mut replica = Replica::recovered(key(), Offset(2), Offset(8), Offset(5), limits);
    handle(&mut replica, Event::Assign(leads(1, 1, 1)));
    assert_eq!(replica.readable().high_watermark, Offset(5), "what is durable");
    assert!(!replica.readable().settled);
    handle(&mut replica, synced(8));
    assert!(replica.readable().settled);
}

/// What a random walk does next.
#[derive(Clone, Debug)]
enum Step {
    /// A producer's next batch, or one of its earlier ones again.
    Send {
        producer: u64,
        back: usize,
        acks: u8,
    },
    Written,
    Full,
    Fsync,
    Fails,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..3_u64, 0..4_usize, 0..3_u8)
            .prop_map(|(producer, back, acks)| Step::Send { producer, back, acks }),
        4 => Just(Step::Written),
        1 => Just(Step::Full),
        3 => Just(Step::Fsync),
        1 => Just(Step::Fails),
    ]
}

/// The walk's own record: what was written, fsynced, and promised.
#[derive(Default)]
struct Model {
    group: Vec<(u64, u32, u64)>,
    log: Vec<(u64, u32, u64)>,
    end: u64,
    durable: u64,
    sent: BTreeMap<u64, u32>,
    asked: BTreeMap<u64, (u64, u32, Acks)>,
    answered: BTreeSet<u64>,
}

impl Model {
    /// Checks an action against everything that must hold, and notes it.
    fn take(&mut self, action: &Action) {
        match action {
            Action::Append { request, base_offset, .. } => {
                let (producer, sequence, _) = self.asked[&request.0];
                let next = self.group.last().map_or(self.end, |(_, _, base)| base + 2);
                assert_eq!(base_offset.0, next, "offsets are dense");
                self.group.push((producer, sequence, base_offset.0));
            }
            Action::Respond { request, answer } => {
                assert!(self.answered.insert(request.0), "answered twice");
                let (producer, sequence, acks) = self.asked[&request.0];
                let Ok(ack) = answer else { return };
                let batch = (producer, sequence, ack.base_offset.0);
                assert!(self.log.contains(&batch), "{batch:?} was promised and is not in the log");
                if acks != Acks::None || ack.duplicate {
                    assert!(ack.base_offset.0 + 2 <= self.durable, "promised before its fsync");
                }
            }
        }
    }
}

proptest! {
    /// Idempotence (no batch twice), durability before promises, dense offsets, one answer
    /// for each request: over any interleaving of sends, retries, writes, full disks, fsyncs
    /// and failures.
    #[test]
    fn any_walk_keeps_the_promises(steps in proptest::collection::vec(step(), 0..120)) {
        let mut replica = leader();
        let mut model = Model::default();
        for (n, step) in steps.into_iter().enumerate() {
            let request = n as u64;
            let event = match step {
                Step::Send { producer, back, acks } => {
                    let next = model.sent.entry(producer).or_default();
                    let sequence = next.saturating_sub(2 * back as u32);
                    let acks = [Acks::None, Acks::Leader, Acks::All][usize::from(acks)];
                    if back == 0 {
                        *next += 2;
                    }
                    model.asked.insert(request, (producer, sequence, acks));
                    let Event::Produce(mut produce) = produce(request, 1, acks, sequence) else {
                        unreachable!()
                    };
                    if let Some(stamp) = &mut produce.stamp {
                        stamp.id = ProducerId(producer);
                    }
                    Event::Produce(produce)
                }
                Step::Written => {
                    model.log.append(&mut model.group);
                    model.end = model.log.last().map_or(0, |(_, _, base)| base + 2);
                    Event::Appended
                }
                Step::Full => {
                    model.group.clear();
                    model.sent.clear();
                    for (producer, sequence, _) in &model.log {
                        model.sent.insert(*producer, sequence + 2);
                    }
                    Event::AppendRefused(Refusal::StorageFull)
                }
                Step::Fsync => {
                    model.durable = model.end;
                    synced(model.durable)
                }
                Step::Fails if n % 7 == 0 => Event::Broken(full()),
                Step::Fails => continue,
            };
            for action in handle(&mut replica, event) {
                model.take(&action);
            }
            let readable = replica.readable();
            prop_assert!(readable.high_watermark.0 <= model.durable);
            prop_assert!(replica.durable_end() <= replica.log_end());
            let distinct: BTreeSet<_> = model.log.iter().map(|(p, s, _)| (p, s)).collect();
            prop_assert_eq!(distinct.len(), model.log.len(), "a batch was written twice");
        }
        model.log.append(&mut model.group);
        model.end = model.log.last().map_or(0, |(_, _, base)| base + 2);
        model.durable = model.end;
        for event in [Event::Appended, synced(model.end)] {
            for action in handle(&mut replica, event) {
                model.take(&action);
            }
        }
        prop_assert_eq!(model.answered.len(), model.asked.len(), "somebody still waits");
    }
}
