//! The database driver, the migrations, the use cases over a real database.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]
#![allow(dead_code, reason = "the fixture is shared")]

#[path = "support_app/mod.rs"]
mod support;

#[path = "store/bootstrap.rs"]
mod bootstrap;
#[path = "store/clusters.rs"]
mod clusters;
#[path = "store/concurrent.rs"]
mod concurrent;
#[path = "store/conformance.rs"]
mod conformance;
#[path = "store/consumer_offsets.rs"]
mod consumer_offsets;
#[path = "store/launches.rs"]
mod launches;
#[path = "store/metadata.rs"]
mod metadata;
#[path = "store/migrations.rs"]
mod migrations;
#[path = "store/operations.rs"]
mod operations;
// Needs a server: infra/ci/postgres.sh starts one.
#[cfg(feature = "postgres-tests")]
#[path = "store/postgres.rs"]
mod postgres;
#[path = "store/reassignments.rs"]
mod reassignments;
#[path = "store/replication.rs"]
mod replication;
#[path = "store/revisions.rs"]
mod revisions;
#[path = "store/tombstones.rs"]
mod tombstones;
#[path = "store/topic_config.rs"]
mod topic_config;
#[path = "store/topics.rs"]
mod topics;
