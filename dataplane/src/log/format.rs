//! The version file: which layout a replica's folder has.
//!
//! `format` is one line of text, exactly `weir-log 2` and a line feed (11 bytes). A folder
//! that says anything else was written by another version and is refused untouched: a
//! guess at an unknown layout could cut data that the other version can still read.
//!
//! `weir-log 1` is taken over: its checkpoint listed no segments and its indexes knew no
//! times, so the first open reads every batch header once, writes both anew, and the new
//! version last. After that the version that wrote it refuses the folder, by this line.

use super::error::LogError;

/// The file's name within the replica's folder.
pub const FORMAT_FILE: &str = "format";
/// Its content.
pub const FORMAT_LINE: &str = "weir-log 2\n";
/// What the version before wrote, which is taken over.
pub const FORMAT_LINE_BEFORE: &str = "weir-log 1\n";
/// More than any version's file would hold.
pub(crate) const FORMAT_BYTES_MAX: usize = 4096;

/// Checks the content of the version file at `path`. True if the version before wrote it.
///
/// # Errors
/// [`LogError::UnsupportedFormat`] when it is not this build's.
pub fn check(path: &str, content: &[u8]) -> Result<bool, LogError> {
    if content == FORMAT_LINE.as_bytes() {
        return Ok(false);
    }
    if content == FORMAT_LINE_BEFORE.as_bytes() {
        return Ok(true);
    }
    let shown: String = String::from_utf8_lossy(content).trim_end().chars().take(64).collect();
    Err(LogError::UnsupportedFormat {
        path: path.to_owned(),
        found: shown,
        supported: FORMAT_LINE.trim_ascii_end(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes() {
        assert_eq!(FORMAT_LINE.as_bytes(), b"\x77\x65\x69\x72-log 2\x0a");
        assert_eq!(FORMAT_LINE.len(), 11);
    }

    #[test]
    fn only_this_version_is_taken_and_the_other_is_named() {
        assert_eq!(check("p/format", FORMAT_LINE.as_bytes()), Ok(false));
        assert_eq!(check("p/format", b"weir-log 1\n"), Ok(true));
        for other in ["weir-log 3\n", "weir-log 1", "", "weir-log 11\n"] {
            assert!(check("p/format", other.as_bytes()).is_err(), "{other:?}");
        }
        let error = check("p/format", b"weir-log 3\n").unwrap_err().to_string();
        assert!(error.contains("p/format") && error.contains("weir-log 3"), "{error}");
    }
}
