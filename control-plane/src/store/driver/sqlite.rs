//! SQLite through rusqlite, in both worlds: in production the work goes to the blocking
//! pool, in simulation it runs inline.

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use rusqlite::{Connection, ErrorCode, types::ValueRef};
use weir_runtime::{
    clock::Clock,
    trace::{self, Kind},
};

use super::{
    ConstraintKind, Database, DbError, DbResult, Mode, Row, SqlFaults, Transaction, Value,
    faults::CommitFault,
    head,
    sqlite_pool::{Lease, Pool},
};
use crate::store::migrate::{self, MigrateError};

/// Readers at a time; each sees the last committed state and none waits for the writer.
const READERS: usize = 4;

/// One SQLite file: WAL, `synchronous=FULL`, one writer.
pub struct SqliteDatabase {
    writer: Arc<Pool>,
    readers: Arc<Pool>,
    clock: Clock,
    faults: SqlFaults,
}

impl SqliteDatabase {
    /// The database in the file at `path`, made when first used. The folder must exist.
    #[must_use]
    pub fn new(path: &Path, clock: Clock) -> Self {
        Self::with_faults(path, clock, SqlFaults::default())
    }

    /// As [`SqliteDatabase::new`], with a switch for simulated faults.
    #[must_use]
    pub fn with_faults(path: &Path, clock: Clock, faults: SqlFaults) -> Self {
        Self {
            writer: Pool::new(path, true, 1),
            readers: Pool::new(path, false, READERS),
            clock,
            faults,
        }
    }
}

#[async_trait]
impl Database for SqliteDatabase {
    async fn begin(&self, mode: Mode) -> DbResult<Box<dyn Transaction>> {
        self.faults.before_statement(self.clock).await?;
        let (pool, text) = match mode {
            Mode::Read => (&self.readers, "BEGIN DEFERRED"),
            Mode::Write => (&self.writer, "BEGIN IMMEDIATE"),
        };
        let lease = pool.lend(self.clock).await?;
        let (lease, begun) =
            lease.work(move |connection| connection.execute_batch(text).map_err(typed)).await?;
        trace::line(Kind::Sql, || format!("{text}: {}", outcome(&begun)));
        begun?;
        Ok(Box::new(SqliteTransaction {
            lease: Some(lease),
            clock: self.clock,
            faults: self.faults.clone(),
        }))
    }

    async fn migrate(&self) -> Result<u32, MigrateError> {
        let lease = self.writer.lend(self.clock).await?;
        let (lease, applied) =
            lease.work(|connection| Ok(migrate::apply_to_sqlite(connection))).await?;
        drop(lease);
        applied?
    }
}

/// The lease is gone once an error ended the transaction.
struct SqliteTransaction {
    lease: Option<Lease>,
    clock: Clock,
    faults: SqlFaults,
}

impl SqliteTransaction {
    async fn run<T, W>(&mut self, sql: &'static str, work: W) -> DbResult<T>
    where
        T: Send + Rows + 'static,
        W: FnOnce(&mut Connection) -> DbResult<T> + Send + 'static,
    {
        let lease = self.lease.take().ok_or(DbError::Aborted)?;
        self.faults.before_statement(self.clock).await?;
        let (lease, result) = lease.work(work).await?;
        trace::line(Kind::Sql, || match &result {
            Ok(done) => format!("{}: {} rows", head(sql), done.rows()),
            Err(error) => format!("{}: {error}", head(sql)),
        });
        let done = result?;
        self.lease = Some(lease);
        Ok(done)
    }
}

#[async_trait]
impl Transaction for SqliteTransaction {
    async fn execute(&mut self, sql: &'static str, params: Vec<Value>) -> DbResult<u64> {
        self.run(sql, move |connection| {
            let mut statement = connection.prepare_cached(sql).map_err(typed)?;
            bind(&mut statement, &params)?;
            statement.raw_execute().map(|rows| rows as u64).map_err(typed)
        })
        .await
    }

    async fn query(&mut self, sql: &'static str, params: Vec<Value>) -> DbResult<Vec<Row>> {
        self.run(sql, move |connection| {
            let mut statement = connection.prepare_cached(sql).map_err(typed)?;
            bind(&mut statement, &params)?;
            let columns: Arc<[String]> =
                statement.column_names().into_iter().map(str::to_owned).collect();
            let mut found = Vec::new();
            // To the end, always: a statement with RETURNING is done only then.
            let mut rows = statement.raw_query();
            while let Some(row) = rows.next().map_err(typed)? {
                let values = (0..columns.len())
                    .map(|index| row.get_ref(index).map_err(typed).and_then(taken))
                    .collect::<DbResult<Vec<_>>>()?;
                found.push(Row::new(Arc::clone(&columns), values));
            }
            Ok(found)
        })
        .await
    }

