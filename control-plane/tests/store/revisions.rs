//! The revision counter: every committed change has one, none is skipped, none is used
//! twice, whoever writes at the same time.

use std::{collections::BTreeSet, sync::Arc};

use weir_control_plane::store::{
    changes::{self, Change},
    clusters, leadership,
};
use weir_protocol::ids::{ProducerId, Revision, SpuId};
use weir_runtime::task;

use crate::support::fixture;

#[tokio::test]
async fn concurrent_changes_get_consecutive_revisions() {
    let f = fixture().await;
    let cluster = f.cluster("demo", 1).await;
    let org = f.admin.org;
    let tasks: Vec<_> = (0..8_u32)
        .map(|number| {
            let app = Arc::clone(&f.app);
            task::spawn(async move {
                let mut taken = Vec::new();
                for round in 0..10 {
                    let mut tx = app.store.write().await.unwrap();
                    let mut scoped = tx.scoped(org);
                    let change = Change::Spu(SpuId(number));
                    let revision =
                        changes::record(&mut scoped, cluster.id, &change, 1).await.unwrap();
                    // Every third one is not committed: its revision must not be lost.
                    if round % 3 != 0 {
                        tx.commit().await.unwrap();
                        taken.push(revision.0);
                    }
                }
                taken
            })
        })
        .collect();
    let mut taken = Vec::new();
    for task in tasks {
        taken.extend(task.await.unwrap());
    }
    let unique: BTreeSet<_> = taken.iter().copied().collect();
    assert_eq!(unique.len(), taken.len());
    let first = cluster.revision + 1;
    let expected: BTreeSet<_> = (first..first + taken.len() as u64).collect();
    assert_eq!(unique, expected);
    let mut tx = f.app.store.read().await.unwrap();
    let mut scoped = tx.scoped(org);
    let stored = changes::since(&mut scoped, cluster.id, Revision(cluster.revision)).await;
    let stored: Vec<_> = stored.unwrap().unwrap().iter().map(|(revision, _)| revision.0).collect();
    assert_eq!(stored, expected.into_iter().collect::<Vec<_>>());
}

#[tokio::test]
async fn producer_ids_are_given_out_once() {
    let f = fixture().await;
    let cluster = f.cluster("demo", 1).await.id;
    let mut next = 1;
    for count in [1, 100, 1000] {
        let mut tx = f.app.store.write().await.unwrap();
        let mut scoped = tx.scoped(f.admin.org);
        let first = clusters::take_producer_ids(&mut scoped, cluster, count).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(first, Some(ProducerId(next)));
        next += u64::from(count);
    }
    let mut tx = f.app.store.write().await.unwrap();
    let mut other = tx.scoped(f.other.org);
    assert_eq!(clusters::take_producer_ids(&mut other, cluster, 1).await.unwrap(), None);
}

#[tokio::test]
async fn the_lead_changes_hands_only_when_its_lease_is_over() {
    let f = fixture().await;
    let mut tx = f.app.store.write().await.unwrap();
    let mut terms = Vec::new();
    // (holder, now, expires)
    for (holder, now, expires) in
        [("a", 0, 10), ("b", 9, 19), ("a", 9, 20), ("b", 19, 30), ("b", 20, 30), ("a", 30, 40)]
    {
        let term = leadership::system_claim(&mut tx, "reconcile", holder, now, expires).await;
        terms.push(term.unwrap().map(|term| term.0));
    }
    assert_eq!(terms, [Some(1), None, Some(1), None, Some(2), Some(3)]);
}
