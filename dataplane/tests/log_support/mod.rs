//! What the tests of the log share: batches, a disk that fails on order, and a runner for
//! both worlds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]
#![allow(dead_code, missing_docs)]

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use tokio::sync::watch;
use weir_dataplane::log::{Assigned, Log, LogConfig, LogError, OpenFiles, Recovered};
use weir_protocol::{
    batch::{self, BatchBuilder, BatchConfig, BatchHeader, NewRecord, ProducerStamp},
    ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId},
};
use weir_runtime::disk::{DirEntry, Disk, File, OpenMode};

pub const FOLDER: &str = "replicas/7";

pub type Case = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs a case on the real disk, or, in a simulation build, on the simulated one.
#[cfg(not(madsim))] // The one place where these tests know which world they are in.
pub fn run(case: impl Fn(Arc<dyn Disk>) -> Case + Send + 'static) {
    let root = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        case(weir_runtime::disk::real::RealDisk::open(root.path()).await.unwrap()).await;
    });
}

#[cfg(madsim)]
pub fn run(case: impl Fn(Arc<dyn Disk>) -> Case + Send + 'static) {
    use weir_runtime::disk::sim::{DiskSim, SimDisk};
    // madsim keeps the seed of the standard hash maps per thread: one thread per run.
    let seeds = move || {
        for seed in 0..3 {
            let runtime =
                madsim::runtime::Runtime::with_seed_and_config(seed, madsim::Config::default());
            runtime.add_simulator::<DiskSim>();
            runtime.block_on(async { case(SimDisk::of_this_node()).await });
        }
    };
    std::thread::spawn(seeds).join().unwrap();
}

/// Small enough that a few batches fill a segment, and each has an index entry.
pub fn small() -> LogConfig {
    LogConfig { segment_bytes_max: 700, index_interval_bytes: 100, ..LogConfig::default() }
}

/// A batch of `records` records of `filling` bytes each.
pub fn batch(offset: u64, epoch: u32, records: u32, filling: usize) -> Assigned {
    produced(offset, epoch, records, filling, None)
}

pub fn produced(
    offset: u64,
    epoch: u32,
    records: u32,
    filling: usize,
    producer: Option<(u64, u32)>,
) -> Assigned {
    timed(offset, epoch, (records, filling), producer, 1_000)
}

/// A batch whose last record has this timestamp, and the others 0.
pub fn timed(
    offset: u64,
    epoch: u32,
    (records, filling): (u32, usize),
    producer: Option<(u64, u32)>,
    largest_ms: i64,
) -> Assigned {
    let mut builder = BatchBuilder::new(BatchConfig::default());
    for n in 0..records {
        let mut value = format!("{offset}+{n} ").into_bytes();
        value.resize(value.len() + filling, offset as u8);
        let value = Some(value.into());
        let timestamp_ms = if n + 1 == records { largest_ms } else { 0 };
        builder.push(NewRecord { timestamp_ms, value, ..NewRecord::default() }).unwrap();
    }
    let stamp = producer.map(|(id, base_sequence)| ProducerStamp {
        id: ProducerId(id),
        epoch: ProducerEpoch(0),
        base_sequence,
    });
    let parts = batch::assign(&builder.finish(stamp).unwrap(), Offset(offset), LeaderEpoch(epoch));
    Assigned { header: BatchHeader::parse(&parts[0]).unwrap(), parts }
}

pub fn bytes_of(batch: &Assigned) -> Vec<u8> {
    batch.parts.concat()
}

pub async fn open(disk: &Arc<dyn Disk>, config: &LogConfig) -> Result<(Log, Recovered), LogError> {
    Log::open(disk.clone(), FOLDER, config.clone(), OpenFiles::new(2)).await
}

/// A log with `count` batches of 3 records and about 160 bytes, all durable; returns them.
pub async fn filled(disk: &Arc<dyn Disk>, count: u64) -> (Log, Vec<Assigned>) {
    let (log, _) = open(disk, &small()).await.unwrap();
    let mut batches = Vec::new();
    for n in 0..count {
        let one = batch(n * 3, 1, 3, 20);
        log.append(vec![one.clone()]).await.unwrap();
        batches.push(one);
    }
    log.sync().await.unwrap();
    (log, batches)
}

/// Everything from `from` to the end, as a reader gets it, in steps of `max_bytes`.
pub async fn read_all(log: &Log, mut from: Offset, max_bytes: usize) -> Result<Vec<u8>, LogError> {
    let mut all = Vec::new();
    loop {
        let bytes = log.read(from, log.log_end(), max_bytes).await?;
        if bytes.is_empty() {
            return Ok(all);
        }
        let mut rest = bytes.clone();
        while let Some((header, _, after)) = batch::split_first(&rest).unwrap() {
            from = header.next_offset();
            rest = after;
        }
        all.extend_from_slice(&bytes);
    }
}

pub async fn get(disk: &Arc<dyn Disk>, name: &str) -> Vec<u8> {
    let path = format!("{FOLDER}/{name}");
    weir_runtime::disk::read_all(&**disk, &path, 1 << 30).await.unwrap().to_vec()
}

pub async fn put(disk: &Arc<dyn Disk>, name: &str, content: &[u8]) {
    let path = format!("{FOLDER}/{name}");
    let file = disk.open(&path, OpenMode::CreateOrOpen).await.unwrap();
    file.truncate(0).await.unwrap();
    file.write_at(0, vec![Bytes::copy_from_slice(content)]).await.unwrap();
    file.sync_data().await.unwrap();
}

