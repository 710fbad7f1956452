//! Clusters come to what is wanted of them, with SPUs that run as tasks.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "support_spus/mod.rs"]
mod support;

use std::{sync::atomic::Ordering, time::Duration};

use secrecy::ExposeSecret as _;
use support::{ControlPlane, PATIENCE, provisioner::InMemory, spu, until};
use tempfile::TempDir;
use weir_control_plane::{
    app::{
        self,
        view::{ClusterView, TopicConfigView},
    },
    plan::names::OFFSETS_TOPIC,
    reconcile::probe::PROBE_TOPIC,
    store::{
        FaultRates, audit,
        clusters::ClusterSpec,
        launches, partitions, topics,
        types::{ClusterState, OperationState, SpuState},
    },
};
use weir_protocol::{ids::ClusterId, topic_config::TopicConfig};

fn running(cluster: &ClusterView) -> bool {
    cluster.state == ClusterState::Running
}

async fn start(folder: &TempDir, provisioner: &InMemory) -> ControlPlane {
    // Long enough for all to come, however slow the database is.
    let control = ControlPlane::start_with(folder, PATIENCE).await;
    control.reconcile(provisioner);
    control
}

#[tokio::test]
async fn a_cluster_runs_once_every_spu_served_a_probe() {
    let (folder, provisioner) = (TempDir::new().unwrap(), InMemory::default());
    provisioner.data_plane.broken.store(true, Ordering::Relaxed);
    let control = start(&folder, &provisioner).await;
    let id = control.create("demo", 3).await;
    // Registered is not ready.
    let view = control
        .until("all are online", id, |c| c.spus.iter().all(|s| s.state == SpuState::Online))
        .await;
    assert_eq!((view.state, view.spus_ready), (ClusterState::Provisioning, 0));
    control
        .until("the reason says what is missing", id, |c| {
            c.reason.as_ref().is_some_and(|reason| reason.contains("probe"))
        })
        .await;
    provisioner.data_plane.broken.store(false, Ordering::Relaxed);
    let view = control.until("it runs", id, running).await;
    assert_eq!((view.spus_ready, view.reason), (3, None));

    // What was ordered is what the contract says.
    let specs = provisioner.specs();
    assert_eq!(specs.len(), 3);
    for (n, spec) in specs.iter().enumerate() {
        assert_eq!(spec.data_dir, format!("/test/{id}/spu-{}", n + 1));
        assert_eq!(spec.listen, format!("127.0.0.1:{}", 9500 + n));
        assert_eq!(spec.control_plane_rpc, control.rpc);
        // Random, and the proof of where it comes from.
        assert_eq!(spec.launch_secret.expose_secret().len(), 128);
    }
    // The probe topic has one partition on each SPU.
    let mut tx = control.app.store.read().await.unwrap();
    let mut scoped = tx.scoped(control.org());
    let topic = topics::by_name(&mut scoped, id, PROBE_TOPIC).await.unwrap().unwrap();
    assert!(topic.internal);
    let rows = partitions::of_generation(&mut scoped, id, topic.generation).await.unwrap();
    let leaders: Vec<_> = rows.iter().map(|row| row.leader).collect();
    assert_eq!(leaders, [Some(spu(1)), Some(spu(2)), Some(spu(3))]);
}

