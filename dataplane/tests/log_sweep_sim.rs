//! A loss of power at every single operation of the disk, in turn: while a log lives through
//! everything that can be done to it, and again while it recovers from that.
//!
//! Beside it the disk that lies: a sync that says yes and does nothing must be found out.
#![cfg(madsim)] // Only the simulated disk takes away what was not promised.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod log_support;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use log_support::*;
use madsim::{plugin, runtime::Runtime};
use weir_dataplane::log::{
    Assigned, BatchSummary, Log, LogConfig, LogError, Producers, Recovered, Retention, discard,
};
use weir_protocol::ids::{LeaderEpoch, Offset};
use weir_runtime::{
    disk::{
        DirEntry, Disk, File, OpenMode,
        sim::{DiskSim, SimDisk},
    },
    trace,
};

/// Loses power at the n-th operation from now.
struct Fuse {
    left: AtomicU64,
    /// Whether that operation still happens.
    after: bool,
}

impl Fuse {
    fn new(left: u64, after: bool) -> Arc<Self> {
        Arc::new(Self { left: AtomicU64::new(left), after })
    }

    fn used(&self, of: u64) -> u64 {
        of - self.left.load(Ordering::SeqCst)
    }

    /// Counts one operation; true if it is the last.
    fn burn(&self) -> bool {
        let left = self.left.load(Ordering::SeqCst);
        self.left.store(left.saturating_sub(1), Ordering::SeqCst);
        left == 1
    }

    async fn pass<T>(&self, operation: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        let last = self.burn();
        let blow = || DiskSim::current().crash(plugin::node());
        if last && !self.after {
            blow();
        }
        let done = operation.await;
        if last && self.after {
            blow();
            return Err(io::Error::other("the power is gone"));
        }
        done
    }
}

struct Fused(Arc<dyn Disk>, Arc<Fuse>);
struct FusedFile(Arc<dyn File>, Arc<Fuse>);

#[async_trait]
impl Disk for Fused {
    async fn open(&self, path: &str, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let inner = self.1.pass(self.0.open(path, mode)).await?;
        Ok(Arc::new(FusedFile(inner, self.1.clone())))
    }
    async fn create_dir_all(&self, path: &str) -> io::Result<()> {
        self.1.pass(self.0.create_dir_all(path)).await
    }
    async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.1.pass(self.0.rename(from, to)).await
    }
    async fn remove_file(&self, path: &str) -> io::Result<()> {
        self.1.pass(self.0.remove_file(path)).await
    }
    async fn remove_dir_all(&self, path: &str) -> io::Result<()> {
        self.1.pass(self.0.remove_dir_all(path)).await
    }
    async fn list(&self, path: &str) -> io::Result<Vec<DirEntry>> {
        self.1.pass(self.0.list(path)).await
    }
    async fn sync_dir(&self, path: &str) -> io::Result<()> {
        self.1.pass(self.0.sync_dir(path)).await
    }
    async fn free_space_bytes(&self) -> io::Result<u64> {
        self.0.free_space_bytes().await
    }
    async fn lock(&self, path: &str) -> io::Result<Box<dyn Send + Sync>> {
        self.0.lock(path).await
    }
}

#[async_trait]
impl File for FusedFile {
    async fn write_at(&self, offset: u64, buffers: Vec<Bytes>) -> io::Result<()> {
        self.1.pass(self.0.write_at(offset, buffers)).await
    }
    async fn read_at(&self, offset: u64, buffer: BytesMut) -> io::Result<BytesMut> {
        self.1.pass(self.0.read_at(offset, buffer)).await
    }
    async fn len(&self) -> io::Result<u64> {
        self.1.pass(self.0.len()).await
    }
    async fn sync_data(&self) -> io::Result<()> {
        self.1.pass(self.0.sync_data()).await
    }
    async fn preallocate(&self, len: u64) -> io::Result<()> {
        self.1.pass(self.0.preallocate(len)).await
    }
    async fn truncate(&self, len: u64) -> io::Result<()> {
        self.1.pass(self.0.truncate(len)).await
    }
}

