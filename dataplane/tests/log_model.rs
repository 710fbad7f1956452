//! A log against a list of batches: whatever is done to both, they hold the same.
#![cfg(not(madsim))] // Thousands of cases on real files; log_crash_sim is the simulated twin.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod log_support;

use std::{collections::BTreeMap, sync::Arc};

use log_support::*;
use proptest::prelude::*;
use weir_dataplane::log::{
    Assigned, BatchSummary, Log, LogConfig, Producers, Retention, recent::BATCHES_PER_PRODUCER,
};
use weir_protocol::ids::Offset;
use weir_runtime::disk::{Disk, real::RealDisk};

#[derive(Clone, Debug)]
enum Do {
    /// Records, filling, producer and largest timestamp of each batch.
    Append(Vec<(u32, usize, u64, i64)>),
    NewEpoch,
    Sync,
    Checkpoint,
    /// To this share of the log, in 1/255.
    Truncate(u8),
    AdvanceStart(u8),
    RestartAt(u8),
    /// Keep so many bytes, or what is at least so young at time 1,000.
    RetainBytes(u64),
    RetainMs(u64),
    SnapshotProducers,
    /// Opened again, after a close or as after the process' death.
    Reopen {
        close: bool,
    },
    Read {
        max_bytes: usize,
    },
}

fn steps() -> impl Strategy<Value = Vec<Do>> {
    let one = (1..6_u32, 0..300_usize, 0..4_u64, 0..1_000_i64);
    let append = prop::collection::vec(one, 1..6).prop_map(Do::Append);
    let step = prop_oneof![
        12 => append,
        2 => Just(Do::NewEpoch),
        4 => Just(Do::Sync),
        2 => Just(Do::Checkpoint),
        2 => any::<u8>().prop_map(Do::Truncate),
        1 => any::<u8>().prop_map(Do::AdvanceStart),
        1 => any::<u8>().prop_map(Do::RestartAt),
        1 => (1..5_000_u64).prop_map(Do::RetainBytes),
        1 => (0..900_u64).prop_map(Do::RetainMs),
        2 => Just(Do::SnapshotProducers),
        3 => any::<bool>().prop_map(|close| Do::Reopen { close }),
        3 => (1..3000_usize).prop_map(|max_bytes| Do::Read { max_bytes }),
    ];
    prop::collection::vec(step, 1..40)
}

struct World {
    disk: Arc<dyn Disk>,
    config: LogConfig,
    log: Log,
    batches: Vec<Assigned>,
    log_start: Offset,
    end: Offset,
    epoch: u32,
    /// What producers wrote last as of an offset, as it was snapshotted.
    snapshot: Option<Producers>,
}

impl World {
    /// What an open should tell of producers.
    fn producers(&self) -> Vec<BatchSummary> {
        let (mut from, mut told) = (self.log_start, Vec::new());
        if let Some(snapshot) = &self.snapshot {
            from = from.max(snapshot.below);
            told.clone_from(&snapshot.batches);
        }
        let after = self.batches.iter().filter(|b| b.header.base_offset >= from);
        told.extend(after.map(|b| BatchSummary::from(&b.header)));
        let mut by_producer: BTreeMap<_, Vec<BatchSummary>> = BTreeMap::new();
        for batch in told {
            if let Some(stamp) = batch.producer {
                by_producer.entry(stamp.id).or_default().push(batch);
            }
        }
        let last = |all: Vec<_>| all[all.len().saturating_sub(BATCHES_PER_PRODUCER)..].to_vec();
        let mut all: Vec<_> = by_producer.into_values().flat_map(last).collect();
        all.sort_by_key(|batch| batch.base_offset);
        all
    }

    async fn retain(&mut self, rule: Retention) {
        self.log.sync().await.unwrap();
        let start = self.log.expired(rule, 1_000, self.end);
        let young = |b: &&Assigned| {
            rule.ms.is_some_and(|ms| b.header.max_timestamp_ms >= 1_000 - ms as i64)
        };
        let first_young =
            self.batches.iter().find(young).map_or(self.end, |b| b.header.base_offset);
        if let Some(start) = start {
            assert!(start > self.log_start && start <= self.end);
            assert!(rule.ms.is_none() || start <= first_young, "something young would go");
            self.log.advance_log_start(start).await.unwrap();
            self.log_start = start;
            self.batches.retain(|b| b.header.next_offset() > start);
        }
        assert_eq!(self.log.expired(rule, 1_000, self.end), None, "once is enough");
        if let Some(max) = rule.bytes {
            let kept: usize = self.batches.iter().map(|b| b.header.batch_bytes).sum();
            assert!(start.is_none() || kept as u64 >= max, "too much went");
        }
    }

    /// From each of a few offsets, for each of a few times.
    async fn find_times(&self) {
        for from in [self.log_start.0, (self.log_start.0 + self.end.0) / 2, self.end.0] {
            for ms in [0, 1, 250, 500, 900, 999, 1_000] {
                let reaches = |b: &&Assigned| {
                    b.header.max_timestamp_ms >= ms && b.header.next_offset().0 > from
                };
                let expected = self.batches.iter().find(reaches).map(|b| b.header.base_offset);
                let found = self.log.find_time(ms, Offset(from), self.end).await.unwrap();
                assert_eq!(found, expected, "{ms} from {from}");
            }
        }
    }

    fn share(&self, of: u8) -> Offset {
        Offset(self.log_start.0 + self.end.records_since(self.log_start) * u64::from(of) / 255)
    }

