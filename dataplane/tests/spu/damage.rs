//! Acknowledged records whose bytes went bad on the disk.

use std::{fs, path::Path, sync::Arc, time::Duration};

use tempfile::TempDir;
use weir_runtime::{
    clock::Clock,
    disk::counting::{CountingDisk, Event},
};

use crate::{
    client::{batch, request},
    control_plane::{ControlPlane, key, led, topic},
    node::{Node, real_disk},
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
