//! A disk that is full, or broken, or slow, under a log that is open.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod log_support;

use std::io::ErrorKind;

use futures::FutureExt;
use log_support::*;
use weir_dataplane::log::LogError;
use weir_protocol::{
    ErrorCode,
    ids::{LeaderEpoch, Offset},
};

const FIRST: &str = "00000000000000000000.log";
const BROKEN: ErrorKind = ErrorKind::Other;
const FULL: ErrorKind = ErrorKind::StorageFull;

#[test]
fn a_full_disk_leaves_the_log_as_it_was_and_usable() {
    run(|disk| {
        Box::pin(async move {
            let (failing, orders) = FailingDisk::over(disk.clone());
            let (log, mut batches) = filled(&failing, 3).await;
            let before = get(&disk, FIRST).await;
            // In the last segment; over a roll, with the new segment's bytes, name, or file
            // refused; and while the new epoch is noted.
            let long: Vec<_> = (3..9).map(|n| batch(n * 3, 1, 3, 20)).collect();
            let newer = vec![batch(9, 2, 3, 20)];
            for (op, path, kind, batches) in [
                (Op::Write, FIRST, FULL, &long),
                (Op::Write, "00000000000000000012.log", FULL, &long),
                (Op::SyncDir, FOLDER, FULL, &long),
                (Op::Open, "00000000000000000012.log", FULL, &long),
                (Op::Write, "checkpoint", FULL, &newer),
                // No descriptors left, say: no harm either.
                (Op::Open, "00000000000000000012.log", BROKEN, &long),
            ] {
                orders.fail(op, path, kind);
                let error = log.append(batches.clone()).await.unwrap_err();
                assert_eq!(
                    error.code() == ErrorCode::StorageFull,
                    kind == FULL,
                    "{op:?} {path}: {error}"
                );
                assert_eq!(log.log_end(), Offset(9));
                assert_eq!(get(&disk, FIRST).await, before, "{op:?} {path}");
                assert_eq!(read_all(&log, Offset(0), 1000).await.unwrap(), before);
            }
            log.append(long.clone()).await.unwrap();
            batches.extend(long);
            assert_eq!(log.sync().await.unwrap(), Offset(27));
            let all: Vec<u8> = batches.iter().flat_map(bytes_of).collect();
            drop(log);
            let (log, recovered) = open(&disk, &small()).await.unwrap();
            assert!(recovered.set_aside.is_none());
            assert_eq!(read_all(&log, Offset(0), 1000).await.unwrap(), all);
        })
    });
}

#[test]
fn a_refused_append_is_off_the_disk_before_it_is_refused() {
    run(|disk| {
        Box::pin(async move {
            for sync in [None, Some(BROKEN), Some(FULL)] {
                let (failing, orders) = FailingDisk::over(disk.clone());
                let (log, _) = filled(&failing, 1).await;
                orders.fail(Op::Write, FIRST, FULL);
                if let Some(kind) = sync {
                    orders.fail(Op::Sync, FIRST, kind);
                }
                let error = log.append(vec![batch(3, 1, 3, 20)]).await.unwrap_err();
                let expected = match sync {
                    None => ErrorCode::StorageFull,
                    // What is left of it after a loss of power, nobody knows.
                    Some(_) => ErrorCode::StorageFailed,
                };
                assert_eq!((error.code(), log.failure().is_some()), (expected, sync.is_some()));
                disk.remove_dir_all(FOLDER).await.unwrap();
            }
        })
    });
}

#[test]
fn no_room_to_set_a_tail_aside_leaves_the_tail_and_no_half_copy() {
    run(|disk| {
        Box::pin(async move {
            let (log, _) = filled(&disk, 2).await;
            drop(log);
            let whole = get(&disk, FIRST).await;
            put(&disk, FIRST, &whole[..whole.len() - 9]).await;
            let (failing, orders) = FailingDisk::over(disk.clone());
            for op in [Op::Write, Op::Sync] {
                orders.fail(op, "set-aside", FULL);
                let error = open(&failing, &small()).await.err().unwrap();
                assert_eq!(error.code(), ErrorCode::StorageFull, "{error}");
                assert!(!names(&disk).await.iter().any(|name| name.contains("set-aside")));
                assert_eq!(get(&disk, FIRST).await.len(), whole.len() - 9);
            }
            let (log, recovered) = open(&failing, &small()).await.unwrap();
            assert_eq!(log.log_end(), Offset(3));
            assert!(recovered.set_aside.is_some());
        })
    });
}

