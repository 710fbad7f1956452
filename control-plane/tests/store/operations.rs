//! Operations: one runs at a time, they outlive their cluster, and they are not kept for ever.

use uuid::Uuid;
use weir_control_plane::{
    app,
    plan::operation::{begun, finished},
    store::{
        clusters,
        operations::{self, NewOperation, Target},
        types::{KeyScope, OperationKind, OperationState},
    },
};
use weir_protocol::ids::{ClusterId, OperationId};

use crate::support::{add_key, fixture};

const CLUSTER: ClusterId = ClusterId(Uuid::from_u128(9));

fn id(n: u128) -> OperationId {
    OperationId(Uuid::from_u128(n))
}

fn new(n: u128, kind: OperationKind) -> NewOperation<'static> {
    let target = Target { to: 2, ..Target::default() };
    NewOperation {
        id: id(n),
        cluster: CLUSTER,
        cluster_name: "demo",
        kind,
        account: begun(kind, &target),
        target,
        actor: "key_1",
    }
}

#[tokio::test]
async fn one_runs_at_a_time_and_an_ended_one_stays_as_it_is() {
    let f = fixture().await;
    let mut tx = f.app.store.write().await.unwrap();
    let mut org = tx.scoped(f.admin.org);
    operations::begin(&mut org, &new(1, OperationKind::Create), 10).await.unwrap();
    operations::begin(&mut org, &new(2, OperationKind::Shutdown), 20).await.unwrap();
    let first = operations::get(&mut org, id(1)).await.unwrap().unwrap();
    assert_eq!(first.account.state, OperationState::Superseded);
    assert_eq!((first.created_at_unix_ms, first.ended_at_unix_ms), (10, Some(20)));
    let second = operations::newest(&mut org, CLUSTER).await.unwrap().unwrap();
    assert_eq!((second.id, second.ended_at_unix_ms), (id(2), None));
    assert_eq!(second.account, new(2, OperationKind::Shutdown).account);

    let done = finished(&second.account);
    // The first has ended: whoever still works on it is too late.
    assert!(!operations::account(&mut org, id(1), &done, 30).await.unwrap());
    assert!(operations::account(&mut org, id(2), &done, 30).await.unwrap());
    assert!(!operations::account(&mut org, id(2), &second.account, 40).await.unwrap());
    let second = operations::get(&mut org, id(2)).await.unwrap().unwrap();
    assert_eq!((&second.account, second.ended_at_unix_ms), (&done, Some(30)));
    // Another tenant sees nothing of it.
    let mut other = tx.scoped(f.other.org);
    assert_eq!(operations::get(&mut other, id(2)).await.unwrap(), None);
    assert!(operations::page(&mut other, None, None, 9).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_operation_outlives_its_cluster() {
    let f = fixture().await;
    let view = f.cluster("demo", 1).await;
    let operation = view.operation_id.unwrap().to_string();
    let mut tx = f.app.store.write().await.unwrap();
    assert!(clusters::remove(&mut tx.scoped(f.admin.org), view.id).await.unwrap());
    tx.commit().await.unwrap();
    let shown = app::operation_get(&f.app, &f.admin, &operation).await.unwrap();
    assert_eq!((shown.cluster_id, shown.cluster_name.as_str()), (view.id, "demo"));
    let (all, _) = app::operation_list(&f.app, &f.admin, None, None, 9).await.unwrap();
    assert_eq!(all, [shown]);
    let (reader, _) = add_key(&f.app, f.admin.org, &[KeyScope::Read]).await;
    let refused = app::cluster_scale(&f.app, &reader, "demo", 2, true, None).await.unwrap_err();
    assert_eq!(refused.code(), "FORBIDDEN");
    app::operation_get(&f.app, &reader, &operation).await.unwrap();
}

#[tokio::test]
async fn old_and_surplus_ones_are_dropped_and_running_ones_never() {
    let f = fixture().await;
    let mut tx = f.app.store.write().await.unwrap();
    let mut org = tx.scoped(f.admin.org);
    for n in 1..=6 {
        let at = i64::try_from(n * 10).unwrap();
        operations::begin(&mut org, &new(n, OperationKind::Resume), at).await.unwrap();
    }
    // Each ended when the next began: 1 to 5 ended at 20 to 60, 6 runs.
    let left = async |tx: &mut weir_control_plane::store::Tx| {
        let mut org = tx.scoped(f.admin.org);
        let rows = operations::page(&mut org, Some(CLUSTER), None, 99).await.unwrap();
        rows.iter().map(|row| row.id.0.as_u128()).collect::<Vec<_>>()
    };
    assert_eq!(operations::system_prune(&mut tx, 30, 1_000).await.unwrap(), 1);
    assert_eq!(left(&mut tx).await, [6, 5, 4, 3, 2]);
    assert_eq!(operations::system_prune(&mut tx, 30, 2).await.unwrap(), 2);
    assert_eq!(left(&mut tx).await, [6, 5, 4]);
    assert_eq!(operations::system_prune(&mut tx, i64::MAX, 0).await.unwrap(), 2);
    assert_eq!(left(&mut tx).await, [6]);
}
