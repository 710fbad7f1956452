//! The HTTP API: each route, each kind of error, and walks over the whole document.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]
#![allow(dead_code, reason = "the fixture is shared")]

#[path = "support_app/mod.rs"]
mod support;

#[path = "http/client.rs"]
mod client;
#[path = "http/consumers.rs"]
mod consumers;
#[path = "http/errors.rs"]
mod errors;
#[path = "http/lists.rs"]
mod lists;
#[path = "http/metrics.rs"]
mod metrics;
#[path = "http/operations.rs"]
mod operations;
#[path = "http/replication.rs"]
mod replication;
#[path = "http/routes.rs"]
mod routes;
#[path = "http/tokens.rs"]
mod tokens;
#[path = "http/tombstones.rs"]
mod tombstones;
#[path = "http/walk.rs"]
mod walk;
#[path = "http/whole.rs"]
mod whole;
