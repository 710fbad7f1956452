//! What changes of a partition, on every driver; and how many replicas commit.

use std::collections::BTreeSet;

use weir_control_plane::{
    app::{self, AppError, TopicChange, TopicRequest, view::TopicView},
    store::{
        Scoped, Store,
        cuts::{self, Cut, CutRow, GivenUp, Report},
        partition_state::{self, PartitionState},
        partitions::{self, PartitionRow},
        topics,
    },
};
use weir_protocol::ids::{
    ClusterId, Incarnation, LeaderEpoch, Offset, PartitionIndex, PartitionKey, Revision, SpuId,
};

use crate::support::{Fixture, database::open, fixture, fresh};

async fn create(f: &Fixture, name: &str, partitions: u32, replication: u32) -> TopicView {
    let wanted = TopicRequest { replication, ..TopicRequest::new(name, partitions) };
    fresh(app::topic_create(&f.app, &f.admin, "demo", &wanted, None).await.unwrap())
}

async fn update(f: &Fixture, min_insync: Option<u32>) -> Result<TopicView, AppError> {
    let change = TopicChange { min_insync_replicas: Some(min_insync), ..TopicChange::default() };
    app::topic_update(&f.app, &f.admin, "demo", "orders", &change, None).await.map(fresh)
}

async fn get(scoped: &mut Scoped<'_>, cluster: ClusterId, key: PartitionKey) -> PartitionRow {
    partitions::get(scoped, cluster, key).await.unwrap().unwrap()
}

fn key(topic: &TopicView, index: u32) -> PartitionKey {
    PartitionKey { generation: topic.generation_id, partition: PartitionIndex(index) }
}

fn set(ids: &[u32]) -> BTreeSet<SpuId> {
    ids.iter().copied().map(SpuId).collect()
}

#[tokio::test]
async fn leader_epochs_and_replicas_are_written_together_or_not_at_all() {
    let f = fixture().await;
    let cluster = f.cluster("demo", 3).await.id;
    let topic = create(&f, "orders", 2, 3).await;
    let mut tx = f.app.store.write().await.unwrap();
    let mut scoped = tx.scoped(f.admin.org);
    let first = get(&mut scoped, cluster, key(&topic, 0)).await;
    assert_eq!((first.isr(), first.eligible()), (set(&[1, 2, 3]), set(&[])));
    assert_eq!((first.min_insync, first.leader), (2, Some(SpuId(1))));
    let state = PartitionState {
        leader: Some(SpuId(2)),
        leader_incarnation: Incarnation(7),
        leader_epoch: LeaderEpoch(9),
        isr: set(&[2]),
        eligible: set(&[3]),
    };
    assert!(partition_state::set_state(&mut scoped, cluster, &first, &state).await.unwrap());
    let second = get(&mut scoped, cluster, first.key).await;
    assert_eq!(PartitionState::from(&second), state);
    assert_eq!(second.partition_epoch, first.partition_epoch.next());
    let order = |row: &PartitionRow| row.replicas.iter().map(|r| r.spu).collect::<Vec<_>>();
    assert_eq!(order(&second), order(&first), "the order of preference stays");
    // Decided on what is no more.
    let other = PartitionState { isr: set(&[1]), eligible: set(&[]), ..state.clone() };
    assert!(!partition_state::set_state(&mut scoped, cluster, &first, &other).await.unwrap());
    let stale = partition_state::set_isr(&mut scoped, cluster, &first, &set(&[1]), &set(&[])).await;
    assert!(!stale.unwrap());
    assert_eq!(get(&mut scoped, cluster, first.key).await, second);
    // The replicas alone; also where they are as they were.
    for isr in [set(&[2, 3]), set(&[2, 3])] {
        let before = get(&mut scoped, cluster, first.key).await;
        let stored = partition_state::set_isr(&mut scoped, cluster, &before, &isr, &set(&[])).await;
        assert!(stored.unwrap());
        let after = get(&mut scoped, cluster, first.key).await;
        assert_eq!(after.partition_epoch, before.partition_epoch.next());
        let expected = PartitionState { isr, eligible: set(&[]), ..state.clone() };
        assert_eq!(PartitionState::from(&after), expected);
    }
    // Its neighbour is as it was, whichever way it is read.
    let all = partitions::of_generation(&mut scoped, cluster, topic.generation_id).await.unwrap();
    assert_eq!((all[1].partition_epoch.0, all[1].isr()), (1, set(&[1, 2, 3])));
    assert_eq!(
        partitions::of_cluster(&mut scoped, cluster).await.unwrap()[&topic.generation_id],
        all
    );
    assert_eq!(partitions::of_spu(&mut scoped, cluster, SpuId(3)).await.unwrap(), all);
    partition_state::drop_replica(&mut scoped, cluster, first.key, SpuId(1)).await.unwrap();
    assert!(!get(&mut scoped, cluster, first.key).await.is_held_by(SpuId(1)));
    // Another org changes nothing.
    let mut other = tx.scoped(f.other.org);
    assert!(!partition_state::set_state(&mut other, cluster, &all[1], &state).await.unwrap());
}

