//! Migrations of Postgres, by sqlx itself.

use std::time::Duration;

use sqlx::{
    Connection as _, PgConnection,
    migrate::{Migrate as _, MigrateError as SqlxError},
};
use weir_runtime::clock::Clock;

use super::{DbError, values::typed};
use crate::store::migrate::{Applied, MigrateError, POSTGRES, pending};

const TABLE: &str = "_sqlx_migrations";
/// How long all of it may take, waiting for another control plane's migration included.
const WAIT_MAX: Duration = Duration::from_secs(600);

/// Runs what is missing, each migration in a transaction with its row, under the lock that
/// sqlx's own tool takes: of two control planes that start at once, the second waits and
/// finds nothing to do.
pub(super) async fn apply(connection: PgConnection, clock: Clock) -> Result<u32, MigrateError> {
    let done = clock.timeout(WAIT_MAX, locked(connection)).await;
    done.map_err(|_| DbError::Busy)?
}

async fn locked(mut connection: PgConnection) -> Result<u32, MigrateError> {
    connection.lock().await.map_err(failed)?;
    connection.ensure_migrations_table(TABLE).await.map_err(failed)?;
    let applied = sqlx::query_as::<_, (i64, bool, Vec<u8>)>(
        "SELECT version, success, checksum FROM _sqlx_migrations ORDER BY version",
    )
    .fetch_all(&mut connection)
    .await
    .map_err(typed)?;
    let applied: Vec<_> = applied
        .into_iter()
        .map(|(version, success, checksum)| Applied { version, success, checksum })
        .collect();
    let mut count = 0;
    for next in pending(&POSTGRES, &applied)? {
        connection.apply(TABLE, next).await.map_err(failed)?;
        count += 1;
        tracing::info!(version = next.version, "database migrated");
    }
    // Without a connection there is no lock either; the server ends one that is not closed.
    drop(connection.close().await);
    Ok(count)
}

fn failed(error: SqlxError) -> DbError {
    match error {
        SqlxError::Execute(error) | SqlxError::ExecuteMigration(error, _) => typed(error),
        other => DbError::Misuse { reason: other.to_string() },
    }
}
