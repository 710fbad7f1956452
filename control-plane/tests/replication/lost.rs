//! SPUs that are lost, and what the reconciler does about it.

use std::sync::atomic::Ordering;

use tempfile::TempDir;
use weir_control_plane::{
    app::{self, view::TopicView},
    store::types::ClusterState,
};

use super::{
    create, ids,
    support::{ControlPlane, PATIENCE, provisioner::InMemory, spu, until},
};

async fn running(folder: &TempDir, provisioner: &InMemory, spus: u32) -> ControlPlane {
    serving(ControlPlane::start(folder).await, provisioner, spus).await
}

async fn serving(control: ControlPlane, provisioner: &InMemory, spus: u32) -> ControlPlane {
    control.reconcile(provisioner);
    let id = control.create("demo", spus).await;
    control.until("it runs", id, |c| c.state == ClusterState::Running).await;
    control
}

async fn topic(control: &ControlPlane, name: &str) -> TopicView {
    app::topic_get(&control.app, &control.principal, "demo", name).await.unwrap()
}

#[tokio::test]
async fn what_a_dead_spu_led_is_led_by_others_at_once() {
    let (folder, provisioner) = (TempDir::new().unwrap(), InMemory::default());
    // Far longer than anything is waited for here: its end is seen, not its silence.
    let control = ControlPlane::start_with(&folder, PATIENCE * 10).await;
    let control = serving(control, &provisioner, 3).await;
    create(&control, "orders", 6, 3, None).await;
    let alone = create(&control, "alone", 3, 1, None).await;
    // What is started next serves nobody.
    provisioner.silent.store(true, Ordering::Relaxed);
    provisioner.kill(spu(1));
    until("others lead", async || {
        let orders = topic(&control, "orders").await;
        orders.partitions.iter().all(|p| p.leader_spu_id != Some(1))
    })
    .await;
    for partition in topic(&control, "orders").await.partitions {
        assert_eq!(ids(&partition.isr_spu_ids), [2, 3]);
        assert!(partition.eligible_spu_ids.is_empty());
    }
    for partition in topic(&control, "__offsets").await.partitions {
        assert_eq!(ids(&partition.isr_spu_ids), [2, 3]);
    }
    // Nobody else has what it alone has.
    for (now, before) in topic(&control, "alone").await.partitions.iter().zip(&alone.partitions) {
        assert_eq!(now.leader_spu_id, before.leader_spu_id);
        assert_eq!(now.isr_spu_ids, before.isr_spu_ids);
    }
    // The second: the third is the last in sync, and the lost one may lead. With the third
    // nobody is left, and nothing changes.
    provisioner.kill(spu(2));
    until("the third leads", async || {
        let orders = topic(&control, "orders").await;
        orders.partitions.iter().all(|p| p.leader_spu_id == Some(3) && p.isr_spu_ids == [3])
    })
    .await;
    provisioner.kill(spu(3));
    let view = control.cluster(control_cluster(&control).await).await.unwrap();
    control.until("it is seen", view.id, |c| c.spus[2].restarts > 0).await;
    for partition in topic(&control, "orders").await.partitions {
        assert_eq!((partition.leader_spu_id, partition.isr_spu_ids), (Some(3), vec![3]));
        assert_eq!(partition.eligible_spu_ids, [2]);
    }
}

async fn control_cluster(control: &ControlPlane) -> weir_protocol::ids::ClusterId {
    app::cluster_get(&control.app, &control.principal, "demo").await.unwrap().id
}

#[tokio::test]
async fn one_that_never_comes_is_dropped_after_a_lease() {
    let (folder, provisioner) = (TempDir::new().unwrap(), InMemory::default());
    let control = running(&folder, &provisioner, 2).await;
    let id = control_cluster(&control).await;
    provisioner.silent.store(true, Ordering::Relaxed);
    provisioner.kill(spu(2));
    control.until("it is gone", id, |c| c.spus[1].restarts > 0).await;
    // Placed on both all the same.
    let made = create(&control, "orders", 2, 2, None).await;
    assert!(made.partitions.iter().all(|p| ids(&p.isr_spu_ids) == [1, 2]));
    assert!(made.partitions.iter().all(|p| p.leader_spu_id == Some(1)), "who is there leads");
    until("nobody waits for it", async || {
        topic(&control, "orders").await.partitions.iter().all(|p| p.isr_spu_ids == [1])
    })
    .await;
    // It was in sync, and nothing is committed without it.
    let orders = topic(&control, "orders").await;
    assert!(orders.partitions.iter().all(|p| p.eligible_spu_ids == [2]));
}

