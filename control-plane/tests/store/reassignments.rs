//! Reassignments and what they leave behind, as they are stored.

use weir_control_plane::{
    app::{self, TopicRequest},
    store::{
        Scoped,
        partition_state::PartitionState,
        partitions::{self, PartitionRow},
        purges,
        reassignments::{self, Reassignment},
        removals, topics,
    },
};
use weir_protocol::ids::{ClusterId, PartitionEpoch, PartitionIndex, PartitionKey, SpuId};

use crate::support::{fixture, fresh};

fn spus(ids: &[u32]) -> Vec<SpuId> {
    ids.iter().copied().map(SpuId).collect()
}

fn goal(target: &[u32], original: &[u32]) -> Reassignment {
    Reassignment { target: spus(target), original: spus(original), moving: false }
}

async fn get(org: &mut Scoped<'_>, cluster: ClusterId, key: PartitionKey) -> PartitionRow {
    partitions::get(org, cluster, key).await.unwrap().unwrap()
}

/// As if all had caught up: these are in sync, and hold it alone.
async fn finish(org: &mut Scoped<'_>, cluster: ClusterId, key: PartitionKey, to: &[u32]) {
    let row = get(org, cluster, key).await;
    assert!(reassignments::set(org, cluster, &row, Some(&goal(to, &[1]))).await.unwrap());
    let row = get(org, cluster, key).await;
    let mut all = spus(to);
    all.extend(row.holders().into_iter().filter(|spu| !to.contains(&spu.0)));
    assert!(reassignments::join(org, cluster, &row, &all).await.unwrap());
    let row = get(org, cluster, key).await;
    let (leader, isr) = (Some(SpuId(to[0])), spus(to).into_iter().collect());
    let state = PartitionState { leader, isr, ..PartitionState::from(&row) };
    assert!(reassignments::finish(org, cluster, &row, &spus(to), &state, 5).await.unwrap());
}

#[tokio::test]
async fn each_step_is_stored_under_compare_and_set() {
    let f = fixture().await;
    let cluster = f.cluster("demo", 3).await.id;
    let wanted = TopicRequest { replication: 2, ..TopicRequest::new("orders", 2) };
    let topic = fresh(app::topic_create(&f.app, &f.admin, "demo", &wanted, None).await.unwrap());
    let key = PartitionKey { generation: topic.generation_id, partition: PartitionIndex(0) };
    let mut tx = f.app.store.write().await.unwrap();
    let org = &mut tx.scoped(f.admin.org);
    let before = get(org, cluster, key).await;
    assert_eq!((before.holders(), before.reassignment.clone()), (spus(&[1, 2]), None));
    let wanted = goal(&[3, 2], &[1, 2]);
    assert!(reassignments::set(org, cluster, &before, Some(&wanted)).await.unwrap());
    let waits = get(org, cluster, key).await;
    assert_eq!(waits.reassignment, Some(wanted));
    assert_eq!(waits.partition_epoch, before.partition_epoch, "nobody has to hear of it");
    let running = async |org: &mut Scoped<'_>, moving| {
        let rows = reassignments::running(org, cluster, moving, 10).await.unwrap();
        rows.into_iter().map(|row| (row.key, row.replicas.len())).collect::<Vec<_>>()
    };
    assert_eq!((running(org, false).await, running(org, true).await), (vec![(key, 2)], vec![]));
    assert!(reassignments::running(org, cluster, false, 0).await.unwrap().is_empty());
    assert!(reassignments::any_of(org, cluster, key.generation).await.unwrap());
    let destined = reassignments::destined(org, cluster).await.unwrap();
    assert_eq!(destined[&SpuId(3)][0].topic, "orders");
    // It joins once.
    assert!(reassignments::join(org, cluster, &waits, &spus(&[3, 2, 1])).await.unwrap());
    assert!(!reassignments::join(org, cluster, &waits, &spus(&[3, 2, 1])).await.unwrap());
    let joined = get(org, cluster, key).await;
    assert_eq!((joined.holders(), joined.isr()), (spus(&[3, 2, 1]), before.isr()));
    assert_eq!(joined.partition_epoch, before.partition_epoch.next());
    assert_eq!((running(org, false).await, running(org, true).await), (vec![], vec![(key, 3)]));
    let page = reassignments::page(org, cluster, None, 10).await.unwrap();
    assert_eq!(page[0], joined);
    assert!(reassignments::page(org, cluster, Some(key), 10).await.unwrap().is_empty());
    // It ends once, and not on what was read before.
    let isr = spus(&[3, 2]).into_iter().collect();
    let state = PartitionState { leader: Some(SpuId(3)), isr, ..PartitionState::from(&joined) };
    let target = spus(&[3, 2]);
    assert!(!reassignments::finish(org, cluster, &waits, &target, &state, 5).await.unwrap());
    assert!(reassignments::finish(org, cluster, &joined, &target, &state, 5).await.unwrap());
    let done = get(org, cluster, key).await;
    assert_eq!((done.holders(), done.reassignment.clone()), (target, None));
    assert_eq!((done.leader, done.isr()), (Some(SpuId(3)), state.isr));
    let due = removals::of_spu(org, cluster, SpuId(1), 10).await.unwrap();
    assert_eq!(due, [(key, done.partition_epoch)]);
    assert!(!reassignments::any_of(org, cluster, key.generation).await.unwrap());
}

