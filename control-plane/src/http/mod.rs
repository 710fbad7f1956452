//! The HTTP API, for people and tools: JSON in, JSON out, every error an RFC 9457 problem.
//! Thin: it reads a request, calls one use case, shows the answer.
//!
//! | Module | Holds |
//! |---|---|
//! | [`routes`] | the router and, from the same lines, the OpenAPI document |
//! | `system`, `clusters`, `cluster_verbs`, `spus`, `operations`, `topics`, `topic_verbs`, `partition_verbs`, `reassignments`, `consumers`, `consumer_verbs`, `tokens` | the routes |
//! | `docs` | the document as a page for people |
//! | `around` | what happens around every request: id, deadline, trace, problems |
//! | `caller` | from the bearer key to who asks |
//! | [`problem`] | errors as they travel |
//! | `body`, `list`, `etag`, `reply` | reading requests, writing answers |

mod around;
mod body;
mod caller;
mod cluster_verbs;
mod clusters;
mod consumer_verbs;
mod consumers;
mod docs;
mod etag;
mod list;
mod operations;
mod partition_verbs;
pub mod problem;
mod reassignments;
mod reply;
pub mod routes;
mod spus;
mod system;
mod tokens;
mod topic_config;
mod topic_verbs;
mod topics;

pub use problem::Problem;
pub use routes::{document, router};
