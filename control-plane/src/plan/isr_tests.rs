use proptest::prelude::*;
use uuid::Uuid;
use weir_protocol::ids::{PartitionIndex, PartitionKey, TopicGenerationId};

use super::*;
use crate::store::partitions::ReplicaRow;

/// A partition on `of`, led by the first of `isr` in incarnation 1, at leader epoch 5 and
/// partition epoch 10.
pub fn row(of: &[u32], isr: &[u32], eligible: &[u32], min_insync: u32) -> PartitionRow {
    let replica = |spu: &u32| ReplicaRow {
        spu: SpuId(*spu),
        in_isr: isr.contains(spu),
        eligible: eligible.contains(spu),
    };
    PartitionRow {
        key: PartitionKey {
            generation: TopicGenerationId(Uuid::from_u128(1)),
            partition: PartitionIndex(0),
        },
        label: String::new(),
        leader: isr.first().copied().map(SpuId),
        leader_incarnation: Incarnation(1),
        leader_epoch: LeaderEpoch(5),
        partition_epoch: PartitionEpoch(10),
        unclean_leader_epoch: LeaderEpoch(0),
        recovering: false,
        min_insync,
        unclean_election: false,
        flush_interval: false,
        replicas: of.iter().map(replica).collect(),
        reassignment: None,
    }
}

pub fn set(ids: &[u32]) -> BTreeSet<SpuId> {
    ids.iter().copied().map(SpuId).collect()
}

pub fn lives(ids: &[u32]) -> BTreeMap<SpuId, Incarnation> {
    ids.iter().map(|id| (SpuId(*id), Incarnation(1))).collect()
}

fn proposal(members: &[u32]) -> Proposal {
    Proposal {
        leader_epoch: LeaderEpoch(5),
        partition_epoch: PartitionEpoch(10),
        members: members.iter().map(|id| (SpuId(*id), Incarnation(1))).collect(),
    }
}

const LEADER: (SpuId, Incarnation) = (SpuId(1), Incarnation(1));

fn stored(isr: &[u32], eligible: &[u32]) -> Decision {
    Decision::Store { isr: set(isr), eligible: set(eligible) }
}

#[test]
fn what_is_stored() {
    let online = lives(&[1, 2, 3]);
    let all = [1, 2, 3];
    let decide = |isr: &[u32], eligible: &[u32], members: &[u32]| {
        super::decide(&row(&all, isr, eligible, 2), LEADER, &proposal(members), &online)
    };
    assert_eq!(decide(&[1, 2, 3], &[], &[1, 2]), stored(&[1, 2], &[]));
    // Below the minimum, whoever was in sync may lead.
    assert_eq!(decide(&[1, 2, 3], &[], &[1]), stored(&[1], &[2, 3]));
    assert_eq!(decide(&[1, 2], &[], &[1]), stored(&[1], &[2]));
    // Enough again: nobody is eligible any more, not even who did not come back.
    assert_eq!(decide(&[1], &[2], &[1, 3]), stored(&[1, 3], &[]));
    // As it was: stored all the same.
    assert_eq!(decide(&[1, 2], &[], &[1, 2]), stored(&[1, 2], &[]));
    assert_eq!(decide(&[1], &[2], &[1]), stored(&[1], &[2]));
    // One of three: who joins is eligible no more, the others still are.
    let three = row(&all, &[1], &[2, 3], 3);
    let joined = super::decide(&three, LEADER, &proposal(&[1, 2]), &online);
    assert_eq!(joined, stored(&[1, 2], &[3]));
    // Who is in sync already need not be online: a crash loses nothing.
    let away =
        super::decide(&row(&all, &[1, 2], &[], 2), LEADER, &proposal(&[1, 2, 3]), &lives(&[1, 3]));
    assert_eq!(away, stored(&[1, 2, 3], &[]));
}

