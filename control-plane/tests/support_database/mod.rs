//! The database of a test: SQLite in its folder; or, when `WEIR_TEST_POSTGRES_URL` names a
//! Postgres server, a database of its own there. `infra/ci/postgres.sh` runs the tests so.

use std::sync::Arc;

use tempfile::TempDir;
use weir_control_plane::store::{Database, SqlFaults, SqliteDatabase};
use weir_runtime::clock::Clock;

// Needs real sockets.
#[cfg(not(madsim))]
pub mod postgres;

/// Opens the database of the test that `folder` belongs to; each call as another process.
pub async fn open(folder: &TempDir) -> Arc<dyn Database> {
    open_with(folder, SqlFaults::default()).await
}

/// As [`open`]; Postgres knows no simulated faults.
pub async fn open_with(folder: &TempDir, faults: SqlFaults) -> Arc<dyn Database> {
    // Needs real sockets.
    #[cfg(not(madsim))]
    if is_postgres() {
        return Arc::new(postgres::open(folder).await);
    }
    Arc::new(SqliteDatabase::with_faults(&folder.path().join("control-plane.db"), Clock, faults))
}

/// Whether [`open`] opens Postgres.
pub fn is_postgres() -> bool {
    std::env::var_os("WEIR_TEST_POSTGRES_URL").is_some()
}

/// The SQLite database of the test that `folder` belongs to.
pub fn sqlite(folder: &TempDir) -> SqliteDatabase {
    SqliteDatabase::new(&folder.path().join("control-plane.db"), Clock)
}
