//! How the control plane hears of what was committed.

use std::sync::Arc;

use tempfile::TempDir;
use weir_protocol::ErrorCode;
use weir_runtime::disk::counting::CountingDisk;

use crate::{
    client::soon,
    consumer::{Consumer, OFFSETS, again, at, committed, quick, start, start_with},
    control_plane::{ControlPlane, key, purged, tombstone, topic},
    node::real_disk,
};

#[tokio::test]
async fn an_upload_says_who_leads_what_and_what_was_committed() {
    let node = start().await;
    let mut consumer = Consumer::new(&node.client, "c", 1);
    consumer.open(&[key(1, 0)]).await.unwrap();
    let claimed = node.control_plane.uploaded("c", key(1, 0), |_| true).await;
    assert_eq!((claimed.next_offset, claimed.deleted), (None, false));
    let mut offset = at(key(1, 0), 5);
    (offset.leader_epoch, offset.metadata) = (Some(3), "mine".to_owned());
    consumer.commit(vec![offset]).await.unwrap();
    let stored = node.control_plane.uploaded("c", key(1, 0), |it| it.next_offset == Some(5)).await;
    assert_eq!((stored.leader_epoch, stored.metadata.as_str()), (Some(3), "mine"));
    assert!(stored.position > claimed.position && stored.committed_at_unix_ms > 0);
    consumer.delete(&[]).await.unwrap();
    let deleted = node.control_plane.uploaded("c", key(1, 0), |it| it.deleted).await;
    assert!(deleted.position > stored.position);

    let uploads = node.control_plane.state.uploads.borrow().clone();
    let register = node.control_plane.registered(1).await;
    for upload in uploads {
        assert_eq!(
            (upload.org_id, upload.cluster_id),
            (register.org_id.clone(), register.cluster_id.clone())
        );
        assert_eq!((upload.spu_id, upload.incarnation, upload.leader_epoch), (1, 1, 1));
        assert_eq!(
            (upload.launch_id, upload.launch_secret.as_str()),
            (register.launch_id.clone(), "secret")
        );
        let of = upload.offsets_partition.unwrap();
        assert_eq!(of.generation_id, key(OFFSETS, 0).generation.to_wire());
        assert!(!upload.offsets.is_empty() && upload.offsets.len() <= 1_000);
        assert!(upload.offsets.is_sorted_by_key(|stored| stored.position));
    }
}

#[tokio::test]
async fn nothing_is_uploaded_or_answered_before_it_is_on_the_disk() {
    let folder = Arc::new(TempDir::new().unwrap());
    let (disk, journal) = CountingDisk::new(real_disk(&folder).await);
    let node = start_with(folder, disk, quick).await;
    let mut consumer = committed(&node, "c", 1, 5).await;
    node.control_plane.uploaded("c", key(1, 0), |it| it.next_offset == Some(5)).await;
    journal.hold_syncs();
    let held = consumer.commit(vec![at(key(1, 0), 6)]);
    let mut held = std::pin::pin!(held);
    // Another partition of the offsets topic is held as well, so time is what is left: many
    // uploads' worth of it.
    let wait = weir_runtime::clock::Clock.timeout(std::time::Duration::from_millis(200), &mut held);
    assert!(wait.await.is_err(), "answered before its fsync");
    let uploads = node.control_plane.state.uploads.borrow().clone();
    let stored = ControlPlane::stored(&uploads, "c", key(1, 0)).unwrap();
    assert_eq!(stored.next_offset, Some(5), "uploaded before its fsync");
    journal.release_syncs();
    soon(held).await.unwrap();
    node.control_plane.uploaded("c", key(1, 0), |it| it.next_offset == Some(6)).await;
}

#[tokio::test]
async fn commits_go_on_while_the_control_plane_is_away_and_reach_it_afterwards() {
    let node = start().await;
    let mut consumer = committed(&node, "c", 1, 5).await;
    node.control_plane.stop();
    for next in 6..20 {
        consumer.commit(vec![at(key(1, 0), next)]).await.unwrap();
    }
    let fresh = Consumer::new(&node.client, "fresh", 2);
    fresh.open(&[key(1, 1)]).await.unwrap();
    let back = node.control_plane.restart().await;
    back.uploaded("c", key(1, 0), |it| it.next_offset == Some(19)).await;
    back.uploaded("fresh", key(1, 1), |it| it.next_offset.is_none()).await;
}