    async fn take(&mut self, step: Do) {
        match step {
            Do::Append(sizes) => {
                let mut some = Vec::new();
                for (records, filling, id, largest_ms) in sizes {
                    let producer = (id > 0).then_some((id, self.end.0 as u32));
                    let size = (records, filling);
                    let one = timed(self.end.0, self.epoch, size, producer, largest_ms);
                    self.end = one.header.next_offset();
                    some.push(one);
                }
                self.batches.extend(some.clone());
                assert_eq!(self.log.append(some).await.unwrap(), self.end);
            }
            Do::NewEpoch => self.epoch += 1,
            Do::Sync => assert_eq!(self.log.sync().await.unwrap(), self.end),
            Do::Checkpoint => self.log.checkpoint().await.unwrap(),
            Do::Truncate(share) => {
                let to = self.share(share);
                self.batches.retain(|b| b.header.next_offset() <= to);
                if to < self.end {
                    let end =
                        self.batches.last().map_or(self.log_start, |b| b.header.next_offset());
                    self.snapshot.take_if(|snapshot| snapshot.below > end);
                }
                let end = self.log.truncate_to(to).await.unwrap();
                let kept = self.batches.last().map(|b| b.header.next_offset());
                assert!(end <= to && kept.is_none_or(|kept| kept == end));
                self.end = end;
                self.log_start = self.log_start.min(end);
            }
            Do::AdvanceStart(share) => {
                self.log.sync().await.unwrap();
                self.log_start = self.share(share);
                self.log.advance_log_start(self.log_start).await.unwrap();
                self.batches.retain(|b| b.header.next_offset() > self.log_start);
            }
            Do::RestartAt(share) => {
                let at = Offset(self.end.0 + u64::from(share) - 100.min(self.end.0));
                self.log.restart_at(at).await.unwrap();
                self.batches.clear();
                self.snapshot = None;
                (self.log_start, self.end) = (at, at);
            }
            Do::RetainBytes(bytes) => {
                self.retain(Retention { bytes: Some(bytes), ms: None }).await;
            }
            Do::RetainMs(ms) => self.retain(Retention { ms: Some(ms), bytes: None }).await,
            Do::SnapshotProducers => {
                self.log.sync().await.unwrap();
                let told = Producers { below: self.end, batches: self.producers() };
                self.log.keep_producers(told.clone()).await.unwrap();
                if self.snapshot.as_ref().is_none_or(|old| old.below < told.below) {
                    self.snapshot = Some(told);
                }
            }
            Do::Reopen { close } => {
                if close {
                    self.log.close().await.unwrap();
                }
                let (log, recovered) = open(&self.disk, &self.config).await.unwrap();
                assert_eq!((recovered.set_aside, recovered.log_end), (None, self.end));
                assert!(recovered.clean || !close);
                assert_eq!(recovered.batches, self.producers());
                assert_eq!(log.durable_end(), self.end);
                self.log = log;
            }
            Do::Read { max_bytes } => self.read_everywhere(max_bytes).await,
        }
        assert_eq!((self.log.log_start(), self.log.log_end()), (self.log_start, self.end));
        assert!(self.log.durable_end() <= self.end);
    }

    /// At each offset, up to each of a few ends.
    async fn read_everywhere(&self, max_bytes: usize) {
        let all: Vec<u8> = self.batches.iter().flat_map(bytes_of).collect();
        assert_eq!(read_all(&self.log, self.log_start, max_bytes).await.unwrap(), all);
        self.find_times().await;
        for from in self.log_start.0..self.end.0 {
            let holds = |b: &&Assigned| b.header.last_offset().0 >= from;
            let expected: Vec<_> = self.batches.iter().filter(holds).collect();
            for below in [self.end.0, from + 4] {
                let got = self.log.read(Offset(from), Offset(below), max_bytes).await.unwrap();
                let (mut at, mut taken) = (0, 0);
                for one in &expected {
                    if at == got.len() {
                        break;
                    }
                    let bytes = bytes_of(one);
                    assert!(got[at..].starts_with(&bytes), "from {from}");
                    assert!(one.header.next_offset().0 <= below);
                    at += bytes.len();
                    taken += 1;
                }
                assert_eq!(at, got.len());
                assert!(taken == 1 || got.len() <= max_bytes);
                let first_fits = expected[0].header.next_offset().0 <= below;
                assert_eq!(taken > 0, first_fits, "from {from} below {below}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_log_is_a_list_of_batches(
        steps in steps(),
        segment_bytes_max in prop_oneof![Just(1), 200..5000_u64],
        index_interval_bytes in prop_oneof![Just(1), 100..1000_u32],
        preallocate_bytes in prop_oneof![Just(0), Just(1000_u64)],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let root = tempfile::tempdir().unwrap();
            let disk = RealDisk::open(root.path()).await.unwrap();
            let config = LogConfig {
                segment_bytes_max,
                index_interval_bytes,
                preallocate_bytes,
                ..LogConfig::default()
            };
            let (log, _) = open(&disk, &config).await.unwrap();
            let mut world = World {
                disk, config, log,
                batches: Vec::new(),
                log_start: Offset(0),
                end: Offset(0),
                epoch: 1,
                snapshot: None,
            };
            for step in steps {
                world.take(step).await;
            }
            world.read_everywhere(700).await;
            world.take(Do::Reopen { close: false }).await;
            world.read_everywhere(700).await;
        });
    }
}
