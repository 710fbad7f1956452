//! The simulation: the real control plane (HTTP included), SPUs and clients on a simulated
//! network, clock and disks, all from one seed.
//!
//! | Module | Holds |
//! |---|---|
//! | [`scenarios`] | the stories, one per file: what happens to the cluster and what must hold |
//! | [`world`] | machines, the control plane's database, the provisioner, the client nodes |
//! | [`workload`] | producers and consumers that write down what they did and saw |
//! | [`application`] | an application with a named consumer, which may die at any record |
//! | [`nemesis`], [`faults`] | what goes wrong, as data, and who does it |
//! | [`history`], [`oracle`] | what clients did and saw, and the invariants that judge it |
//! | [`runner`] | one run of one seed: builds the runtime, judges, counts, reports |
//!
//! Scenarios act only through the client library and the HTTP API. The oracle knows
//! nothing of the servers' code, or it would inherit their bugs.
//!
//! Everything here exists in simulation builds only (`--cfg madsim`).
#![cfg(madsim)] // There is nothing to simulate with in the real world.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a harness: what is wrong here must stop the run, loudly"
)]

pub mod application;
pub mod faults;
pub mod history;
pub mod nemesis;
pub mod oracle;
pub mod runner;
pub mod scenarios;
pub mod workload;
pub mod world;