#[tokio::test]
async fn the_offsets_topic_is_made_once_on_three_spus_and_nobody_deletes_it() {
    let (folder, provisioner) = (TempDir::new().unwrap(), InMemory::default());
    let control = start(&folder, &provisioner).await;
    let id = control.create("demo", 4).await;
    control.until("it runs", id, running).await;
    let control = control.restart(&folder).await;
    control.reconcile(&provisioner);
    control.until("it runs again", id, running).await;
    let shown = app::topic_get(&control.app, &control.principal, "demo", OFFSETS_TOPIC).await;
    let shown = shown.unwrap();
    assert!(shown.internal);
    assert_eq!((shown.generation_number, shown.partitions.len()), (1, 8));
    assert_eq!((shown.replication, shown.min_insync_replicas), (3, 2));
    let mut leads = [0; 4];
    for partition in &shown.partitions {
        let in_sync = (partition.replica_spu_ids.len(), partition.isr_spu_ids.len());
        assert_eq!(in_sync, (3, 3), "{partition:?}");
        assert!(partition.leader_epoch > 0);
        leads[partition.leader_spu_id.unwrap() as usize - 1] += 1;
    }
    assert_eq!(leads, [2; 4], "spread over all of them");
    let kept = TopicConfigView::from(&TopicConfig::default());
    assert_eq!(shown.config, kept, "what consumers committed has no age");
    for topic in [OFFSETS_TOPIC.to_owned(), shown.generation_id.to_string()] {
        let error = app::topic_delete(&control.app, &control.principal, "demo", &topic).await;
        assert_eq!(error.unwrap_err().code(), "FORBIDDEN");
    }
}

#[tokio::test]
async fn a_record_that_comes_back_changed_is_no_passed_probe() {
    let (folder, provisioner) = (TempDir::new().unwrap(), InMemory::default());
    provisioner.data_plane.lying.store(true, Ordering::Relaxed);
    let control = start(&folder, &provisioner).await;
    let id = control.create("demo", 1).await;
    let view = control
        .until("the lie is seen", id, |c| {
            c.reason.as_ref().is_some_and(|reason| reason.contains("not the one"))
        })
        .await;
    assert_eq!(view.state, ClusterState::Provisioning);
    provisioner.data_plane.lying.store(false, Ordering::Relaxed);
    control.until("it runs", id, running).await;
}

#[tokio::test]
async fn an_spu_that_never_registers_keeps_the_cluster_from_running() {
    let (folder, provisioner) = (TempDir::new().unwrap(), InMemory::default());
    provisioner.silent.store(true, Ordering::Relaxed);
    let control = start(&folder, &provisioner).await;
    let id = control.create("demo", 1).await;
    until("it is started", async || !provisioner.running().is_empty()).await;
    let view = control
        .until("the reason says it", id, |c| {
            c.reason.as_ref().is_some_and(|reason| reason.contains("has not registered"))
        })
        .await;
    assert_eq!((view.state, view.spus_ready), (ClusterState::Provisioning, 0));
}

#[tokio::test]
async fn a_dead_spu_is_started_again_as_a_new_launch() {
    let (folder, provisioner) = (TempDir::new().unwrap(), InMemory::default());
    let control = start(&folder, &provisioner).await;
    let id = control.create("demo", 2).await;
    let before = control.until("it runs", id, running).await;
    provisioner.kill(spu(2));
    let after = control.until("it runs again", id, |c| running(c) && c.spus[1].restarts == 1).await;
    assert_eq!(after.spus[0], before.spus[0], "the other one was left alone");
    assert_ne!(after.spus[1].launch_id, before.spus[1].launch_id);
    assert_eq!(after.spus[1].incarnation, before.spus[1].incarnation + 1);
    assert_eq!(after.spus[1].folder_id, before.spus[1].folder_id);
    let mut tx = control.app.store.read().await.unwrap();
    let mut scoped = tx.scoped(control.org());
    let launches = launches::recent(&mut scoped, id, spu(2), 9).await.unwrap();
    assert_eq!(launches.len(), 2);
    assert!(launches[1].reason.as_ref().unwrap().contains("code 7"));
}

#[tokio::test]
async fn repeated_failure_degrades_the_cluster_and_health_mends_it() {
    let (folder, provisioner) = (TempDir::new().unwrap(), InMemory::default());
    provisioner.sickly.store(true, Ordering::Relaxed);
    let control = start(&folder, &provisioner).await;
    let id = control.create("demo", 1).await;
    let view = control.until("it is degraded", id, |c| c.state == ClusterState::Degraded).await;
    let reason = view.reason.unwrap();
    assert!(reason.contains("times in a row") && reason.contains("code 7"), "{reason}");
    assert!(provisioner.specs().len() >= 3);
    provisioner.sickly.store(false, Ordering::Relaxed);
    control.until("it runs", id, running).await;
}

