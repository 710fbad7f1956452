//! What a reader gets, and what it costs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod log_support;

use log_support::*;
use weir_dataplane::log::{LogConfig, LogError};
use weir_protocol::ids::Offset;
use weir_runtime::disk::counting::{CountingDisk, Event};

#[test]
fn a_sequential_reader_reads_each_byte_once() {
    run(|disk| {
        Box::pin(async move {
            let (failing, orders) = FailingDisk::over(disk);
            let (log, _) = open(&failing, &LogConfig::default()).await.unwrap();
            for n in 0..1000 {
                log.append(vec![batch(n, 1, 1, 100)]).await.unwrap();
            }
            log.sync().await.unwrap();
            let (batch_bytes, mut from) = (batch(500, 1, 1, 100).header.batch_bytes, Offset(500));
            orders.take_reads();
            while from < log.log_end() {
                let bytes = log.read(from, log.log_end(), 10 * batch_bytes).await.unwrap();
                assert_eq!(bytes.len(), 10 * batch_bytes);
                from = Offset(from.0 + 10);
            }
            let reads = orders.take_reads();
            assert_eq!(reads.len(), 50);
            let (first, rest) = reads.split_first().unwrap();
            assert!(first.2 <= 10 * batch_bytes + 4096, "the first one has to look");
            let read: usize = rest.iter().map(|(_, _, bytes)| bytes).sum();
            assert_eq!(read, 490 * batch_bytes, "the others know where they are");
        })
    });
}

#[test]
fn one_batch_whatever_its_size_and_none_beyond() {
    run(|disk| {
        Box::pin(async move {
            let (log, _) = open(&disk, &small()).await.unwrap();
            let large = batch(3, 1, 5, 50_000);
            let all = vec![batch(0, 1, 3, 0), large.clone(), batch(8, 1, 2, 0)];
            log.append(all).await.unwrap();
            let read = |from, below, max| {
                let log = log.clone();
                async move { log.read(Offset(from), Offset(below), max).await.unwrap() }
            };
            assert_eq!(read(3, 10, 1).await, bytes_of(&large));
            assert_eq!(read(7, 10, 0).await, bytes_of(&large));
            assert_eq!(read(3, 7, usize::MAX).await.len(), 0, "it reaches beyond 7");
            assert_eq!(read(0, 10, usize::MAX).await, bytes_of(&batch(0, 1, 3, 0)), "one segment");
            assert_eq!(read(5, 5, 100).await.len(), 0);
            assert_eq!(read(10, 10, 100).await.len(), 0);
            assert_eq!(read(9, 4000, 100).await, bytes_of(&batch(8, 1, 2, 0)));
            let outside = log.read(Offset(11), Offset(20), 100).await.unwrap_err();
            assert!(matches!(outside, LogError::OutOfRange { log_end: Offset(10), .. }));
            // In a segment that it has for itself.
            assert_eq!(names(&disk).await.iter().filter(|n| n.ends_with(".log")).count(), 3);
        })
    });
}

#[test]
fn nonsense_on_the_disk_is_an_error_not_an_allocation() {
    run(|disk| {
        Box::pin(async move {
            let (log, batches) = filled(&disk, 4).await;
            let name = "00000000000000000000.log";
            let whole = get(&disk, name).await;
            let second = batches[0].header.batch_bytes;
            for (at, byte) in [(8, 0x7f), (16, 0), (0, 0xff), (23, 0xff), (57, 0x80)] {
                let mut bad = whole.clone();
                bad[second + at] = byte;
                put(&disk, name, &bad).await;
                for from in [0, 3, 5] {
                    let got = log.read(Offset(from), Offset(6), 1 << 20).await;
                    assert!(matches!(got, Err(LogError::Corrupt { .. })), "{at} {from} {got:?}");
                }
            }
            put(&disk, name, &whole[..second + 30]).await;
            assert!(matches!(
                log.read(Offset(3), Offset(6), 100).await,
                Err(LogError::Corrupt { .. })
            ));
            put(&disk, name, &whole).await;
            assert_eq!(log.read(Offset(3), Offset(6), 1).await.unwrap(), bytes_of(&batches[1]));
        })
    });
}

