//! `verify` finds whatever is wrong, wherever it is, and changes nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod log_support;

use std::sync::Arc;

use log_support::*;
use weir_dataplane::log::{
    LogError,
    verify::{Report, verify},
};
use weir_protocol::ids::Offset;
use weir_runtime::disk::Disk;

async fn look(disk: &Arc<dyn Disk>) -> Report {
    verify(&**disk, FOLDER, |_, _, _, _| {}).await.unwrap()
}

#[test]
fn a_flipped_byte_is_found_wherever_it_is() {
    run(|disk| {
        Box::pin(async move {
            let (log, batches) = filled(&disk, 12).await;
            log.close().await.unwrap();
            let mut seen = Vec::new();
            let report = verify(&*disk, FOLDER, |segment, position, header, bytes| {
                assert_eq!(bytes.len(), header.batch_bytes);
                seen.push((segment, position, header.base_offset));
            })
            .await
            .unwrap();
            assert!(report.is_sound() && report.notes.is_empty(), "{report:?}");
            assert_eq!((report.log_start, report.log_end), (Offset(0), Offset(36)));
            assert_eq!(seen.len(), batches.len());
            assert_eq!(report.segments.iter().map(|s| s.records).sum::<u64>(), 36);

            let all = names(&disk).await;
            for name in all.iter().filter(|name| name.ends_with(".log")) {
                let whole = get(&disk, name).await;
                for at in 0..whole.len() {
                    let mut bad = whole.clone();
                    bad[at] ^= 0x20;
                    put(&disk, name, &bad).await;
                    let report = look(&disk).await;
                    let found = report.damage.first();
                    let found = found.unwrap_or_else(|| panic!("byte {at} of {name}"));
                    assert_eq!(&found.file, name, "byte {at}");
                    assert!(found.position <= at as u64);
                    assert_eq!(get(&disk, name).await, bad, "nothing is changed");
                }
                put(&disk, name, &whole).await;
            }
            assert!(look(&disk).await.is_sound());
            assert_eq!(names(&disk).await, all);
        })
    });
}

#[test]
fn what_an_open_mends_is_a_note_and_what_is_missing_is_damage() {
    run(|disk| {
        Box::pin(async move {
            let (log, _) = filled(&disk, 12).await;
            log.close().await.unwrap();
            let all = names(&disk).await;
            let last = all.iter().rfind(|name| name.ends_with(".log")).unwrap();
            let index = all.iter().find(|name| name.ends_with(".index")).unwrap();
            let whole = get(&disk, last).await;
            // The torn end of what was being written, and an index that is not one.
            put(&disk, last, &[&whole[..], b"torn"].concat()).await;
            put(&disk, index, b"garbage").await;
            let report = look(&disk).await;
            assert!(report.is_sound(), "{report:?}");
            let notes: Vec<_> = report.notes.iter().map(|note| note.file.as_str()).collect();
            assert_eq!(notes, [index, last]);
            assert!(report.notes[1].what.contains("4 bytes"), "{report:?}");

            put(&disk, last, &whole[..whole.len() - 1]).await;
            let report = look(&disk).await;
            assert_eq!(report.damage[0].file, *last);
            put(&disk, last, &whole).await;
            let first = format!("{FOLDER}/00000000000000000000.log");
            disk.remove_file(&first).await.unwrap();
            assert!(look(&disk).await.damage[0].what.contains("missing"));
            put(&disk, "checkpoint", b"x").await;
            assert_eq!(look(&disk).await.damage[0].file, "checkpoint");
            put(&disk, "format", b"weir-log 9\n").await;
            let refused = verify(&*disk, FOLDER, |_, _, _, _| {}).await;
            assert!(matches!(refused, Err(LogError::UnsupportedFormat { .. })));
        })
    });
}
