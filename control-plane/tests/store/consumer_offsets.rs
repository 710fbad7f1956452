//! What consumers have committed: the order of changes holds whatever comes late, and
//! generations keep theirs apart.

use weir_control_plane::{
    app::{self, TopicRequest},
    store::{
        consumer_offsets::{self, Change, Committed},
        purges,
        types::TopicState,
    },
};
use weir_protocol::ids::{
    ClusterId, LeaderEpoch, Offset, PartitionIndex, PartitionKey, TopicGenerationId,
};

use crate::support::{Fixture, fixture, fresh};

struct Case {
    f: Fixture,
    cluster: ClusterId,
}

async fn case() -> Case {
    let f = fixture().await;
    let cluster = f.cluster("demo", 1).await.id;
    Case { f, cluster }
}

fn commit(
    consumer: &str,
    generation: TopicGenerationId,
    index: u32,
    position: u64,
    next: Option<u64>,
) -> Change {
    Change {
        consumer: consumer.to_owned(),
        partition: PartitionKey { generation, partition: PartitionIndex(index) },
        position: Offset(position),
        committed: Some(Committed {
            next_offset: next.map(Offset),
            leader_epoch: Some(LeaderEpoch(3)),
            metadata: format!("at {position}"),
            committed_at_unix_ms: 1_000,
        }),
    }
}

impl Case {
    async fn topic(&self, name: &str) -> TopicGenerationId {
        let wanted = TopicRequest::new(name, 2);
        let (app, admin) = (&self.f.app, &self.f.admin);
        let created = app::topic_create(app, admin, "demo", &wanted, None).await.unwrap();
        fresh(created).generation_id
    }

    async fn store(&self, change: &Change) -> bool {
        let mut tx = self.f.app.store.write().await.unwrap();
        let mut org = tx.scoped(self.f.admin.org);
        let taken = consumer_offsets::store(&mut org, self.cluster, change, 50).await.unwrap();
        tx.commit().await.unwrap();
        taken
    }

    /// `(topic, generation number, partition, next offset)` of a consumer.
    async fn shown(&self, consumer: &str) -> Vec<(String, u32, u32, Option<u64>)> {
        let mut tx = self.f.app.store.read().await.unwrap();
        let mut org = tx.scoped(self.f.admin.org);
        let rows = consumer_offsets::of_consumer(&mut org, self.cluster, consumer).await.unwrap();
        rows.into_iter()
            .map(|row| {
                let next = row.committed.next_offset.map(Offset::get);
                (row.topic, row.generation_number.get(), row.partition.partition.get(), next)
            })
            .collect()
    }

    async fn names(&self, after: &str, limit: u32) -> Vec<String> {
        let mut tx = self.f.app.store.read().await.unwrap();
        let mut org = tx.scoped(self.f.admin.org);
        consumer_offsets::names(&mut org, self.cluster, after, limit).await.unwrap()
    }
}

#[tokio::test]
async fn only_a_higher_position_changes_anything() {
    let case = case().await;
    let orders = case.topic("orders").await;
    for (position, next, taken) in
        [(5, Some(10), true), (5, Some(99), false), (4, Some(98), false), (6, Some(11), true)]
    {
        assert_eq!(case.store(&commit("a", orders, 0, position, next)).await, taken, "{position}");
    }
    assert_eq!(case.shown("a").await, [("orders".to_owned(), 1, 0, Some(11))]);
    // Another partition, another consumer: an order of their own.
    assert!(case.store(&commit("a", orders, 1, 1, None)).await);
    assert!(case.store(&commit("b", orders, 0, 1, Some(2))).await);
    assert_eq!(case.shown("a").await[1], ("orders".to_owned(), 1, 1, None));
    assert_eq!(case.shown("b").await, [("orders".to_owned(), 1, 0, Some(2))]);
    let mut tx = case.f.app.store.read().await.unwrap();
    let mut org = tx.scoped(case.f.admin.org);
    let rows = consumer_offsets::of_consumer(&mut org, case.cluster, "a").await.unwrap();
    assert_eq!(rows[0].committed, commit("a", orders, 0, 6, Some(11)).committed.unwrap());
    assert_eq!(rows[0].leader.map(|spu| spu.get()), Some(1));
}

#[tokio::test]
async fn what_was_deleted_does_not_come_back_by_a_late_repetition() {
    let case = case().await;
    let orders = case.topic("orders").await;
    let old = commit("a", orders, 0, 5, Some(10));
    case.store(&old).await;
    let gone = Change { position: Offset(7), committed: None, ..old.clone() };
    assert!(case.store(&gone).await);
    for late in [&old, &commit("a", orders, 0, 6, Some(11)), &gone] {
        assert!(!case.store(late).await);
    }
    assert!(case.shown("a").await.is_empty() && case.names("", 9).await.is_empty());
    // Rows that were deleted long ago go; those that were not stay, however old.
    case.store(&commit("b", orders, 0, 1, Some(1))).await;
    for (before, dropped) in [(50, 0), (51, 1), (51, 0)] {
        let mut tx = case.f.app.store.write().await.unwrap();
        assert_eq!(consumer_offsets::system_prune(&mut tx, before).await.unwrap(), dropped);
        tx.commit().await.unwrap();
    }
    assert_eq!(case.names("", 9).await, ["b"]);
    // A consumer that begins anew under the name.
    assert!(case.store(&commit("a", orders, 0, 9, Some(0))).await);
    assert_eq!(case.shown("a").await.len(), 1);
}

