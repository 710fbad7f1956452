//! A whole SPU on loopback, between a scripted control plane and a client of generated code.
//!
//! | Module | Holds |
//! |---|---|
//! | `control_plane` | the scripted control plane |
//! | `node` | an SPU with its folder, started and stopped |
//! | `client` | streams, batches, tokens |
//! | `consumer` | named consumers of generated code |
//! | `faults` | a disk that fills up and fails |
//! | the others | the tests, by what they are about |

// The real disk and real sockets: the simulated world has its own tests of the same SPU.
#![cfg(not(madsim))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    missing_docs,
    dead_code
)]

mod client;
mod consumer;
mod control_plane;
mod faults;
mod node;

mod damage;
mod fetch;
mod keeping;
mod lifecycle;
mod metadata;
mod metrics;
mod offsets;
mod offsets_log;
mod offsets_upload;
mod produce;
mod removal;
mod storage;
mod tokens;
mod topics;
