//! Pure decisions: snapshots in, decisions out. No clock, no randomness, no I/O.

pub mod ask_around;
pub mod balance;
pub mod damage;
pub mod drain;
pub mod election;
pub mod guards;
pub mod history;
pub mod isr;
pub mod lifecycle;
pub mod names;
pub mod operation;
pub mod placement;
pub mod readiness;
pub mod reassign;
pub mod registration;
pub mod rereplicate;
pub mod restart;
pub mod rolling;
pub mod scale;
pub mod spread;
pub mod topic_config;
pub mod unclean;
