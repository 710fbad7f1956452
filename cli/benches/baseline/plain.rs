//! The plain program: the same volume, in the same blocks, into a fresh file.

use std::{fs::File, io::Write as _, path::Path, time::Instant};

use crate::{BLOCK_BYTES, Run, procfs};

/// An fdatasync after so many bytes, where there is one.
const SYNC_BYTES: usize = 1 << 20;

pub fn write(dir: &Path, bytes: usize, fsync: bool) -> Run {
    let folder = tempfile::tempdir_in(dir).unwrap();
    let mut file = File::create(folder.path().join("plain")).unwrap();
    let block = crate::payload(BLOCK_BYTES);
    let cpu_before_s = procfs::cpu_s(std::process::id());
    let began = Instant::now();
    for block_number in 1..=bytes / BLOCK_BYTES {
        file.write_all(&block).unwrap();
        if fsync && (block_number * BLOCK_BYTES).is_multiple_of(SYNC_BYTES) {
            file.sync_data().unwrap();
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let gb = bytes as f64 / 1e9;
    Run {
        mb_per_s: bytes as f64 / 1e6 / seconds,
        client_cpu_s_per_gb: (procfs::cpu_s(std::process::id()) - cpu_before_s) / gb,
        spu_cpu_s_per_gb: 0.0,
        spu_rss_mib: 0.0,
    }
}