#[tokio::test]
async fn shutdown_stops_and_keeps_resume_starts_again_and_delete_removes() {
    let (folder, provisioner) = (TempDir::new().unwrap(), InMemory::default());
    let control = start(&folder, &provisioner).await;
    let id = control.create("demo", 2).await;
    let first = control.until("it runs", id, running).await;
    let (app, principal) = (&control.app, &control.principal);

    for _ in 0..2 {
        app::cluster_shutdown(app, principal, "demo", None).await.unwrap();
    }
    let down = control.until("it is shut down", id, |c| c.state == ClusterState::Shutdown).await;
    assert!(provisioner.running().is_empty() && provisioner.destroyed().is_empty());
    assert!(down.spus.iter().all(|s| s.state == SpuState::Stopped && !s.ready));

    app::cluster_resume(app, principal, "demo", None).await.unwrap();
    let again = control.until("it runs again", id, running).await;
    for (before, after) in first.spus.iter().zip(&again.spus) {
        assert_eq!(after.folder_id, before.folder_id);
        assert_eq!((after.restarts, after.incarnation), (0, before.incarnation + 1));
    }

    app::cluster_delete(app, principal, "demo").await.unwrap();
    until("it is gone", async || control.cluster(id).await.is_none()).await;
    assert!(provisioner.running().is_empty());
    let expected: Vec<_> =
        ["/spu-1", "/spu-2", ""].iter().map(|end| format!("/test/{id}{end}")).collect();
    assert_eq!(provisioner.destroyed(), expected);
    assert!(app.board.cluster(id).is_empty());
    // What was done stays known, and the name is free.
    let mut tx = app.store.read().await.unwrap();
    let acts = audit::recent(&mut tx.scoped(control.org()), 9).await.unwrap();
    assert!(acts.contains(&("cluster.removed".to_owned(), "demo".to_owned())), "{acts:?}");
    drop(tx);
    let second = control.create("demo", 1).await;
    control.until("its successor runs", second, running).await;
}

#[tokio::test]
async fn a_restarted_control_plane_goes_on_with_what_runs() {
    let (folder, provisioner) = (TempDir::new().unwrap(), InMemory::default());
    let first = start(&folder, &provisioner).await;
    let id = first.create("demo", 2).await;
    let before = first.until("it runs", id, running).await;

    provisioner.data_plane.broken.store(true, Ordering::Relaxed);
    let second = first.restart(&folder).await;
    second.reconcile(&provisioner);
    second.until("it does not run by hearsay", id, |c| c.state == ClusterState::Degraded).await;
    provisioner.data_plane.broken.store(false, Ordering::Relaxed);
    let after = second.until("it runs again", id, running).await;
    // The same processes, in the same lives.
    assert_eq!(after.spus, before.spus);
    assert_eq!(provisioner.specs().len(), 2, "nothing was started");
    // And it stops them by their handles.
    app::cluster_shutdown(&second.app, &second.principal, "demo", None).await.unwrap();
    second.until("it is shut down", id, |c| c.state == ClusterState::Shutdown).await;
    assert!(provisioner.running().is_empty());
}

#[tokio::test]
async fn an_spu_that_died_while_nobody_looked_is_started_again() {
    let (folder, provisioner) = (TempDir::new().unwrap(), InMemory::default());
    let first = start(&folder, &provisioner).await;
    let id = first.create("demo", 2).await;
    first.until("it runs", id, running).await;
    let second = first.restart(&folder).await;
    provisioner.kill(spu(1));
    second.reconcile(&provisioner);
    second.until("it runs again", id, |c| running(c) && c.spus[0].restarts == 1).await;
    assert_eq!(provisioner.specs().len(), 3);
}