#[tokio::test]
async fn what_the_loss_of_an_spu_may_change_is_found() {
    let f = fixture().await;
    let cluster = f.cluster("demo", 2).await.id;
    create(&f, "alone", 2, 1).await;
    let both = create(&f, "both", 2, 2).await;
    let deleted = create(&f, "deleted", 1, 2).await;
    let purging = create(&f, "purging", 1, 2).await;
    app::topic_delete(&f.app, &f.admin, "demo", "deleted").await.unwrap();
    app::topic_delete_and_purge(&f.app, &f.admin, "demo", "purging").await.unwrap();
    let mut tx = f.app.store.write().await.unwrap();
    let mut scoped = tx.scoped(f.admin.org);
    let shared = async |scoped: &mut Scoped<'_>, spu| {
        let rows = partition_state::shared_by(scoped, cluster, SpuId(spu)).await.unwrap();
        rows.into_iter().map(|row| row.key).collect::<BTreeSet<_>>()
    };
    let expected = BTreeSet::from([key(&both, 0), key(&both, 1), key(&deleted, 0)]);
    assert_eq!(shared(&mut scoped, 2).await, expected);
    assert!(!expected.contains(&key(&purging, 0)));
    let row = get(&mut scoped, cluster, key(&both, 0)).await;
    partition_state::set_isr(&mut scoped, cluster, &row, &set(&[1]), &set(&[2])).await.unwrap();
    assert_eq!(shared(&mut scoped, 2).await, expected, "it is eligible");
    let row = get(&mut scoped, cluster, key(&both, 0)).await;
    partition_state::set_isr(&mut scoped, cluster, &row, &set(&[1]), &set(&[])).await.unwrap();
    assert_eq!(shared(&mut scoped, 2).await.len(), 2, "it is dropped already");
    assert_eq!(shared(&mut scoped, 1).await, expected, "the last in sync");
}

#[tokio::test]
async fn what_another_leads_than_who_is_preferred_is_found() {
    let f = fixture().await;
    let cluster = f.cluster("demo", 2).await.id;
    let topic = create(&f, "orders", 3, 2).await;
    let mut tx = f.app.store.write().await.unwrap();
    let mut scoped = tx.scoped(f.admin.org);
    let all = partitions::of_generation(&mut scoped, cluster, topic.generation_id).await.unwrap();
    for row in &all[..2] {
        let other = row.replicas[1].spu;
        let state = PartitionState { leader: Some(other), ..PartitionState::from(row) };
        assert!(partition_state::set_state(&mut scoped, cluster, row, &state).await.unwrap());
    }
    // Where the preferred one is not in sync, there is nothing to wait for.
    let second = get(&mut scoped, cluster, key(&topic, 1)).await;
    let without = second.leader.into_iter().collect();
    let none = BTreeSet::new();
    partition_state::set_isr(&mut scoped, cluster, &second, &without, &none).await.unwrap();
    let found = partition_state::led_by_another(&mut scoped, cluster, 9).await.unwrap();
    assert_eq!(found, [key(&topic, 0)]);
    assert!(partition_state::led_by_another(&mut scoped, cluster, 0).await.unwrap().is_empty());
}

#[tokio::test]
async fn how_many_commit_is_two_unless_it_is_said() {
    let f = fixture().await;
    let cluster = f.cluster("demo", 3).await.id;
    for (name, replication, expected) in [("one", 1, 1), ("two", 2, 2), ("three", 3, 2)] {
        let view = create(&f, name, 1, replication).await;
        assert_eq!((view.replication, view.min_insync_replicas), (replication, expected));
    }
    let wanted = TopicRequest {
        replication: 3,
        min_insync_replicas: Some(3),
        ..TopicRequest::new("orders", 1)
    };
    let made = fresh(app::topic_create(&f.app, &f.admin, "demo", &wanted, None).await.unwrap());
    assert_eq!(made.min_insync_replicas, 3);
    let told = app::metadata_snapshot(&f.app, f.admin.org, cluster).await.unwrap();
    let told: Vec<_> =
        told.topics.iter().map(|t| (t.name.as_str(), t.min_insync_replicas)).collect();
    assert_eq!(told, [("one", 1), ("orders", 3), ("three", 2), ("two", 2)]);
    assert_eq!(update(&f, None).await.unwrap().min_insync_replicas, 2);
    for impossible in [0, 4] {
        let error = update(&f, Some(impossible)).await.unwrap_err();
        assert!(matches!(error, AppError::Invalid { field: "min_insync_replicas", .. }));
        assert!(error.hint().contains("1 to 3"), "{}", error.hint());
    }
}

