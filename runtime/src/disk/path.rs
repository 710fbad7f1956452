//! Paths inside a data folder: relative, `/` between parts, no way out.

use std::io;

/// The longest name of one entry on the file systems that we know, in bytes.
const NAME_BYTES_MAX: usize = 255;

/// Accepts a path of a folder; `""` is the data folder itself.
pub(super) fn check_folder(path: &str) -> io::Result<()> {
    if path.is_empty() { Ok(()) } else { check(path) }
}

/// Accepts a path of something inside the data folder.
pub(super) fn check(path: &str) -> io::Result<()> {
    let reason = if path.is_empty() {
        "is empty"
    } else if path.starts_with('/') {
        "is absolute"
    } else if path.contains('\0') {
        "contains a zero byte"
    } else if path.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
        "has an empty part, `.` or `..`"
    } else if path.split('/').any(|part| part.len() > NAME_BYTES_MAX) {
        "has a part of more than 255 bytes"
    } else {
        return Ok(());
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("the path {path:?} {reason}")))
}

/// The folder that holds `path`, and its name there.
pub(super) fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// Accepts a range of bytes that a file can have.
pub(super) fn check_range(offset: u64, bytes: u64) -> io::Result<()> {
    match offset.checked_add(bytes) {
        Some(end) if i64::try_from(end).is_ok() => Ok(()),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{bytes} bytes at {offset} end beyond what a file can have"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_way_out() {
        let long = "x".repeat(256);
        for bad in ["", "/", "/etc", "..", "a/../b", "a/..", "./a", "a//b", "a/", "a\0b", &long] {
            let error = check(bad).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{bad:?}");
        }
        for good in ["a", "a/b.log", "..a", "a..", "…"] {
            check(good).unwrap();
        }
        check_folder("").unwrap();
    }

    #[test]
    fn splits() {
        assert_eq!(split("a/b/c"), ("a/b", "c"));
        assert_eq!(split("c"), ("", "c"));
    }

    #[test]
    fn ranges_end() {
        check_range(0, i64::MAX as u64).unwrap();
        assert!(check_range(1, i64::MAX as u64).is_err());
        assert!(check_range(u64::MAX, 1).is_err());
    }
}
