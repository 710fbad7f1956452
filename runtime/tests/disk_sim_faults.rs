//! The simulated disk's faults one by one: what each may do, and that it does it in some seed.
#![cfg(madsim)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod disk_support;

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use disk_support::simulate;
use madsim::{
    rand::{Rng, thread_rng},
    runtime::Handle,
    time::sleep,
};
use weir_runtime::disk::{
    self, Disk, File, OpenMode, os_code,
    sim::{DiskSim, SimDisk},
};

/// On its own node: `before` runs and is killed, then `after` runs.
fn across_a_crash<T, A, B>(
    seed: u64,
    before: impl Fn(Arc<dyn Disk>) -> A + Send + Sync + 'static,
    after: impl FnOnce(Arc<dyn Disk>) -> B + Send + 'static,
) -> T
where
    T: Send + 'static,
    A: Future<Output = ()> + Send + 'static,
    B: Future<Output = T> + Send + 'static,
{
    simulate(seed, move || async move {
        let node = Handle::current().create_node().build();
        node.spawn(async move { before(SimDisk::of_this_node()).await }).await.unwrap();
        Handle::current().kill(node.id());
        Handle::current().restart(node.id());
        let node = Handle::current().get_node(node.id()).unwrap();
        node.spawn(async move { after(SimDisk::of_this_node()).await }).await.unwrap()
    })
}

#[test]
fn names_need_their_folder_synced() {
    let survivors = |synced: bool| {
        let run = |seed| {
            across_a_crash(
                seed,
                move |disk| async move {
                    disk::create_dir_durable(&*disk, "d").await.unwrap();
                    for name in ["d/0", "d/1", "d/2"] {
                        let file = disk.open(name, OpenMode::CreateNew).await.unwrap();
                        file.write_at(0, vec![Bytes::from_static(b"x")]).await.unwrap();
                        file.sync_data().await.unwrap();
                    }
                    if synced {
                        disk.sync_dir("d").await.unwrap();
                    }
                },
                |disk| async move { disk.list("d").await.unwrap().len() },
            )
        };
        (0..100).map(run).collect::<Vec<usize>>()
    };
    assert!(survivors(true).iter().all(|files| *files == 3));
    let unsynced = survivors(false);
    for files in 0..=3 {
        assert!(unsynced.contains(&files), "never {files} of 3 files: {unsynced:?}");
    }
}

#[test]
fn a_replaced_file_is_old_or_new() {
    let contents: Vec<Bytes> = (0..200)
        .map(|seed| {
            across_a_crash(
                seed,
                |disk| async move {
                    disk::replace(&*disk, "f", Bytes::from(vec![b'a'; 2000])).await.unwrap();
                    // Dropped half-way: its rest happens later, or never.
                    let again = disk::replace(&*disk, "f", Bytes::from(vec![b'b'; 3000]));
                    let limit = Duration::from_micros(thread_rng().gen_range(0..4_000));
                    let _ = madsim::time::timeout(limit, again).await;
                },
                |disk| async move { disk::read_all(&*disk, "f", 1 << 20).await.unwrap() },
            )
        })
        .collect();
    let old = contents.iter().filter(|content| content[..] == [b'a'; 2000]).count();
    let new = contents.iter().filter(|content| content[..] == [b'b'; 3000]).count();
    assert_eq!(old + new, 200);
    assert!(old > 10 && new > 10, "{old} old, {new} new");
}

