//! What the operating system tells of a process. Linux answers from `/proc`; elsewhere
//! `ps` is asked, which knows the same with less precision.
//!
//! Everything here blocks for a moment: call it through [`crate::task::blocking`].
//! It reads the machine's process table, which no simulated disk has, so it goes past the
//! disk seam on purpose; a simulation brings a provisioner of its own.

use std::io;

/// A process at one point of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessView {
    /// Tells this process from an earlier or later one with the same pid, also across a
    /// restart of the machine. Compared as text, means nothing else.
    pub started: String,
    /// Ended, but not yet reaped by its parent.
    pub zombie: bool,
}

/// Whether a process carries a text in its command line or environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    /// It does.
    Yes,
    /// Both could be read and neither has it.
    No,
    /// Not everything could be read.
    Unknown,
}

/// What this process uses; `None` where the system does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Open files and sockets.
    pub open_files: Option<u64>,
    /// Memory that lies in RAM, in bytes.
    pub resident_bytes: Option<u64>,
}

/// Lets this process have as many files open as its owner may ask for, and says how many that
/// is; `None` where the system does not tell. The usual limit is for programs that could not
/// bear more.
#[must_use]
pub fn raise_open_files_limit() -> Option<u64> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => Some(hard),
        Err(_) => Some(soft),
    }
}

/// Which build this process runs, as a version of SemVer 2.0.0: the release, and after `+` what
/// tells its executable from another one of the same release (its length and when it was written).
/// Without that where the system does not tell.
#[must_use]
pub fn build() -> String {
    const RELEASE: &str = env!("CARGO_PKG_VERSION");
    let about = std::env::current_exe().and_then(std::fs::metadata);
    let written = about.as_ref().ok().and_then(|about| about.modified().ok());
    let written = written.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    match (about, written) {
        (Ok(about), Some(at)) => format!("{RELEASE}+{:x}.{:x}", about.len(), at.as_nanos()),
        _ => RELEASE.to_owned(),
    }
}

/// What this process uses now.
#[must_use]
pub fn usage() -> Usage {
    imp::usage()
}

/// Looks at a process; `None` when there is none with this pid.
///
/// # Errors
/// When the process table cannot be read.
pub fn view(pid: u32) -> io::Result<Option<ProcessView>> {
    imp::view(pid)
}

/// Whether the process carries `text` in its command line or environment.
#[must_use]
pub fn carries(pid: u32, text: &str) -> Carries {
    imp::carries(pid, text)
}

/// The pids of the processes that carry `text` anywhere in their command line, whoever they
/// are: nothing may be signalled on this alone. Best effort, as [`find_by_arguments`].
///
/// # Errors
/// When the process table cannot be read.
pub fn find_by_argument(text: &str) -> io::Result<Vec<u32>> {
    find_by_arguments(|line| line.join(" ").contains(text))
}

/// The pids of the processes whose command line `matches`: the program as it was called,
/// then its arguments. Best effort: what cannot be read is left out, and where the system
/// tells a command line as one text alone, arguments end at spaces.
///
/// # Errors
/// When the process table cannot be read.
pub fn find_by_arguments(matches: impl Fn(&[&str]) -> bool) -> io::Result<Vec<u32>> {
    imp::find_by_arguments(matches)
}

fn contains(haystack: &[u8], needle: &str) -> bool {
    !needle.is_empty() && haystack.windows(needle.len()).any(|window| window == needle.as_bytes())
}

#[cfg(target_os = "linux")]
#[expect(clippy::disallowed_methods, reason = "the process table is on no data folder's disk")]
mod imp {
    use std::{fs, io};

    use super::{Carries, ProcessView, Usage, contains};

    pub(super) fn usage() -> Usage {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        // The folder that is being read is open too, and is not counted.
        let files = fs::read_dir("/proc/self/fd").map(|files| files.count().saturating_sub(1));
        Usage {
            open_files: files.ok().map(|files| files as u64),
            resident_bytes: parse_resident(&status),
        }
    }

