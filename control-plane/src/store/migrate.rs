//! Migrations: sqlx's files, sqlx's table, sqlx's checksums, so that either tool can go on
//! with what the other began; applied to SQLite through rusqlite, because sqlx's SQLite needs
//! a thread of its own, and to Postgres by sqlx itself.

use rusqlite::{Connection, TransactionBehavior, params};
use sqlx::migrate::Migrator;

use super::driver::DbError;

/// The SQLite migrations of this build.
pub static SQLITE: Migrator = sqlx::migrate!("../migrations/sqlite");
/// The Postgres migrations of this build.
pub static POSTGRES: Migrator = sqlx::migrate!("../migrations/postgres");

/// The version that this build brings a database to, and the newest that it knows.
#[must_use]
pub fn database_version() -> i64 {
    SQLITE.iter().map(|migration| migration.version).max().unwrap_or(0)
}

/// Why a database cannot be brought to the version of this build.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MigrateError {
    /// A newer build has migrated it.
    #[error(
        "the database is at version {found}, this build knows only up to {known}: \
         use the newer build, or restore a backup from before the upgrade"
    )]
    Newer {
        /// Highest version in the database.
        found: i64,
        /// Highest version of this build.
        known: i64,
    },
    /// A migration that was applied is not the one of this build.
    #[error(
        "migration {version} of the database differs from this build's: \
         the database belongs to another build, or the file was changed after its release"
    )]
    Changed {
        /// Which one.
        version: i64,
    },
    /// A migration stopped half way, in a tool that does not run them in a transaction.
    #[error("migration {version} was begun and not finished: restore a backup")]
    Dirty {
        /// Which one.
        version: i64,
    },
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DbError),
}

/// A row of sqlx's table.
pub(super) struct Applied {
    pub(super) version: i64,
    pub(super) success: bool,
    pub(super) checksum: Vec<u8>,
}

/// Which migrations are still to run, in order. Pure.
pub(super) fn pending<'m>(
    known: &'m Migrator,
    applied: &[Applied],
) -> Result<Vec<&'m sqlx::migrate::Migration>, MigrateError> {
    let newest = known.iter().map(|migration| migration.version).max().unwrap_or(0);
    for row in applied {
        if !row.success {
            return Err(MigrateError::Dirty { version: row.version });
        }
        match known.iter().find(|migration| migration.version == row.version) {
            Some(same) if *same.checksum == *row.checksum => {}
            None if row.version > newest => {
                return Err(MigrateError::Newer { found: row.version, known: newest });
            }
            _ => return Err(MigrateError::Changed { version: row.version }),
        }
    }
    Ok(known
        .iter()
        .filter(|migration| migration.migration_type.is_up_migration())
        .filter(|migration| applied.iter().all(|row| row.version != migration.version))
        .collect())
}

/// Runs what is missing, each migration in a transaction with its row. Blocking.
pub(super) fn apply_to_sqlite(connection: &mut Connection) -> Result<u32, MigrateError> {
    let typed = super::driver::sqlite_error;
    connection
        .execute_batch(
            "CREATE TABLE IF NOT EXISTS _sqlx_migrations (
                version BIGINT PRIMARY KEY,
                description TEXT NOT NULL,
                installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
                success BOOLEAN NOT NULL,
                checksum BLOB NOT NULL,
                execution_time BIGINT NOT NULL
            );",
        )
        .map_err(typed)?;
    let mut count = 0;
    loop {
        // Read again under the write lock each time: another process may be at it too.
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(typed)?;
        let applied = transaction
            .prepare("SELECT version, success, checksum FROM _sqlx_migrations ORDER BY version")
            .and_then(|mut statement| {
                statement
                    .query_map([], |row| {
                        Ok(Applied {
                            version: row.get(0)?,
                            success: row.get(1)?,
                            checksum: row.get(2)?,
                        })
                    })?
                    .collect::<Result<Vec<_>, _>>()
            })
            .map_err(typed)?;
        let Some(next) = pending(&SQLITE, &applied)?.first().copied() else { return Ok(count) };
        transaction.execute_batch(next.sql.as_str()).map_err(typed)?;
        transaction
            .execute(
                "INSERT INTO _sqlx_migrations
                    (version, description, success, checksum, execution_time)
                 VALUES (?1, ?2, TRUE, ?3, -1)",
                params![next.version, next.description, next.checksum.as_ref()],
            )
            .map_err(typed)?;
        transaction.commit().map_err(typed)?;
        count += 1;
        tracing::info!(version = next.version, "database migrated");
    }
}