#[tokio::test]
async fn a_late_confirmation_counts_for_nothing() {
    let f = fixture().await;
    let cluster = f.cluster("demo", 2).await.id;
    let wanted = TopicRequest::new("orders", 1);
    let topic = fresh(app::topic_create(&f.app, &f.admin, "demo", &wanted, None).await.unwrap());
    let key = PartitionKey { generation: topic.generation_id, partition: PartitionIndex(0) };
    let mut tx = f.app.store.write().await.unwrap();
    let org = &mut tx.scoped(f.admin.org);
    let due = async |org: &mut Scoped<'_>, spu| {
        removals::of_spu(org, cluster, SpuId(spu), 10).await.unwrap()
    };
    finish(org, cluster, key, &[2]).await;
    let (_, first) = due(org, 1).await[0];
    assert!(removals::confirmed(org, cluster, key, SpuId(1), first).await.unwrap());
    assert!(!removals::confirmed(org, cluster, key, SpuId(1), first).await.unwrap());
    // It holds it again, and once more it does not.
    finish(org, cluster, key, &[1]).await;
    finish(org, cluster, key, &[2]).await;
    assert!(!removals::confirmed(org, cluster, key, SpuId(1), first).await.unwrap());
    let (_, second) = due(org, 1).await[0];
    assert!(second > first);
    assert!(removals::confirmed(org, cluster, key, SpuId(1), second).await.unwrap());
    assert!(due(org, 1).await.is_empty());
    // The order names the epoch of now, which the SPU has seen.
    let (_, ordered) = due(org, 2).await[0];
    assert_eq!(ordered, get(org, cluster, key).await.partition_epoch);
    assert!(ordered > PartitionEpoch(1));
}

#[tokio::test]
async fn a_purge_waits_for_what_a_reassignment_left_behind() {
    let f = fixture().await;
    let cluster = f.cluster("demo", 2).await.id;
    let wanted = TopicRequest::new("orders", 1);
    let topic = fresh(app::topic_create(&f.app, &f.admin, "demo", &wanted, None).await.unwrap());
    let key = PartitionKey { generation: topic.generation_id, partition: PartitionIndex(0) };
    let mut tx = f.app.store.write().await.unwrap();
    let org = &mut tx.scoped(f.admin.org);
    finish(org, cluster, key, &[2]).await;
    tx.commit().await.unwrap();
    app::topic_delete_and_purge(&f.app, &f.admin, "demo", "orders").await.unwrap();
    let mut tx = f.app.store.write().await.unwrap();
    let org = &mut tx.scoped(f.admin.org);
    assert!(purges::removed(org, cluster, key, SpuId(2), PartitionEpoch(9)).await.unwrap());
    assert_eq!(purges::settle(org, cluster, key.generation, 9).await.unwrap(), None);
    assert!(topics::by_id(org, cluster, key.generation).await.unwrap().is_some());
    // The first is removed from the cluster for good.
    purges::holder_gone(org, cluster, SpuId(1), 9).await.unwrap();
    assert!(topics::by_id(org, cluster, key.generation).await.unwrap().is_none());
    assert!(removals::of_cluster(org, cluster).await.unwrap().is_empty());
}
