//! The machine: room on the disk, open files, the clock, free ports.

use std::{path::Path, time::SystemTime};

use nix::sys::{
    resource::{Resource, getrlimit},
    statvfs::statvfs,
};

use super::finding::Finding;
use crate::{home::Home, local::ports, out};

/// Below this SPUs soon refuse records.
const ROOM_BYTES_MIN: u64 = 100 << 20;
/// Below this it is worth a word.
const ROOM_BYTES_FEW: u64 = 1 << 30;
/// Each partition has some files.
const INODES_FEW: u64 = 10_000;
/// Servers keep a few files open per partition, and connections.
const OPEN_FILES_MIN: u64 = 1024;
/// 2025-01-01: no weir is older, so a clock before it is wrong.
const CLOCK_MIN_S: u64 = 1_735_689_600;
/// A file that was written that much later than now was written by another clock.
const CLOCK_AHEAD_S: u64 = 300;

/// Looks at the machine.
pub fn check(home: &Home) -> Vec<Finding> {
    let another = "set WEIR_HOME to a folder on another disk";
    vec![disk(home.root(), another), open_files(), clock(home), free_ports()]
}

/// Whether there is room in a folder; else `another` is what can be done, besides making some.
pub fn disk(folder: &Path, another: &str) -> Finding {
    const CHECK: &str = "disk";
    // It need not be there yet: then it will be on its parent's disk.
    let Some(there) = folder.ancestors().find(|folder| folder.exists()) else {
        return Finding::doubtful(CHECK, "its room cannot be told", "look with: df -h");
    };
    match statvfs(there) {
        #[allow(clippy::useless_conversion, reason = "the widths differ between systems")]
        Ok(about) => {
            let block: u64 = about.fragment_size().into();
            let free = block.saturating_mul(about.blocks_available().into());
            let inodes = (about.files() > 0).then(|| u64::from(about.files_available()));
            room(free, inodes, &there.display().to_string(), another)
        }
        Err(error) => Finding::doubtful(
            CHECK,
            format!("the room in {} cannot be told: {}", there.display(), error.desc()),
            "look with: df -h",
        ),
    }
}

fn room(free: u64, inodes: Option<u64>, place: &str, another: &str) -> Finding {
    const CHECK: &str = "disk";
    let found = match inodes {
        Some(inodes) => {
            format!("{} and {} files free in {place}", out::bytes(free), out::thousands(inodes))
        }
        None => format!("{} free in {place}", out::bytes(free)),
    };
    if free < ROOM_BYTES_MIN || inodes == Some(0) {
        Finding::wrong(CHECK, found, format!("make room, or {another}"))
    } else if free < ROOM_BYTES_FEW || inodes.is_some_and(|inodes| inodes < INODES_FEW) {
        Finding::doubtful(CHECK, found, "make room before it is used up (df -h, df -i)")
    } else {
        Finding::good(CHECK, found)
    }
}

/// Whether SPUs may have enough files open. They ask for all that their owner may have.
pub fn open_files() -> Finding {
    const CHECK: &str = "open files";
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((_, hard)) if hard < OPEN_FILES_MIN => Finding::wrong(
            CHECK,
            format!("a process may have {hard} files open"),
            format!(
                "allow more before a cluster is started (ulimit -Hn): {OPEN_FILES_MIN} or more"
            ),
        ),
        Ok((_, hard)) => {
            let hard = if hard == u64::MAX { "any number of".into() } else { out::thousands(hard) };
            Finding::good(CHECK, format!("a process may have {hard} files open"))
        }
        Err(error) => Finding::doubtful(CHECK, error.desc(), "look with: ulimit -n"),
    }
}

fn clock(home: &Home) -> Finding {
    const CHECK: &str = "clock";
    const REMEDY: &str = "set the clock (timedatectl): tokens are good for a time";
    let now = SystemTime::now();
    let seconds = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    if seconds < CLOCK_MIN_S {
        return Finding::wrong(CHECK, "it stands before any weir was made", REMEDY);
    }
    let written = std::fs::metadata(home.profiles()).and_then(|about| about.modified());
    let ahead = written.ok().and_then(|at| at.duration_since(now).ok());
    match ahead.map(|ahead| ahead.as_secs()).filter(|ahead| *ahead > CLOCK_AHEAD_S) {
        Some(ahead) => Finding::doubtful(
            CHECK,
            format!(
                "the profiles were written {} from now",
                humantime::format_duration(std::time::Duration::from_secs(ahead),)
            ),
            REMEDY,
        ),
        None => Finding::good(CHECK, humantime::format_rfc3339_seconds(now).to_string()),
    }
}

fn free_ports() -> Finding {
    match ports::free_pair(ports::FIRST) {
        Some((http, rpc)) => Finding::good("ports", format!("{http} and {rpc} are free")),
        None => Finding::wrong(
            "ports",
            format!("no two free ports from {} upward for a control plane", ports::FIRST),
            "end programs that listen there (ss -ltnp)",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::finding::Verdict, *};

    #[test]
    fn room_is_judged_by_bytes_and_files() {
        let verdict = |free, inodes| room(free, inodes, "/", "move").verdict;
        assert_eq!(verdict(10 << 30, Some(1_000_000)), Verdict::Good);
        // Some file systems do not count files.
        assert_eq!(verdict(10 << 30, None), Verdict::Good);
        assert_eq!(verdict(500 << 20, Some(1_000_000)), Verdict::Doubtful);
        assert_eq!(verdict(10 << 30, Some(10)), Verdict::Doubtful);
        assert_eq!(verdict(1, Some(1_000_000)), Verdict::Wrong);
        assert_eq!(verdict(10 << 30, Some(0)), Verdict::Wrong);
    }

    #[test]
    fn a_home_that_is_not_made_is_on_its_parent_s_disk() {
        let base = tempfile::tempdir().unwrap();
        let finding = disk(&base.path().join("a/b"), "move");
        assert!(finding.found.contains(base.path().to_str().unwrap()), "{finding:?}");
    }
}