#[test]
fn a_full_disk_takes_a_part_and_recovers() {
    let mut partial = 0;
    for seed in 0..50 {
        partial += simulate(seed, || async {
            let (sim, node) = (DiskSim::current(), madsim::plugin::node());
            sim.faults(node, |faults| faults.capacity_bytes = 10_000);
            let disk = SimDisk::of_this_node();
            let file = disk.open("a", OpenMode::CreateNew).await.unwrap();
            let kilobyte = || vec![Bytes::from(vec![7; 1_500])];
            let mut end = 0;
            let error = loop {
                match file.write_at(end, kilobyte()).await {
                    Ok(()) => end += 1_500,
                    Err(error) => break error,
                }
            };
            assert_eq!((error.kind(), os_code(&error)), (io::ErrorKind::StorageFull, Some(28)));
            assert_eq!(end, 9_000);
            let len = file.len().await.unwrap();
            assert!((9_000..=10_000).contains(&len), "{len}");
            assert_eq!(disk.free_space_bytes().await.unwrap(), 10_000 - len);
            let other = disk.open("b", OpenMode::CreateNew).await.unwrap();
            let refused = other.preallocate(20_000).await.unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
            file.write_at(0, kilobyte()).await.unwrap(); // Overwriting needs no room.
            disk.remove_file("a").await.unwrap();
            let held = other.write_at(0, vec![Bytes::from(vec![7; 2_000])]).await;
            assert_eq!(held.unwrap_err().kind(), io::ErrorKind::StorageFull, "still open");
            drop(file);
            other.write_at(0, kilobyte()).await.unwrap();
            let stats = sim.stats(node);
            assert_eq!(stats.full_errors, 3);
            stats.partial_writes
        });
    }
    assert!(partial > 10, "{partial} partial writes");
}

#[test]
fn a_dropped_write_may_still_happen_even_later() {
    #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
    enum Fate {
        Never,
        AtOnce,
        Later,
    }
    let run = |seed| {
        simulate(seed, || async {
            let disk = SimDisk::of_this_node();
            let node = madsim::plugin::node();
            let slow = Duration::from_millis(10)..Duration::from_millis(11);
            DiskSim::current().faults(node, |faults| faults.write.latency = slow);
            let file = disk.open("a", OpenMode::CreateNew).await.unwrap();
            let write = file.write_at(0, vec![Bytes::from_static(b"x")]);
            assert!(madsim::time::timeout(Duration::from_millis(5), write).await.is_err());
            let at_once = file.len().await.unwrap();
            sleep(Duration::from_millis(50)).await;
            match (at_once, file.len().await.unwrap()) {
                (0, 0) => Fate::Never,
                (1, 1) => Fate::AtOnce,
                (0, 1) => Fate::Later,
                other => panic!("{other:?}"),
            }
        })
    };
    let fates: Vec<Fate> = (0..50).map(run).collect();
    for fate in [Fate::Never, Fate::AtOnce, Fate::Later] {
        assert!(fates.contains(&fate), "{fate:?} never: {fates:?}");
    }
}

#[test]
fn handles_and_locks_die_with_the_process() {
    simulate(1, || async {
        type Kept = (Arc<dyn Disk>, Arc<dyn File>, Box<dyn Send + Sync>);
        let node = Handle::current().create_node().build();
        let first = node.spawn(async {
            let disk = SimDisk::of_this_node();
            let file = disk.open("a", OpenMode::CreateNew).await.unwrap();
            let lock = disk.lock("lock").await.unwrap();
            Ok::<Kept, io::Error>((disk, file, lock))
        });
        let (disk, file, lock) = first.await.unwrap().unwrap();
        Handle::current().kill(node.id());
        Handle::current().restart(node.id());
        let node = Handle::current().get_node(node.id()).unwrap();
        let second = node.spawn(async {
            let disk = SimDisk::of_this_node();
            (disk.lock("lock").await.unwrap(), disk)
        });
        let (_mine, again) = second.await.unwrap();
        drop(lock);
        assert_eq!(again.lock("lock").await.err().unwrap().kind(), io::ErrorKind::WouldBlock);
        for _ in 0..3 {
            let errors = [
                file.write_at(0, vec![Bytes::from_static(b"x")]).await.unwrap_err(),
                file.sync_data().await.unwrap_err(),
                file.len().await.unwrap_err(),
                disk.list("").await.unwrap_err(),
            ];
            assert!(errors.iter().all(|error| os_code(error) == Some(5)), "{errors:?}");
        }
    });
}

