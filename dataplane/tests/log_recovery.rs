//! What opening makes of what a crash, or a bad disk, left.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod log_support;

use log_support::*;
use weir_dataplane::log::{LogError, Producers};
use weir_protocol::{
    ErrorCode,
    ids::{LeaderEpoch, Offset},
};

const FIRST: &str = "00000000000000000000.log";

#[test]
fn a_torn_tail_at_every_byte_ends_the_log_before_it() {
    run(|disk| {
        Box::pin(async move {
            let (log, batches) = filled(&disk, 3).await;
            drop(log);
            let whole = get(&disk, FIRST).await;
            let checkpoint = get(&disk, "checkpoint").await;
            let kept: usize = batches[..2].iter().map(|b| b.header.batch_bytes).sum();
            for len in kept..whole.len() {
                put(&disk, FIRST, &whole[..len]).await;
                put(&disk, "checkpoint", &checkpoint).await;
                let (log, recovered) = open(&disk, &small()).await.unwrap();
                assert_eq!(recovered.log_end, Offset(6), "cut at {len}");
                assert_eq!(log.durable_end(), Offset(6));
                assert!(!recovered.clean);
                assert_eq!(read_all(&log, Offset(0), 1 << 20).await.unwrap(), whole[..kept]);
                match (len - kept, recovered.set_aside) {
                    (0, None) => {}
                    (torn, Some(aside)) => {
                        assert_eq!((aside.bytes, aside.offset), (torn as u64, Offset(6)));
                        let name = aside.path.strip_prefix("replicas/7/").unwrap();
                        assert_eq!(get(&disk, name).await, whole[kept..len]);
                        disk.remove_file(&aside.path).await.unwrap();
                    }
                    other => panic!("{other:?}"),
                }
                assert_eq!(get(&disk, FIRST).await, whole[..kept]);
                // And it goes on from there.
                log.append(vec![batches[2].clone()]).await.unwrap();
                assert_eq!(read_all(&log, Offset(0), 1 << 20).await.unwrap(), whole);
            }
        })
    });
}

#[test]
fn a_flipped_byte_below_the_recovery_point_is_corruption_and_nothing_is_touched() {
    run(|disk| {
        Box::pin(async move {
            let (log, batches) = filled(&disk, 4).await;
            log.close().await.unwrap();
            let whole = get(&disk, FIRST).await;
            let (mut at_open, mut in_body) = (0, 0);
            let second = batches[0].header.batch_bytes;
            for at in second..second + batches[1].header.batch_bytes {
                let mut bad = whole.clone();
                bad[at] ^= 0x10;
                put(&disk, FIRST, &bad).await;
                let before = segments(&disk).await;
                match open(&disk, &small()).await {
                    Err(error @ LogError::Corrupt { .. }) => {
                        assert_eq!(error.code(), ErrorCode::ReplicaOffline);
                        assert!(error.to_string().contains(FIRST), "{error}");
                        at_open += 1;
                    }
                    Err(other) => panic!("{other}"),
                    // Only headers are looked at; a body when it is read.
                    Ok((log, recovered)) => {
                        assert!(recovered.clean && recovered.set_aside.is_none());
                        assert_eq!(log.log_end(), Offset(12));
                        let read = log.read(Offset(3), Offset(12), 1 << 20).await;
                        assert!(matches!(read, Err(LogError::Corrupt { .. })), "byte {at}");
                        let first = log.read(Offset(0), Offset(3), 1 << 20).await.unwrap();
                        assert_eq!(first, bytes_of(&batches[0]), "what is good is served");
                        in_body += 1;
                    }
                }
                assert_eq!(segments(&disk).await, before, "byte {at}");
            }
            assert!(at_open >= 25 && in_body > 0, "{at_open} {in_body}");
        })
    });
}

#[test]
fn a_flipped_bit_above_the_recovery_point_is_always_noticed_and_set_aside() {
    run(|disk| {
        Box::pin(async move {
            let (log, batches) = filled(&disk, 3).await;
            drop(log);
            let whole = get(&disk, FIRST).await;
            let checkpoint = get(&disk, "checkpoint").await;
            let second = batches[0].header.batch_bytes;
            for at in second..second + batches[1].header.batch_bytes {
                let mut bad = whole.clone();
                bad[at] ^= 1;
                put(&disk, FIRST, &bad).await;
                put(&disk, "checkpoint", &checkpoint).await;
                let (log, recovered) = open(&disk, &small()).await.unwrap();
                let aside = recovered.set_aside.unwrap();
                assert_eq!((log.log_end(), aside.offset), (Offset(3), Offset(3)), "byte {at}");
                assert_eq!(aside.bytes as usize, whole.len() - second);
                disk.remove_file(&aside.path).await.unwrap();
            }
        })
    });
}