    /// `VmRSS`, which is told in KiB.
    fn parse_resident(status: &str) -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        kib.checked_mul(1024)
    }

    pub(super) fn view(pid: u32) -> io::Result<Option<ProcessView>> {
        let stat = match fs::read_to_string(format!("/proc/{pid}/stat")) {
            Ok(stat) => stat,
            // ESRCH: the process ended between open and read.
            Err(error)
                if error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(3) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        parse_stat(&stat)
            .map(|(state, ticks)| {
                Some(ProcessView {
                    started: format!("{}:{ticks}", boot.trim()),
                    zombie: matches!(state, 'Z' | 'X' | 'x'),
                })
            })
            .ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("/proc/{pid}/stat is not as expected"),
                )
            })
    }

    /// Field 3 (state) and field 22 (start time in clock ticks since boot). Field 2 is the
    /// program's name in parentheses and may itself hold spaces and parentheses, so
    /// counting begins after the last one.
    pub(super) fn parse_stat(stat: &str) -> Option<(char, u64)> {
        let (_, after_name) = stat.rsplit_once(')')?;
        let mut fields = after_name.split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        let ticks = fields.nth(18)?.parse().ok()?;
        Some((state, ticks))
    }

    pub(super) fn carries(pid: u32, text: &str) -> Carries {
        let places = ["cmdline", "environ"].map(|file| fs::read(format!("/proc/{pid}/{file}")));
        if places.iter().flatten().any(|bytes| contains(bytes, text)) {
            return Carries::Yes;
        }
        // One that is just ending has neither any more, and is no zombie yet.
        let ends = places.first().is_some_and(|line| line.as_ref().is_ok_and(Vec::is_empty));
        if places.iter().all(Result::is_ok) && !ends { Carries::No } else { Carries::Unknown }
    }

    pub(super) fn find_by_arguments(matches: impl Fn(&[&str]) -> bool) -> io::Result<Vec<u32>> {
        let mut found: Vec<u32> = fs::read_dir("/proc")?
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter(|pid| {
                fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|bytes| {
                    let line = String::from_utf8_lossy(&bytes);
                    matches(&line.trim_end_matches('\0').split('\0').collect::<Vec<_>>())
                })
            })
            .collect();
        found.sort_unstable();
        Ok(found)
    }
}

#[cfg(not(target_os = "linux"))]
mod imp {
    use std::{io, process::Command};

    use super::{Carries, ProcessView, Usage, contains};

    pub(super) fn usage() -> Usage {
        Usage::default()
    }

    fn ps(arguments: &[&str]) -> io::Result<Vec<u8>> {
        Ok(Command::new("ps").args(arguments).env("LC_ALL", "C").output()?.stdout)
    }

    pub(super) fn view(pid: u32) -> io::Result<Option<ProcessView>> {
        let out = ps(&["-o", "state=,lstart=", "-p", &pid.to_string()])?;
        let text = String::from_utf8_lossy(&out);
        let text = text.trim();
        Ok(text.split_once(char::is_whitespace).map(|(state, started)| ProcessView {
            started: started.trim().to_owned(),
            zombie: state.starts_with('Z'),
        }))
    }

    pub(super) fn carries(pid: u32, text: &str) -> Carries {
        match ps(&["-o", "command=", "-p", &pid.to_string()]) {
            Ok(out) if contains(&out, text) => Carries::Yes,
            // The environment was not looked at.
            _ => Carries::Unknown,
        }
    }

    pub(super) fn find_by_arguments(matches: impl Fn(&[&str]) -> bool) -> io::Result<Vec<u32>> {
        let out = ps(&["-axww", "-o", "pid=,command="])?;
        Ok(String::from_utf8_lossy(&out)
            .lines()
            .filter_map(|line| {
                let mut words = line.split_ascii_whitespace();
                let pid = words.next()?.parse().ok()?;
                matches(&words.collect::<Vec<_>>()).then_some(pid)
            })
            .collect())
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_full_of_parentheses_does_not_confuse_the_fields() {
        let stat = "77 (a) b (c)) S 1 77 77 0 -1 4194560 100 0 0 0 1 2 0 0 20 0 1 0 987654 5 6 7";
        assert_eq!(imp::parse_stat(stat), Some(('S', 987_654)));
        assert_eq!(imp::parse_stat("77 (short) S 1"), None);
        assert_eq!(imp::parse_stat(""), None);
    }

    #[test]
    fn what_this_process_uses_is_seen() {
        let Usage { open_files, resident_bytes } = usage();
        assert!(open_files.unwrap() >= 3, "{open_files:?}");
        assert!(resident_bytes.unwrap() > 100_000, "{resident_bytes:?}");
    }

    #[test]
    fn this_process_is_seen_and_an_absent_one_is_not() {
        let me = std::process::id();
        let seen = view(me).unwrap().unwrap();
        assert!(!seen.zombie);
        assert_eq!(view(me).unwrap().unwrap().started, seen.started);
        // Larger than any pid that Linux gives out.
        assert_eq!(view(u32::MAX / 2).unwrap(), None);
        assert_eq!(carries(me, "certainly-not-in-here-\u{1}"), Carries::No);
    }
}