#[test]
fn a_sync_does_not_wait_for_a_checkpoint() {
    run(|disk| {
        Box::pin(async move {
            let (log, _) = filled(&disk, 1).await;
            let before = get(&disk, "checkpoint").await;
            let more = (1..9).map(|n| batch(n * 3, 1, 3, 20)).collect();
            log.append(more).await.unwrap();
            assert_eq!(log.sync().await.unwrap(), Offset(27), "over a roll");
            assert_eq!(get(&disk, "checkpoint").await, before);
            log.checkpoint().await.unwrap();
            assert_ne!(get(&disk, "checkpoint").await, before);
            log.close().await.unwrap();
            assert_eq!(log.checkpoint().await, Err(LogError::Closed));
        })
    });
}

#[test]
fn a_failed_write_fails_the_log_and_reads_go_on() {
    run(|disk| {
        Box::pin(async move {
            let (failing, orders) = FailingDisk::over(disk.clone());
            let (log, batches) = filled(&failing, 2).await;
            log.append(vec![batch(6, 1, 3, 20)]).await.unwrap();
            orders.fail(Op::Write, FIRST, BROKEN);
            let error = log.append(vec![batch(9, 1, 3, 20)]).await.unwrap_err();
            assert_eq!(error.code(), ErrorCode::StorageFailed);
            assert!(log.failure().is_some());
            for result in [
                log.append(vec![batch(9, 1, 3, 20)]).await,
                log.sync().await,
                log.truncate_to(Offset(3)).await,
                log.checkpoint().await.map(|()| Offset(0)),
                log.close().await.map(|()| Offset(0)),
            ] {
                assert!(matches!(result, Err(LogError::Failed(_))), "{result:?}");
            }
            // Only what was durable is served.
            assert_eq!(log.durable_end(), Offset(6));
            let all: Vec<u8> = batches.iter().flat_map(bytes_of).collect();
            assert_eq!(log.read(Offset(0), Offset(12), 1 << 20).await.unwrap(), all);
            assert!(log.read(Offset(6), Offset(9), 1).await.unwrap().is_empty());
            assert!(matches!(log.read(Offset(7), Offset(9), 1).await, Err(LogError::Failed(_))));
            drop(log);
            let (log, recovered) = open(&disk, &small()).await.unwrap();
            assert_eq!(recovered.log_end, Offset(9), "the half batch is gone");
            assert!(recovered.set_aside.is_some());
            drop(log);
        })
    });
}

#[test]
fn a_failed_fsync_is_final() {
    run(|disk| {
        Box::pin(async move {
            let (failing, orders) = FailingDisk::over(disk.clone());
            let (log, batches) = filled(&failing, 2).await;
            let checkpoint = get(&disk, "checkpoint").await;
            log.append(vec![batch(6, 1, 3, 20)]).await.unwrap();
            // Also a full disk, which a write would survive.
            orders.fail(Op::Sync, FIRST, FULL);
            let error = log.sync().await.unwrap_err();
            assert_eq!(error.code(), ErrorCode::StorageFailed, "unknown, not `full`: {error}");
            assert!(matches!(log.sync().await, Err(LogError::Failed(_))), "no second try");
            assert_eq!(log.durable_end(), Offset(6));
            let all: Vec<u8> = batches.iter().flat_map(bytes_of).collect();
            assert_eq!(log.read(Offset(0), Offset(9), 1 << 20).await.unwrap(), all);
            assert!(log.close().await.is_err());
            assert_eq!(get(&disk, "checkpoint").await, checkpoint, "no recovery point beyond");
        })
    });
}

#[test]
fn recovery_writes_again_what_it_cannot_know_to_be_on_the_disk() {
    run(|disk| {
        Box::pin(async move {
            let (log, batches) = filled(&disk, 2).await;
            log.checkpoint().await.unwrap();
            log.append(vec![batch(6, 1, 3, 20)]).await.unwrap();
            drop(log);
            let (counting, journal) = weir_runtime::disk::counting::CountingDisk::new(disk);
            let counting: std::sync::Arc<dyn weir_runtime::disk::Disk> = counting;
            let (log, _) = open(&counting, &small()).await.unwrap();
            assert_eq!(log.durable_end(), Offset(9));
            let counts = journal.counts();
            let of_log = counts.iter().find(|(path, _)| path.ends_with(FIRST)).unwrap().1;
            let above = batch(6, 1, 3, 20).header.batch_bytes as u64;
            assert_eq!((of_log.written_bytes, of_log.syncs), (above, 1));
            assert_eq!(batches.len(), 2);
        })
    });
}

