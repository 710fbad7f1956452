//! The one determinism seam: everything that touches time, randomness, disks, networks or
//! spawning goes through here, and everything here has a production and a simulated side.
//!
//! | Module | Production | Simulation (`--cfg madsim`) |
//! |---|---|---|
//! | [`clock`] | the system's clocks | madsim's time, with an offset and a rate per node |
//! | [`rng`] | the kernel's entropy | madsim's seeded generator |
//! | [`task`] | tokio | madsim-tokio, with shims for what it lacks |
//! | [`boot`] | the machine's boot id | how often the node lost its power |
//! | [`disk`] | real files | a disk per node that crashes, tears, fails and fills |
//! | [`net`] | TCP | madsim's network behind a cut table |
//! | [`rpc`] | gRPC over hyper's HTTP/2 | the same code |
//! | [`http`] | hyper's server, reqwest | the same server, a hyper client |
//! | [`process`] | the machine's process table | the same: provisioners are replaced whole |
//! | [`metrics`] | counters and histograms for Prometheus | the same code |
//! | [`traceparent`] | carries a trace from process to process | the same code, with nothing to carry |
//! | `telemetry` | log, traces and metrics of a process, for mains (feature `telemetry`) | nothing |
//! | [`plant`] | compiled to `false` | switches for planted bugs |
//! | [`trace`] | compiled to nothing | what a determinism test compares |
//!
//! It knows no domain word and none of Weir's other crates.

#![allow(
    clippy::disallowed_methods,
    reason = "this crate is what everyone else must use instead of them"
)]

pub mod boot;
pub mod clock;
pub mod disk;
pub mod http;
pub mod metrics;
pub mod net;
pub mod plant;
pub mod process;
pub mod rng;
pub mod rpc;
pub mod task;
#[cfg(all(feature = "telemetry", not(madsim)))]
pub mod telemetry;
pub mod trace;
pub mod traceparent;
