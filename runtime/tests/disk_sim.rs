//! The simulated disk is no kinder than Linux: a small log over it, crashed and hurt over
//! many seeds. Each "sometimes" is asserted to have happened, so that no check is idle.
#![cfg(madsim)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod disk_support;

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::{BufMut, Bytes, BytesMut};
use madsim::{
    rand::{Rng, thread_rng},
    runtime::Handle,
    time::sleep,
};
use weir_runtime::{
    disk::{
        self, Disk, File, OpenMode, os_code,
        sim::{DiskSim, Faults, SimDisk, Stats},
    },
    trace,
};

use disk_support::simulate;

/// A record: length, checksum, number, filling.
fn record(number: u64, filling: usize) -> Bytes {
    let mut body = BytesMut::new();
    body.put_u64(number);
    body.put_bytes(number as u8, filling);
    let mut bytes = BytesMut::new();
    bytes.put_u32(body.len() as u32);
    bytes.put_u32(checksum(&body));
    bytes.put(body);
    bytes.freeze()
}

/// FNV-1a.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811C_9DC5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

struct Log {
    file: Arc<dyn File>,
    end: u64,
    /// The next record's number: records are numbered without gaps.
    next: u64,
}

impl Log {
    async fn open(disk: &Arc<dyn Disk>) -> io::Result<Self> {
        disk::create_dir_durable(&**disk, "logs").await?;
        let file = disk.open("logs/log", OpenMode::CreateOrOpen).await?;
        disk.sync_dir("logs").await?;
        let len = file.len().await?;
        let bytes = file.read_at(0, BytesMut::with_capacity(len as usize)).await?;
        let (mut end, mut next) = (0, 0_u64);
        while let Some(head) = bytes.get(end..end + 8) {
            let length = u32::from_be_bytes(head[..4].try_into().unwrap()) as usize;
            let Some(body) = bytes.get(end + 8..end + 8 + length) else { break };
            let sum = u32::from_be_bytes(head[4..].try_into().unwrap());
            if length < 8 || checksum(body) != sum || body[..8] != next.to_be_bytes()[..] {
                break;
            }
            (end, next) = (end + 8 + length, next + 1);
        }
        file.truncate(end as u64).await?;
        file.sync_data().await?;
        Ok(Self { file, end: end as u64, next })
    }

    async fn append(&mut self) -> io::Result<()> {
        let record = record(self.next, (self.next as usize * 97) % 1500);
        let bytes = record.len() as u64;
        self.file.write_at(self.end, vec![record]).await?;
        (self.end, self.next) = (self.end + bytes, self.next + 1);
        Ok(())
    }
}

/// What the log's user knows, outside of the node that crashes.
#[derive(Clone, Debug, Default)]
struct Seen {
    boots: u64,
    appended: u64,
    synced: u64,
    lost_synced: u64,
    lost_unsynced: u64,
    errors: Vec<(io::ErrorKind, Option<i32>)>,
}

#[derive(Clone, Copy, PartialEq)]
enum AfterFailedSync {
    /// Right: nothing is written or acknowledged again before recovery.
    Stop,
    /// Wrong: sync again and believe it.
    Retry,
}

/// Appends and syncs for ever.
async fn user(seen: &Mutex<Seen>, habit: AfterFailedSync) -> io::Result<()> {
    let disk = SimDisk::of_this_node();
    let mut log = Log::open(&disk).await?;
    {
        let mut seen = seen.lock().unwrap();
        seen.boots += 1;
        seen.lost_synced += seen.synced.saturating_sub(log.next);
        seen.lost_unsynced += seen.appended.saturating_sub(log.next.max(seen.synced));
        (seen.appended, seen.synced) = (log.next, log.next);
    }
    loop {
        for _ in 0..thread_rng().gen_range(1..10) {
            log.append().await?;
            seen.lock().unwrap().appended = log.next;
        }
        let synced = log.file.sync_data().await;
        if let Err(error) = synced {
            seen.lock().unwrap().errors.push((error.kind(), os_code(&error)));
            if habit == AfterFailedSync::Stop {
                return Err(error);
            }
            log.file.sync_data().await?;
        }
        seen.lock().unwrap().synced = log.next;
    }
}

/// A node with the log's user on it, crashed again and again. Gives what was seen, the
/// disk's counts.
fn crashes(
    seed: u64,
    crashes: u32,
    habit: AfterFailedSync,
    faults: impl Fn(&mut Faults) + Send + 'static,
) -> (Seen, Stats) {
    let (seen, stats, _) = traced_crashes(seed, crashes, habit, false, faults);
    (seen, stats)
}