#[test]
fn what_is_refused() {
    type Change = fn(&mut PartitionRow, &mut (SpuId, Incarnation), &mut Proposal);
    let cases: [(&str, Change, ErrorCode); 14] = [
        ("another leads", |_, asker, _| asker.0 = SpuId(2), ErrorCode::NotLeader),
        ("nobody leads", |row, _, _| row.leader = None, ErrorCode::NotLeader),
        ("an earlier life", |row, _, _| row.leader_incarnation.0 = 2, ErrorCode::FencedLeaderEpoch),
        ("an older epoch", |row, _, _| row.leader_epoch.0 = 6, ErrorCode::FencedLeaderEpoch),
        ("a newer epoch", |row, _, _| row.leader_epoch.0 = 4, ErrorCode::UnknownLeaderEpoch),
        ("it changed", |row, _, _| row.partition_epoch.0 = 11, ErrorCode::FencedPartitionEpoch),
        ("long ago", |row, _, _| row.partition_epoch.0 = 12, ErrorCode::FencedPartitionEpoch),
        ("ahead", |row, _, _| row.partition_epoch.0 = 9, ErrorCode::FencedPartitionEpoch),
        ("a stranger", |_, _, p| p.members[1].0 = SpuId(9), ErrorCode::InvalidRequest),
        ("no leader", |_, _, p| p.members.retain(|m| m.0 != SpuId(1)), ErrorCode::InvalidRequest),
        ("nobody", |_, _, p| p.members.clear(), ErrorCode::InvalidRequest),
        ("twice", |_, _, p| p.members.push(p.members[0]), ErrorCode::InvalidRequest),
        ("its earlier life", |_, _, p| p.members[1].1.0 = 0, ErrorCode::IneligibleReplica),
        ("offline", |_, _, p| p.members[1].0 = SpuId(3), ErrorCode::IneligibleReplica),
    ];
    for (name, change, expected) in cases {
        let (mut row, mut asker) = (row(&[1, 2, 3], &[1], &[], 2), LEADER);
        let mut proposal = proposal(&[1, 2]);
        change(&mut row, &mut asker, &mut proposal);
        let decision = decide(&row, asker, &proposal, &lives(&[1, 2]));
        assert!(
            matches!(decision, Decision::Refuse { code, .. } if code == expected),
            "{name}: {decision:?}"
        );
    }
}

#[test]
fn what_was_stored_is_so_when_it_is_asked_again() {
    let (online, asked) = (lives(&[1, 2, 3]), proposal(&[1, 2]));
    let mut after = row(&[1, 2, 3], &[1, 2], &[], 2);
    after.partition_epoch = PartitionEpoch(11);
    assert_eq!(decide(&after, LEADER, &asked, &online), Decision::AlreadySo);
    // Another set is stored under that epoch, or something came after.
    let other = decide(&after, LEADER, &proposal(&[1, 2, 3]), &online);
    assert!(matches!(other, Decision::Refuse { code: ErrorCode::FencedPartitionEpoch, .. }));
    after.partition_epoch = PartitionEpoch(12);
    let later = decide(&after, LEADER, &asked, &online);
    assert!(matches!(later, Decision::Refuse { code: ErrorCode::FencedPartitionEpoch, .. }));
}

proptest! {
    /// Whatever is proposed, in whatever order: what is stored keeps the rules.
    #[test]
    fn the_rules_hold_over_any_proposals(
        replicas in 1_u32..6,
        min_insync in 1_u32..6,
        proposals in proptest::collection::vec(
            (proptest::collection::vec(1_u32..7, 0..6), any::<u8>()), 1..40),
    ) {
        let of: Vec<_> = (1..=replicas).collect();
        let mut now = row(&of, &of, &[], min_insync.min(replicas));
        for (members, online) in proposals {
            let may_join: Vec<_> = of.iter().copied().filter(|n| online & (1 << n) != 0).collect();
            let asked = Proposal { partition_epoch: now.partition_epoch, ..proposal(&members) };
            let before = now.isr();
            let was_eligible = now.eligible();
            let Decision::Store { isr, eligible } = decide(&now, LEADER, &asked, &lives(&may_join))
            else { continue };
            prop_assert!(isr.contains(&SpuId(1)));
            prop_assert!(isr.is_disjoint(&eligible));
            let enough = isr.len() >= now.min_insync as usize;
            prop_assert!(!enough || eligible.is_empty());
            // Who may be elected was in sync or eligible before, or has just joined.
            prop_assert!(eligible.iter().all(|e| before.contains(e) || was_eligible.contains(e)));
            let joined = isr.difference(&before);
            prop_assert!(joined.into_iter().all(|spu| may_join.contains(&spu.0)));
            // Below the minimum nobody who holds what is committed is forgotten.
            prop_assert!(enough || before.iter().all(|b| isr.contains(b) || eligible.contains(b)));
            for replica in &mut now.replicas {
                replica.in_isr = isr.contains(&replica.spu);
                replica.eligible = eligible.contains(&replica.spu);
            }
            // Asked again it is so.
            now.partition_epoch = now.partition_epoch.next();
            prop_assert_eq!(decide(&now, LEADER, &asked, &lives(&[])), Decision::AlreadySo);
        }
    }
}