#[test]
fn a_bad_batch_takes_later_segments_with_it() {
    run(|disk| {
        Box::pin(async move {
            // No recovery point is persisted but by finished segments: put the first one back.
            let (log, _) = open(&disk, &small()).await.unwrap();
            log.begin_epoch(LeaderEpoch(1)).await.unwrap();
            let checkpoint = get(&disk, "checkpoint").await;
            drop(log);
            let (log, _) = filled(&disk, 12).await;
            drop(log);
            put(&disk, "checkpoint", &checkpoint).await;
            let before = segments(&disk).await;
            assert!(before.len() >= 3);
            let (name, content) = &before[1];
            let mut bad = content.clone();
            bad[70] ^= 1;
            put(&disk, name, &bad).await;

            let (log, recovered) = open(&disk, &small()).await.unwrap();
            let aside = recovered.set_aside.unwrap();
            let end: u64 = name[..20].parse().unwrap();
            assert_eq!(log.log_end(), Offset(end));
            assert_eq!(aside.path, format!("{FOLDER}/{name}.set-aside-1"));
            assert_eq!(aside.more.len(), before.len() - 2);
            assert_eq!(aside.bytes as usize, before[1..].iter().map(|s| s.1.len()).sum::<usize>());
            assert_eq!(segments(&disk).await, before[..1]);
            drop(log);
            let (_, again) = open(&disk, &small()).await.unwrap();
            assert!(again.clean && again.set_aside.is_none());
        })
    });
}

#[test]
fn a_missing_segment_is_corruption_below_the_recovery_point() {
    run(|disk| {
        Box::pin(async move {
            let (log, _) = filled(&disk, 12).await;
            log.close().await.unwrap();
            let before = segments(&disk).await;
            for (name, content) in &before {
                disk.remove_file(&format!("{FOLDER}/{name}")).await.unwrap();
                let error = open(&disk, &small()).await.err().unwrap();
                assert!(matches!(error, LogError::Corrupt { .. }), "{name}: {error}");
                put(&disk, name, content).await;
            }
            // So is one that is too short, or that overlaps the next.
            let (name, content) = &before[1];
            put(&disk, name, &content[..content.len() - 1]).await;
            assert!(matches!(open(&disk, &small()).await, Err(LogError::Corrupt { .. })));
            let first = [&before[0].1[..], &before[1].1[..]].concat();
            put(&disk, name, content).await;
            put(&disk, &before[0].0, &first).await;
            assert!(matches!(open(&disk, &small()).await, Err(LogError::Corrupt { .. })));
            put(&disk, &before[0].0, &before[0].1).await;
            assert!(open(&disk, &small()).await.unwrap().1.clean);
        })
    });
}

#[test]
fn an_index_that_is_missing_or_wrong_is_rebuilt() {
    run(|disk| {
        Box::pin(async move {
            let mut config = small();
            config.segment_bytes_max = 150_000;
            let (log, _) = open(&disk, &config).await.unwrap();
            // More than one page of entries.
            let batches = (0..1200).map(|n| batch(n * 3, 1, 3, 20)).collect::<Vec<_>>();
            for some in batches.chunks(100) {
                log.append(some.to_vec()).await.unwrap();
            }
            log.close().await.unwrap();
            drop(log);
            let name = "00000000000000000000.index";
            let right = get(&disk, name).await;
            assert!(right.len() > 4096, "{}", right.len());
            let mut flipped = right.clone();
            flipped[1000] ^= 1;
            for wrong in [None, Some(&[][..]), Some(&flipped), Some(&right[..50]), Some(b"garbage")]
            {
                match wrong {
                    None => disk.remove_file(&format!("{FOLDER}/{name}")).await.unwrap(),
                    Some(content) => put(&disk, name, content).await,
                }
                let (log, recovered) = open(&disk, &config).await.unwrap();
                assert!(recovered.clean);
                for at in [0, 1, 500, 1000, 2999] {
                    let bytes = log.read(Offset(at), log.log_end(), 1).await.unwrap();
                    assert_eq!(bytes, bytes_of(&batches[at as usize / 3]));
                }
                assert_eq!(get(&disk, name).await, right);
            }
            // Damaged while the log is open: reads still find their way.
            let (log, _) = open(&disk, &config).await.unwrap();
            put(&disk, name, &flipped).await;
            for at in 0..1200 {
                let bytes = log.read(Offset(at * 3 + 1), log.log_end(), 1).await.unwrap();
                assert_eq!(bytes, bytes_of(&batches[at as usize]));
            }
        })
    });
}

