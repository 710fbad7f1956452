//! The version file: which layout a replica's folder has.
//!
//! `format` is one line of text, exactly `weir-log 1` and a line feed (11 bytes). A folder
//! that says anything else was written by another version and is refused untouched: a
//! guess at an unknown layout could cut data that the other version can still read.

use super::error::LogError;

/// The file's name within the replica's folder.
pub const FORMAT_FILE: &str = "format";
/// Its content.
pub const FORMAT_LINE: &str = "weir-log 1\n";
/// More than any version's file would hold.
pub(crate) const FORMAT_BYTES_MAX: usize = 4096;

/// Checks the content of the version file at `path`.
///
/// # Errors
/// [`LogError::UnsupportedFormat`] when it is not this build's.
pub fn check(path: &str, content: &[u8]) -> Result<(), LogError> {
    if content == FORMAT_LINE.as_bytes() {
        return Ok(());
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
        assert_eq!(FORMAT_LINE.as_bytes(), b"\x77\x65\x69\x72-log 1\x0a");
        assert_eq!(FORMAT_LINE.len(), 11);
    }

    #[test]
    fn only_this_version_is_taken_and_the_other_is_named() {
        assert!(check("p/format", FORMAT_LINE.as_bytes()).is_ok());
        for other in ["weir-log 2\n", "weir-log 1", "", "weir-log 11\n"] {
            assert!(check("p/format", other.as_bytes()).is_err(), "{other:?}");
        }
        let error = check("p/format", b"weir-log 2\n").unwrap_err().to_string();
        assert!(error.contains("p/format") && error.contains("weir-log 2"), "{error}");
    }
}