/// What must be true of the log after a loss of power now.
#[derive(Clone, Default)]
struct Promise {
    /// All that may be in it, in order, from the lowest possible log start on.
    batches: Vec<Assigned>,
    /// It ends here or later.
    durable: Offset,
    /// It starts at one of these.
    starts: Vec<Offset>,
    /// What producers are told to have written below the snapshot.
    epoch: u32,
}

fn config() -> LogConfig {
    LogConfig { segment_bytes_max: 700, index_interval_bytes: 150, ..LogConfig::default() }
}

async fn append(log: &Log, promise: &mut Promise, count: u64) -> Result<(), LogError> {
    for _ in 0..count {
        let end = log.log_end().0;
        let one = timed(end, promise.epoch, (2, 60), Some((end % 3, end as u32)), end as i64);
        // From here on it may be in the log.
        promise.batches.push(one.clone());
        log.append(vec![one]).await?;
    }
    Ok(())
}

async fn sync(log: &Log, promise: &mut Promise) -> Result<(), LogError> {
    promise.durable = log.sync().await?;
    Ok(())
}

async fn retain(log: &Log, promise: &mut Promise, rule: Retention) -> Result<(), LogError> {
    let Some(start) = log.expired(rule, 10_000, log.durable_end()) else { return Ok(()) };
    promise.starts.push(start);
    log.advance_log_start(start).await?;
    promise.starts = vec![start];
    Ok(())
}

async fn truncate(log: &Log, promise: &mut Promise, to: Offset) -> Result<(), LogError> {
    let boundary = promise.batches.iter().map(|b| b.header.base_offset).filter(|b| *b <= to).max();
    promise.durable = promise.durable.min(boundary.unwrap_or_default());
    let end = log.truncate_to(to).await?;
    promise.batches.retain(|b| b.header.next_offset() <= end);
    Ok(())
}

/// Everything that can be done to a log.
async fn life(log: &Log, promise: &mut Promise) -> Result<(), LogError> {
    append(log, promise, 4).await?;
    sync(log, promise).await?;
    append(log, promise, 5).await?;
    log.checkpoint().await?;
    sync(log, promise).await?;
    let below = log.durable_end();
    let batches = promise.batches.iter().map(|b| BatchSummary::from(&b.header)).collect();
    log.keep_producers(Producers { below, batches }).await?;
    log.checkpoint().await?;
    append(log, promise, 3).await?;
    promise.epoch += 1;
    log.begin_epoch(LeaderEpoch(promise.epoch)).await?;
    append(log, promise, 3).await?;
    sync(log, promise).await?;
    let size = Retention { bytes: Some(1_500), ms: None };
    retain(log, promise, size).await?;
    append(log, promise, 2).await?;
    let to = Offset(log.log_end().0 - 5);
    truncate(log, promise, to).await?;
    append(log, promise, 4).await?;
    sync(log, promise).await?;
    let age = Retention { ms: Some(9_990), bytes: None };
    retain(log, promise, age).await?;
    append(log, promise, 2).await?;
    sync(log, promise).await?;
    // All of it, the segment that is appended to as well.
    retain(log, promise, Retention { ms: Some(1), bytes: None }).await?;
    append(log, promise, 4).await?;
    log.close().await?;
    promise.durable = log.log_end();
    Ok(())
}

async fn judge(log: &Log, recovered: &Recovered, promise: &mut Promise, context: &str) {
    let (start, end) = (log.log_start(), log.log_end());
    assert!(promise.starts.contains(&start), "{context}: starts at {start}");
    assert!(end >= promise.durable, "{context}: ends at {end}, {} was durable", promise.durable);
    let kept = |b: &&Assigned| b.header.next_offset() > start && b.header.next_offset() <= end;
    let kept: Vec<Assigned> = promise.batches.iter().filter(kept).cloned().collect();
    let last = kept.last().map_or(start, |b| b.header.next_offset());
    assert_eq!(last, end, "{context}: ends where a batch did");
    let expected: Vec<u8> = kept.iter().flat_map(bytes_of).collect();
    let found = read_all(log, start, 400).await.unwrap();
    assert!(found == expected, "{context}: bytes differ");
    for one in &kept {
        let ms = one.header.max_timestamp_ms;
        let at = log.find_time(ms, start, end).await.unwrap();
        assert_eq!(at, Some(one.header.base_offset), "{context}: the batch of time {ms}");
        // Every batch that is there is known to its producer, as far as it is remembered.
        let known = recovered.batches.iter().any(|b| b.base_offset == one.header.base_offset);
        assert!(known, "{context}: the batch at {} is not known again", one.header.base_offset);
    }
    promise.batches = kept;
    promise.durable = end;
    promise.starts = vec![start];
}