#[test]
fn an_unknown_format_is_refused_untouched() {
    run(|disk| {
        Box::pin(async move {
            let (log, _) = filled(&disk, 4).await;
            log.close().await.unwrap();
            put(&disk, "format", b"weir-log 3\n").await;
            put(&disk, "left.tmp", b"x").await;
            let before = names(&disk).await;
            let error = open(&disk, &small()).await.err().unwrap();
            assert!(matches!(error, LogError::UnsupportedFormat { .. }), "{error}");
            assert!(error.to_string().contains("weir-log 3"), "{error}");
            assert_eq!(names(&disk).await, before);

            disk.remove_file(&format!("{FOLDER}/format")).await.unwrap();
            assert!(matches!(open(&disk, &small()).await, Err(LogError::UnsupportedFormat { .. })));
            put(&disk, "format", b"weir-log 2\n").await;
            open(&disk, &small()).await.unwrap();
            assert!(!names(&disk).await.contains(&"left.tmp".to_owned()));
        })
    });
}

#[test]
fn what_was_found_damaged_is_not_opened_again() {
    run(|disk| {
        Box::pin(async move {
            let (log, _) = filled(&disk, 4).await;
            log.mark_damaged("a bit is not what it was").await.unwrap();
            log.close().await.unwrap();
            for _ in 0..2 {
                let error = open(&disk, &small()).await.err().unwrap();
                assert!(matches!(error, LogError::Corrupt { .. }), "{error}");
                assert!(error.to_string().contains("a bit is not what it was"), "{error}");
            }
        })
    });
}

#[test]
fn a_damaged_or_missing_checkpoint_is_refused() {
    run(|disk| {
        Box::pin(async move {
            let (log, _) = filled(&disk, 4).await;
            log.close().await.unwrap();
            let right = get(&disk, "checkpoint").await;
            let mut flipped = right.clone();
            flipped[15] ^= 1;
            put(&disk, "checkpoint", &flipped).await;
            assert!(matches!(open(&disk, &small()).await, Err(LogError::Corrupt { .. })));
            disk.remove_file(&format!("{FOLDER}/checkpoint")).await.unwrap();
            assert!(matches!(open(&disk, &small()).await, Err(LogError::Corrupt { .. })));
            let mut newer = right.clone();
            newer[11] = 9;
            let content = newer.len() - 4;
            let crc = weir_protocol::batch::crc32c(&newer[..content]);
            newer[content..].copy_from_slice(&crc.to_be_bytes());
            put(&disk, "checkpoint", &newer).await;
            assert!(matches!(open(&disk, &small()).await, Err(LogError::UnsupportedFormat { .. })));
            put(&disk, "checkpoint", &right).await;
            assert!(open(&disk, &small()).await.unwrap().1.clean);
        })
    });
}

