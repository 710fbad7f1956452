//! What people are shown of an election whose leader may have lacked what was committed.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::store::cuts::{CutRow, GivenUp};

/// Nobody was left who held all that was committed, and the topic's owner preferred a leader that
/// may have lacked some of it to waiting on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Cut)]
pub struct CutView {
    /// When, in milliseconds since 1970.
    pub at_unix_ms: i64,
    /// Who came to lead.
    pub leader_spu_id: u32,
    /// In which leader epoch: the first of the new history.
    pub leader_epoch: u32,
    /// The last epoch of the old one.
    pub old_leader_epoch: u32,
    /// Below this nothing was lost; what was committed at or above it may have been.
    pub high_watermark: u64,
    /// Where the new leader's log ended, as it had reported it: what was committed at or above it
    /// is lost.
    pub log_end: u64,
    /// The leader epoch of the last record in it; `null`: there was none.
    pub last_epoch: Option<u32>,
    /// Who was in sync or eligible, and is not any more.
    pub given_up: Vec<GivenUpView>,
}

/// A replica that was counted on until then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = GivenUp)]
pub struct GivenUpView {
    /// Who held it.
    pub spu_id: u32,
    /// Whether it was in sync; else it was eligible.
    pub in_sync: bool,
    /// Where its log ended, as it had reported it last; `null`: not known.
    pub log_end: Option<u64>,
    /// The leader epoch of the last record in it, likewise.
    pub last_epoch: Option<u32>,
}

impl From<&CutRow> for CutView {
    fn from(row: &CutRow) -> Self {
        let cut = &row.cut;
        Self {
            at_unix_ms: row.at_unix_ms,
            leader_spu_id: cut.leader.0,
            leader_epoch: cut.leader_epoch.0,
            old_leader_epoch: cut.old_leader_epoch.0,
            high_watermark: cut.report.high_watermark.0,
            log_end: cut.report.log_end.0,
            last_epoch: cut.report.last_epoch.map(|epoch| epoch.0),
            given_up: cut.given_up.iter().map(GivenUpView::from).collect(),
        }
    }
}

impl From<&GivenUp> for GivenUpView {
    fn from(of: &GivenUp) -> Self {
        Self {
            spu_id: of.spu.0,
            in_sync: of.in_sync,
            log_end: of.report.map(|report| report.log_end.0),
            last_epoch: of.report.and_then(|report| report.last_epoch).map(|epoch| epoch.0),
        }
    }
}
