//! A log against a list of batches: whatever is done to both, they hold the same.
#![cfg(not(madsim))] // Thousands of cases on real files; log_crash_sim is the simulated twin.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod log_support;

use std::sync::Arc;

use log_support::*;
use proptest::prelude::*;
use weir_dataplane::log::{Assigned, Log, LogConfig};
use weir_protocol::ids::Offset;
use weir_runtime::disk::{Disk, real::RealDisk};

#[derive(Clone, Debug)]
enum Do {
    /// (records, filling) of each batch.
    Append(Vec<(u32, usize)>),
    NewEpoch,
    Sync,
    Checkpoint,
    /// To this share of the log, in 1/255.
    Truncate(u8),
    AdvanceStart(u8),
    RestartAt(u8),
    /// Opened again, after a close or as after the process' death.
    Reopen {
        close: bool,
    },
    Read {
        max_bytes: usize,
    },
}

fn steps() -> impl Strategy<Value = Vec<Do>> {
    let append = prop::collection::vec((1..6_u32, 0..300_usize), 1..6).prop_map(Do::Append);
    let step = prop_oneof![
        12 => append,
        2 => Just(Do::NewEpoch),
        4 => Just(Do::Sync),
        2 => Just(Do::Checkpoint),
        2 => any::<u8>().prop_map(Do::Truncate),
        1 => any::<u8>().prop_map(Do::AdvanceStart),
        1 => any::<u8>().prop_map(Do::RestartAt),
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
}

impl World {
    fn share(&self, of: u8) -> Offset {
        Offset(self.log_start.0 + self.end.records_since(self.log_start) * u64::from(of) / 255)
    }

    async fn take(&mut self, step: Do) {
        match step {
            Do::Append(sizes) => {
                let mut some = Vec::new();
                for (records, filling) in sizes {
                    let one = batch(self.end.0, self.epoch, records, filling);
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
                (self.log_start, self.end) = (at, at);
            }
            Do::Reopen { close } => {
                if close {
                    self.log.close().await.unwrap();
                }
                let (log, recovered) = open(&self.disk, &self.config).await.unwrap();
                assert_eq!((recovered.set_aside, recovered.log_end), (None, self.end));
                assert!(recovered.clean || !close);
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
                open_segments_max: 2,
                ..LogConfig::default()
            };
            let (log, _) = open(&disk, &config).await.unwrap();
            let mut world = World {
                disk, config, log,
                batches: Vec::new(),
                log_start: Offset(0),
                end: Offset(0),
                epoch: 1,
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
