use uuid::Uuid;
use weir_protocol::ids::{PartitionIndex, SpuId, TopicGenerationId};

use super::*;
use crate::plan::scale::BlockingTopic;

fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

fn key() -> PartitionKey {
    PartitionKey { generation: TopicGenerationId(id(90)), partition: PartitionIndex(0) }
}

/// A cluster at revision 10 whose SPU registered before, as incarnation 3.
fn case() -> (Known, Asked) {
    let known = Known {
        cluster: Some(KnownCluster {
            desired: Desired::Running,
            revision: Revision(10),
            database_id: DatabaseId(id(1)),
            restore_number: RestoreNumber(1),
            next_producer_id: ProducerId(2_001),
            revised_at_unix_ms: Some(7_000),
            histories: Vec::new(),
            frozen: None,
        }),
        spu: Some(KnownSpu {
            removed: false,
            folder_id: Some(FolderId(id(2))),
            process_id: Some(ProcessId(id(3))),
            boot_id: Some(BootId(id(5))),
            incarnation: Incarnation(3),
            standing: None,
        }),
        launch: Some(KnownLaunch { launch_id: LaunchId(id(4)), secret_matches: true }),
        proof: Proof::Known,
        leader_epochs: BTreeMap::from([(key(), LeaderEpoch(5))]),
        last_copies: Vec::new(),
    };
    let asked = Asked {
        protocol_version: PROTOCOL_VERSION,
        launch_id: LaunchId(id(4)),
        folder_id: FolderId(id(2)),
        process_id: ProcessId(id(3)),
        boot_id: Some(BootId(id(5))),
        database: Some((DatabaseId(id(1)), RestoreNumber(1))),
        highest_revision: Revision(10),
        revised_at_unix_ms: 7_000,
        highest_producer_id: ProducerId(2_000),
        highest_leader_epoch: LeaderEpoch(5),
        highest_partition_epoch: PartitionEpoch(9),
        highest_incarnation: Incarnation(3),
        held: BTreeSet::from([key()]),
        leader_epochs: vec![(key(), LeaderEpoch(5))],
    };
    (known, asked)
}

fn accepted(incarnation: u64, new_incarnation: bool) -> Decision {
    let incarnation = Incarnation(incarnation);
    Decision::Accept { wiped: false, incarnation, new_incarnation }
}

#[test]
fn a_second_process_of_a_launch_waits_until_the_first_is_gone() {
    let (mut known, mut asked) = case();
    let stands = |known: &mut Known, launch| known.spu.as_mut().unwrap().standing = launch;
    stands(&mut known, Some(LaunchId(id(4))));
    // It reconnects before its old session was found to be broken.
    assert_eq!(decide(&known, &asked), accepted(3, false));
    asked.process_id = ProcessId(id(33));
    let waits =
        |decision| matches!(decision, Decision::Refuse { code: ErrorCode::NotYetAvailable, .. });
    assert!(waits(decide(&known, &asked)));
    // Not with an empty folder either: it would take the place of one that has everything.
    let fresh = Asked { folder_id: FolderId(id(22)), ..asked.clone() };
    let fresh = Asked { database: None, leader_epochs: vec![], ..fresh };
    let fresh =
        Asked { highest_revision: Revision(0), highest_producer_id: ProducerId(0), ..fresh };
    assert!(waits(decide(&known, &fresh)));
    // Nor is anything of it told as if it were about the one that is there.
    known.last_copies = vec![Blocking { spu_id: SpuId(1), topics: Vec::new() }];
    assert!(waits(decide(&known, &fresh)));
    // One of an earlier launch is not waited for: a newer one was ordered.
    stands(&mut known, Some(LaunchId(id(44))));
    assert_eq!(decide(&known, &asked), accepted(4, true));
}

#[test]
fn a_reconnecting_process_keeps_its_incarnation_and_another_gets_the_next() {
    let (known, mut asked) = case();
    assert_eq!(decide(&known, &asked), accepted(3, false));
    asked.process_id = ProcessId(id(33));
    assert_eq!(decide(&known, &asked), accepted(4, true));
}

#[test]
fn a_first_registration_is_incarnation_one() {
    let (mut known, mut asked) = case();
    known.spu = Some(KnownSpu {
        removed: false,
        folder_id: None,
        process_id: None,
        boot_id: None,
        incarnation: Incarnation(0),
        standing: None,
    });
    asked.database = None;
    assert_eq!(decide(&known, &asked), accepted(1, true));
}

