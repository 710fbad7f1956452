//! Orders that are interrupted at any step, superseded, or kept up by their database.

use super::*;

#[tokio::test]
async fn a_scale_goes_on_from_any_step_after_a_restart() {
    // 0: before the last check; 1: removed and not stopped; 2: stopped and not destroyed.
    for step in 0..3 {
        let (folder, provisioner) = (TempDir::new().unwrap(), InMemory::default());
        let control = start(&folder, &provisioner).await;
        let id = control.create("demo", 3).await;
        control.until("it runs", id, running).await;
        let control = control.restart(&folder).await;
        let operation = scale(&control, 1).await.unwrap().operation_id.unwrap();
        if step > 0 {
            let mut tx = control.app.store.write().await.unwrap();
            let mut scoped = tx.scoped(control.org());
            for gone in [2, 3] {
                spus::remove(&mut scoped, id, spu(gone), 1).await.unwrap();
            }
            tx.commit().await.unwrap();
        }
        if step > 1 {
            provisioner.kill(spu(2));
            provisioner.kill(spu(3));
        }
        let control = control.restart(&folder).await;
        control.reconcile(&provisioner);
        let operation = ended(&control, operation).await;
        assert_eq!(operation.state, OperationState::Done, "{step}: {operation:?}");
        let view = control.until("it runs", id, |c| running(c) && c.spus_ready == 1).await;
        assert_eq!((ids(&view), provisioner.running()), (vec![1], vec![spu(1)]), "{step}");
        assert_eq!(provisioner.destroyed().len(), 2, "{step}");
    }
}

#[tokio::test]
async fn a_restart_goes_from_one_to_the_next_and_on_after_a_crash() {
    let (folder, provisioner) = (TempDir::new().unwrap(), InMemory::default());
    let control = start(&folder, &provisioner).await;
    let id = control.create("demo", 3).await;
    let before = control.until("it runs", id, running).await;
    topic(&control, "orders", 3).await;
    let restart = async |control: &ControlPlane, which: Option<&[SpuId]>| {
        let (app, principal) = (&control.app, &control.principal);
        app::cluster_restart(app, principal, "demo", which, None).await
    };
    let ordered = async |control: &ControlPlane, which: Option<&[SpuId]>| {
        let app::Answer::Fresh(view) = restart(control, which).await.unwrap() else { panic!() };
        view.operation_id.unwrap()
    };
    let unknown = restart(&control, Some(&[spu(9)])).await.unwrap_err();
    assert_eq!(unknown.code(), "SPU_NOT_FOUND");

    // Only that one.
    let operation = ended(&control, ordered(&control, Some(&[spu(2)])).await).await;
    assert_eq!((operation.kind, operation.state), (OperationKind::Restart, OperationState::Done));
    let after = control.until("it runs", id, |c| running(c) && c.spus_ready == 3).await;
    let launches = |view: &ClusterView| view.spus.iter().map(|s| s.launch_id).collect::<Vec<_>>();
    let changed = |a: &ClusterView, b: &ClusterView| {
        launches(a).iter().zip(launches(b)).map(|(a, b)| *a != b).collect::<Vec<_>>()
    };
    assert_eq!(changed(&before, &after), [false, true, false]);
    assert_eq!(after.spus[1].restarts, 0, "it was asked for");

    // What was deleted is not fetched, so nobody waits until it is in sync again.
    let copies = TopicRequest { replication: 3, ..TopicRequest::new("gone", 1) };
    app::topic_create(&control.app, &control.principal, "demo", &copies, None).await.unwrap();
    app::topic_delete(&control.app, &control.principal, "demo", "gone").await.unwrap();

    // Nobody acts on it; ordered again it is the same order; then all are, one at a time.
    let control = control.restart(&folder).await;
    let first = ordered(&control, None).await;
    assert_eq!(ordered(&control, None).await, first);
    // What people do when the control plane was away takes its place not, whatever the state.
    let found = control.cluster(id).await.unwrap().state;
    let (believed, state) = ((Desired::Running, found), ClusterState::Degraded);
    let mut tx = control.app.store.write().await.unwrap();
    let mut scoped = tx.scoped(control.org());
    assert!(clusters::set_state(&mut scoped, id, believed, state, None, 1).await.unwrap());
    tx.commit().await.unwrap();
    let (app, principal) = (&control.app, &control.principal);
    let app::Answer::Fresh(resumed) =
        app::cluster_resume(app, principal, "demo", None).await.unwrap()
    else {
        panic!()
    };
    assert_eq!(resumed.operation_id, Some(first));
    let starts = provisioner.specs().len();
    control.reconcile(&provisioner);
    let operation = ended(&control, first).await;
    assert_eq!(operation.state, OperationState::Done, "{operation:?}");
    let last = control.until("it runs", id, |c| running(c) && c.spus_ready == 3).await;
    assert_eq!(changed(&after, &last), [true, true, true]);
    let order: Vec<_> = provisioner.specs()[starts..].iter().map(|s| s.spu_id.0).collect();
    assert_eq!(order, [1, 2, 3], "each once");
}

