//! Clusters get another number of SPUs, and every order's operation ends.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "scale/interrupted.rs"]
mod interrupted;
#[path = "support_spus/mod.rs"]
mod support;

use support::{ControlPlane, PATIENCE, provisioner::InMemory, spu, until};
use tempfile::TempDir;
use weir_control_plane::{
    app::{self, AppError, OperationView, Scaled, TopicRequest, view::ClusterView},
    plan::names::{OFFSETS_TOPIC, PROBE_TOPIC},
    store::{
        FaultRates,
        clusters::{self, ClusterSpec},
        partitions::{self, NewPartition},
        purges, spus,
        topics::{self, NewTopic},
        types::{ClusterState, Desired, OperationKind, OperationState, StepState},
    },
};
use weir_protocol::{
    ids::{ClusterId, PartitionIndex, SpuId, TopicGenerationId},
    topic_config::TopicConfig,
};

fn running(cluster: &ClusterView) -> bool {
    cluster.state == ClusterState::Running
}

async fn start(folder: &TempDir, provisioner: &InMemory) -> ControlPlane {
    // Long enough for all to come, however slow the database is.
    let control = ControlPlane::start_with(folder, PATIENCE).await;
    control.reconcile(provisioner);
    control
}

fn ids(cluster: &ClusterView) -> Vec<u32> {
    cluster.spus.iter().map(|spu| spu.spu_id).collect()
}

async fn scale(control: &ControlPlane, spus: u32) -> Result<ClusterView, AppError> {
    let scaled = app::cluster_scale(&control.app, &control.principal, "demo", spus, false, None);
    match scaled.await? {
        Scaled::Ordered(app::Answer::Fresh(view)) => Ok(view),
        other => panic!("{other:?}"),
    }
}

/// The operation, once it ended.
async fn ended(control: &ControlPlane, id: weir_protocol::ids::OperationId) -> OperationView {
    let mut last = None;
    until("the operation ends", async || {
        let shown = app::operation_get(&control.app, &control.principal, &id.to_string()).await;
        last = Some(shown.unwrap());
        last.as_ref().unwrap().state != OperationState::Running
    })
    .await;
    last.unwrap()
}

/// Scales, and waits until that is done and the cluster runs.
async fn scaled(control: &ControlPlane, id: ClusterId, spus: u32) -> ClusterView {
    let operation = scale(control, spus).await.unwrap().operation_id.unwrap();
    let operation = ended(control, operation).await;
    assert_eq!((operation.state, &operation.error), (OperationState::Done, &None));
    assert_eq!(operation.progress.done, operation.progress.total);
    assert!(operation.steps.iter().all(|step| step.state == StepState::Done), "{operation:?}");
    control.until("it runs", id, |c| running(c) && c.spus_ready == spus).await
}

async fn topic(control: &ControlPlane, name: &str, partitions: u32) {
    let wanted = TopicRequest::new(name, partitions);
    app::topic_create(&control.app, &control.principal, "demo", &wanted, None).await.unwrap();
}