/// One life that ends at the `at`-th operation, a recovery that ends at its `again`-th, and
/// one that does not. Gives how many operations the life and the recovery took.
async fn story(at: u64, again: u64, after: bool) -> (u64, u64) {
    let context = format!("power lost at {at}, then at {again}");
    let mut promise = Promise { starts: vec![Offset(0)], epoch: 1, ..Promise::default() };
    let fuse = Fuse::new(at, after);
    let disk: Arc<dyn Disk> = Arc::new(Fused(SimDisk::of_this_node(), fuse.clone()));
    if let Ok((log, _)) = open(&disk, &config()).await {
        let lived = life(&log, &mut promise).await;
        assert!(lived.is_err() || fuse.used(at) < at, "{context}: {lived:?}");
    }
    let lived = fuse.used(at);
    if lived < at {
        // It came to its end. Also then power may be lost.
        DiskSim::current().crash(plugin::node());
    }

    let fuse = Fuse::new(again, after);
    let disk: Arc<dyn Disk> = Arc::new(Fused(SimDisk::of_this_node(), fuse.clone()));
    if let Err(error @ LogError::Corrupt { .. }) = open(&disk, &config()).await {
        panic!("{context}: {error}");
    }
    let recovering = fuse.used(again);
    DiskSim::current().crash(plugin::node());

    let disk = SimDisk::of_this_node();
    let (log, recovered) =
        open(&disk, &config()).await.unwrap_or_else(|e| panic!("{context}: {e}"));
    judge(&log, &recovered, &mut promise, &context).await;
    // And it goes on.
    promise.epoch += 1;
    append(&log, &mut promise, 4).await.unwrap();
    sync(&log, &mut promise).await.unwrap();
    drop(log);
    DiskSim::current().crash(plugin::node());
    let disk = SimDisk::of_this_node();
    let (log, recovered) =
        open(&disk, &config()).await.unwrap_or_else(|e| panic!("{context}: {e}"));
    judge(&log, &recovered, &mut promise, &context).await;
    (lived, recovering)
}

fn simulated<T: Send + 'static>(seed: u64, case: impl Future<Output = T> + Send + 'static) -> T {
    let run = move || {
        trace::start(false);
        let runtime = Runtime::with_seed_and_config(seed, madsim::Config::default());
        runtime.add_simulator::<DiskSim>();
        runtime.block_on(case)
    };
    std::thread::spawn(run).join().unwrap_or_else(|_| panic!("seed {seed}"))
}

/// A damaged log is taken away, which ends at the `at`-th operation, and again, which does not.
/// Gives how many operations the first attempt took.
async fn replacement(at: u64, after: bool, noted: bool) -> u64 {
    let context = format!("power lost at {at}");
    let plain: Arc<dyn Disk> = SimDisk::of_this_node();
    let (log, _) = open(&plain, &config()).await.unwrap();
    let mut promise = Promise { starts: vec![Offset(0)], epoch: 1, ..Promise::default() };
    append(&log, &mut promise, 16).await.unwrap();
    if noted {
        log.mark_damaged("a bit is not what it was").await.unwrap();
    }
    log.close().await.unwrap();
    if !noted {
        // Shorter than the checkpoint says.
        let files = plain.list(FOLDER).await.unwrap();
        let first = files.iter().find(|file| file.name.ends_with(".log")).unwrap();
        let path = format!("{FOLDER}/{}", first.name);
        let file = plain.open(&path, OpenMode::Write).await.unwrap();
        file.truncate(first.bytes - 1).await.unwrap();
        file.sync_data().await.unwrap();
    }
    drop(log);
    let fuse = Fuse::new(at, after);
    let disk: Arc<dyn Disk> = Arc::new(Fused(SimDisk::of_this_node(), fuse.clone()));
    let _ = replace(&disk).await;
    let used = fuse.used(at);
    DiskSim::current().crash(plugin::node());

    let disk: Arc<dyn Disk> = SimDisk::of_this_node();
    match open(&disk, &config()).await {
        Ok(_) => {}
        Err(LogError::Corrupt { .. }) => {
            replace(&disk).await.unwrap_or_else(|e| panic!("{context}: {e}"));
        }
        // Whatever else is not taken away again.
        Err(error) => panic!("{context}: {error}"),
    }
    let (log, _) = open(&disk, &config()).await.unwrap_or_else(|e| panic!("{context}: {e}"));
    assert_eq!(log.log_end(), Offset(0), "{context}");
    used
}