#[test]
fn few_segments_stay_open() {
    run(|disk| {
        Box::pin(async move {
            let (failing, orders) = FailingDisk::over(disk);
            let (log, batches) = filled(&failing, 40).await;
            for _ in 0..3 {
                let all: Vec<u8> = batches.iter().flat_map(bytes_of).collect();
                assert_eq!(read_all(&log, Offset(0), 1000).await.unwrap(), all);
            }
            // A reader of one old segment does not open it again and again.
            orders.fail(Op::Open, ".log", std::io::ErrorKind::Other);
            assert!(log.read(Offset(0), Offset(3), 1).await.is_err());
            assert!(log.read(Offset(0), Offset(3), 1).await.is_ok());
            orders.fail(Op::Open, ".log", std::io::ErrorKind::Other);
            assert!(log.read(Offset(0), Offset(3), 1).await.is_ok());
        })
    });
}

#[test]
fn golden_bytes_of_a_folder() {
    run(|disk| {
        Box::pin(async move {
            let (log, _) = open(&disk, &small()).await.unwrap();
            let batches = [batch(0, 3, 1, 200), batch(1, 3, 1, 200), batch(2, 4, 1, 200)];
            log.append(batches.to_vec()).await.unwrap();
            log.close().await.unwrap();
            assert_eq!(
                names(&disk).await,
                [
                    "00000000000000000000.index",
                    "00000000000000000000.log",
                    "00000000000000000002.log",
                    "checkpoint",
                    "format"
                ]
            );
            assert_eq!(get(&disk, "format").await, b"weir-log 2\n");
            let log_bytes = [bytes_of(&batches[0]), bytes_of(&batches[1])].concat();
            assert_eq!(get(&disk, "00000000000000000000.log").await, log_bytes);
            let checkpoint = get(&disk, "checkpoint").await;
            let one = batches[0].header.batch_bytes as u64;
            let begun = |at: usize| &checkpoint[at..at + 8];
            let mark = |base: u64, bytes: u64, begun: &[u8]| {
                [&base.to_be_bytes()[..], &bytes.to_be_bytes(), &1_000_u64.to_be_bytes(), begun]
                    .concat()
            };
            assert_eq!(
                checkpoint[..checkpoint.len() - 4],
                [
                    &b"WEIRCKPT\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\0\0\0\0\x02\0\0\0\x02\
                       \0\0\0\x03\0\0\0\0\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0\x02"[..],
                    &mark(0, 2 * one, begun(60 + 24)),
                    &mark(2, one, begun(92 + 24)),
                ]
                .concat()
            );
            let index = get(&disk, "00000000000000000000.index").await;
            assert_eq!(index.len(), 32 + 4096);
            assert_eq!(index[..28], *b"WEIRINDX\0\0\0\x02\0\0\0\x64\0\0\0\0\0\0\0\0\0\0\0\0");
            let position = (one as u32).to_be_bytes();
            let entry = [&[0, 0, 0, 1], &position[..], &1_000_u64.to_be_bytes()].concat();
            assert_eq!(index[32..48], entry);
            assert_eq!(index[32 + 4080..32 + 4084], (2 * one as u32).to_be_bytes());
            assert_eq!(index[32 + 4088..32 + 4092], [0, 0, 0, 1]);
        })
    });
}

#[test]
fn names_are_durable_before_bytes_are_reported_so() {
    run(|disk| {
        Box::pin(async move {
            let (counting, journal) = CountingDisk::new(disk);
            let counting: std::sync::Arc<dyn weir_runtime::disk::Disk> = counting;
            let (log, _) = open(&counting, &small()).await.unwrap();
            for n in 0..12 {
                log.append(vec![batch(n * 3, 1, 3, 20)]).await.unwrap();
                let end = log.sync().await.unwrap();
                journal.mark(format!("durable {end}"));
            }
            let events = journal.events();
            let position =
                |wanted: &dyn Fn(&Event) -> bool| events.iter().position(wanted).unwrap();
            let mut segments = 0;
            for (at, event) in events.iter().enumerate() {
                let Event::Written { path, offset: 0, .. } = event else { continue };
                let Some(name) = path.strip_prefix("replicas/7/").filter(|n| n.ends_with(".log"))
                else {
                    continue;
                };
                segments += 1;
                let base: u64 = name[..20].parse().unwrap();
                let next = format!("durable {}", base + 3);
                let durable = position(&|e| *e == Event::Mark(next.clone()));
                let folder = events[..at]
                    .iter()
                    .rposition(|e| matches!(e, Event::FolderSynced { path } if path == FOLDER));
                let synced = at
                    + events[at..]
                        .iter()
                        .position(|e| matches!(e, Event::Synced { path: p } if p == path))
                        .unwrap();
                assert!(folder.unwrap() < at && at < synced && synced < durable, "{name}");
            }
            assert!(segments >= 3);
        })
    });
}