/// Puts a topic on an SPU, past the placement: as one that was under way would.
async fn topic_on(control: &ControlPlane, id: ClusterId, name: &str, on: SpuId) {
    let generation = TopicGenerationId(control.app.uuid_v7().unwrap());
    let new = NewTopic {
        generation,
        name: name.to_owned(),
        internal: false,
        replication: 1,
        min_insync: None,
        config: TopicConfig::default(),
    };
    let partition = NewPartition {
        index: PartitionIndex(0),
        label: String::new(),
        replicas: vec![on],
        leader: None,
    };
    let mut tx = control.app.store.write().await.unwrap();
    let mut scoped = tx.scoped(control.org());
    topics::insert(&mut scoped, id, &new, 1).await.unwrap();
    partitions::insert(&mut scoped, id, generation, &partition).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn three_then_shutdown_resume_and_one() {
    let (folder, provisioner) = (TempDir::new().unwrap(), InMemory::default());
    let control = start(&folder, &provisioner).await;
    let id = control.create("demo", 3).await;
    let first = control.until("it runs", id, running).await;
    let (app, principal) = (&control.app, &control.principal);
    assert_eq!(ended(&control, first.operation_id.unwrap()).await.kind, OperationKind::Create);
    app::cluster_shutdown(app, principal, "demo", None).await.unwrap();
    let down = control.until("it is shut down", id, |c| c.state == ClusterState::Shutdown).await;
    let shutdown = ended(&control, down.operation_id.unwrap()).await;
    assert_eq!((shutdown.kind, shutdown.state), (OperationKind::Shutdown, OperationState::Done));
    app::cluster_resume(app, principal, "demo", None).await.unwrap();
    let up = control.until("it runs again", id, running).await;
    let resume = ended(&control, up.operation_id.unwrap()).await;
    assert_eq!((resume.kind, resume.state), (OperationKind::Resume, OperationState::Done));

    let one = scaled(&control, id, 1).await;
    assert_eq!((ids(&one), one.spec.spus), (vec![1], 1));
    assert_eq!(one.spus[0].launch_id, up.spus[0].launch_id, "the one that stays was left alone");
    assert_eq!(provisioner.running(), [spu(1)]);
    // The offsets stay with it.
    let offsets = app::topic_get(app, principal, "demo", OFFSETS_TOPIC).await.unwrap();
    assert_eq!((offsets.replication, offsets.min_insync_replicas), (1, 1));
    for partition in &offsets.partitions {
        assert_eq!((partition.leader_spu_id, &partition.replica_spu_ids), (Some(1), &vec![1]));
        assert_eq!((&partition.isr_spu_ids, &partition.eligible_spu_ids), (&vec![1], &vec![]));
    }
    let expected: Vec<_> = [2, 3].iter().map(|n| format!("/test/{id}/spu-{n}")).collect();
    // In whatever order they ended.
    let destroyed = || {
        let mut destroyed = provisioner.destroyed();
        destroyed.sort();
        destroyed
    };
    assert_eq!(destroyed(), expected);
    // What is resumed is what there was.
    app::cluster_shutdown(app, principal, "demo", None).await.unwrap();
    control.until("it is shut down", id, |c| c.state == ClusterState::Shutdown).await;
    app::cluster_resume(app, principal, "demo", None).await.unwrap();
    let again = control.until("it runs again", id, running).await;
    assert_eq!((ids(&again), again.spus_ready), (vec![1], 1));
    assert_eq!(destroyed(), expected, "nothing is destroyed twice");
    // And the deletion's operation is there when the cluster is not.
    app::cluster_delete(app, principal, "demo").await.unwrap();
    until("it is gone", async || control.cluster(id).await.is_none()).await;
    let (all, _) = app::operation_list(app, principal, None, None, 1).await.unwrap();
    assert_eq!((all[0].kind, all[0].state), (OperationKind::Delete, OperationState::Done));
    assert_eq!(all[0].cluster_id, id);
}

#[tokio::test]
async fn from_none_to_three_and_what_consumers_commit_has_three_copies() {
    for port_base in [Some(9500), None] {
        let (folder, provisioner) = (TempDir::new().unwrap(), InMemory::default());
        let control = start(&folder, &provisioner).await;
        let spec = ClusterSpec { spus: 0, port_base, data_dir: None };
        let id = control.create_with("demo", spec).await;
        let none = control.until("it runs without", id, running).await;
        assert_eq!((ids(&none), none.spus_ready), (vec![], 0));
        let create = ended(&control, none.operation_id.unwrap()).await;
        assert_eq!((create.kind, create.state), (OperationKind::Create, OperationState::Done));
        assert!(create.steps.iter().all(|step| step.state == StepState::Done), "{create:?}");

        // Nobody could hold a topic. The way on is told, and the way back to none is closed.
        let (app, principal) = (&control.app, &control.principal);
        let wanted = TopicRequest::new("orders", 2);
        let refused = app::topic_create(app, principal, "demo", &wanted, None).await.unwrap_err();
        assert_eq!(refused.code(), "NOT_ENOUGH_SPUS");
        assert!(refused.hint().contains("weir cluster scale --spus"), "{}", refused.hint());
        app::topic_get(app, principal, "demo", OFFSETS_TOPIC).await.unwrap_err();
        let refused = scale(&control, 0).await.unwrap_err();
        assert!(refused.hint().contains("1 to 100"), "{}", refused.hint());

        // As any other it can be shut down and resumed.
        app::cluster_shutdown(app, principal, "demo", None).await.unwrap();
        control.until("it is shut down", id, |c| c.state == ClusterState::Shutdown).await;
        app::cluster_resume(app, principal, "demo", None).await.unwrap();
        control.until("it runs again", id, running).await;

        let three = scaled(&control, id, 3).await;
        assert_eq!(ids(&three), [1, 2, 3]);
        let offsets = app::topic_get(app, principal, "demo", OFFSETS_TOPIC).await.unwrap();
        assert_eq!((offsets.replication, offsets.min_insync_replicas), (3, 2));
        assert!(offsets.partitions.iter().all(|p| p.replica_spu_ids.len() == 3), "{offsets:?}");
        topic(&control, "orders", 2).await;
        assert!(scale(&control, 0).await.is_err());
    }
}

#[tokio::test]
async fn ids_are_never_used_again_and_ports_are() {
    let (folder, provisioner) = (TempDir::new().unwrap(), InMemory::default());
    let control = start(&folder, &provisioner).await;
    let id = control.create("demo", 2).await;
    control.until("it runs", id, running).await;
    scaled(&control, id, 1).await;
    let more = scaled(&control, id, 3).await;
    assert_eq!(ids(&more), [1, 3, 4]);
    // The user named three ports from 9500, and gets no other.
    let listens: Vec<_> = provisioner.specs().into_iter().map(|spec| spec.listen).collect();
    let expected = [9500, 9501, 9502, 9501].map(|port| format!("127.0.0.1:{port}"));
    assert_eq!(listens.iter().collect::<std::collections::BTreeSet<_>>().len(), 3);
    assert!(expected.iter().all(|port| listens.contains(port)), "{listens:?}");
    // Topics go to what is there, and its holders do not go while they hold what nobody serves.
    topic(&control, "orders", 2).await;
    let two = scaled(&control, id, 2).await;
    assert_eq!(ids(&two), [1, 3]);
    app::topic_delete(&control.app, &control.principal, "demo", "orders").await.unwrap();
    let refused = scale(&control, 1).await.unwrap_err();
    assert!(matches!(refused, AppError::ScaleRefused { lacking: 1, .. }), "{refused:?}");
    assert_eq!(ids(&control.cluster(id).await.unwrap()), [1, 3]);
    // The probe's partitions of those that went are nobody's, and nobody waits for them.
    let mut tx = control.app.store.read().await.unwrap();
    let mut scoped = tx.scoped(control.org());
    let probe = topics::by_name(&mut scoped, id, PROBE_TOPIC).await.unwrap().unwrap();
    let rows = partitions::of_generation(&mut scoped, id, probe.generation).await.unwrap();
    let held: Vec<_> = rows.iter().map(|row| row.replicas.first().map(|r| r.spu.0)).collect();
    assert_eq!(held, [Some(1), None, Some(3), None]);
    assert!(rows.iter().all(|row| row.leader == row.replicas.first().map(|r| r.spu)));
}

#[tokio::test]
async fn an_added_spu_whose_port_is_taken_gets_another_of_the_block() {
    let (folder, provisioner) = (TempDir::new().unwrap(), InMemory::default());
    let control = start(&folder, &provisioner).await;
    let spec = ClusterSpec { spus: 1, port_base: None, data_dir: None };
    let id = control.create_with("demo", spec).await;
    control.until("it runs", id, running).await;
    provisioner.take_port("127.0.0.1:9601");
    scaled(&control, id, 3).await;
    let listens: Vec<_> = provisioner.specs().into_iter().map(|spec| spec.listen).collect();
    for port in ["127.0.0.1:9600", "127.0.0.1:9602", "127.0.0.1:9603"] {
        assert!(listens.iter().any(|listen| listen == port), "{listens:?}");
    }
}

#[tokio::test]
async fn a_user_s_port_that_is_taken_fails_the_scale_by_name() {
    let (folder, provisioner) = (TempDir::new().unwrap(), InMemory::default());
    let control = start(&folder, &provisioner).await;
    let id = control.create("demo", 1).await;
    control.until("it runs", id, running).await;
    provisioner.take_port("127.0.0.1:9501");
    let operation = scale(&control, 2).await.unwrap().operation_id.unwrap();
    let operation = ended(&control, operation).await;
    assert_eq!(operation.state, OperationState::Failed);
    let error = operation.error.unwrap();
    assert!(error.detail.contains("SPU 2") && error.detail.contains("9501"), "{error:?}");
    // Ordered again it is tried again; the way back is open, and so is the way on.
    let again = scale(&control, 2).await.unwrap().operation_id.unwrap();
    assert_ne!(again, operation.id);
    scaled(&control, id, 1).await;
    provisioner.free_port("127.0.0.1:9501");
    scaled(&control, id, 2).await;
}

#[tokio::test]
async fn a_topic_that_came_in_between_ends_the_scale_and_everything_stays() {
    let (folder, provisioner) = (TempDir::new().unwrap(), InMemory::default());
    let control = start(&folder, &provisioner).await;
    let id = control.create("demo", 3).await;
    let before = control.until("it runs", id, running).await;
    // Nobody reconciles between the order and the topic.
    let control = control.restart(&folder).await;
    let order = scale(&control, 1).await.unwrap();
    assert_eq!((order.spec.spus, ids(&order)), (1, vec![1, 2, 3]));
    topic_on(&control, id, "orders", spu(3)).await;
    control.reconcile(&provisioner);
    let operation = ended(&control, order.operation_id.unwrap()).await;
    assert_eq!(operation.state, OperationState::Failed);
    let error = operation.error.unwrap();
    assert_eq!(error.code, "SCALE_REFUSED");
    assert!(error.detail.contains("SPU 3 holds orders (partition 0)"), "{error:?}");
    let after = control.until("it runs with all", id, |c| running(c) && c.spus_ready == 3).await;
    assert_eq!((after.spec.spus, ids(&after)), (3, vec![1, 2, 3]));
    assert!(after.spus.iter().all(|spu| !spu.leaving));
    assert_eq!(after.spus[2].launch_id, before.spus[2].launch_id);
    assert!(provisioner.destroyed().is_empty());
    // With the holder kept, the empty one can go.
    assert_eq!(ids(&scaled(&control, id, 2).await), [1, 3]);
}

#[tokio::test]
async fn a_purge_does_not_keep_its_dead_holder_and_ends_with_it() {
    let (folder, provisioner) = (TempDir::new().unwrap(), InMemory::default());
    let control = start(&folder, &provisioner).await;
    let id = control.create("demo", 3).await;
    control.until("it runs", id, running).await;
    // One topic of the SPU that dies, and one that a living one holds a part of too.
    topic(&control, "both", 3).await;
    topic_on(&control, id, "orders", spu(3)).await;
    let control = control.restart(&folder).await;
    provisioner.kill(spu(3));
    let (app, principal) = (&control.app, &control.principal);
    for name in ["orders", "both"] {
        app::topic_delete_and_purge(app, principal, "demo", name).await.unwrap();
    }
    let holders = async || {
        let mut tx = app.store.read().await.unwrap();
        let mut scoped = tx.scoped(control.org());
        let all = partitions::of_cluster(&mut scoped, id).await.unwrap();
        let replicas = all.values().flatten().flat_map(|p| p.replicas.iter().map(|r| r.spu));
        (all.len(), replicas.filter(|holder| *holder == spu(3)).count())
    };
    let (generations, parts) = holders().await;
    assert!(parts >= 2, "it would have to remove something");
    let operation = scale(&control, 2).await.unwrap().operation_id.unwrap();
    control.reconcile(&provisioner);
    assert_eq!(ended(&control, operation).await.state, OperationState::Done);
    assert_eq!(holders().await, (generations - 1, 0), "the one waits for those that live");
    let mut tx = app.store.read().await.unwrap();
    let mut scoped = tx.scoped(control.org());
    for spu_id in [1, 2] {
        assert_eq!(purges::of_spu(&mut scoped, id, spu(spu_id), 9).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn one_that_runs_elsewhere_is_counted_holds_up_nobody_and_goes_by_name() {
    let (folder, provisioner) = (TempDir::new().unwrap(), InMemory::default());
    let control = start(&folder, &provisioner).await;
    let spec = ClusterSpec { spus: 1, port_base: None, data_dir: None };
    let id = control.create_with("demo", spec).await;
    let (app, principal) = (&control.app, &control.principal);
    // Before there are ports, and before anything runs.
    let first = app::spu_register(app, principal, "demo").await.unwrap();
    assert_eq!((first.spu.spu_id, first.spu.external, first.credentials.spu_id), (2, true, 2));
    let waits = |c: &ClusterView| {
        let reason = c.reason.clone().unwrap_or_default();
        c.spus_ready == 1 && reason.contains("waits to be started where it is to run")
    };
    let view = control.until("it says for whom it waits", id, waits).await;
    assert_eq!((ids(&view), view.spec.spus, running(&view)), (vec![1, 2], 2, false));
    assert_eq!(provisioner.running(), [spu(1)], "nothing here starts it");

    // What it was to hold is nothing, so it goes although it never came.
    let unregister =
        async |spu: SpuId| app::spu_unregister(app, principal, "demo", spu, None).await;
    let app::Answer::Fresh(ordered) = unregister(spu(2)).await.unwrap() else { panic!() };
    let operation = ended(&control, ordered.operation_id.unwrap()).await;
    assert_eq!(operation.state, OperationState::Done, "{operation:?}");
    let view = control.until("it runs without", id, |c| running(c) && c.spus_ready == 1).await;
    assert_eq!((ids(&view), view.spec.spus), (vec![1], 1));
    let gone = unregister(spu(2)).await.unwrap_err();
    assert_eq!(gone.code(), "SPU_NOT_FOUND");
    assert!(provisioner.destroyed().is_empty(), "its data is its owner's");

    // Another one is in nobody's way when ports have to be chosen again.
    assert_eq!(app::spu_register(app, principal, "demo").await.unwrap().spu.spu_id, 3);
    app::cluster_shutdown(app, principal, "demo", None).await.unwrap();
    control.until("it is shut down", id, |c| c.state == ClusterState::Shutdown).await;
    provisioner.take_port("127.0.0.1:9600");
    app::cluster_resume(app, principal, "demo", None).await.unwrap();
    control.until("it says for whom it waits", id, waits).await;
    let last = provisioner.specs().pop().unwrap();
    assert_eq!((last.spu_id, last.listen.as_str()), (spu(1), "127.0.0.1:9700"));

    // Orders about numbers leave it alone.
    let refused = scale(&control, 1).await.unwrap_err();
    assert!(matches!(refused, AppError::ScaleRefused { .. }), "{refused:?}");
    let which = [spu(3)];
    let restart = app::cluster_restart(app, principal, "demo", Some(&which), None);
    assert_eq!(restart.await.unwrap_err().code(), "INVALID_REQUEST");
    unregister(spu(3)).await.unwrap();
    control.until("it runs without", id, |c| running(c) && c.spus_ready == 1).await;
    app::cluster_delete(app, principal, "demo").await.unwrap();
    until("it is gone", async || control.cluster(id).await.is_none()).await;
}
