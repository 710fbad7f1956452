//! Connections to one SQLite file, lent one at a time.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use weir_runtime::{clock::Clock, task};

use super::{DbError, DbResult, sqlite::typed};

/// How long a transaction waits for a connection.
const TURN_WAIT_MAX: Duration = Duration::from_secs(10);
/// How long SQLite waits for another process's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Prepared statements kept per connection; about as many as the store has texts.
const STATEMENTS_MAX: usize = 256;

/// Connections of one kind.
pub(super) struct Pool {
    path: PathBuf,
    writable: bool,
    /// One permit per connection. Fair: the first to ask is the first served.
    turns: Arc<Semaphore>,
    idle: Mutex<Vec<Connection>>,
}

impl Pool {
    /// At most `connections` of them, opened when first needed.
    pub(super) fn new(path: &Path, writable: bool, connections: usize) -> Arc<Self> {
        Arc::new(Self {
            path: path.to_owned(),
            writable,
            turns: Arc::new(Semaphore::new(connections)),
            idle: Mutex::default(),
        })
    }

    /// Borrows a connection. Whoever holds the writer's keeps every other writer out until
    /// the transaction is over, across all its waiting for the disk: that is what makes a
    /// write transaction serial from its beginning, and there is nothing else to wait for.
    pub(super) async fn lend(self: &Arc<Self>, clock: Clock) -> DbResult<Lease> {
        let turn = clock
            .timeout(TURN_WAIT_MAX, Arc::clone(&self.turns).acquire_owned())
            .await
            .map_err(|_| DbError::Busy)?
            .map_err(|_| DbError::Io { reason: "the pool is closed".to_owned() })?;
        let connection = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Ok(Lease { connection, pool: Arc::clone(self), _turn: turn })
    }

    fn open(&self) -> DbResult<Connection> {
        make_private(&self.path);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            // Each connection is used by one task at a time: SQLite's own lock is not needed.
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags).map_err(typed)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(typed)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;",
            )
            .map_err(typed)?;
        if !self.writable {
            connection.execute_batch("PRAGMA query_only = ON;").map_err(typed)?;
        }
        Ok(connection)
    }
}

/// Makes a missing file readable for its owner alone: it will hold signing keys. SQLite
/// gives its side files the same rights. An existing file is not even opened, for closing it
/// again would release SQLite's locks on it; and if this fails, SQLite will say why.
fn make_private(path: &Path) {
    use nix::{fcntl, sys::stat};
    let flags = fcntl::OFlag::O_CREAT | fcntl::OFlag::O_EXCL | fcntl::OFlag::O_CLOEXEC;
    let owner = stat::Mode::S_IRUSR | stat::Mode::S_IWUSR;
    drop(fcntl::open(path, flags | fcntl::OFlag::O_RDWR, owner));
}

/// A borrowed connection. Goes back when dropped, after a rollback if a transaction is open.
pub(super) struct Lease {
    connection: Option<Connection>,
    pool: Arc<Pool>,
    _turn: OwnedSemaphorePermit,
}

impl Lease {
    /// Does blocking work on the connection and gives it back. When the caller goes away in
    /// between, the work is finished all the same and the lease ends with it.
    pub(super) async fn work<T, W>(self, work: W) -> DbResult<(Self, DbResult<T>)>
    where
        T: Send + 'static,
        W: FnOnce(&mut Connection) -> DbResult<T> + Send + 'static,
    {
        let mut lease = self;
        task::blocking(move || {
            let result = lease.connection().and_then(work);
            Ok((lease, result))
        })
        .await
        .map_err(|error| DbError::Io { reason: error.to_string() })
    }

    fn connection(&mut self) -> DbResult<&mut Connection> {
        let connection = match self.connection.take() {
            Some(open) => open,
            None => self.pool.open()?,
        };
        Ok(self.connection.insert(connection))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        // On the async side too: a rollback in WAL mode only forgets pages in memory.
        let clean = connection.is_autocommit() || connection.execute_batch("ROLLBACK").is_ok();
        if clean {
            self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
    }
}
