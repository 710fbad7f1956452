//! The driver seam: begin, execute, query, commit. The only place that knows which
//! database it is.
//!
//! One SQL text serves every driver, so statements keep to what SQLite and Postgres share:
//! `$1 … $n` parameters (bound *by name*, see [`value::Value`]), `BIGINT` for numbers,
//! times and booleans, `TEXT` for ids and JSON, no randomness, no clock.

pub mod error;
pub mod faults;
// Needs the real tokio, for its pool and its sockets.
#[cfg(not(madsim))]
pub mod postgres;
pub mod row;
pub mod sqlite;
mod sqlite_pool;
pub mod value;

use async_trait::async_trait;

pub use error::{ConstraintKind, DbError, DbResult};
pub use faults::{FaultRates, SqlFaults};
pub use row::{FromValue, Row};
pub(super) use sqlite::typed as sqlite_error;
pub use value::Value;

use super::migrate::MigrateError;

/// What a transaction is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One consistent view; a writing statement is refused.
    Read,
    /// Serialized with all other writers from its beginning, so that what it reads cannot
    /// change before it commits.
    Write,
}

/// A database that holds Weir's tables.
#[async_trait]
pub trait Database: Send + Sync + 'static {
    /// Begins a transaction. Waits for its turn, not for ever: [`DbError::Busy`].
    async fn begin(&self, mode: Mode) -> DbResult<Box<dyn Transaction>>;

    /// Brings the tables to the version of this build; returns how many migrations it ran.
    /// Safe to repeat.
    async fn migrate(&self) -> Result<u32, MigrateError>;
}

/// An open transaction. Dropped without [`Transaction::commit`] it is rolled back.
///
/// After any error it is over: later statements answer [`DbError::Aborted`], as Postgres
/// has it, so that no code comes to rely on SQLite's leniency.
#[async_trait]
pub trait Transaction: Send {
    /// Runs a statement that returns no rows; answers how many rows it touched.
    /// `params[0]` is `$1`. Each parameter must occur in the text.
    async fn execute(&mut self, sql: &'static str, params: Vec<Value>) -> DbResult<u64>;

    /// Runs a statement and takes all its rows. Callers bound them with `LIMIT` or a key.
    async fn query(&mut self, sql: &'static str, params: Vec<Value>) -> DbResult<Vec<Row>>;

    /// Makes it durable. [`DbError::CommitUnknown`] means just that: it may have happened.
    async fn commit(self: Box<Self>) -> DbResult<()>;
}

/// The first words of a statement, for traces and messages: never its parameters.
#[must_use]
pub fn head(sql: &str) -> String {
    sql.split_whitespace().take(6).collect::<Vec<_>>().join(" ")
}