#[test]
fn a_batch_of_the_wrong_epoch_is_not_believed() {
    run(|disk| {
        Box::pin(async move {
            let (log, _) = open(&disk, &small()).await.unwrap();
            for (offset, epoch) in [(0, 1), (1, 1), (2, 5)] {
                log.append(vec![batch(offset, epoch, 1, 0)]).await.unwrap();
            }
            let e = log.epochs();
            assert_eq!(e.at(Offset(1)), Some(LeaderEpoch(1)));
            assert_eq!(log.epoch_end(LeaderEpoch(3)).unwrap().end, Offset(2));
            drop(log);
            let whole = get(&disk, FIRST).await;
            let one = batch(0, 1, 1, 0).header.batch_bytes;
            // The epoch lies outside the checksum: 1 → 3 in the second batch.
            let mut bad = whole.clone();
            bad[one + 15] = 3;
            put(&disk, FIRST, &bad).await;
            let (log, recovered) = open(&disk, &small()).await.unwrap();
            assert_eq!(log.log_end(), Offset(1));
            assert!(recovered.set_aside.unwrap().reason.contains("epoch"));
            assert_eq!(log.epochs().latest(), Some(LeaderEpoch(5)), "used, if in vain");
            assert_eq!(log.epochs().at(Offset(0)), Some(LeaderEpoch(1)));
            drop(log);
            let (log, _) = open(&disk, &small()).await.unwrap();
            assert_eq!(log.epochs().latest(), Some(LeaderEpoch(5)));
            log.begin_epoch(LeaderEpoch(7)).await.unwrap();
            drop(log);
            let (log, _) = open(&disk, &small()).await.unwrap();
            assert_eq!(log.epochs().latest(), Some(LeaderEpoch(7)), "it wrote nothing");
            log.append(vec![batch(1, 7, 1, 0)]).await.unwrap();
            drop(log);
            let (log, recovered) = open(&disk, &small()).await.unwrap();
            assert_eq!((log.log_end(), recovered.set_aside), (Offset(2), None));
        })
    });
}

#[test]
fn producers_are_told_of_with_their_last_batches() {
    run(|disk| {
        Box::pin(async move {
            let (log, first) = open(&disk, &small()).await.unwrap();
            assert!(first.batches.is_empty() && first.clean);
            for n in 0..20_u64 {
                let producer = (n % 3 < 2).then_some((n % 3, n as u32));
                log.append(vec![produced(n, 1, 1, 0, producer)]).await.unwrap();
            }
            for clean in [false, true] {
                if clean {
                    log.close().await.unwrap();
                }
                let (_, recovered) = open(&disk, &small()).await.unwrap();
                let found: Vec<_> = recovered.batches.iter().map(|b| b.base_offset.0).collect();
                assert_eq!(found, [0, 1, 3, 4, 6, 7, 9, 10, 12, 13, 15, 16, 18, 19]);
                let last = recovered.batches.last().unwrap();
                let stamp = last.producer.unwrap();
                assert_eq!((stamp.id.0, stamp.base_sequence, last.epoch.0), (1, 19, 1));
            }
        })
    });
}

#[test]
fn an_empty_last_segment_and_leftovers_of_a_removal_go_away() {
    run(|disk| {
        Box::pin(async move {
            let (log, _) = filled(&disk, 12).await;
            let old = segments(&disk).await;
            log.advance_log_start(Offset(17)).await.unwrap();
            log.close().await.unwrap();
            let kept = segments(&disk).await;
            assert!(kept.len() < old.len());
            for (name, content) in &old {
                put(&disk, name, content).await;
            }
            put(&disk, "00000000000000000036.log", b"").await;
            put(&disk, "00000000000000000099.index", b"x").await;
            let (log, recovered) = open(&disk, &small()).await.unwrap();
            assert_eq!((recovered.log_start, recovered.log_end), (Offset(17), Offset(36)));
            assert!(recovered.clean);
            assert_eq!(segments(&disk).await, kept);
            assert!(!names(&disk).await.contains(&"00000000000000000099.index".to_owned()));
            assert!(matches!(
                log.read(Offset(16), Offset(36), 1).await,
                Err(LogError::OutOfRange { log_start: Offset(17), .. })
            ));
            assert!(!log.read(Offset(17), Offset(36), 1).await.unwrap().is_empty());
        })
    });
}

#[test]
fn an_open_reads_what_is_new_whatever_there_is() {
    run(|disk| {
        Box::pin(async move {
            let (failing, orders) = FailingDisk::over(disk);
            let mut reads = Vec::new();
            for batches in [20, 400] {
                let (log, _) = filled(&failing, batches).await;
                let below = log.log_end();
                log.keep_producers(Producers { below, batches: vec![] }).await.unwrap();
                log.close().await.unwrap();
                orders.take_reads();
                let (log, recovered) = open(&failing, &small()).await.unwrap();
                assert!(recovered.clean && log.log_end() == Offset(batches * 3));
                let of_batches = |read: &(String, u64, usize)| read.0.ends_with(".log");
                let read = orders.take_reads();
                reads.push(read.into_iter().filter(of_batches).map(|r| r.2).sum::<usize>());
                log.restart_at(Offset(0)).await.unwrap();
                log.close().await.unwrap();
            }
            assert!(reads[1] <= reads[0].max(700), "{reads:?}");
        })
    });
}
