//! The only SQL of the control plane: one file per noun over a small driver seam.
//!
//! ```text
//! let mut tx = store.write().await?;
//! let mut org = tx.scoped(principal.org);          // a tenant's rows, and no one else's
//! let cluster = clusters::by_name(&mut org, "demo").await?;
//! changes::record(&mut org, cluster.id, &Change::Spu(id), now).await?; // takes the next revision
//! tx.commit().await?;
//! ```
//!
//! Functions over a [`Scoped`] put `org_id` into every statement as `$1` by themselves.
//! Functions that see all tenants are named `system_*` and take a [`Tx`].
//!
//! | Module | Rows |
//! |---|---|
//! | [`meta`] | database id, restore number, pepper, signing keys |
//! | [`orgs`], [`api_keys`] | tenants and their keys |
//! | [`clusters`] | desired and observed state, counters |
//! | [`spus`], [`launches`] | brokers, and what the provisioner started |
//! | [`launch_handles`] | how a launch is found again; which ports a cluster got |
//! | [`operations`] | what was ordered, and how far it has come |
//! | [`topics`], [`partitions`] | generations and how they are kept, who leads, who holds replicas |
//! | [`partition_state`] | what changes of a partition, under compare-and-set |
//! | [`cuts`] | what elections may have cost that an owner preferred to waiting |
//! | [`reassignments`], [`removals`] | who is to hold a partition instead; what SPUs are to remove then |
//! | [`consumer_offsets`] | what named consumers have committed |
//! | [`tombstones`], [`purges`] | deleted generations; those whose data is being removed |
//! | [`recovery`], [`take_up`], [`history`] | a cluster whose database went back |
//! | [`changes`] | what watchers must hear, by revision |
//! | [`audit`], [`idempotency`], [`leadership`] | who did what; answers given before; who reconciles |

pub mod api_keys;
pub mod audit;
pub mod changes;
pub mod clusters;
pub mod consumer_offsets;
pub mod cuts;
pub mod driver;
pub mod history;
pub mod idempotency;
pub mod launch_handles;
pub mod launches;
pub mod leadership;
mod load;
pub mod meta;
pub mod migrate;
pub mod operations;
pub mod orgs;
pub mod partition_state;
pub mod partitions;
pub mod purges;
pub mod reassignments;
pub mod recovery;
pub mod removals;
pub mod spus;
pub mod take_up;
mod times;
pub mod tombstones;
pub mod topics;
mod tx;
pub mod types;

use std::sync::Arc;

pub use driver::{
    Database, DbError, DbResult, FaultRates, Mode, Row, SqlFaults, Transaction, Value,
    sqlite::SqliteDatabase,
};
// Real sockets.
#[cfg(not(madsim))]
pub use driver::postgres::{
    Alone, AloneError, ConnectError, Contents, PostgresDatabase, without_password,
};
pub use times::SqlTimes;
pub use tx::{Scoped, Tx};

/// Opens transactions. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    database: Arc<dyn Database>,
    times: SqlTimes,
}

impl Store {
    /// Over an open and migrated database.
    #[must_use]
    pub fn new(database: Arc<dyn Database>) -> Self {
        Self { database, times: SqlTimes::default() }
    }

    /// The same, measured by `times`.
    #[must_use]
    pub fn measured(self, times: SqlTimes) -> Self {
        Self { times, ..self }
    }

    /// A consistent view.
    ///
    /// # Errors
    /// As [`Database::begin`].
    pub async fn read(&self) -> DbResult<Tx> {
        self.begin(Mode::Read).await
    }

    /// A serialized transaction that may write.
    ///
    /// # Errors
    /// As [`Database::begin`].
    pub async fn write(&self) -> DbResult<Tx> {
        self.begin(Mode::Write).await
    }

    async fn begin(&self, mode: Mode) -> DbResult<Tx> {
        let stopwatch = self.times.start(mode);
        Ok(Tx::new(self.database.begin(mode).await?, stopwatch))
    }
}
