//! The replica as a whole: stories, then a random walk against a model of the disk.

mod acks;
mod leadership;
mod storage;
mod walk;

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;
use weir_protocol::{
    ErrorCode, Outcome,
    ids::{
        Incarnation, LeaderEpoch, Offset, PartitionEpoch, PartitionIndex, PartitionKey,
        ProducerEpoch, ProducerId, SpuId, TopicGenerationId,
    },
    topic_config::{Flush, TopicConfig},
};

use super::{followers::FollowerFetch, *};

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
        unclean_epoch: LeaderEpoch(0),
        partition_epoch: PartitionEpoch(partition_epoch),
        replicas: BTreeSet::from([ME]),
        online: [ME, OTHER, SpuId(3)].map(|spu| (spu, Incarnation(1))).into(),
        isr: BTreeSet::from([ME]),
        min_insync: 1,
        config: TopicConfig::default(),
    }
}

fn recovered(end: u64) -> Replica {
    let limits = ReplicaLimits { producers_max: 100, replica_lag_max_ms: 1_000 };
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

fn fetch(spu: SpuId, epoch: u32, log_end: u64, held_end: u64) -> Event {
    Event::Fetch(FollowerFetch {
        request: RequestId(1_000),
        spu,
        incarnation: Incarnation(1),
        leader_epoch: LeaderEpoch(epoch),
        log_end: Offset(log_end),
        last_epoch: (log_end > 0).then_some(LeaderEpoch(epoch)),
        held_end: Offset(held_end),
        ping_round: 0,
        now_ms: 0,
    })
}

fn synced(end: u64) -> Event {
    Event::Synced { durable_end: Offset(end) }
}

fn full() -> Problem {
    Problem::new(ErrorCode::StorageFailed, "EIO")
}
