//! Errors that say which operation on which path failed, and keep their kind.

use std::{fmt::Display, io};

/// What stands inside the errors of both disks.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {path}: {source}")]
struct AtPath {
    operation: &'static str,
    path: String,
    source: io::Error,
}

/// Adds operation and path to an error. [`io::Error::kind`] stays; the operating system's
/// number is found by [`os_code`].
pub(super) fn at_path(operation: &'static str, path: impl Display, source: io::Error) -> io::Error {
    io::Error::new(source.kind(), AtPath { operation, path: path.to_string(), source })
}

/// The operating system's number of an error of a [`super::Disk`] or [`super::File`], as 5
/// for an I/O error, where there is one.
#[must_use]
pub fn os_code(error: &io::Error) -> Option<i32> {
    error.raw_os_error().or_else(|| {
        error.get_ref().and_then(|inner| inner.downcast_ref::<AtPath>())?.source.raw_os_error()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kind_number_and_path_survive() {
        let full = at_path("write", "a/b", io::Error::from_raw_os_error(28));
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        assert_eq!(os_code(&full), Some(28));
        assert!(full.to_string().starts_with("cannot write a/b: "), "{full}");
        assert_eq!(os_code(&io::ErrorKind::NotFound.into()), None);
    }
}