/// As [`crashes`], with the trace.
fn traced_crashes(
    seed: u64,
    crashes: u32,
    habit: AfterFailedSync,
    keep_trace: bool,
    faults: impl Fn(&mut Faults) + Send + 'static,
) -> (Seen, Stats, Vec<String>) {
    simulate(seed, move || async move {
        trace::start(keep_trace);
        let seen = Arc::new(Mutex::new(Seen::default()));
        let theirs = Arc::clone(&seen);
        let node = Handle::current()
            .create_node()
            .init(move || {
                let seen = Arc::clone(&theirs);
                async move {
                    let Err(error) = user(&seen, habit).await else { return };
                    seen.lock().unwrap().errors.push((error.kind(), os_code(&error)));
                    std::future::pending::<()>().await;
                }
            })
            .build();
        let (handle, id) = (Handle::current(), node.id());
        DiskSim::current().faults(id, faults);
        for _ in 0..crashes {
            sleep(Duration::from_micros(thread_rng().gen_range(500..30_000))).await;
            handle.kill(id);
            sleep(Duration::from_millis(1)).await;
            handle.restart(id);
        }
        // Enough for the last recovery.
        sleep(Duration::from_millis(100)).await;
        handle.kill(id);
        let seen = seen.lock().unwrap().clone();
        (seen, DiskSim::current().stats(id), trace::take())
    })
}

#[test]
fn synced_bytes_survive_and_others_are_lost_or_torn() {
    let (mut synced, mut lost, mut torn, mut boots) = (0, 0, 0, 0);
    for seed in 0..300 {
        let (seen, stats) = crashes(seed, 8, AfterFailedSync::Stop, |_| {});
        assert_eq!(seen.lost_synced, 0, "seed {seed}: {seen:?}");
        assert_eq!(seen.errors, [], "seed {seed}: a healthy disk gives no errors");
        synced += seen.synced;
        lost += seen.lost_unsynced;
        torn += stats.torn_files;
        boots += seen.boots;
    }
    assert!(boots >= 300 * 8 && synced > 100_000, "{boots} boots, {synced} synced");
    assert!(lost > 1_000, "{lost} unsynced records lost");
    assert!(torn > 100, "{torn} files torn");
}

#[test]
fn a_lying_sync_is_caught() {
    let caught = (0..50).filter(|seed| {
        let (seen, stats) =
            crashes(*seed, 4, AfterFailedSync::Stop, |faults| faults.lying_sync = true);
        assert!(stats.lied_syncs > 0);
        seen.lost_synced > 0
    });
    assert!(caught.count() > 10);
}

#[test]
fn believing_the_sync_after_a_failed_one_loses_bytes() {
    let faults = |faults: &mut Faults| faults.sync.error = 0.05;
    let (mut wrong, mut right, mut failed) = (0, 0, 0);
    for seed in 0..100 {
        wrong += crashes(seed, 6, AfterFailedSync::Retry, faults).0.lost_synced;
        let (seen, stats) = crashes(seed, 6, AfterFailedSync::Stop, faults);
        right += seen.lost_synced;
        failed += stats.failed_syncs;
    }
    assert!(failed > 100, "{failed} syncs failed");
    assert!(wrong > 0, "the habit of retrying must lose records");
    assert_eq!(right, 0, "the habit of stopping must not");
}

#[test]
fn io_errors_lose_nothing_that_was_synced() {
    let (mut errors, mut partial) = (0, 0);
    for seed in 0..100 {
        let (seen, stats) = crashes(seed, 6, AfterFailedSync::Stop, |faults| {
            faults.write.error = 0.01;
            faults.read.error = 0.01;
            faults.name.error = 0.01;
        });
        assert_eq!(seen.lost_synced, 0, "seed {seed}");
        assert!(seen.errors.iter().all(|(_, code)| *code == Some(5)), "{:?}", seen.errors);
        errors += stats.io_errors;
        partial += stats.partial_writes;
    }
    assert!(errors > 100 && partial > 10, "{errors} errors, {partial} partial writes");
}

#[test]
fn killing_only_the_process_loses_nothing() {
    let (seen, stats) = crashes(1, 20, AfterFailedSync::Stop, |faults| faults.power_loss = 0.0);
    assert_eq!((seen.lost_synced, seen.lost_unsynced), (0, 0));
    assert_eq!((stats.crashes, stats.lost_bytes), (0, 0));
    assert!(stats.process_deaths > 20 && seen.synced > 500, "{stats:?} {seen:?}");
}

#[test]
fn one_seed_is_one_trace() {
    let faults = |faults: &mut Faults| {
        faults.write.error = 0.005;
        faults.stall = 0.001;
    };
    let run = |seed| traced_crashes(seed, 40, AfterFailedSync::Stop, true, faults).2;
    let (one, again, other) = (run(1), run(1), run(2));
    assert!(one.len() > 1_000, "{} lines", one.len());
    assert_eq!(one, again);
    assert_ne!(one, other);
}