#[tokio::test]
async fn forgetting_keeps_the_order_and_touches_nobody_else() {
    let case = case().await;
    let orders = case.topic("orders").await;
    for index in 0..2 {
        case.store(&commit("a", orders, index, 5, Some(10))).await;
        case.store(&commit("ab", orders, index, 6, Some(10))).await;
    }
    let mut tx = case.f.app.store.write().await.unwrap();
    // Rows were stored at 50. What came since the order is of a consumer that began anew.
    for (before, count) in [(50, 0), (51, 2), (60, 0)] {
        let mut org = tx.scoped(case.f.admin.org);
        let done = consumer_offsets::forget(&mut org, case.cluster, "a", before, 60).await.unwrap();
        assert_eq!(done, count);
        // Another tenant's hand reaches nothing.
        let mut other = tx.scoped(case.f.other.org);
        let done =
            consumer_offsets::forget(&mut other, case.cluster, "ab", before, 60).await.unwrap();
        assert_eq!(done, 0);
    }
    tx.commit().await.unwrap();
    assert!(case.shown("a").await.is_empty());
    assert!(!case.store(&commit("a", orders, 0, 5, Some(10))).await);
    assert_eq!(case.shown("ab").await.len(), 2);
}

#[tokio::test]
async fn consumers_come_in_pages_by_name() {
    let case = case().await;
    let orders = case.topic("orders").await;
    for name in ["c", "a", "b", "d"] {
        for index in 0..2 {
            case.store(&commit(name, orders, index, 1, Some(1))).await;
        }
    }
    assert_eq!(case.names("", 3).await, ["a", "b", "c"]);
    assert_eq!(case.names("c", 3).await, ["d"]);
    assert!(case.names("d", 3).await.is_empty());
}

#[tokio::test]
async fn a_tombstone_keeps_its_offsets_and_a_purge_loses_them() {
    let case = case().await;
    let old = case.topic("orders").await;
    case.store(&commit("a", old, 0, 1, Some(72))).await;
    app::topic_delete(&case.f.app, &case.f.admin, "demo", "orders").await.unwrap();
    let new = case.topic("orders").await;
    case.store(&commit("a", new, 0, 2, Some(2))).await;
    let both = case.shown("a").await;
    assert_eq!(both, [("orders".to_owned(), 1, 0, Some(72)), ("orders".to_owned(), 2, 0, Some(2))]);
    let mut tx = case.f.app.store.write().await.unwrap();
    let mut org = tx.scoped(case.f.admin.org);
    let rows = consumer_offsets::of_consumer(&mut org, case.cluster, "a").await.unwrap();
    let states: Vec<_> = rows.iter().map(|row| row.generation_state).collect();
    assert_eq!(states, [TopicState::Tombstone, TopicState::Active]);
    assert!(purges::begin(&mut org, case.cluster, old).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(case.shown("a").await, both[1..]);
    // Nothing is stored for what has no row: the caller has to look first.
    let mut tx = case.f.app.store.write().await.unwrap();
    let mut org = tx.scoped(case.f.admin.org);
    let never = TopicGenerationId(uuid::Uuid::from_u128(99));
    let late = commit("a", never, 0, 9, Some(73));
    assert!(consumer_offsets::store(&mut org, case.cluster, &late, 1).await.is_err());
}

#[tokio::test]
async fn what_consumers_read_is_every_partition_of_a_topic_that_is_there() {
    let case = case().await;
    let (orders, gone) = (case.topic("orders").await, case.topic("gone").await);
    case.store(&commit("a", orders, 0, 1, Some(4))).await;
    case.store(&commit("b", orders, 1, 2, None)).await;
    case.store(&commit("b", gone, 0, 3, Some(1))).await;
    let forgotten = Change { committed: None, ..commit("c", orders, 0, 4, None) };
    case.store(&forgotten).await;
    app::topic_delete(&case.f.app, &case.f.admin, "demo", "gone").await.unwrap();
    let mut tx = case.f.app.store.read().await.unwrap();
    let rows = consumer_offsets::system_read(&mut tx, 9).await.unwrap();
    let brief: Vec<_> = rows
        .iter()
        .map(|row| {
            let next = row.next_offset.map(Offset::get);
            (&*row.consumer, &*row.topic, row.partition.partition.get(), next)
        })
        .collect();
    assert_eq!(
        brief,
        [
            ("a", "orders", 0, Some(4)),
            ("a", "orders", 1, None),
            ("b", "orders", 0, None),
            ("b", "orders", 1, None),
        ]
    );
    assert!(rows.iter().all(|row| row.cluster == case.cluster && row.leader.is_some()));
    assert_eq!(consumer_offsets::system_read(&mut tx, 3).await.unwrap(), rows[..3]);
    assert_eq!(consumer_offsets::system_readers(&mut tx).await.unwrap(), 2);
}
