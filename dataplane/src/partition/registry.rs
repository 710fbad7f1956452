//! Which replicas this SPU has, by the control plane's word.
//!
//! A replica is opened when the map names this SPU as its holder. **Absence never deletes**:
//! a replica that the map does not name any more is kept, not served; only
//! [`Registry::remove`] (in `removal`) deletes, on an explicit order; and `repair`, a damaged log
//! that nobody counts on.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::{Semaphore, mpsc, watch};
use weir_protocol::{
    ids::{Incarnation, PartitionEpoch, PartitionKey, SpuId},
    pb::session::ReplicaStatus,
    topic_config::TopicConfig,
};
use weir_runtime::{
    disk::Disk,
    plant,
    task::{self, CancellationToken},
};

use super::{
    Partition,
    appender::{Appender, Inbox},
    opening::Opening,
    queue::queue,
    upkeep::Upkeep,
    view::View,
};
use crate::{
    config::Limits,
    log::{LogConfig, OpenFiles},
    metadata::ClusterMap,
    metrics::LogTimes,
    replica::{Assignment, ReplicaLimits, followers::Proposal},
    replication::Board,
    reserve::Reserve,
    wall_clock::WallClock,
};

/// Fetches of followers, and answers of the leader, that wait for a replica's task. A follower
/// has one fetch under way per partition, and a leader answers one at a time with batches.
const MAIL_MAX: usize = 64;

/// The largest segment of an internal topic's log, in bytes.
const INTERNAL_SEGMENT_BYTES_MAX: u64 = 4 << 20;

/// The replicas of one SPU. Clones share them.
#[derive(Clone)]
pub struct Registry {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) me: SpuId,
    pub(super) disk: Arc<dyn Disk>,
    limits: Limits,
    log: LogConfig,
    times: LogTimes,
    pub(super) partitions: RwLock<BTreeMap<PartitionKey, Arc<Partition>>>,
    /// Orders carried out: the map may name the replica for a while yet.
    pub(super) removed: Mutex<BTreeMap<PartitionKey, PartitionEpoch>>,
    transitions: Arc<watch::Sender<u64>>,
    opening: Arc<Semaphore>,
    open_files: Arc<OpenFiles>,
    board: Arc<Board>,
    reserve: Arc<Reserve>,
    wall_clock: Arc<WallClock>,
    /// Nothing is started any more. Changes only while `partitions` is held for writing.
    closed: AtomicBool,
}

impl Registry {
    /// No replicas yet.
    #[must_use]
    pub fn new(me: SpuId, disk: Arc<dyn Disk>, limits: Limits, log: LogConfig) -> Self {
        let opening = Arc::new(Semaphore::new(limits.opens_at_once.max(1)));
        let open_files = OpenFiles::new(limits.open_segments_max);
        let inner = Inner {
            me,
            reserve: Reserve::new(disk.clone()),
            wall_clock: Arc::default(),
            disk,
            log: LogConfig { producers_max: limits.producers_max, ..log },
            limits,
            times: LogTimes::default(),
            partitions: RwLock::default(),
            removed: Mutex::default(),
            transitions: Arc::new(watch::channel(0).0),
            opening,
            open_files,
            board: Arc::default(),
            closed: AtomicBool::new(false),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The same, measured by `times`. Of use before it is shared.
    #[must_use]
    pub fn measured(mut self, times: LogTimes) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.inner) {
            inner.times = times;
        }
        self
    }

    /// What this SPU follows.
    #[must_use]
    pub fn board(&self) -> Arc<Board> {
        self.inner.board.clone()
    }

    /// Sets room aside for when the disk is full.
    pub async fn keep_reserve(&self) {
        self.inner.reserve.fill().await;
    }

    /// What the control plane's clock says now, in milliseconds since 1970.
    pub fn told_time(&self, unix_ms: i64) {
        self.inner.wall_clock.told(unix_ms);
    }

    /// Every replica as it is now, in order.
    #[must_use]
    pub fn views(&self) -> Vec<(PartitionKey, View)> {
        let partitions = self.inner.partitions.read().unwrap_or_else(PoisonError::into_inner);
        partitions.iter().map(|(key, of)| (*key, of.view.borrow().clone())).collect()
    }

    /// A replica, if this SPU has it.
    #[must_use]
    pub fn get(&self, key: PartitionKey) -> Option<Arc<Partition>> {
        self.inner.partitions.read().unwrap_or_else(PoisonError::into_inner).get(&key).cloned()
    }

    /// Changes whenever a replica begins or ceases to lead, or goes offline.
    #[must_use]
    pub fn transitions(&self) -> watch::Receiver<u64> {
        self.inner.transitions.subscribe()
    }

    /// What to tell the control plane of every open replica.
    #[must_use]
    pub fn statuses(&self) -> BTreeMap<PartitionKey, ReplicaStatus> {
        let partitions = self.inner.partitions.read().unwrap_or_else(PoisonError::into_inner);
        let status = |(key, partition): (&PartitionKey, &Arc<Partition>)| {
            Some((*key, partition.view.borrow().status(*key)?))
        };
        partitions.iter().filter_map(status).collect()
    }