#[test]
fn another_boot_is_seen_where_both_are_known() {
    let (mut known, mut asked) = case();
    assert!(!booted_anew(&known, &asked));
    asked.boot_id = Some(BootId(id(6)));
    assert!(booted_anew(&known, &asked));
    asked.boot_id = None;
    assert!(!booted_anew(&known, &asked), "it does not say");
    asked.boot_id = Some(BootId(id(6)));
    known.spu.as_mut().unwrap().boot_id = None;
    assert!(!booted_anew(&known, &asked), "it did not say before");
    known.spu = None;
    assert!(!booted_anew(&known, &asked));
}

#[test]
fn an_older_restore_and_older_numbers_are_fine() {
    let (known, mut asked) = case();
    asked.database = Some((DatabaseId(id(1)), RestoreNumber(0)));
    asked.highest_revision = Revision(2);
    asked.highest_producer_id = ProducerId(0);
    asked.leader_epochs = vec![(key(), LeaderEpoch(1))];
    assert_eq!(decide(&known, &asked), accepted(3, false));
}

#[test]
fn a_restored_backup_does_not_end_an_spu_whose_launch_it_forgot() {
    let (mut known, mut asked) = case();
    known.launch = None;
    asked.highest_revision = Revision(11);
    // Who proves nothing waits, is told little, and changes nothing.
    known.proof = Proof::None;
    let Decision::WentBack { reason, believed: false, adopt: false } = decide(&known, &asked)
    else {
        panic!("not kept waiting")
    };
    assert!(!reason.contains("11"), "{reason}");
    assert!(ErrorCode::DatabaseWentBack.retriable(), "the SPU waits, it does not end");
}

fn went_back(known: &Known, asked: &Asked) -> Option<(bool, bool)> {
    match decide(known, asked) {
        Decision::WentBack { believed, adopt, .. } => Some((believed, adopt)),
        Decision::Accept { .. } | Decision::Refuse { .. } => None,
    }
}

#[test]
fn a_launch_of_after_the_backup_is_believed_and_taken_over_if_it_has_seen_more() {
    let (mut known, mut asked) = case();
    asked.launch_id = LaunchId(id(40));
    known.proof = Proof::Origin;
    assert_eq!(went_back(&known, &asked), None, "one that was forgotten for its age");
    asked.highest_revision = Revision(11);
    assert_eq!(went_back(&known, &asked), Some((true, true)));
    known.proof = Proof::Known;
    assert_eq!(went_back(&known, &asked), Some((true, false)), "an earlier one stays that");
    known.proof = Proof::Origin;
    known.spu = None;
    assert_eq!(went_back(&known, &asked), Some((true, false)), "of an SPU of after the backup");
}

#[test]
fn nobody_is_let_in_while_the_cluster_is_frozen_and_all_are_heard() {
    let (mut known, mut asked) = case();
    known.cluster.as_mut().unwrap().frozen = Some("x".to_owned());
    assert_eq!(went_back(&known, &asked), Some((true, false)));
    asked.launch_id = LaunchId(id(40));
    assert_eq!(went_back(&known, &asked), Some((true, false)), "an older launch of it");
    known.proof = Proof::None;
    assert_eq!(went_back(&known, &asked), None, "a stranger");
}

#[test]
fn a_folder_of_after_the_backup_is_no_mistake() {
    let (known, mut asked) = case();
    asked.folder_id = FolderId(id(20));
    assert_eq!(went_back(&known, &asked), None);
    asked.highest_revision = Revision(11);
    assert_eq!(went_back(&known, &asked), Some((true, false)));
    // Another database's is another one's: no reason to freeze anything.
    asked.database = Some((DatabaseId(id(10)), RestoreNumber(0)));
    assert_eq!(went_back(&known, &asked), None);
}

#[test]
fn whatever_of_the_past_the_database_lacks_shows_that_it_went_back() {
    type Change = fn(&mut Known, &mut Asked);
    let cases: [(&str, Change); 6] = [
        ("another database", |_, a| a.database = Some((DatabaseId(id(10)), RestoreNumber(0)))),
        ("a later restore", |_, a| a.database = Some((DatabaseId(id(1)), RestoreNumber(2)))),
        ("a later revision", |_, a| a.highest_revision = Revision(11)),
        ("the same revision, made at another time", |_, a| a.revised_at_unix_ms = 7_001),
        ("a later producer id", |_, a| a.highest_producer_id = ProducerId(2_001)),
        ("a later leader epoch", |_, a| a.leader_epochs = vec![(key(), LeaderEpoch(6))]),
    ];
    for (name, change) in cases {
        let (mut known, mut asked) = case();
        change(&mut known, &mut asked);
        assert_eq!(went_back(&known, &asked), Some((true, false)), "{name}");
    }
    let (mut known, mut asked) = case();
    asked.revised_at_unix_ms = 0;
    assert_eq!(went_back(&known, &asked), None, "an SPU that was not told");
    (asked.revised_at_unix_ms, known.cluster.as_mut().unwrap().revised_at_unix_ms) = (9, None);
    assert_eq!(went_back(&known, &asked), None, "too long ago to tell");
    // What a recovery took in is welcome, as long as it has not gone on since.
    let foreign = (DatabaseId(id(10)), RestoreNumber(3));
    known.cluster.as_mut().unwrap().histories = vec![foreign];
    asked.database = Some(foreign);
    asked.highest_revision = Revision(1_000);
    assert_eq!(went_back(&known, &asked), None);
    asked.database = Some((foreign.0, foreign.1.next()));
    assert_eq!(went_back(&known, &asked), Some((true, false)));
}

