use uuid::Uuid;
use weir_protocol::ids::{PartitionEpoch, Revision, TopicGenerationId};

use super::*;
use crate::plan::isr::tests::{lives, row, set};

fn key(n: u128) -> PartitionKey {
    PartitionKey { generation: TopicGenerationId(Uuid::from_u128(n)), partition: PartitionIndex(0) }
}

fn database(n: u128) -> DatabaseId {
    DatabaseId(Uuid::from_u128(n))
}

fn heard(spu: u32) -> Heard {
    Heard {
        spu: SpuId(spu),
        database: Some((database(1), RestoreNumber(0))),
        revision: Revision(40),
        producer_id: ProducerId(0),
        leader_epoch: LeaderEpoch(3),
        partition_epoch: PartitionEpoch(5),
        incarnation: Incarnation(2),
        held: BTreeSet::new(),
    }
}

fn before() -> Before {
    Before {
        database_id: database(1),
        restored: RestoreNumber(0),
        counters: Counters {
            restore_number: RestoreNumber(0),
            revision: Revision(30),
            next_producer_id: ProducerId(1_001),
            last_spu_id: SpuId(3),
            leader_epoch: LeaderEpoch(2),
            partition_epoch: PartitionEpoch(4),
            incarnation: Incarnation(2),
        },
        spus: BTreeSet::from([SpuId(1), SpuId(2), SpuId(3)]),
        holders: BTreeMap::from([(key(7), Some(BTreeSet::from([SpuId(1), SpuId(2)])))]),
    }
}

#[test]
fn counters_rise_above_all_that_anybody_has_seen() {
    let mut all = [heard(1), heard(2), heard(3)];
    all[1].producer_id = ProducerId(5_000);
    all[1].leader_epoch = LeaderEpoch(9);
    all[2].partition_epoch = PartitionEpoch(17);
    all[2].incarnation = Incarnation(6);
    let recovery = recover(&before(), &all);
    let expected = Counters {
        restore_number: RestoreNumber(1),
        revision: Revision(40),
        next_producer_id: ProducerId(5_001),
        last_spu_id: SpuId(3),
        leader_epoch: LeaderEpoch(10),
        partition_epoch: PartitionEpoch(18),
        incarnation: Incarnation(6),
    };
    assert_eq!(recovery.counters, expected);
    assert_eq!(recovery.awaited, set(&[1, 2, 3]));
    assert!(recovery.unheard.is_empty() && recovery.new_spus.is_empty());
    // Nothing that the database itself has gone on to is given again.
    let mut ahead = before();
    ahead.counters.leader_epoch = LeaderEpoch(20);
    ahead.counters.revision = Revision(90);
    let recovery = recover(&ahead, &all);
    assert_eq!(recovery.counters.leader_epoch, LeaderEpoch(21));
    assert_eq!(recovery.counters.revision, Revision(90));
}

#[test]
fn a_restore_number_is_new_to_everybody_and_stands_on_the_database_s_own() {
    let mut all = [heard(1)];
    all[0].database = Some((database(1), RestoreNumber(6)));
    let mut before = before();
    before.restored = RestoreNumber(2);
    before.counters.restore_number = RestoreNumber(1);
    // 2 + 5 is above 6.
    assert_eq!(recover(&before, &all).counters.restore_number, RestoreNumber(5));
    all[0].database = Some((database(9), RestoreNumber(6)));
    let recovery = recover(&before, &all);
    assert_eq!(recovery.counters.restore_number, RestoreNumber(2));
    assert_eq!(recovery.histories, BTreeMap::from([(database(9), RestoreNumber(6))]));
}

#[test]
fn who_is_missing_who_is_new_and_what_lies_where_is_told() {
    let (mut one, mut four) = (heard(1), heard(4));
    one.held = BTreeSet::from([key(7), key(8)]);
    four.held = BTreeSet::from([key(7), key(9)]);
    let mut before = before();
    before.holders.insert(key(9), None);
    let recovery = recover(&before, &[one, four]);
    assert_eq!(recovery.unheard, set(&[2, 3]));
    assert_eq!(recovery.new_spus, set(&[4]));
    assert_eq!(recovery.counters.last_spu_id, SpuId(4));
    assert_eq!(recovery.joins, [(key(7), SpuId(4))], "moved there after the backup");
    assert_eq!(recovery.unknown, BTreeMap::from([(key(8), set(&[1]))]), "and not what is purged");
}

#[test]
fn a_topic_that_grew_after_the_backup_has_its_partitions_again() {
    let grown = PartitionKey { partition: PartitionIndex(2), ..key(7) };
    let (mut one, mut two) = (heard(1), heard(2));
    one.held = BTreeSet::from([key(7), grown]);
    two.held = BTreeSet::from([grown]);
    let mut before = before();
    let recovery = recover(&before, &[one.clone(), two.clone()]);
    assert_eq!(recovery.regrown, BTreeMap::from([(grown, set(&[1, 2]))]));
    assert!(recovery.unknown.is_empty());
    before.holders.insert(key(7), None);
    assert!(recover(&before, &[one, two]).regrown.is_empty(), "it is being purged");
}