// Of leases that pass: in simulation only.
#[cfg(madsim)]
#[tokio::test]
async fn a_restart_does_not_take_one_for_ill_that_has_not_come_back_yet() {
    let (folder, provisioner) = (TempDir::new().unwrap(), InMemory::default());
    let control = ControlPlane::start(&folder).await;
    control.reconcile(&provisioner);
    let id = control.create("demo", 3).await;
    control.until("it runs", id, running).await;
    provisioner.set_away(spu(3), true);
    let control = control.restart(&folder).await;
    let (app, principal) = (&control.app, &control.principal);
    app::call_all(app).await.unwrap();
    let restart = app::cluster_restart(app, principal, "demo", None, None).await.unwrap();
    let app::Answer::Fresh(view) = restart else { panic!("{restart:?}") };
    let (operation, before) = (view.operation_id.unwrap(), provisioner.log().len());
    control.reconcile(&provisioner);
    until("the others have come back, and wait for it", async || {
        let shown = app::operation_get(app, principal, &operation.to_string()).await.unwrap();
        let details = shown.steps.iter().filter_map(|step| step.detail.as_deref());
        details.into_iter().any(|detail| detail.contains("SPU 3 is not ready"))
    })
    .await;
    // A lease has passed, but not since all were called.
    assert_eq!(provisioner.log()[before..], [""; 0]);
    provisioner.set_away(spu(3), false);
    control.until("it comes back", id, |c| c.spus_ready == 3).await;
}

#[tokio::test]
async fn orders_in_the_middle_of_a_scale_supersede_it_and_lose_nothing() {
    let (folder, provisioner) = (TempDir::new().unwrap(), InMemory::default());
    let control = start(&folder, &provisioner).await;
    let id = control.create("demo", 3).await;
    control.until("it runs", id, running).await;
    let control = control.restart(&folder).await;
    let (app, principal) = (&control.app, &control.principal);
    let scale = scale(&control, 1).await.unwrap().operation_id.unwrap();
    app::cluster_shutdown(app, principal, "demo", None).await.unwrap();
    control.reconcile(&provisioner);
    assert_eq!(ended(&control, scale).await.state, OperationState::Superseded);
    let down = control.until("it is shut down", id, |c| c.state == ClusterState::Shutdown).await;
    assert_eq!(ended(&control, down.operation_id.unwrap()).await.state, OperationState::Done);
    // The spec of before holds: exactly one comes back.
    app::cluster_resume(app, principal, "demo", None).await.unwrap();
    let view = control.until("it runs", id, |c| running(c) && c.spus_ready == 1).await;
    assert_eq!(ids(&view), [1]);
    until("the data of the others is gone", async || provisioner.destroyed().len() == 2).await;
}

#[tokio::test]
async fn a_database_that_fails_now_and_then_delays_a_scale_and_breaks_nothing() {
    let (folder, provisioner) = (TempDir::new().unwrap(), InMemory::default());
    let control = start(&folder, &provisioner).await;
    let id = control.create("demo", 3).await;
    control.until("it runs", id, running).await;
    control.faults.set(FaultRates {
        delay_max: std::time::Duration::from_millis(2),
        busy_per_million: 10_000,
        commit_unknown_per_million: 200_000,
    });
    until("it is ordered", async || scale(&control, 2).await.is_ok()).await;
    let count = |n: u32| {
        move |c: &ClusterView| running(c) && c.spus_ready == n && ids(c).len() == n as usize
    };
    control.until("two run", id, count(2)).await;
    until("it is ordered", async || scale(&control, 3).await.is_ok()).await;
    control.until("three run", id, count(3)).await;
    control.faults.set(FaultRates::default());
    let view = control.cluster(id).await.unwrap();
    assert_eq!(ids(&view), [1, 2, 4]);
    assert_eq!(ended(&control, view.operation_id.unwrap()).await.state, OperationState::Done);
    assert!(support::database::is_postgres() || control.faults.fired() > 0);
}
