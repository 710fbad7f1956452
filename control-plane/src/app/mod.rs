//! Use cases, one per file. Each takes typed input, runs one SQL transaction (audit,
//! changes and the idempotency row included), and wakes whoever must know after the commit.
//!
//! Beside them: [`App`], what they all need; [`StatusBoard`], what is seen of SPUs right
//! now; [`Signals`], who is woken; [`view`], what people are shown.

mod act;
mod authenticate;
pub mod bootstrap;
mod call_all;
pub(crate) mod candidates;
mod cluster_create;
mod cluster_get;
mod cluster_order;
mod cluster_recover;
mod cluster_restart;
mod cluster_scale;
mod consumer_delete;
mod consumer_get;
mod consumer_held;
mod consumer_reset;
mod consumer_resolve;
pub mod consumer_view;
mod context;
mod coordinator;
pub mod cut_view;
mod ends;
mod error;
mod hint;
pub(crate) mod holdings;
mod housekeeping;
mod idempotency;
mod ids;
pub(crate) mod lag;
pub(crate) mod leadership;
mod lookup;
pub mod metadata;
mod operation_get;
pub mod page;
mod principal;
mod reach;
mod ready;
mod reassign;
pub mod reassign_view;
pub mod recovery_view;
pub mod refusals;
pub mod replica_view;
pub(crate) mod replication;
pub mod signals;
mod spu_list;
mod spu_refusals;
mod spu_register;
mod spu_unregister;
pub mod status_board;
mod token_issue;
pub mod topic_create;
mod topic_delete;
mod topic_get;
mod topic_grow;
mod topic_purge;
mod topic_tombstones;
mod topic_undelete;
mod topic_update;
pub mod view;
pub mod waiting_view;

pub use authenticate::authenticate;
pub use bootstrap::bootstrap;
pub use call_all::{call_all, freeze_all};
pub use cluster_create::{Created, cluster_create};
pub use cluster_get::{cluster_get, cluster_list};
pub use cluster_order::{cluster_delete, cluster_resume, cluster_shutdown};
pub use cluster_recover::cluster_recover;
pub use cluster_restart::cluster_restart;
pub(crate) use cluster_scale::going_back;
pub use cluster_scale::{ScalePreview, Scaled, cluster_scale};
pub use consumer_delete::consumer_delete;
pub use consumer_get::{consumer_get, consumer_list};
pub use consumer_reset::{ResetRequested, consumer_reset};
pub use consumer_resolve::ResetTo;
pub use context::App;
pub use error::AppError;
pub use housekeeping::housekeeping;
pub use idempotency::{Answer, Repeatable};
pub use ids::{UuidSource, uuid_v4};
pub use lag::watch_lag;
pub use metadata::{metadata_since, metadata_snapshot};
pub use operation_get::{OperationView, operation_get, operation_list};
pub use principal::Principal;
pub use ready::ready;
pub use reassign::{Drain, Wanted, cluster_drain, partition_reassign};
pub use reassign_view::{ReassignmentPlan, RunningReassignment, reassignment_list};
pub use recovery_view::RecoveryView;
pub use signals::Signals;
pub use spu_list::spu_list;
pub use spu_refusals::{RefusalView, spu_refusals};
pub use spu_register::{Credentials, SpuRegistered, spu_register};
pub use spu_unregister::spu_unregister;
pub use status_board::StatusBoard;
pub use token_issue::{
    Issued, REPLICATION_TOKEN_TTL, token_internal, token_issue, token_replicate,
};
pub use topic_create::{Place, TopicRequest, topic_create};
pub use topic_delete::topic_delete;
pub use topic_get::{topic_get, topic_list};
pub use topic_grow::topic_add_partitions;
pub use topic_purge::{topic_delete_and_purge, topic_purge};
pub use topic_tombstones::topic_list_deleted;
pub use topic_undelete::topic_undelete;
pub use topic_update::{TopicChange, topic_update};

// What the edges say to use cases, so that they need not know what is below.
pub use crate::{
    plan::topic_config::{ConfigChange, FlushMode},
    store::{clusters::ClusterSpec, topics::PageFilter, types::KeyScope},
};
