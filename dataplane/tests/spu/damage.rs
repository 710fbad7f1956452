//! Acknowledged records whose bytes went bad on the disk.

use std::{
    fs,
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tempfile::TempDir;
use weir_dataplane::{Deps, run};
use weir_protocol::{
    ErrorCode, WireError,
    pb::{
        metadata::TopicGeneration,
        session::{ReplicaState, ReplicaStatus},
    },
};
use weir_runtime::{
    clock::Clock,
    disk::counting::{CountingDisk, Event},
    task::{self, CancellationToken},
};

use crate::{
    client::{batch, request, soon},
    control_plane::{ControlPlane, key, led, topic},
    node::{Node, config, real_disk},
};

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn segments(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            found.extend(segments(&entry.path()));
        } else if entry.path().extension().is_some_and(|extension| extension == "log") {
            found.push(entry.path());
        }
    }
    found
}

#[tokio::test]
async fn a_flipped_byte_and_a_crash_cut_no_acknowledged_record() {
    let folder = Arc::new(TempDir::new().unwrap());
    let (disk, journal) = CountingDisk::new(real_disk(&folder).await);
    let control_plane = ControlPlane::start(vec![topic(1, 1, "t")]).await;
    let node = Node::on(folder.clone(), disk, control_plane).await;
    let mut producer = node.client.produce().await;
    for _ in 0..3 {
        producer.send(request(key(1, 0), batch(10, 100, None))).await.unwrap();
    }
    // Nobody writes any more: by itself the recovery point comes to lie behind all of it.
    let acknowledged = journal.events().len();
    let moved_on = async {
        let is_checkpoint = |event: &Event| matches!(event, Event::Renamed { to, .. } if to.ends_with("checkpoint"));
        while !journal.events()[acknowledged..].iter().any(is_checkpoint) {
            Clock.sleep(Duration::from_millis(5)).await;
        }
    };
    Clock.timeout(Duration::from_secs(20), moved_on).await.unwrap();

    // As a `kill -9` leaves the folder, but for one byte in the middle of the first batch.
    let after = Arc::new(TempDir::new().unwrap());
    copy(folder.path(), after.path());
    let damaged = segments(after.path())
        .into_iter()
        .find(|path| fs::metadata(path).unwrap().len() > 0)
        .unwrap();
    let mut bytes = fs::read(&damaged).unwrap();
    bytes[200] ^= 0x10;
    fs::write(&damaged, bytes).unwrap();
    let disk = real_disk(&after).await;
    let control_plane = ControlPlane::start(vec![led(topic(1, 1, "t"), 2, 1)]).await;
    let node = Node::on(after.clone(), disk, control_plane).await;

    let mut producer = node.client.produce().await;
    let mut next = request(key(1, 0), batch(1, 10, None));
    next.leader_epoch = 2;
    let ack = producer.send(next).await.unwrap();
    assert_eq!(ack.base_offset, 30, "offsets of acknowledged records were given out again");
    let kept =
        segments(after.path()).iter().map(|path| fs::metadata(path).unwrap().len()).sum::<u64>();
    assert!(kept > 3_000, "only {kept} bytes are left");
}

/// Led by SPU 2, with a replica here.
fn followed(epoch: u32, in_sync: &[u32], eligible: &[u32]) -> TopicGeneration {
    let mut topic = led(topic(1, 1, "t"), epoch, 1);
    for partition in &mut topic.partitions {
        partition.leader_spu_id = Some(2);
        partition.replica_spu_ids = vec![2, 1];
        partition.isr_spu_ids = in_sync.to_vec();
        partition.eligible_spu_ids = eligible.to_vec();
    }
    topic
}

#[tokio::test]
async fn a_damaged_log_is_emptied_once_nobody_counts_on_it() {
    let node = Node::start().await;
    let mut producer = node.client.produce().await;
    for partition in 0..2 {
        producer.send(request(key(1, partition), batch(9, 100, None))).await.unwrap();
    }
    let (ended, control_plane, folder, disk) = node.stop().await;
    ended.unwrap();
    let damaged = segments(folder.path())
        .into_iter()
        .find(|path| path.parent().is_some_and(|replica| replica.ends_with("0")))
        .unwrap();
    // Cut below the recovery point: these records were promised.
    fs::OpenOptions::new().write(true).open(&damaged).unwrap().set_len(40).unwrap();

    control_plane.state.replicas.send_modify(|all| all.clear());
    control_plane.state.incarnation.store(2, Ordering::SeqCst);
    *control_plane.state.topics.lock().unwrap() = vec![followed(2, &[1, 2], &[])];
    let shutdown = CancellationToken::new();
    let deps = Deps { disk, clock: Clock };
    let task = task::spawn(run(config(&control_plane.endpoint), deps, shutdown.clone()));
    let is_damaged = |status: &ReplicaStatus| {
        let problem = status.problem.clone().map(WireError::from);
        problem.is_some_and(|problem| problem.code == ErrorCode::ReplicaDamaged)
    };
    control_plane.reported(key(1, 0), is_damaged).await;
    // In sync, or eligible: what it holds may be the last of it.
    for (epoch, in_sync, eligible) in [(3, &[1, 2][..], &[][..]), (4, &[2], &[1])] {
        control_plane.state.replicas.send_modify(|all| all.clear());
        control_plane.change(vec![followed(epoch, in_sync, eligible)]).await;
        control_plane.reported(key(1, 1), |status| status.leader_epoch == epoch).await;
        assert!(damaged.exists());
    }
    control_plane.change(vec![followed(5, &[2], &[])]).await;
    let empty = |status: &ReplicaStatus| {
        status.state() == ReplicaState::Online && (status.leader_epoch, status.log_end) == (5, 0)
    };
    control_plane.reported(key(1, 0), empty).await;
    assert!(!damaged.exists());
    // The other one is whole, and stays.
    control_plane.reported(key(1, 1), |status| status.log_end == 9).await;
    shutdown.cancel();
    soon(task).await.unwrap().unwrap();
}
