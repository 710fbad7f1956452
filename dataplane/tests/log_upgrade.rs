//! What opening makes of a log of the version before, of a snapshot of producers, and of what a
//! removal left behind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod log_support;

use log_support::*;
use weir_dataplane::log::{BatchSummary, LogError, Producers, Recovered};
use weir_protocol::{batch as kafka, ids::Offset};

const FIRST: &str = "00000000000000000000.log";

/// A checkpoint file as the version before wrote it.
fn old_checkpoint(recovery_point: u64, log_start: u64, epochs: &[(u32, u64)]) -> Vec<u8> {
    let mut bytes = b"WEIRCKPT\0\0\0\x01".to_vec();
    bytes.extend(recovery_point.to_be_bytes());
    bytes.extend(log_start.to_be_bytes());
    bytes.extend((epochs.len() as u32).to_be_bytes());
    for (epoch, start) in epochs {
        bytes.extend(epoch.to_be_bytes());
        bytes.extend(start.to_be_bytes());
    }
    let crc = kafka::crc32c(&bytes);
    bytes.extend(crc.to_be_bytes());
    bytes
}

#[test]
fn a_log_of_the_version_before_is_taken_over() {
    run(|disk| {
        Box::pin(async move {
            let (log, batches) = filled(&disk, 40).await;
            log.close().await.unwrap();
            // Of the last batches nothing is known; the first lie below the log start.
            let old = old_checkpoint(90, 7, &[(1, 7)]);
            put(&disk, "format", b"weir-log 1\n").await;
            put(&disk, "checkpoint", &old).await;
            put(&disk, "00000000000000000000.index", b"WEIRINDX\0\0\0\x01").await;
            let untouched = segments(&disk).await;

            let (name, content) = &untouched[3];
            let mut bad = content.clone();
            bad[3] ^= 1;
            put(&disk, name, &bad).await;
            assert!(matches!(open(&disk, &small()).await, Err(LogError::Corrupt { .. })));
            assert_eq!(get(&disk, "format").await, b"weir-log 1\n");
            put(&disk, name, content).await;

            let (log, recovered) = open(&disk, &small()).await.unwrap();
            assert_eq!((recovered.log_start, recovered.log_end), (Offset(7), Offset(120)));
            assert_eq!(recovered.set_aside, None);
            let all: Vec<u8> = batches[2..].iter().flat_map(bytes_of).collect();
            assert_eq!(read_all(&log, Offset(7), 500).await.unwrap(), all);
            for at in 7..120_u64 {
                let bytes = log.read(Offset(at), Offset(120), 1).await.unwrap();
                assert_eq!(bytes, bytes_of(&batches[at as usize / 3]));
            }
            assert_eq!(get(&disk, "format").await, b"weir-log 2\n");
            drop(log);
            assert!(open(&disk, &small()).await.unwrap().1.clean);
        })
    });
}

#[test]
fn a_snapshot_of_producers_saves_the_walk_and_is_not_believed_when_wrong() {
    run(|disk| {
        Box::pin(async move {
            let (log, _) = open(&disk, &small()).await.unwrap();
            for n in 0..30_u64 {
                log.append(vec![produced(n, 1, 1, 0, Some((7, n as u32)))]).await.unwrap();
            }
            log.sync().await.unwrap();
            let known = |recovered: &Recovered| -> Vec<u64> {
                recovered.batches.iter().map(|b| b.base_offset.0).collect()
            };
            let summary = |n: u64| BatchSummary::from(&produced(n, 1, 1, 0, Some((9, 0))).header);
            let told = Producers { below: Offset(25), batches: vec![summary(3)] };
            log.keep_producers(told.clone()).await.unwrap();
            let early = Producers { below: Offset(31), batches: vec![] };
            log.keep_producers(early).await.unwrap();
            log.close().await.unwrap();
            drop(log);
            let (log, recovered) = open(&disk, &small()).await.unwrap();
            assert_eq!(
                known(&recovered),
                [3, 25, 26, 27, 28, 29],
                "what was told, and what is new"
            );

            // Cut below what it speaks for: it must not come back when the log has grown again.
            log.truncate_to(Offset(20)).await.unwrap();
            assert!(!names(&disk).await.contains(&"producers".to_owned()));
            drop(log);
            let walked: Vec<u64> = (4..20).collect();
            for wrong in [None, Some(&b"x"[..]), Some(&told.encode())] {
                if let Some(content) = wrong {
                    put(&disk, "producers", content).await;
                }
                let (_, recovered) = open(&disk, &small()).await.unwrap();
                assert_eq!(known(&recovered), walked);
            }
        })
    });
}

#[test]
fn what_a_removal_left_behind_is_cleared_away() {
    run(|disk| {
        Box::pin(async move {
            let (failing, orders) = FailingDisk::over(disk.clone());
            let (log, _) = filled(&failing, 12).await;
            let old = segments(&disk).await;
            // A segment that cannot be removed now does not make the log fail.
            orders.fail(Op::Remove, FIRST, std::io::ErrorKind::Other);
            log.advance_log_start(Offset(17)).await.unwrap();
            assert_eq!(log.failure(), None);
            assert!(names(&disk).await.contains(&FIRST.to_owned()));
            log.append(vec![batch(36, 1, 3, 20)]).await.unwrap();
            // All of it, the segment that is appended to as well.
            log.sync().await.unwrap();
            log.advance_log_start(Offset(39)).await.unwrap();
            assert_eq!(segments(&disk).await, old[..1]);
            log.append(vec![batch(39, 1, 3, 20)]).await.unwrap();
            assert_eq!(
                log.read(Offset(39), Offset(42), 1).await.unwrap(),
                bytes_of(&batch(39, 1, 3, 20))
            );
            drop(log);
            let (log, recovered) = open(&disk, &small()).await.unwrap();
            assert_eq!((log.log_start(), log.log_end()), (Offset(39), Offset(42)));
            assert_eq!(recovered.set_aside, None);
            assert_eq!(segments(&disk).await.len(), 1);
        })
    });
}
