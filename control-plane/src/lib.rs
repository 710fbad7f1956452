//! The multi-tenant control plane: decides which clusters, SPUs, topics and partitions there
//! are and who leads, and keeps all of it in SQL. Records never pass through it.
//!
//! | Layer | Modules |
//! |---|---|
//! | edges | `http` (the API of people and tools), [`spu_api`] (the gRPC sessions of SPUs) |
//! | use cases | [`app`], and [`reconcile`], which makes things so |
//! | pure decisions | [`plan`] |
//! | the only SQL | [`store`] |
//! | secrets | [`auth`] |
//! | what is counted | [`metrics`] |
//! | what runs SPUs, what calls them | [`provision`], [`data_plane`] |
//!
//! Edges call use cases, use cases call decisions and the store, never the other way round.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod app;
pub mod auth;
pub mod config;
pub mod data_plane;
pub mod http;
pub mod metrics;
pub mod plan;
pub mod provision;
pub mod reconcile;
mod run;
// Signals, files and the runtime of a real process exist in a real process only.
#[cfg(not(madsim))]
pub mod serve;
pub mod spu_api;
pub mod store;

pub use config::{ClusterDefaults, Config};
pub use metrics::Metrics;
pub use run::{ControlPlaneError, Deps, Started, run, run_measured};