/// Logs of a partition at leader epoch 1, by SPU: last epoch, end, durable end.
fn logs(of: &[(u32, u32, u64, u64)]) -> BTreeMap<SpuId, Fenced> {
    let log = |(spu, last_epoch, log_end, durable_end): &(u32, u32, u64, u64)| {
        let epoch = row(&[1], &[1], &[], 1).leader_epoch;
        let (log_end, durable_end) = (Offset(*log_end), Offset(*durable_end));
        (SpuId(*spu), Fenced { epoch, last_epoch: LeaderEpoch(*last_epoch), log_end, durable_end })
    };
    of.iter().map(log).collect()
}

#[test]
fn the_newest_log_leads_and_not_the_longest() {
    let row = row(&[1, 2, 3], &[1, 2, 3], &[], 2);
    let logs = logs(&[(1, 1, 900, 900), (2, 2, 500, 500), (3, 2, 400, 400)]);
    let Verdict::Lead(state) = lead(&row, &logs, &lives(&[1, 2, 3])) else { panic!("waits") };
    assert_eq!(state.leader, Some(SpuId(2)));
    assert_eq!(state.isr, set(&[2]));
    assert_eq!(state.leader_epoch, row.leader_epoch.next());
    assert!(state.eligible.is_empty());
}

#[test]
fn the_same_log_is_in_sync_once_it_is_on_the_disk_and_the_preferred_leads() {
    let row = row(&[3, 1, 2], &[1, 2, 3], &[], 2);
    let logs = logs(&[(1, 2, 500, 500), (2, 2, 500, 480), (3, 2, 500, 500)]);
    let Verdict::Lead(state) = lead(&row, &logs, &lives(&[1, 2, 3])) else { panic!("waits") };
    assert_eq!((state.leader, state.isr), (Some(SpuId(3)), set(&[1, 3])));
}

#[test]
fn every_log_that_counts_is_waited_for_at_the_epoch_that_nobody_leads_in() {
    let awaited = row(&[1, 2, 3], &[1, 2, 3], &[], 2);
    let all = logs(&[(1, 1, 5, 5), (2, 1, 5, 5), (3, 1, 5, 5)]);
    let waits = |logs: &BTreeMap<SpuId, Fenced>, lives: &_| match lead(&awaited, logs, lives) {
        Verdict::Wait(spus) => spus,
        Verdict::Lead(_) => BTreeSet::new(),
    };
    assert_eq!(waits(&all, &lives(&[1, 3])), set(&[2]), "its session is gone");
    let mut early = all.clone();
    early.insert(SpuId(3), Fenced { epoch: LeaderEpoch(0), ..all[&SpuId(3)] });
    assert_eq!(waits(&early, &lives(&[1, 2, 3])), set(&[3]), "it may still take an older leader's");
    let two = logs(&[(1, 1, 5, 5), (2, 1, 5, 5)]);
    assert_eq!(waits(&two, &lives(&[1, 2, 3])), set(&[3]));
    // One that is done without is not waited for, and is not in sync.
    let without = row(&[1, 2, 3], &[1, 2], &[], 2);
    let Verdict::Lead(state) = lead(&without, &two, &lives(&[1, 2, 3])) else { panic!("waits") };
    assert_eq!(state.isr, set(&[1, 2]));
    // Of which nobody was heard, everybody is waited for.
    let nobody = row(&[1, 2], &[], &[], 1);
    assert_eq!(lead(&nobody, &logs(&[]), &lives(&[1])), Verdict::Wait(set(&[1, 2])));
}

#[test]
fn those_that_are_gone_are_done_without_where_that_leaves_any() {
    let of = |row: &PartitionRow, gone: &[u32]| without(row, &set(gone));
    assert_eq!(of(&row(&[1, 2, 3], &[1, 2], &[], 2), &[2]), Some(set(&[1])));
    assert_eq!(of(&row(&[1, 2, 3], &[1, 2], &[], 2), &[1, 2]), Some(set(&[3])));
    assert_eq!(of(&row(&[1, 2], &[1, 2], &[], 2), &[1, 2]), None);
    assert_eq!(of(&row(&[1, 2], &[], &[], 2), &[1]), Some(set(&[2])));
}

#[test]
fn whoever_was_not_heard_may_have_seen_much_more() {
    let before = before();
    let all: Vec<_> = before.spus.iter().map(|spu| heard(spu.0)).collect();
    let (whole, part) = (recover(&before, &all).counters, recover(&before, &all[1..]).counters);
    let gap = UNHEARD_GAP;
    assert!(part.leader_epoch.0 >= whole.leader_epoch.0 + gap);
    assert!(part.partition_epoch.0 >= whole.partition_epoch.0 + gap);
    assert!(part.incarnation.0 >= whole.incarnation.0 + u64::from(gap));
    assert!(part.next_producer_id.0 > whole.next_producer_id.0 + u64::from(gap));
}