#[tokio::test]
async fn with_fewer_demanded_nobody_may_lead_who_would_lack_what_is_committed_then() {
    let f = fixture().await;
    let cluster = f.cluster("demo", 3).await.id;
    let topic = create(&f, "orders", 2, 3).await;
    let mut tx = f.app.store.write().await.unwrap();
    let mut scoped = tx.scoped(f.admin.org);
    let row = get(&mut scoped, cluster, key(&topic, 0)).await;
    let (isr, eligible) = (set(&[1]), set(&[2]));
    partition_state::set_isr(&mut scoped, cluster, &row, &isr, &eligible).await.unwrap();
    tx.commit().await.unwrap();
    let at = app::cluster_get(&f.app, &f.admin, "demo").await.unwrap().revision;
    let view = update(&f, Some(3)).await.unwrap();
    assert_eq!(view.partitions[0].eligible_spu_ids, [2], "more demanded: as before");
    assert_eq!(view.partitions[0].partition_epoch, 2);
    let view = update(&f, Some(1)).await.unwrap();
    assert_eq!(view.min_insync_replicas, 1);
    assert!(view.partitions[0].eligible_spu_ids.is_empty());
    let epochs: Vec<_> = view.partitions.iter().map(|p| p.partition_epoch).collect();
    assert_eq!(epochs, [3, 1], "what changed, and nothing else");
    // Told in one piece.
    let delta = app::metadata_since(&f.app, f.admin.org, cluster, Revision(at)).await.unwrap();
    assert_eq!((delta.revision, delta.topics.len()), (at + 2, 1));
    assert_eq!(delta.topics[0].min_insync_replicas, 1);
    assert!(delta.topics[0].partitions[0].eligible_spu_ids.is_empty());
    assert!(view.partitions[0].under_replicated && !view.partitions[1].under_replicated);
    assert_eq!(update(&f, Some(1)).await.unwrap(), view, "as it is: nothing changes");
}

/// Rows as they were before there were more replicas than one, and the migration after.
#[tokio::test]
async fn what_was_there_before_is_in_sync_with_itself() {
    let f = fixture().await;
    let cluster = f.cluster("demo", 1).await.id;
    let topic = create(&f, "orders", 1, 1).await;
    let mut tx = f.app.store.write().await.unwrap();
    for sql in [
        "ALTER TABLE topic_generations DROP COLUMN min_insync_replicas",
        "ALTER TABLE replicas DROP COLUMN eligible",
        "DELETE FROM _sqlx_migrations WHERE version = 6",
    ] {
        tx.execute(sql, vec![]).await.unwrap();
    }
    tx.commit().await.unwrap();
    let later = open(&f.folder).await;
    assert_eq!(later.migrate().await, Ok(1));
    let later = Store::new(later);
    let mut tx = later.read().await.unwrap();
    let mut scoped = tx.scoped(f.admin.org);
    let row = get(&mut scoped, cluster, key(&topic, 0)).await;
    assert_eq!((row.min_insync, row.isr(), row.eligible()), (1, set(&[1]), set(&[])));
    let row = topics::find(&mut scoped, cluster, "orders").await.unwrap().unwrap();
    assert_eq!((row.min_insync, row.min_insync_replicas()), (None, 1));
}

#[tokio::test]
async fn a_cut_is_kept_with_its_partition_and_its_epoch_told() {
    let f = fixture().await;
    let cluster = f.cluster("demo", 3).await.id;
    let topic = create(&f, "orders", 2, 3).await;
    let mut tx = f.app.store.write().await.unwrap();
    let mut scoped = tx.scoped(f.admin.org);
    let report = |epoch, end| Report {
        last_epoch: Some(LeaderEpoch(epoch)),
        log_end: Offset(end),
        high_watermark: Offset(end - 1),
    };
    let cut = |epoch| Cut {
        leader: SpuId(3),
        leader_epoch: LeaderEpoch(epoch),
        old_leader_epoch: LeaderEpoch(epoch - 1),
        report: report(epoch - 1, 50),
        given_up: vec![
            GivenUp { spu: SpuId(1), in_sync: true, report: Some(report(epoch - 1, 90)) },
            GivenUp { spu: SpuId(2), in_sync: false, report: None },
        ],
    };
    for (index, epoch) in [(1, 4), (1, 7), (0, 3)] {
        cuts::insert(&mut scoped, cluster, key(&topic, index), &cut(epoch), 77).await.unwrap();
    }
    let row =
        |index, epoch| CutRow { partition: PartitionIndex(index), at_unix_ms: 77, cut: cut(epoch) };
    let found = cuts::of_generation(&mut scoped, cluster, topic.generation_id).await.unwrap();
    assert_eq!(found, [row(0, 3), row(1, 7), row(1, 4)]);
    let newest = get(&mut scoped, cluster, key(&topic, 1)).await.unclean_leader_epoch;
    assert_eq!(newest, LeaderEpoch(7));
    tx.commit().await.unwrap();
    let map = app::metadata_snapshot(&f.app, f.admin.org, cluster).await.unwrap();
    let told: Vec<_> = map.topics[0].partitions.iter().map(|p| p.unclean_leader_epoch).collect();
    assert_eq!(told, [3, 7]);
    let shown = app::topic_get(&f.app, &f.admin, "demo", "orders").await.unwrap();
    let epochs = |index: usize| -> Vec<u32> {
        shown.partitions[index].cuts.iter().map(|cut| cut.leader_epoch).collect()
    };
    assert_eq!((epochs(0), epochs(1)), (vec![3], vec![7, 4]));
    assert_eq!(shown.partitions[1].cuts[0].given_up[0].log_end, Some(90));
}
