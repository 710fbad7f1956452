//! The SPU: one broker process that stores and serves partition logs.
//!
//! | Module | Does | Knows |
//! |---|---|---|
//! | [`handler`] | the edges: produce, fetch, offsets, metadata, producer ids over gRPC | everything below |
//! | [`coordinator`] | named consumers: sessions, commits, their way to the control plane | `partition`, `metadata`, `session` |
//! | [`partition`] | one task per replica: performs what the state machine decides | `replica`, `log` |
//! | [`replica`] | the decisions, pure: events in, actions out | nothing |
//! | [`log`] | segments, indexes, recovery on one disk | the disk |
//! | [`replication`] | follows: a stream to each leader, batches to the replicas | `partition`, `metadata` |
//! | [`metadata`] | the cluster's map as the control plane tells it, and what a request's generation is | `replica`'s words, `plant` |
//! | [`session`] | registers with the control plane, applies its word, reports | `metadata`, `partition` |
//! | [`metrics`] | what is counted, and what is shown at a scrape | `partition`, `session` |
//! | [`token`], [`producer_ids`], [`seen`], [`data_folder`], [`reserve`], [`wall_clock`] | one noun each | |
//! | [`config`], [`error`], [`run`](run()), `serve` | from arguments to a running process and its end | everything |
//!
//! **The way of a batch.** [`handler::produce`] checks token, generation, size and checksum;
//! [`partition::queue`] holds it; [`partition::appender`] asks [`replica::leader`], writes the
//! group to the [`log`], fsyncs it in a task of its own, and answers when the replica says so.
//!
//! INVARIANT: `replica` and `metadata::{map, resolve}` use no tokio and no I/O. Nothing here
//! knows the control plane's or the client's code, or SQL.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod config;
pub mod coordinator;
pub mod data_folder;
pub mod error;
pub mod handler;
pub mod log;
pub mod metadata;
pub mod metrics;
pub mod partition;
pub mod producer_ids;
pub mod replica;
pub mod replication;
pub mod reserve;
mod run;
pub mod seen;
// Signals, the process's disk and its runtime exist in a real process only.
#[cfg(not(madsim))]
pub mod serve;
pub mod session;
pub mod token;
pub mod wall_clock;

pub use config::{Config, Limits};
pub use error::SpuError;
pub use metrics::Metrics;
pub use run::{Deps, run, run_measured};