    async fn commit(mut self: Box<Self>) -> DbResult<()> {
        let lease = self.lease.take().ok_or(DbError::Aborted)?;
        let fault = self.faults.before_commit(self.clock).await;
        let lost = || DbError::CommitUnknown { reason: "the answer was lost".to_owned() };
        if fault == CommitFault::LostBefore {
            trace::line(Kind::Sql, || "COMMIT: lost before".to_owned());
            return Err(lost());
        }
        // Without an answer (the runtime is going down) it may have happened.
        let worked = lease.work(|connection| connection.execute_batch("COMMIT").map_err(typed));
        let (lease, done) =
            worked.await.map_err(|error| DbError::CommitUnknown { reason: error.to_string() })?;
        trace::line(Kind::Sql, || format!("COMMIT: {}", outcome(&done)));
        drop(lease);
        self.faults.step().await;
        match done {
            Ok(()) if fault == CommitFault::LostAfter => Err(lost()),
            Ok(()) => Ok(()),
            // These come before anything is written.
            Err(known @ (DbError::Busy | DbError::Constraint { .. })) => Err(known),
            // A failed fsync of the log says nothing about what reached the disk.
            Err(other) => Err(DbError::CommitUnknown { reason: other.to_string() }),
        }
    }
}

/// For the trace.
trait Rows {
    fn rows(&self) -> u64;
}

impl Rows for u64 {
    fn rows(&self) -> u64 {
        *self
    }
}

impl Rows for Vec<Row> {
    fn rows(&self) -> u64 {
        self.len() as u64
    }
}

fn outcome(result: &DbResult<()>) -> String {
    result.as_ref().map_or_else(ToString::to_string, |()| "ok".to_owned())
}

fn bind(statement: &mut rusqlite::Statement<'_>, params: &[Value]) -> DbResult<()> {
    if statement.parameter_count() != params.len() {
        return Err(DbError::Misuse {
            reason: format!(
                "{} parameters given, {} in the text",
                params.len(),
                statement.parameter_count()
            ),
        });
    }
    for (position, value) in params.iter().enumerate() {
        let name = format!("${}", position + 1);
        let index = statement
            .parameter_index(&name)
            .map_err(typed)?
            .ok_or_else(|| DbError::Misuse { reason: format!("{name} is not in the text") })?;
        value.check()?;
        match value {
            Value::Null => statement.raw_bind_parameter(index, rusqlite::types::Null),
            Value::Integer(number) => statement.raw_bind_parameter(index, number),
            Value::Text(text) => statement.raw_bind_parameter(index, text),
            Value::Blob(bytes) => statement.raw_bind_parameter(index, bytes),
        }
        .map_err(typed)?;
    }
    Ok(())
}

fn taken(value: ValueRef<'_>) -> DbResult<Value> {
    match value {
        ValueRef::Null => Ok(Value::Null),
        ValueRef::Integer(number) => Ok(Value::Integer(number)),
        ValueRef::Text(bytes) => String::from_utf8(bytes.to_vec())
            .map(Value::Text)
            .map_err(|_| DbError::Corrupt { reason: "a text is no UTF-8".to_owned() }),
        ValueRef::Blob(bytes) => Ok(Value::Blob(bytes.to_vec())),
        ValueRef::Real(_) => {
            Err(DbError::Corrupt { reason: "a fraction where none is stored".to_owned() })
        }
    }
}

/// SQLite's errors in our words.
pub(in crate::store) fn typed(error: rusqlite::Error) -> DbError {
    let reason = error.to_string();
    let rusqlite::Error::SqliteFailure(failure, _) = error else {
        return DbError::Misuse { reason };
    };
    match failure.code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => DbError::Busy,
        ErrorCode::ConstraintViolation => {
            let kind = match failure.extended_code {
                rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE
                | rusqlite::ffi::SQLITE_CONSTRAINT_PRIMARYKEY => ConstraintKind::Unique,
                rusqlite::ffi::SQLITE_CONSTRAINT_FOREIGNKEY => ConstraintKind::ForeignKey,
                rusqlite::ffi::SQLITE_CONSTRAINT_NOTNULL => ConstraintKind::NotNull,
                rusqlite::ffi::SQLITE_CONSTRAINT_CHECK => ConstraintKind::Check,
                _ => ConstraintKind::Other,
            };
            DbError::Constraint { kind, detail: reason }
        }
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => DbError::Corrupt { reason },
        ErrorCode::DiskFull => DbError::StorageFull,
        ErrorCode::SystemIoFailure
        | ErrorCode::CannotOpen
        | ErrorCode::PermissionDenied
        | ErrorCode::FileLockingProtocolFailed
        | ErrorCode::OutOfMemory => DbError::Io { reason },
        _ => DbError::Misuse { reason },
    }
}
