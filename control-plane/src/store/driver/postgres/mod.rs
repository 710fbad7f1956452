//! Postgres through sqlx, in production only: its pool and its sockets need the real tokio.
//!
//! **One writer at a time, as in SQLite.** Every [`Mode::Write`] transaction takes one
//! advisory lock first, across all control planes of the database, so that what it reads
//! cannot change before it commits. `SERIALIZABLE` would promise the same by failing some
//! transactions at any statement, and asks for replaying them; our callers decide between
//! statements, so a driver cannot replay them. Writes of a control plane are small and few
//! (records never pass through it), so taking turns costs little.
//!
//! The isolation level is `READ COMMITTED` for that reason: a stricter one would read as of
//! a moment *before* the lock was taken. Readers take no lock and keep one view.

//!
//! | Module | Holds |
//! |---|---|
//! | `connect` | the first connection, and what is wrong with a URL or a server |
//! | `alone` | one control plane at a time |
//! | `migrate` | the migrations |
//! | `values` | parameters, rows, errors |

mod alone;
mod connect;
mod migrate;
mod values;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use secrecy::SecretString;
use sqlx::{
    Postgres,
    pool::{Pool, PoolConnection},
    postgres::{PgConnectOptions, PgPoolOptions, PgRow},
    raw_sql,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use weir_protocol::ids::DatabaseId;
use weir_runtime::{clock::Clock, task};

use self::values::{bound, rows, typed};
pub use self::{
    alone::{Alone, AloneError},
    connect::{ConnectError, without_password},
};
use super::{Database, DbError, DbResult, Mode, Row, Transaction, Value};
use crate::store::migrate::MigrateError;

/// Readers at a time.
const READERS: usize = 8;
/// How long a transaction waits for its turn here, and its connection, together. While the
/// server is away whoever asked must hear so before it gives up, which the CLI does after ten
/// seconds.
const TURN_WAIT_MAX: Duration = Duration::from_secs(6);
/// How long of that it waits for a connection, once it is its turn.
const CONNECTION_WAIT_MAX: Duration = Duration::from_secs(4);
/// How long an answer may take. Longer than the server's own limit, so that this one counts
/// only when the server or the way to it is gone.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(40);
/// The server's limits: waiting for a lock, running a statement, sitting in a transaction
/// (whoever hangs in one must not keep the other writers out for ever). And a nudge: the
/// planner has no statistics of rows that this very transaction wrote, and would join ten
/// thousand partitions with their replicas by looking at every pair.
const SESSION: &str = "SET lock_timeout = '10s'; SET statement_timeout = '30s';
    SET idle_in_transaction_session_timeout = '60s'; SET enable_nestloop = off";
/// A table that is there and not ours, in a database without our tables. What extensions bring
/// does not count, nor a list of migrations alone: a start of ours that was cut off leaves it.
const FOREIGN: &str = "SELECT c.relname::text FROM pg_class c
    WHERE c.relnamespace = to_regnamespace(quote_ident(current_schema()))
    AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
    AND c.relname <> '_sqlx_migrations'
    AND NOT EXISTS (SELECT 1 FROM pg_depend d
        WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
    ORDER BY c.relname LIMIT 1";
const BEGIN_READ: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
/// The number is ours alone within a database: "weirwrit" in ASCII.
const BEGIN_WRITE: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
    SELECT pg_advisory_xact_lock(8603398603512375668)";

/// Whose tables a database holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contents {
    /// None: it can be begun.
    Nothing,
    /// A control plane's.
    Weir(DatabaseId),
    /// Another program's.
    Foreign {
        /// One of them.
        table: String,
    },
}

/// One Postgres database.
pub struct PostgresDatabase {
    pool: Pool<Postgres>,
    options: PgConnectOptions,
    /// Fair: the first to ask is the first served. Writers wait here, without a connection.
    writer: Arc<Semaphore>,
    readers: Arc<Semaphore>,
    clock: Clock,
}

impl PostgresDatabase {
    /// Connects to the database at `url`; waits for a while for a server that is not there.
    ///
    /// # Errors
    /// [`ConnectError`], which says what to do.
    pub async fn connect(url: &SecretString, clock: Clock) -> Result<Self, ConnectError> {
        let options = connect::connect(url, clock).await?;
        let pool = PgPoolOptions::new()
            // A connection that was given back is rolled back before it is idle again.
            .max_connections(u32::try_from(READERS).unwrap_or(1) + 1)
            .acquire_timeout(CONNECTION_WAIT_MAX)
            .after_connect(|connection, _| {
                Box::pin(async move { raw_sql(SESSION).execute(connection).await.map(|_| ()) })
            })
            .connect_lazy_with(options.clone());
        Ok(Self {
            pool,
            options,
            writer: Arc::new(Semaphore::new(1)),
            readers: Arc::new(Semaphore::new(READERS)),
            clock,
        })
    }

    /// Whose tables it holds. Writes nothing.
    ///
    /// # Errors
    /// As the database.
    pub async fn contents(&self) -> DbResult<Contents> {
        let mut connection = connect::once(&self.options, self.clock).await?;
        let look = async {
            let there = "SELECT to_regclass('meta') IS NOT NULL";
            let ours = "SELECT count(*) = 1 FROM pg_attribute
                WHERE attrelid = to_regclass('meta') AND attname = 'database_id'";
            let there = sqlx::query_scalar::<_, bool>(there).fetch_one(&mut connection).await?;
            if there && sqlx::query_scalar::<_, bool>(ours).fetch_one(&mut connection).await? {
                let text = "SELECT database_id FROM meta";
                let id = sqlx::query_scalar::<_, String>(text).fetch_optional(&mut connection);
                return Ok((id.await?, None));
            }
            let table = sqlx::query_scalar::<_, String>(FOREIGN).fetch_optional(&mut connection);
            Ok((None, table.await?))
        };
        let found = self.clock.timeout(ANSWER_WAIT_MAX, look).await;
        let expected = "id of a database";
        Ok(match found.map_err(|_| DbError::Busy)?.map_err(typed)? {
            (Some(id), _) => Contents::Weir(
                id.parse()
                    .map_err(|_| DbError::Decode { column: "database_id".to_owned(), expected })?,
            ),
            (None, Some(table)) => Contents::Foreign { table },
            (None, None) => Contents::Nothing,
        })
    }

    async fn lend(&self, mode: Mode) -> DbResult<Lease> {
        let turns = match mode {
            Mode::Read => &self.readers,
            Mode::Write => &self.writer,
        };
        let begin = self.clock.now();
        let turn = self
            .clock
            .timeout(TURN_WAIT_MAX, Arc::clone(turns).acquire_owned())
            .await
            .map_err(|_| DbError::Busy)?
            .map_err(|_| DbError::Io { reason: "the pool is closed".to_owned() })?;
        let left = TURN_WAIT_MAX.saturating_sub(self.clock.now().since(begin));
        let connection = self.clock.timeout(left, self.pool.acquire()).await;
        let connection = connection.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map_err(typed)?;
        Ok(Lease { connection: Some(connection), turn: Some(turn), clock: self.clock })
    }
}

#[async_trait]
impl Database for PostgresDatabase {
    async fn begin(&self, mode: Mode) -> DbResult<Box<dyn Transaction>> {
        let text = match mode {
            Mode::Read => BEGIN_READ,
            Mode::Write => BEGIN_WRITE,
        };
        let mut lease = self.lend(mode).await?;
        lease.command(text).await?;
        Ok(Box::new(PostgresTransaction { lease: Some(lease) }))
    }

    async fn migrate(&self) -> Result<u32, MigrateError> {
        let connection = connect::once(&self.options, self.clock).await?;
        migrate::apply(connection, self.clock).await
    }
}

/// The lease is gone once an error ended the transaction.
struct PostgresTransaction {
    lease: Option<Lease>,
}

#[async_trait]
impl Transaction for PostgresTransaction {
    async fn execute(&mut self, sql: &'static str, params: Vec<Value>) -> DbResult<u64> {
        let mut lease = self.lease.take().ok_or(DbError::Aborted)?;
        let query = bound(sql, params)?;
        let touched = lease.answer(async |connection| query.execute(&mut **connection).await).await;
        let touched = touched?.rows_affected();
        self.lease = Some(lease);
        Ok(touched)
    }

    async fn query(&mut self, sql: &'static str, params: Vec<Value>) -> DbResult<Vec<Row>> {
        let mut lease = self.lease.take().ok_or(DbError::Aborted)?;
        let query = bound(sql, params)?;
        let found: Vec<PgRow> =
            lease.answer(async |connection| query.fetch_all(&mut **connection).await).await?;
        let found = rows(&found)?;
        self.lease = Some(lease);
        Ok(found)
    }

    async fn commit(mut self: Box<Self>) -> DbResult<()> {
        let mut lease = self.lease.take().ok_or(DbError::Aborted)?;
        match lease.command("COMMIT").await {
            Ok(()) => {
                lease.give_back();
                Ok(())
            }
            // The server says these before it writes anything.
            Err(known @ (DbError::Busy | DbError::Constraint { .. })) => Err(known),
            // Without an answer, or with the last words of a server that goes down, it may
            // have happened.
            Err(other) => Err(DbError::CommitUnknown { reason: other.to_string() }),
        }
    }
}

/// A borrowed connection within a transaction. Dropped, it is rolled back and then goes
/// back; its turn ends only after that.
struct Lease {
    connection: Option<PoolConnection<Postgres>>,
    turn: Option<OwnedSemaphorePermit>,
    clock: Clock,
}

impl Lease {
    async fn answer<T, W>(&mut self, work: W) -> DbResult<T>
    where
        W: AsyncFnOnce(&mut PoolConnection<Postgres>) -> Result<T, sqlx::Error>,
    {
        let connection = self.connection.as_mut().ok_or(DbError::Aborted)?;
        match self.clock.timeout(ANSWER_WAIT_MAX, work(connection)).await {
            Ok(answered) => answered.map_err(typed),
            Err(_) => {
                // Nothing more will come of it: not even the rollback would be answered.
                connection.close_on_drop();
                self.give_back();
                Err(DbError::Unavailable { reason: "the server does not answer".to_owned() })
            }
        }
    }

    async fn command(&mut self, text: &'static str) -> DbResult<()> {
        self.answer(async |connection| raw_sql(text).execute(&mut **connection).await)
            .await
            .map(|_| ())
    }

    /// No transaction is open any more.
    fn give_back(&mut self) {
        self.connection = None;
        self.turn = None;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        let (turn, clock) = (self.turn.take(), self.clock);
        // Whatever was under way is waited for first, so the limit is the same.
        drop(task::spawn(async move {
            let rollback = raw_sql("ROLLBACK").execute(&mut *connection);
            let done = clock.timeout(ANSWER_WAIT_MAX, rollback).await;
            if !matches!(done, Ok(Ok(_))) {
                connection.close_on_drop();
            }
            drop((connection, turn));
        }));
    }
}
