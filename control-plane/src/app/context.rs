//! What every use case needs.

use std::io;

use uuid::Uuid;
use weir_protocol::{
    ids::{DatabaseId, RestoreNumber},
    pb::metadata::DatabaseRef,
};
use weir_runtime::clock::Clock;

use super::{ids::UuidSource, signals::Signals, status_board::StatusBoard};
use crate::{
    auth::{Pepper, TokenSigner},
    config::ClusterDefaults,
    metrics::Metrics,
    store::Store,
};

/// Shared by the edges and the reconcilers, behind an `Arc`.
pub struct App {
    /// The database.
    pub store: Store,
    /// The node's clock.
    pub clock: Clock,
    /// Draws ids that sort by time.
    pub ids: UuidSource,
    /// What is seen of SPUs.
    pub board: StatusBoard,
    /// What is counted.
    pub metrics: Metrics,
    /// Who is woken after a commit.
    pub signals: Signals,
    /// Hashes secrets.
    pub pepper: Pepper,
    /// Signs data-plane tokens.
    pub signer: TokenSigner,
    /// Which history this database is.
    pub database_id: DatabaseId,
    /// How many times the whole of it was restored. Each cluster counts on from there.
    pub restore_number: RestoreNumber,
    /// What clusters get unless they say otherwise.
    pub defaults: ClusterDefaults,
    /// `host:port` where SPUs reach the gRPC server.
    pub rpc_address: String,
    /// The build that runs.
    pub build: String,
}

impl App {
    /// Milliseconds since 1970 by the node's clock.
    #[must_use]
    pub fn now_unix_ms(&self) -> i64 {
        self.clock.unix_ms()
    }

    /// Which history the revisions of a cluster belong to that was recovered so often.
    #[must_use]
    pub fn restored(&self, recovered: RestoreNumber) -> RestoreNumber {
        RestoreNumber(self.restore_number.0.saturating_add(recovered.0))
    }

    /// The same, as it travels.
    #[must_use]
    pub fn database_ref(&self, recovered: RestoreNumber) -> DatabaseRef {
        DatabaseRef {
            database_id: self.database_id.to_string(),
            restore_number: self.restored(recovered).0,
        }
    }

    /// A fresh UUIDv7 by the node's clock, later than the one before.
    ///
    /// # Errors
    /// As [`UuidSource::v7`].
    pub fn uuid_v7(&self) -> io::Result<Uuid> {
        self.ids.v7(self.now_unix_ms())
    }
}