#[tokio::test]
async fn an_spu_without_a_session_is_offline_when_its_lease_is_over() {
    let (folder, provisioner) = (TempDir::new().unwrap(), InMemory::default());
    let first = start(&folder, &provisioner).await;
    let id = first.create("demo", 1).await;
    first.until("it runs", id, running).await;
    drop(first);
    let second = ControlPlane::start(&folder).await;
    second.reconcile(&provisioner);
    let offline = async || {
        let mut tx = second.app.store.read().await.unwrap();
        let mut scoped = tx.scoped(second.org());
        let row = weir_control_plane::store::spus::get(&mut scoped, id, spu(1)).await.unwrap();
        row.unwrap().state == SpuState::Offline
    };
    assert!(!offline().await, "it gets a lease's time to come back");
    until("it is offline", offline).await;
}

async fn with_ports(control: &ControlPlane, name: &str, port_base: Option<u16>) -> ClusterId {
    control.create_with(name, ClusterSpec { spus: 2, port_base, data_dir: None }).await
}

#[tokio::test]
async fn a_taken_port_fails_the_cluster_by_name_and_a_free_one_mends_it() {
    let (folder, provisioner) = (TempDir::new().unwrap(), InMemory::default());
    provisioner.take_port("127.0.0.1:9501");
    let control = start(&folder, &provisioner).await;
    let id = with_ports(&control, "demo", Some(9500)).await;
    let view = control.until("it failed", id, |c| c.state == ClusterState::Failed).await;
    assert!(view.reason.unwrap().contains("127.0.0.1:9501"));
    assert!(provisioner.specs().is_empty(), "half a cluster was started");
    provisioner.free_port("127.0.0.1:9501");
    control.until("it runs", id, running).await;
}

#[tokio::test]
async fn a_resume_tries_a_failed_cluster_at_once_and_forgets_the_old_failure() {
    let (folder, provisioner) = (TempDir::new().unwrap(), InMemory::default());
    provisioner.take_port("127.0.0.1:9501");
    let control = start(&folder, &provisioner).await;
    let id = with_ports(&control, "demo", Some(9500)).await;
    let failed = |c: &ClusterView| c.state == ClusterState::Failed;
    control.until("it failed", id, failed).await;
    let (app, principal) = (&control.app, &control.principal);
    // Still taken: the order is answered afresh, and what it comes to is the same.
    app::cluster_resume(app, principal, "demo", None).await.unwrap();
    let view = control.until("it failed again", id, failed).await;
    assert!(view.reason.unwrap().contains("127.0.0.1:9501"));
    provisioner.free_port("127.0.0.1:9501");
    app::cluster_resume(app, principal, "demo", None).await.unwrap();
    // Nobody who waits from here on meets the failure of before.
    let fresh = |c: &ClusterView| {
        assert_ne!(c.state, ClusterState::Failed, "{:?}", c.reason);
        running(c)
    };
    control.until("it runs", id, fresh).await;
}

#[tokio::test]
async fn chosen_ports_are_nobody_else_s_and_free() {
    let (folder, provisioner) = (TempDir::new().unwrap(), InMemory::default());
    provisioner.take_port("127.0.0.1:9601");
    let control = start(&folder, &provisioner).await;
    let theirs = with_ports(&control, "theirs", Some(9700)).await;
    control.until("it runs", theirs, running).await;
    let first = with_ports(&control, "first", None).await;
    control.until("it runs", first, running).await;
    let second = with_ports(&control, "second", None).await;
    control.until("it runs", second, running).await;
    let of = |id| {
        let specs = provisioner.specs();
        let spec = specs.iter().find(|spec| spec.cluster_id == id && spec.spu_id == spu(1));
        spec.unwrap().listen.clone()
    };
    // 9600 is not wholly free, 9700 is somebody's.
    assert_eq!((of(first), of(second)), ("127.0.0.1:9800".into(), "127.0.0.1:9900".into()));
    // The choice is kept.
    let (app, principal) = (&control.app, &control.principal);
    app::cluster_shutdown(app, principal, "first", None).await.unwrap();
    control.until("it is shut down", first, |c| c.state == ClusterState::Shutdown).await;
    app::cluster_resume(app, principal, "first", None).await.unwrap();
    control.until("it runs again", first, running).await;
    let last = provisioner.specs().into_iter().rfind(|spec| spec.cluster_id == first).unwrap();
    assert_eq!(last.listen, "127.0.0.1:9801");
}

