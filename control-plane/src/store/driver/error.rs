//! What a database answers when it does not do as asked.

/// Result of a database operation.
pub type DbResult<T> = Result<T, DbError>;

/// Which kind of constraint a statement would have broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConstraintKind {
    /// A primary key or another unique index.
    Unique,
    /// A row that does not exist is referred to, or one that is referred to was deleted.
    ForeignKey,
    /// A value is missing.
    NotNull,
    /// A `CHECK`.
    Check,
    /// Another one.
    Other,
}

/// Why a database operation failed. Unless it is [`DbError::CommitUnknown`], nothing of its
/// transaction happened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DbError {
    /// Others are writing; the same transaction may succeed when tried again from its start.
    #[error("the database is busy")]
    Busy,
    /// The database server is not there, or went away; the same transaction may succeed when
    /// tried again from its start.
    #[error("the database cannot be reached: {reason}")]
    Unavailable {
        /// What the last try said.
        reason: String,
    },
    /// A constraint would have been broken.
    #[error("constraint violated ({kind:?}): {detail}")]
    Constraint {
        /// Which kind.
        kind: ConstraintKind,
        /// What the database says, with table and columns, without values.
        detail: String,
    },
    /// The commit may or may not have happened: look, or repeat only what is idempotent.
    #[error("it is unknown whether the transaction was committed: {reason}")]
    CommitUnknown {
        /// What the database says.
        reason: String,
    },
    /// An earlier statement of the transaction failed, so it is over.
    #[error("the transaction was aborted by an earlier error")]
    Aborted,
    /// The database file is damaged, or is no database.
    #[error("the database is damaged: {reason}")]
    Corrupt {
        /// What the database says.
        reason: String,
    },
    /// No room on the disk.
    #[error("the disk that holds the database is full")]
    StorageFull,
    /// The operating system failed.
    #[error("the database could not be read or written: {reason}")]
    Io {
        /// What the system says.
        reason: String,
    },
    /// A column does not hold what this build expects.
    #[error("column {column} holds no {expected}")]
    Decode {
        /// Which column.
        column: String,
        /// What was expected.
        expected: &'static str,
    },
    /// A statement of ours is wrong, or does not fit the tables: a bug.
    #[error("a statement was refused: {reason}")]
    Misuse {
        /// What the database says.
        reason: String,
    },
}

impl DbError {
    /// Whether the whole transaction may be tried again without knowing more.
    #[must_use]
    pub const fn retriable(&self) -> bool {
        matches!(self, Self::Busy | Self::Unavailable { .. })
    }

    /// Whether a unique index refused the row.
    #[must_use]
    pub const fn is_unique_violation(&self) -> bool {
        matches!(self, Self::Constraint { kind: ConstraintKind::Unique, .. })
    }
}