#[test]
fn orders_to_a_disk() {
    simulate(1, || async {
        let (sim, node) = (DiskSim::current(), madsim::plugin::node());
        let disk = SimDisk::of_this_node();
        disk.create_dir_all("d").await.unwrap();
        disk::replace(&*disk, "d/a", Bytes::from_static(&[0; 100])).await.unwrap();
        assert_eq!(sim.files(node), ["d/a"]);
        assert_eq!(sim.flip_bit(node, "d/b"), None);

        let flip = sim.flip_bit(node, "d/a").unwrap();
        let bytes = sim.peek(node, "d/a").unwrap();
        let expected = |at| if at as u64 == flip.offset { 1 << flip.bit } else { 0 };
        assert_eq!(bytes, (0..100).map(expected).collect::<Vec<u8>>());

        let file = disk.open("d/a", OpenMode::Write).await.unwrap();
        sim.faults(node, |faults| (faults.read.error_next, faults.sync.error_next) = (1, 1));
        assert_eq!(os_code(&file.len().await.unwrap_err()), Some(5));
        file.len().await.unwrap();
        assert!(file.sync_data().await.is_err());
        file.sync_data().await.unwrap();

        sim.faults(node, |faults| faults.stall = 1.0);
        let start = madsim::time::Instant::now();
        file.len().await.unwrap();
        assert!(start.elapsed() >= Duration::from_millis(100));

        let stats = sim.stats(node);
        let fired = (stats.flipped_bits, stats.io_errors, stats.failed_syncs, stats.stalls);
        assert_eq!(fired, (1, 1, 1, 1));

        sim.wipe(node);
        assert!(file.len().await.is_err());
        let disk = SimDisk::of_this_node();
        assert_eq!(disk.list("").await.unwrap(), []);

        disk::replace(&*disk, "b", Bytes::from_static(b"mine")).await.unwrap();
        let other = Handle::current().create_node().build().id();
        sim.swap(node, other);
        assert_eq!((sim.files(node), sim.files(other)), (vec![], vec!["b".to_owned()]));
        assert!(disk.list("").await.is_err(), "a process keeps no disk that was taken out");
        sim.swap(other, node);
        assert_eq!(sim.peek(node, "b").unwrap(), b"mine");
    });
}

/// A restarted process reads from the page cache what an earlier one failed to sync; its own
/// sync succeeds and promises nothing about those bytes.
#[test]
fn a_failed_sync_outlives_the_process() {
    let lost = (0..50).filter(|seed| {
        simulate(*seed, || async {
            let (sim, handle) = (DiskSim::current(), Handle::current());
            let node = handle.create_node().build().id();
            let on_node = || handle.get_node(node).unwrap();
            sim.faults(node, |faults| (faults.power_loss, faults.sync.error_next) = (0.0, 1));
            let first = on_node().spawn(async {
                let disk = SimDisk::of_this_node();
                let file = disk.open("a", OpenMode::CreateNew).await.unwrap();
                file.write_at(0, vec![Bytes::from_static(&[1; 4096])]).await.unwrap();
                file.sync_data().await.unwrap_err();
                disk.sync_dir("").await.unwrap();
            });
            first.await.unwrap();
            handle.kill(node);
            handle.restart(node);
            let second = on_node().spawn(async {
                let disk = SimDisk::of_this_node();
                let content = disk::read_all(&*disk, "a", 4096).await.unwrap();
                assert_eq!(content[..], [1; 4096]);
                disk.open("a", OpenMode::Write).await.unwrap().sync_data().await.unwrap();
            });
            second.await.unwrap();
            sim.crash(node);
            sim.peek(node, "a").unwrap() != [1; 4096]
        })
    });
    assert!(lost.count() > 25);
}