#[tokio::test]
async fn the_end_tells_what_was_not_told_yet() {
    let folder = Arc::new(TempDir::new().unwrap());
    let disk = real_disk(&folder).await;
    let node = start_with(folder, disk, |config| {
        config.limits.offsets_flush_interval = std::time::Duration::from_secs(3600);
    })
    .await;
    committed(&node, "c", 1, 5).await;
    let (ended, control_plane, ..) = node.stop().await;
    ended.unwrap();
    let uploads = control_plane.state.uploads.borrow().clone();
    let stored = ControlPlane::stored(&uploads, "c", key(1, 0)).unwrap();
    assert_eq!(stored.next_offset, Some(5));
}

#[tokio::test]
async fn a_new_leader_tells_everything_deletions_too() {
    let node = start().await;
    *node.control_plane.state.store_refusal.lock().unwrap() = Some(ErrorCode::Overloaded);
    committed(&node, "c", 1, 5).await;
    committed(&node, "gone", 1, 5).await.delete(&[]).await.unwrap();
    let mut refused = node.control_plane.state.stores_refused.subscribe();
    soon(refused.wait_for(|count| *count > 0)).await.unwrap();
    *node.control_plane.state.store_refusal.lock().unwrap() = None;
    node.control_plane.state.uploads.send_modify(Vec::clear);
    let node = again(node, quick).await;
    node.control_plane.uploaded("c", key(1, 0), |it| it.next_offset == Some(5)).await;
    node.control_plane.uploaded("gone", key(1, 0), |it| it.deleted).await;
    node.control_plane.state.uploads.send_modify(Vec::clear);
    let node = again(node, quick).await;
    let stored = node.control_plane.uploaded("c", key(1, 0), |_| true).await;
    assert_eq!(stored.next_offset, Some(5), "again, though it was told before");
    let uploads = node.control_plane.state.uploads.borrow().clone();
    assert_eq!(uploads.last().unwrap().leader_epoch, 3);
}

#[tokio::test]
async fn a_fenced_leadership_uploads_no_more_and_serves_on() {
    let node = start().await;
    *node.control_plane.state.store_refusal.lock().unwrap() = Some(ErrorCode::FencedLeaderEpoch);
    let mut consumer = committed(&node, "c", 1, 5).await;
    let mut refused = node.control_plane.state.stores_refused.subscribe();
    soon(refused.wait_for(|count| *count > 0)).await.unwrap();
    *node.control_plane.state.store_refusal.lock().unwrap() = None;
    consumer.commit(vec![at(key(1, 0), 6)]).await.unwrap();
    let (ended, control_plane, ..) = node.stop().await;
    ended.unwrap();
    assert_eq!(*control_plane.state.uploads.borrow(), []);
}

#[tokio::test]
async fn a_purged_generation_loses_its_offsets_a_tombstone_and_an_absent_one_keep_them() {
    let node = start().await;
    let state = node.control_plane.state.clone();
    node.control_plane.change(vec![topic(2, 1, "purged"), topic(3, 1, "absent")]).await;
    for generation in [2, 3] {
        node.leads(generation, 0).await;
    }
    let mut consumer = committed(&node, "c", 1, 5).await;
    consumer.open(&[key(2, 0), key(3, 0)]).await.unwrap();
    consumer.commit(vec![at(key(2, 0), 6), at(key(3, 0), 7)]).await.unwrap();
    node.control_plane.uploaded("c", key(3, 0), |it| it.next_offset == Some(7)).await;
    state.purged.lock().unwrap().insert(key(2, 0).generation);
    let change = vec![tombstone(topic(1, 1, "t")), purged(topic(2, 1, "purged"))];
    node.control_plane.change(change).await;
    node.control_plane.uploaded("c", key(2, 0), |it| it.deleted).await;

    // A snapshot that does not name a generation says nothing about it.
    let known: Vec<_> = state.topics.lock().unwrap().clone();
    let absent = key(3, 0).generation.to_wire();
    state.uploads.send_modify(Vec::clear);
    state.topics.lock().unwrap().retain(|topic| topic.generation_id != absent);
    node.control_plane.hang_up();
    node.control_plane.registered(2).await;
    let asked = node.control_plane.uploaded("c", key(3, 0), |_| true).await;
    assert!(!asked.deleted, "the control plane is asked about it");
    let back = known.into_iter().map(|known| match known.name.as_str() {
        "purged" => topic(2, 1, "purged"),
        "t" => topic(1, 1, "t"),
        _ => known,
    });
    let back = back.map(|topic| crate::control_plane::led(topic, 2, 1)).collect();
    node.control_plane.change(back).await;
    for generation in [1, 2, 3] {
        node.leads(generation, 0).await;
    }
    let next = Consumer::new(&node.client, "c", 2);
    let found = next.open(&[key(1, 0), key(2, 0), key(3, 0)]).await.unwrap();
    assert_eq!(found, [(key(1, 0), 5), (key(3, 0), 7)]);
}