async fn replace(disk: &Arc<dyn Disk>) -> io::Result<()> {
    discard(&**disk, FOLDER).await?;
    disk.remove_dir_all(FOLDER).await?;
    disk.sync_dir("replicas").await
}

const NEVER: u64 = u64::MAX;
/// What a loss of power leaves depends on the seed.
const ROUNDS: u64 = 8;

#[test]
fn power_lost_at_every_operation_and_again_while_recovering() {
    let (operations, recovery) = simulated(0, story(NEVER, NEVER, false));
    assert!(operations > 150 && recovery > 10, "{operations} {recovery}");
    let mut stories = 0;
    for at in 1..=operations {
        for round in 0..ROUNDS {
            let (seed, after) = (at * ROUNDS + round, round % 2 == 1);
            let (_, recovery) = simulated(seed, story(at, NEVER, after));
            // A different operation of the recovery each time; all of them over the sweep.
            let again = 1 + (at * ROUNDS + round) % recovery.max(1);
            simulated(seed, story(at, again, after));
            stories += 2;
        }
    }
    println!("{operations} operations, {stories} stories");
}

#[test]
fn power_lost_while_a_damaged_log_is_taken_away() {
    for noted in [true, false] {
        let operations = simulated(0, replacement(NEVER, false, noted));
        assert!(operations > 10, "{operations}");
        for at in 1..=operations {
            for round in 0..ROUNDS {
                simulated(at * ROUNDS + round, replacement(at, round % 2 == 1, noted));
            }
        }
    }
}

#[test]
fn a_disk_that_lies_about_syncs_is_found_out() {
    let mut caught = 0;
    let mut lost = 0;
    for seed in 0..60 {
        let (found_out, gone) = simulated(seed, async {
            let disk = SimDisk::of_this_node();
            let mut promise = Promise { starts: vec![Offset(0)], epoch: 1, ..Promise::default() };
            let (log, _) = open(&disk, &config()).await.unwrap();
            append(&log, &mut promise, 3).await.unwrap();
            sync(&log, &mut promise).await.unwrap();
            DiskSim::current().faults(plugin::node(), |faults| faults.lying_sync = true);
            append(&log, &mut promise, 12).await.unwrap();
            sync(&log, &mut promise).await.unwrap();
            // The recovery point moves on by a checkpoint that the disk does keep.
            DiskSim::current().faults(plugin::node(), |faults| faults.lying_sync = false);
            log.checkpoint().await.unwrap();
            let durable = promise.durable;
            drop(log);
            DiskSim::current().crash(plugin::node());
            let disk = SimDisk::of_this_node();
            match open(&disk, &config()).await {
                Err(LogError::Corrupt { .. }) => (true, true),
                Err(other) => panic!("{other}"),
                Ok((log, _)) => {
                    let whole = read_all(&log, Offset(0), 400).await;
                    let expected: Vec<u8> = promise.batches.iter().flat_map(bytes_of).collect();
                    let gone = log.log_end() < durable
                        || whole.as_ref().map_or(true, |bytes| *bytes != expected);
                    (matches!(whole, Err(LogError::Corrupt { .. })), gone)
                }
            }
        });
        caught += u64::from(found_out);
        lost += u64::from(gone);
        assert_eq!(found_out, gone, "seed {seed}: what is lost is noticed, and nothing else");
    }
    assert!(caught > 30, "{caught} caught, {lost} lost");
}
