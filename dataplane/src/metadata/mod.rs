//! What this SPU knows of its cluster: the control plane's map, kept in memory only.
//!
//! | Module | Holds |
//! |---|---|
//! | [`map`] | the map, and what an update changes: pure |
//! | [`resolve`] | what a generation and partition of a request are: pure |
//! | [`cache`] | the current map with its last changes, and who waits for the next |
//!
//! A process that just started knows nothing until the control plane has sent a snapshot:
//! then it leads nothing, and answers `UNKNOWN_GENERATION`, which is retriable.

pub mod cache;
pub mod map;
pub mod resolve;

pub use cache::Cache;
pub use map::{ClusterMap, Fences, Generation, MapError};
