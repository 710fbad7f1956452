//! One replica's decisions, without any effect: events in, actions out. No tokio, no I/O, no
//! clock; `partition/` performs the actions and reports what came of them.
//!
//! | Module | Decides |
//! |---|---|
//! | [`event`] | the vocabulary: what can happen to a replica, what it can ask for |
//! | [`partition`] | the state, and who leads: [`Replica`] |
//! | [`leader`] | what becomes of a produced batch, from its arrival to its acknowledgement |
//! | [`followers`] | on a leader: what followers hold, and who is in sync |
//! | [`follower`] | on a follower: what to take from the leader, where to cut |
//! | [`waits`] | which acknowledgement waits for which offset |
//! | [`high_watermark`] | how far the log is committed |
//! | [`leader_epoch`] | where in the log each leadership began |
//! | [`producer_state`] | what each idempotent producer wrote last |
//! | [`start_offset`] | where a reader begins |
//!
//! INVARIANT: `log_start ≤ high_watermark ≤ durable_end ≤ log_end ≤ next_offset` on a leader
//! that is alone in its in-sync set; with followers the high watermark is the least durable
//! end of them all.

pub mod event;
pub mod follower;
pub mod followers;
pub mod high_watermark;
pub mod leader;
pub mod leader_epoch;
pub mod partition;
pub mod producer_state;
pub mod start_offset;
pub mod waits;

#[cfg(test)]
mod explore;
#[cfg(test)]
mod tests;

pub use event::{
    Ack, Acks, Action, Answer, Assignment, Event, Problem, Produce, Refusal, RequestId, Stamp,
};
pub use partition::{Replica, ReplicaLimits, Role};