#[test]
fn a_dropped_write_or_fsync_fails_the_log() {
    run(|disk| {
        Box::pin(async move {
            for write in [true, false] {
                let (failing, orders) = FailingDisk::over(disk.clone());
                let (log, _) = filled(&failing, 1).await;
                let gate = if write { &orders.hold_writes } else { &orders.hold_syncs };
                let next = vec![batch(3, 1, 3, 20)];
                if write {
                    gate.send_replace(true);
                    assert!(log.append(next).now_or_never().is_none());
                } else {
                    log.append(next).await.unwrap();
                    gate.send_replace(true);
                    let mut sync = Box::pin(log.sync());
                    // On a simulated disk the fsync takes a while to be reached.
                    for _ in 0..10 {
                        assert!(futures::poll!(&mut sync).is_pending());
                    }
                    drop(sync);
                }
                gate.send_replace(false);
                assert!(log.failure().is_some(), "write: {write}");
                let next = vec![batch(log.log_end().0, 1, 3, 20)];
                assert!(matches!(log.append(next).await, Err(LogError::Failed(_))));
                assert_eq!(log.sync().await.is_ok(), write, "what is durable is");
                disk.remove_dir_all(FOLDER).await.unwrap();
            }
        })
    });
}

#[test]
fn appends_go_on_during_a_sync_and_syncs_share_it() {
    run(|disk| {
        Box::pin(async move {
            let (failing, orders) = FailingDisk::over(disk.clone());
            let (log, _) = filled(&failing, 1).await;
            log.append(vec![batch(3, 1, 3, 20)]).await.unwrap();
            orders.hold_syncs.send_replace(true);
            let mut first = Box::pin(log.sync());
            assert!(futures::poll!(&mut first).is_pending());
            assert_eq!(log.append(vec![batch(6, 1, 3, 20)]).await.unwrap(), Offset(9));
            let mut second = Box::pin(log.sync());
            let mut third = Box::pin(log.sync());
            assert!(futures::poll!(&mut second).is_pending());
            assert!(futures::poll!(&mut third).is_pending());
            assert_eq!(log.durable_end(), Offset(3));
            orders.hold_syncs.send_replace(false);
            assert_eq!(first.await.unwrap(), Offset(6), "only what was there when it began");
            // One more fsync serves both of those that waited: the next one would fail.
            let later = async {
                let end = second.await.unwrap();
                orders.fail(Op::Sync, FIRST, BROKEN);
                end
            };
            assert_eq!(later.await, Offset(9));
            assert_eq!(third.await.unwrap(), Offset(9));
        })
    });
}

#[test]
fn what_does_not_follow_on_is_refused() {
    run(|disk| {
        Box::pin(async move {
            let (log, _) = filled(&disk, 2).await;
            let gap = log.append(vec![batch(6, 1, 1, 0), batch(8, 1, 1, 0)]).await;
            assert_eq!(
                gap.unwrap_err(),
                LogError::NotNext { expected: Offset(7), found: Offset(8) }
            );
            let older = log.append(vec![batch(6, 0, 1, 0)]).await.unwrap_err();
            assert_eq!(older.code(), ErrorCode::FencedLeaderEpoch);
            let mut lying = batch(6, 1, 1, 0);
            lying.header.base_offset = Offset(7);
            assert!(matches!(log.append(vec![lying]).await, Err(LogError::BadBatch(_))));
            assert_eq!(log.append(vec![]).await.unwrap(), Offset(6));
            log.begin_epoch(LeaderEpoch(4)).await.unwrap();
            assert!(log.append(vec![batch(6, 3, 1, 0)]).await.is_err());
            assert_eq!(log.append(vec![batch(6, 4, 1, 0)]).await.unwrap(), Offset(7));
            log.close().await.unwrap();
            log.close().await.unwrap();
            assert_eq!(log.append(vec![batch(7, 4, 1, 0)]).await, Err(LogError::Closed));
            assert_eq!(
                log.read(Offset(6), Offset(7), 1).await.unwrap(),
                bytes_of(&batch(6, 4, 1, 0))
            );
        })
    });
}
