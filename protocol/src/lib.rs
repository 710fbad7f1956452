//! The vocabulary that every other crate of Weir shares. No tokio, no I/O.
//!
//! | Module | Holds |
//! |---|---|
//! | [`ids`] | one newtype per identity, epoch and offset: no bare `u64` crosses a boundary |
//! | [`error`] | the error codes of the wire: is a retry safe, is the outcome known |
//! | [`batch`] | the Kafka record batch v2: encode, verify, decode, compression |
//! | [`murmur2`] | which partition a key, or a consumer's name, belongs to |
//! | [`pb`] | the messages and services generated from `proto/` |
//! | [`streams`] | how records travel on produce and fetch streams: batches apart, uncopied |
//! | [`token`] | the claims of data-plane tokens |
//! | [`topic_config`] | how a topic's records are kept: flush, retention, segments |

pub mod batch;
pub mod error;
pub mod ids;
pub mod murmur2;
pub mod pb;
pub mod streams;
pub mod token;
pub mod topic_config;

pub use error::{ErrorCode, Outcome, WireError};
