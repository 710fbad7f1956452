//! What can go wrong with a log, and what its owner may do next.

use std::io;

use weir_protocol::{
    ErrorCode,
    ids::{LeaderEpoch, Offset},
};

/// An error of one replica's log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// Bytes on the disk are not what was once written and synced. Nothing was cut or
    /// changed. The replica must go offline and refetch from a healthy one.
    #[error("{file} is corrupt at byte {position}, offset {offset}: {reason}")]
    Corrupt {
        /// The file, relative to the data folder.
        file: String,
        /// Where in the file, in bytes.
        position: u64,
        /// The log offset that was expected there.
        offset: Offset,
        /// What is wrong.
        reason: String,
    },
    /// The disk is full. Nothing was appended, the log is as before, and the same append
    /// may succeed once there is room.
    #[error("no room on the disk: {0}")]
    StorageFull(String),
    /// The disk refused something. After one from `sync`, from a cut, or from a write of
    /// `append` the log takes no more writes; from `read` it may be tried again.
    #[error("{operation} {path} failed: {message}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what, relative to the data folder.
        path: String,
        /// The kind of the disk's error.
        kind: io::ErrorKind,
        /// The disk's words.
        message: String,
    },
    /// The offset lies outside the log.
    #[error("offset {requested} is outside the log, which runs from {log_start} to {log_end}")]
    OutOfRange {
        /// What was asked for.
        requested: Offset,
        /// Oldest kept offset.
        log_start: Offset,
        /// Next offset to write (or, on a failed log, the end of what is durable).
        log_end: Offset,
    },
    /// The log takes no more writes, because of an earlier failure. What was durable is
    /// still served. Opening the log again recovers from the disk.
    #[error("the log takes no more writes: {0}")]
    Failed(String),
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
    /// The folder was written by a version that this build does not know.
    #[error(
        "{path} says {found:?}; this build reads only {supported:?}. Use the version that wrote it, or a newer one"
    )]
    UnsupportedFormat {
        /// The version file.
        path: String,
        /// What it says.
        found: String,
        /// What this build can read.
        supported: &'static str,
    },
    /// A batch's base offset does not follow on the log end. Nothing was appended.
    #[error("a batch with base offset {found} cannot follow log end {expected}")]
    NotNext {
        /// The log end, or the end of the batch before it in the same call.
        expected: Offset,
        /// The batch's base offset.
        found: Offset,
    },
    /// A batch's leader epoch is lower than the log's latest. Nothing was appended.
    #[error("leader epoch {found} after {latest}")]
    EpochWentBack {
        /// The log's latest epoch.
        latest: LeaderEpoch,
        /// The batch's.
        found: LeaderEpoch,
    },
    /// A batch whose header and bytes disagree, or that no log takes. Nothing was appended.
    #[error("batch refused: {0}")]
    BadBatch(&'static str),
}

impl LogError {
    /// How it travels.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Corrupt { .. } | Self::UnsupportedFormat { .. } => ErrorCode::ReplicaOffline,
            Self::StorageFull(_) => ErrorCode::StorageFull,
            // `Failed` answers a sync too, whose batches may be on the disk: unknown.
            Self::Io { .. } | Self::Failed(_) => ErrorCode::StorageFailed,
            Self::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
            Self::Closed => ErrorCode::ShuttingDown,
            Self::EpochWentBack { .. } => ErrorCode::FencedLeaderEpoch,
            Self::NotNext { .. } => ErrorCode::Internal,
            Self::BadBatch(_) => ErrorCode::InvalidBatch,
        }
    }

    /// An error of the disk.
    pub(crate) fn io(operation: &'static str, path: &str, error: &io::Error) -> Self {
        if is_full(error) {
            return Self::StorageFull(format!("{operation} {path} failed: {error}"));
        }
        Self::Io {
            operation,
            path: path.to_owned(),
            kind: error.kind(),
            message: error.to_string(),
        }
    }
}

/// Whether the disk, or the quota, is used up.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Turns a disk's result into a log's.
pub(crate) trait OnPath<T> {
    /// Names what was tried, on what.
    fn on(self, operation: &'static str, path: &str) -> Result<T, LogError>;
}

impl<T> OnPath<T> for io::Result<T> {
    fn on(self, operation: &'static str, path: &str) -> Result<T, LogError> {
        self.map_err(|error| LogError::io(operation, path, &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_apart_from_a_broken_one() {
        let full = LogError::io("write", "a", &io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(full.code(), ErrorCode::StorageFull);
        let quota = LogError::io("write", "a", &io::Error::from(io::ErrorKind::QuotaExceeded));
        assert_eq!(quota.code(), ErrorCode::StorageFull);
        let broken = LogError::io("write", "a", &io::Error::from_raw_os_error(5));
        assert_eq!(broken.code(), ErrorCode::StorageFailed);
    }
}
