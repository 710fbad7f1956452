//! Two control planes over one database, at the same time.

use std::sync::Arc;

use weir_control_plane::{
    app::{self, bootstrap::AdminKey},
    auth::ApiKey,
    store::{
        Database, Mode, Store,
        changes::{self, Change},
    },
};
use weir_protocol::ids::{Revision, SpuId};
use weir_runtime::task;

use crate::support::{database::open, fixture};

/// Each reads, then writes what it read plus one: lost updates would show.
#[tokio::test]
async fn writers_of_two_processes_take_turns() {
    let folder = tempfile::tempdir().unwrap();
    let both = [open(&folder).await, open(&folder).await];
    let mut tx = both[0].begin(Mode::Write).await.unwrap();
    tx.execute("CREATE TABLE c (n BIGINT NOT NULL)", vec![]).await.unwrap();
    tx.execute("INSERT INTO c (n) VALUES (0)", vec![]).await.unwrap();
    tx.commit().await.unwrap();
    let add = |db: Arc<dyn Database>| async move {
        for _ in 0..10 {
            let mut tx = db.begin(Mode::Write).await.unwrap();
            let rows = tx.query("SELECT n FROM c", vec![]).await.unwrap();
            let next = rows[0].get::<i64>("n").unwrap() + 1;
            tx.execute("UPDATE c SET n = $1", vec![next.into()]).await.unwrap();
            tx.commit().await.unwrap();
        }
    };
    let tasks: Vec<_> =
        (0..4).flat_map(|_| &both).map(|db| task::spawn(add(Arc::clone(db)))).collect();
    for task in tasks {
        task.await.unwrap();
    }
    let rows = both[1].begin(Mode::Read).await.unwrap().query("SELECT n FROM c", vec![]).await;
    assert_eq!(rows.unwrap()[0].get::<i64>("n").unwrap(), 80);
}

/// Whoever looks sees revisions without a gap: they are committed in their order.
#[tokio::test]
async fn revisions_of_two_processes_are_committed_in_order() {
    let f = fixture().await;
    let (cluster, org) = (f.cluster("demo", 1).await, f.admin.org);
    let second = Store::new(open(&f.folder).await);
    let record = |store: Store, number: u32| async move {
        for round in 0..10 {
            let mut tx = store.write().await.unwrap();
            let mut scoped = tx.scoped(org);
            let change = Change::Spu(SpuId(number));
            changes::record(&mut scoped, cluster.id, &change, 1).await.unwrap();
            // Every third one is not committed: its revision must not be lost.
            if round % 3 != 0 {
                tx.commit().await.unwrap();
            }
        }
    };
    let tasks: Vec<_> = (0..3_u32)
        .flat_map(|number| [(f.app.store.clone(), number), (second.clone(), number)])
        .map(|(store, number)| task::spawn(record(store, number)))
        .collect();
    let mut seen = Revision(cluster.revision);
    while seen.0 < cluster.revision + 6 * 6 {
        let mut tx = second.read().await.unwrap();
        let found = changes::since(&mut tx.scoped(org), cluster.id, seen).await.unwrap();
        for (revision, _) in found.expect("a gap") {
            assert_eq!(revision, seen.next());
            seen = revision;
        }
        tokio::task::yield_now().await;
    }
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn a_first_start_of_two_at_once_makes_one_history() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (open(&folder).await, open(&folder).await);
    one.migrate().await.unwrap();
    let key = AdminKey::Given(ApiKey::generate("local").unwrap());
    let (one, two) = (Store::new(one), Store::new(two));
    let (first, second) =
        tokio::join!(app::bootstrap(&one, 1, &key), app::bootstrap(&two, 1, &key));
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(first.meta.database_id, second.meta.database_id);
    assert_eq!(first.org, second.org);
    assert_eq!(first.signer.token_keys(), second.signer.token_keys());
}