#[tokio::test]
async fn one_that_is_not_heard_of_is_followed_when_its_lease_is_over() {
    let (folder, provisioner) = (TempDir::new().unwrap(), InMemory::default());
    let control = running(&folder, &provisioner, 3).await;
    create(&control, "orders", 3, 3, None).await;
    let lease = control.app.defaults.lease;
    let in_sync = async |control: &ControlPlane| {
        let partitions = topic(control, "orders").await.partitions;
        partitions.iter().map(|p| ids(&p.isr_spu_ids)).collect::<Vec<_>>()
    };
    let begin = control.app.clock.now();
    provisioner.hang(spu(1));
    until("others do without it", async || in_sync(&control).await == [[2, 3]; 3]).await;
    let took = control.app.clock.now().since(begin);
    assert!(took > lease / 2, "{took:?}: a lease is a promise");
    let orders = topic(&control, "orders").await.partitions;
    assert!(orders.iter().all(|p| p.leader_spu_id != Some(1)));
    assert_eq!(
        orders[0].replicas[0].missing.as_deref().map(|why| why.contains("offline")),
        Some(true)
    );
    assert!(orders[0].under_replicated);
    // A control plane that has just begun grants the lease anew.
    let control = control.restart(&folder).await;
    provisioner.hang(spu(2));
    let begin = control.app.clock.now();
    control.reconcile(&provisioner);
    until("one is left", async || in_sync(&control).await == [[3]; 3]).await;
    let took = control.app.clock.now().since(begin);
    assert!(took >= lease, "{took:?}");
    let orders = topic(&control, "orders").await.partitions;
    assert!(orders.iter().all(|p| p.leader_spu_id == Some(3) && p.eligible_spu_ids == [2]));
}

#[tokio::test]
async fn a_shutdown_and_a_resume_keep_who_is_in_sync() {
    let (folder, provisioner) = (TempDir::new().unwrap(), InMemory::default());
    let control = running(&folder, &provisioner, 3).await;
    let id = control_cluster(&control).await;
    let before = create(&control, "orders", 6, 3, None).await;
    app::cluster_shutdown(&control.app, &control.principal, "demo", None).await.unwrap();
    control.until("it is shut down", id, |c| c.state == ClusterState::Shutdown).await;
    app::cluster_resume(&control.app, &control.principal, "demo", None).await.unwrap();
    control.until("it runs", id, |c| c.state == ClusterState::Running).await;
    for (now, before) in topic(&control, "orders").await.partitions.iter().zip(&before.partitions) {
        assert_eq!(now.isr_spu_ids, before.isr_spu_ids);
        assert_eq!(now.leader_spu_id, before.leader_spu_id, "each is waited for");
        assert!(now.leader_epoch > before.leader_epoch);
    }
}

#[tokio::test]
async fn a_control_plane_that_has_just_begun_waits_for_a_lease() {
    let (folder, provisioner) = (TempDir::new().unwrap(), InMemory::default());
    // Long enough for all to come back, however slow the database is.
    let control = ControlPlane::start_with(&folder, PATIENCE).await;
    let control = serving(control, &provisioner, 3).await;
    let before = create(&control, "orders", 6, 3, None).await;
    let control = control.restart(&folder).await;
    control.reconcile(&provisioner);
    let id = control_cluster(&control).await;
    control.until("it runs", id, |c| c.state == ClusterState::Running).await;
    for (now, before) in topic(&control, "orders").await.partitions.iter().zip(&before.partitions) {
        assert_eq!(
            (now.leader_epoch, now.partition_epoch),
            (before.leader_epoch, before.partition_epoch)
        );
    }
}