#[test]
fn every_reason_to_refuse_has_its_code() {
    type Change = fn(&mut Known, &mut Asked);
    let cases: [(&str, Change, ErrorCode); 10] = [
        ("newer protocol", |_, a| a.protocol_version += 1, ErrorCode::UnsupportedVersion),
        ("unknown cluster or another org's", |k, _| k.cluster = None, ErrorCode::UnknownCluster),
        ("unknown SPU", |k, _| k.spu = None, ErrorCode::StaleLaunch),
        ("never launched, or ended", |k, _| k.launch = None, ErrorCode::StaleLaunch),
        ("removed", |k, _| k.spu.as_mut().unwrap().removed = true, ErrorCode::SpuRemoved),
        ("stale launch", |_, a| a.launch_id = LaunchId(id(40)), ErrorCode::StaleLaunch),
        (
            "wrong secret",
            |k, _| k.launch.as_mut().unwrap().secret_matches = false,
            ErrorCode::Unauthenticated,
        ),
        (
            "to be shut down",
            |k, _| k.cluster.as_mut().unwrap().desired = Desired::Shutdown,
            ErrorCode::ShuttingDown,
        ),
        (
            "to be deleted",
            |k, _| k.cluster.as_mut().unwrap().desired = Desired::Deleted,
            ErrorCode::UnknownCluster,
        ),
        ("another folder", |_, a| a.folder_id = FolderId(id(20)), ErrorCode::FolderMismatch),
    ];
    for (name, change, expected) in cases {
        let (mut known, mut asked) = case();
        change(&mut known, &mut asked);
        let decision = decide(&known, &asked);
        assert!(
            matches!(decision, Decision::Refuse { code, .. } if code == expected),
            "{name}: {decision:?}"
        );
    }
}

#[test]
fn an_empty_folder_is_filled_again_where_others_have_what_was_in_the_old_one() {
    let (mut known, mut asked) = case();
    asked.folder_id = FolderId(id(20));
    let used = asked.clone();
    asked.database = None;
    asked.leader_epochs.clear();
    (asked.highest_revision, asked.highest_producer_id) = (Revision(0), ProducerId(0));
    // Another life, even if it should be the same process.
    let incarnation = Incarnation(4);
    let wiped = Decision::Accept { wiped: true, incarnation, new_incarnation: true };
    assert_eq!(decide(&known, &asked), wiped);
    for change in [
        |a: &mut Asked| a.highest_revision = Revision(1),
        |a: &mut Asked| a.highest_producer_id = ProducerId(1),
        |a: &mut Asked| a.leader_epochs = vec![(key(), LeaderEpoch(1))],
        |a: &mut Asked| a.database = Some((DatabaseId(id(1)), RestoreNumber(0))),
    ] {
        let mut asked = asked.clone();
        change(&mut asked);
        let Decision::Refuse { code, .. } = decide(&known, &asked) else { panic!("accepted") };
        assert_eq!(code, ErrorCode::FolderMismatch);
    }
    known.last_copies = vec![Blocking {
        spu_id: SpuId(7),
        topics: vec![BlockingTopic {
            name: "orders".to_owned(),
            generation_id: key().generation,
            deleted: false,
            partitions: vec![PartitionIndex(0), PartitionIndex(1)],
        }],
    }];
    let Decision::Refuse { reason, .. } = decide(&known, &asked) else { panic!("accepted") };
    assert!(reason.contains("SPU 7 holds orders (partitions 0-1)"), "{reason}");
    // Nothing is lost with the right folder.
    assert_ne!(decide(&known, &used), wiped);
    assert_eq!(decide(&known, &case().1), accepted(3, false));
}

#[test]
fn a_stranger_learns_nothing_of_the_cluster_s_state() {
    let (mut known, mut asked) = case();
    known.launch.as_mut().unwrap().secret_matches = false;
    known.cluster.as_mut().unwrap().desired = Desired::Deleted;
    asked.folder_id = FolderId(id(20));
    assert!(matches!(
        decide(&known, &asked),
        Decision::Refuse { code: ErrorCode::Unauthenticated, .. }
    ));
}
