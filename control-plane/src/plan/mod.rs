//! Pure decisions: snapshots in, decisions out. No clock, no randomness, no I/O.

pub mod ask_around;
pub mod election;
pub mod guards;
pub mod lifecycle;
pub mod names;
pub mod operation;
pub mod placement;
pub mod readiness;
pub mod registration;
pub mod restart;
pub mod scale;
pub mod topic_config;
