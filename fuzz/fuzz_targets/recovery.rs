//! Opening a folder with anything in it: it is refused, or what comes of it can be read, written
//! to, and opened again to the same.
#![no_main]

use std::{fs, sync::Arc};

use libfuzzer_sys::fuzz_target;
use tokio::runtime::Runtime;
use weir_dataplane::log::{
    Log, LogConfig, OpenFiles, format::FORMAT_LINE, verify::verify,
};
use weir_protocol::{batch::crc32c, ids::Offset};
use weir_runtime::disk::{Disk, real::RealDisk};

const FILES: [&str; 6] = [
    "checkpoint",
    "producers",
    "00000000000000000000.log",
    "00000000000000000000.index",
    "00000000000000000002.log",
    "00000000000000000007.log",
];

fuzz_target!(|input: (bool, [Vec<u8>; 6])| {
    let (sealed, contents) = input;
    let root = tempfile::tempdir().expect("a folder");
    let folder = root.path().join("log");
    fs::create_dir(&folder).expect("a folder in it");
    fs::write(folder.join("format"), FORMAT_LINE).expect("a file");
    for (name, mut content) in FILES.into_iter().zip(contents) {
        if content.is_empty() {
            continue;
        }
        if sealed && !name.ends_with(".log") {
            // A checksum is no riddle for a fuzzer to solve.
            let crc = crc32c(&content).to_be_bytes();
            content.extend(crc);
        }
        fs::write(folder.join(name), content).expect("a file");
    }
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let disk = RealDisk::open(root.path()).await.expect("the folder");
        // Whatever it says, it says.
        let _ = verify(&*disk, "log", |_, _, _, _| {}).await;
        let Ok((log, _)) = open(&disk).await else { return };
        let (start, end) = (log.log_start(), log.log_end());
        let mut at = start;
        for _ in 0..100 {
            match log.read(at, end, 1 << 16).await {
                Ok(batches) if batches.is_empty() => break,
                Ok(batches) => {
                    let first = weir_protocol::batch::split_first(&batches);
                    let (header, ..) = first.expect("a batch").expect("there is one");
                    at = header.next_offset();
                }
                // Damage below the recovery point.
                Err(_) => break,
            }
        }
        let _ = log.find_time(0, start, end).await;
        if log.close().await.is_ok() {
            let (again, recovered) = open(&disk).await.expect("what was closed opens");
            assert_eq!((again.log_start(), again.log_end()), (start, end));
            assert!(recovered.clean);
        }
    });
});

async fn open(disk: &Arc<dyn Disk>) -> Result<(Log, weir_dataplane::log::Recovered), String> {
    let opened = Log::open(disk.clone(), "log", LogConfig::default(), OpenFiles::new(4)).await;
    opened.map_err(|error| error.to_string())
}