#[tokio::test]
async fn clusters_that_choose_their_ports_at_once_wait_for_one_another() {
    let (folder, provisioner) = (TempDir::new().unwrap(), InMemory::default());
    let control = ControlPlane::start(&folder).await;
    let mut ids = Vec::new();
    for number in 0..8 {
        ids.push(with_ports(&control, &format!("demo-{number}"), None).await);
    }
    control.reconcile(&provisioner);
    for id in ids {
        control.until("it runs", id, running).await;
    }
    let (app, principal) = (&control.app, &control.principal);
    let (all, _) = app::operation_list(app, principal, None, None, 20).await.unwrap();
    let states: Vec<_> = all.iter().map(|operation| operation.state).collect();
    assert_eq!(states, [OperationState::Done; 8], "{all:?}");
}

#[tokio::test]
async fn chosen_ports_that_another_program_took_meanwhile_are_given_up() {
    let (folder, provisioner) = (TempDir::new().unwrap(), InMemory::default());
    let control = start(&folder, &provisioner).await;
    let id = with_ports(&control, "demo", None).await;
    control.until("it runs", id, running).await;
    let (app, principal) = (&control.app, &control.principal);
    app::cluster_shutdown(app, principal, "demo", None).await.unwrap();
    control.until("it is shut down", id, |c| c.state == ClusterState::Shutdown).await;
    provisioner.take_port("127.0.0.1:9601");
    app::cluster_resume(app, principal, "demo", None).await.unwrap();
    control.until("it runs again", id, running).await;
    let listens: Vec<_> = provisioner.specs().into_iter().map(|spec| spec.listen).collect();
    let expected = ["127.0.0.1:9600", "127.0.0.1:9601", "127.0.0.1:9700", "127.0.0.1:9701"];
    assert_eq!(listens, expected);
    // While one SPU runs, the block stays, whatever becomes of the ports of the others.
    provisioner.take_port("127.0.0.1:9701");
    provisioner.kill(spu(2));
    let says = |c: &ClusterView| c.reason.as_ref().is_some_and(|r| r.contains("127.0.0.1:9701"));
    control.until("it says why", id, says).await;
    provisioner.free_port("127.0.0.1:9701");
    control.until("it runs on", id, |c| running(c) && c.spus[1].restarts == 1).await;
    assert_eq!(provisioner.specs().last().unwrap().listen, "127.0.0.1:9701");
}

#[tokio::test]
async fn a_database_that_fails_now_and_then_delays_and_breaks_nothing() {
    let (folder, provisioner) = (TempDir::new().unwrap(), InMemory::default());
    let control = start(&folder, &provisioner).await;
    let id = control.create("demo", 3).await;
    control.faults.set(FaultRates {
        delay_max: Duration::from_millis(2),
        busy_per_million: 10_000,
        commit_unknown_per_million: 200_000,
    });
    control.until("it runs", id, running).await;
    provisioner.kill(spu(2));
    control.until("it runs again", id, |c| running(c) && c.spus[1].restarts > 0).await;
    let (app, principal) = (&control.app, &control.principal);
    until("it is to be shut down", async || {
        app::cluster_shutdown(app, principal, "demo", None).await.is_ok()
    })
    .await;
    control.until("it is shut down", id, |c| c.state == ClusterState::Shutdown).await;
    assert!(provisioner.running().is_empty());
    // Of one whose commit was not told it may be gone before it is asked for again.
    until("it is to go", async || match app::cluster_delete(app, principal, "demo").await {
        Ok(_) => true,
        Err(error) => error.code() == "CLUSTER_NOT_FOUND",
    })
    .await;
    control.faults.set(FaultRates::default());
    until("it is gone", async || control.cluster(id).await.is_none()).await;
    assert!(support::database::is_postgres() || control.faults.fired() > 0);
}