    /// The in-sync sets that leaders here want.
    #[must_use]
    pub fn proposals(&self) -> BTreeMap<PartitionKey, Proposal> {
        let partitions = self.inner.partitions.read().unwrap_or_else(PoisonError::into_inner);
        let proposal = |(key, partition): (&PartitionKey, &Arc<Partition>)| {
            Some((*key, partition.view.borrow().proposal.clone()?))
        };
        partitions.iter().filter_map(proposal).collect()
    }

    /// Whether a partition here has replicas elsewhere.
    #[must_use]
    pub fn replicates(&self) -> bool {
        let partitions = self.inner.partitions.read().unwrap_or_else(PoisonError::into_inner);
        partitions.values().any(|partition| partition.assignment.borrow().replicas.len() > 1)
    }

    /// Brings the replicas in line with the map and this process's incarnation.
    pub fn reconcile(&self, map: &ClusterMap, incarnation: Option<Incarnation>) {
        let inner = &self.inner;
        let mut partitions = inner.partitions.write().unwrap_or_else(PoisonError::into_inner);
        if inner.closed.load(Ordering::Relaxed) {
            return;
        }
        let mut removed = inner.removed.lock().unwrap_or_else(PoisonError::into_inner);
        removed.retain(|key, _| map.partition(*key).is_some());
        for generation in map.generations() {
            for partition in &generation.wire.partitions {
                let key =
                    PartitionKey { generation: generation.id, partition: partition.index.into() };
                let mut word = map.assignment(generation, partition, inner.me, incarnation);
                bound_segments(&mut word.config, generation.internal(), &inner.log);
                match partitions.get(&key) {
                    Some(known) => known.assign(word),
                    None if word.serving
                        && word.replicas.contains(&inner.me)
                        && removed.get(&key).is_none_or(|epoch| *epoch < word.partition_epoch) =>
                    {
                        partitions.insert(key, self.start(key, word));
                    }
                    None => {}
                }
            }
        }
        for (key, partition) in &*partitions {
            if map.partition(*key).is_none() {
                let known = partition.assignment.borrow().clone();
                partition.assign(Assignment { serving: false, ..known });
            }
        }
        if plant::active("absence_removes") {
            drop((partitions, removed));
            self.planted_removal(map);
        }
    }

    /// Starts a replica's task, which opens the log first. Batches may queue meanwhile.
    fn start(&self, key: PartitionKey, word: Assignment) -> Arc<Partition> {
        let inner = &self.inner;
        let limits = &inner.limits;
        let (offers, outlet) = queue(limits.queue_bytes_max, limits.queue_requests_max);
        let (view_sender, view) = watch::channel(View::opening());
        let (assignment, assignments) = watch::channel(word);
        let (troubles, trouble_receiver) = mpsc::channel(1);
        let (starts, start_receiver) = mpsc::channel(1);
        let (mail, mail_receiver) = mpsc::channel(MAIL_MAX);
        let stop = CancellationToken::new();
        let log_cell = Arc::new(OnceLock::new());
        let inbox = Inbox {
            offers: outlet,
            assignments,
            troubles: trouble_receiver,
            starts: start_receiver,
            mail: mail_receiver,
            stop: stop.clone(),
        };

        let opening = Opening {
            key,
            disk: inner.disk.clone(),
            config: inner.log.clone(),
            open_files: inner.open_files.clone(),
            limits: ReplicaLimits {
                producers_max: limits.producers_max,
                replica_lag_max_ms: u64::try_from(limits.replica_lag_max.as_millis())
                    .unwrap_or(u64::MAX),
            },
            at_once: inner.opening.clone(),
        };
        let group_bytes_max = limits.group_bytes_max;
        let (transitions, times) = (inner.transitions.clone(), inner.times.clone());
        let board = inner.board.clone();
        let upkeep = Upkeep::new(inner.reserve.clone(), inner.wall_clock.clone());
        let cell = log_cell.clone();
        let task = task::spawn(async move {
            let mut inbox = inbox;
            let (log, replica) = opening.run(&mut inbox, &view_sender, &transitions).await;
            if let Some(log) = &log {
                // Set once, here only.
                let _ = cell.set(log.clone());
            }
            let appender = Appender::new(
                replica,
                log,
                upkeep,
                group_bytes_max,
                view_sender,
                (transitions, board),
                times,
            );
            appender.run(inbox).await;
        });
        Arc::new(Partition {
            key,
            queue: offers,
            view,
            assignment,
            troubles,
            starts,
            mail,
            log: log_cell,
            stop,
            task: Mutex::new(Some(task)),
        })
    }

    /// Closes every replica, and starts none from now on: what is written is synced, acknowledged, checkpointed.
    pub async fn close_all(&self) {
        let all: Vec<_> = {
            let partitions = self.inner.partitions.write();
            let partitions = partitions.unwrap_or_else(PoisonError::into_inner);
            self.inner.closed.store(true, Ordering::Relaxed);
            partitions.values().cloned().collect()
        };
        futures::future::join_all(all.iter().map(|partition| partition.close())).await;
    }
}

/// Internal topics are shortened: in small segments, so that it frees room. And no topic's
/// are larger than this SPU's may be.
fn bound_segments(config: &mut TopicConfig, internal: bool, log: &LogConfig) {
    let own = if internal { INTERNAL_SEGMENT_BYTES_MAX } else { config.segment_bytes };
    config.segment_bytes = own.min(log.segment_bytes_max);
}