pub async fn names(disk: &Arc<dyn Disk>) -> Vec<String> {
    disk.list(FOLDER).await.unwrap().into_iter().map(|e| e.name).collect()
}

/// The files of batches, and how many bytes each has.
pub async fn segments(disk: &Arc<dyn Disk>) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for name in names(disk).await.into_iter().filter(|n| n.ends_with(".log")) {
        let content = get(disk, &name).await;
        found.push((name, content));
    }
    found
}

/// What a [`FailingDisk`] can fail at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Open,
    Read,
    Write,
    Sync,
    SyncDir,
    Truncate,
    Rename,
    Remove,
}

/// Orders to a [`FailingDisk`], and what it saw.
#[derive(Default)]
pub struct Orders {
    /// Operation, part of the path, error; the next that matches fails, and the order is
    /// used up.
    rules: Mutex<Vec<(Op, String, io::ErrorKind)>>,
    reads: Mutex<Vec<(String, u64, usize)>>,
    /// While true, writes wait.
    pub hold_writes: watch::Sender<bool>,
    /// While true, syncs of files wait.
    pub hold_syncs: watch::Sender<bool>,
}

impl Orders {
    pub fn fail(&self, op: Op, path: &str, kind: io::ErrorKind) {
        self.rules.lock().unwrap().push((op, path.to_owned(), kind));
    }

    /// Reads of files since the last call: path, position, bytes.
    pub fn take_reads(&self) -> Vec<(String, u64, usize)> {
        std::mem::take(&mut self.reads.lock().unwrap())
    }

    fn check(&self, op: Op, path: &str) -> io::Result<()> {
        let mut rules = self.rules.lock().unwrap();
        let rule = rules.iter().position(|(of, part, _)| *of == op && path.contains(part.as_str()));
        rule.map_or(Ok(()), |rule| Err(rules.remove(rule).2.into()))
    }
}

async fn held(gate: &watch::Sender<bool>) {
    let _ = gate.subscribe().wait_for(|held| !held).await;
}

/// A disk that fails on order: a failed write leaves the first half of its bytes.
pub struct FailingDisk {
    inner: Arc<dyn Disk>,
    orders: Arc<Orders>,
}

impl FailingDisk {
    pub fn over(inner: Arc<dyn Disk>) -> (Arc<dyn Disk>, Arc<Orders>) {
        let orders = Arc::new(Orders::default());
        (Arc::new(Self { inner, orders: orders.clone() }), orders)
    }
}

#[async_trait]
impl Disk for FailingDisk {
    async fn open(&self, path: &str, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        self.orders.check(Op::Open, path)?;
        let inner = self.inner.open(path, mode).await?;
        Ok(Arc::new(FailingFile { inner, path: path.to_owned(), orders: self.orders.clone() }))
    }
    async fn create_dir_all(&self, path: &str) -> io::Result<()> {
        self.inner.create_dir_all(path).await
    }
    async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.orders.check(Op::Rename, from)?;
        self.inner.rename(from, to).await
    }
    async fn remove_file(&self, path: &str) -> io::Result<()> {
        self.orders.check(Op::Remove, path)?;
        self.inner.remove_file(path).await
    }
    async fn remove_dir_all(&self, path: &str) -> io::Result<()> {
        self.inner.remove_dir_all(path).await
    }
    async fn list(&self, path: &str) -> io::Result<Vec<DirEntry>> {
        self.inner.list(path).await
    }
    async fn sync_dir(&self, path: &str) -> io::Result<()> {
        self.orders.check(Op::SyncDir, path)?;
        self.inner.sync_dir(path).await
    }
    async fn free_space_bytes(&self) -> io::Result<u64> {
        self.inner.free_space_bytes().await
    }
    async fn lock(&self, path: &str) -> io::Result<Box<dyn Send + Sync>> {
        self.inner.lock(path).await
    }
}

struct FailingFile {
    inner: Arc<dyn File>,
    path: String,
    orders: Arc<Orders>,
}

#[async_trait]
impl File for FailingFile {
    async fn write_at(&self, offset: u64, buffers: Vec<Bytes>) -> io::Result<()> {
        held(&self.orders.hold_writes).await;
        if let Err(error) = self.orders.check(Op::Write, &self.path) {
            let all = buffers.concat();
            let half = Bytes::copy_from_slice(&all[..all.len() / 2]);
            self.inner.write_at(offset, vec![half]).await?;
            return Err(error);
        }
        self.inner.write_at(offset, buffers).await
    }
    async fn read_at(&self, offset: u64, buffer: BytesMut) -> io::Result<BytesMut> {
        self.orders.check(Op::Read, &self.path)?;
        let before = buffer.len();
        let buffer = self.inner.read_at(offset, buffer).await?;
        let read = (self.path.clone(), offset, buffer.len() - before);
        self.orders.reads.lock().unwrap().push(read);
        Ok(buffer)
    }
    async fn len(&self) -> io::Result<u64> {
        self.inner.len().await
    }
    async fn sync_data(&self) -> io::Result<()> {
        held(&self.orders.hold_syncs).await;
        self.orders.check(Op::Sync, &self.path)?;
        self.inner.sync_data().await
    }
    async fn preallocate(&self, len: u64) -> io::Result<()> {
        self.inner.preallocate(len).await
    }
    async fn truncate(&self, len: u64) -> io::Result<()> {
        self.orders.check(Op::Truncate, &self.path)?;
        self.inner.truncate(len).await
    }
}
