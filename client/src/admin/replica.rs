//! The copies of a partition, as the control plane answers.

use serde::{Deserialize, Serialize};
use weir_protocol::ids::{LeaderEpoch, Offset, SpuId};

/// A copy of a partition, as its SPU reported it last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicReplica {
    /// Who holds it.
    pub spu_id: SpuId,
    /// Whether it is in sync.
    #[serde(default)]
    pub in_sync: bool,
    /// Whether it may lead without being in sync.
    #[serde(default)]
    pub eligible: bool,
    /// Whether it is served; none: its SPU did not say.
    #[serde(default)]
    pub online: Option<bool>,
    /// Next offset that it lacks; of one whose SPU is away, as it reported last.
    #[serde(default)]
    pub log_end: Option<Offset>,
    /// The leader epoch in which its last record was appended first, likewise.
    #[serde(default)]
    pub last_epoch: Option<LeaderEpoch>,
    /// How many records behind the leader that is, as both reported last.
    #[serde(default)]
    pub lag: Option<u64>,
    /// First offset that is not committed, as far as it knows.
    #[serde(default)]
    pub high_watermark: Option<Offset>,
    /// Why it is offline.
    #[serde(default)]
    pub problem: Option<String>,
    /// Why it is not in sync, in one sentence.
    #[serde(default)]
    pub missing: Option<String>,
    /// Since when its SPU is as it is, where that is the reason, in milliseconds since 1970.
    #[serde(default)]
    pub missing_since_unix_ms: Option<i64>,
}

/// Why nobody leads a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// In one sentence.
    pub reason: String,
    /// Each of these could lead, once it is back; none: another one is about to.
    #[serde(default)]
    pub for_spu_ids: Vec<SpuId>,
}

/// An election of a leader that may have lacked what was committed, because nobody was left who
/// held all of it and the topic's owner had chosen that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// When, in milliseconds since 1970.
    #[serde(default)]
    pub at_unix_ms: i64,
    /// Who came to lead.
    pub leader_spu_id: SpuId,
    /// In which leader epoch: the first of the new history.
    pub leader_epoch: LeaderEpoch,
    /// The last epoch of the old one.
    #[serde(default)]
    pub old_leader_epoch: LeaderEpoch,
    /// Below this nothing was lost; what was committed at or above it may have been.
    pub high_watermark: Offset,
    /// Where the new leader's log ended, as it had reported it.
    pub log_end: Offset,
    /// The leader epoch of the last record in it; none: there was none.
    #[serde(default)]
    pub last_epoch: Option<LeaderEpoch>,
    /// Who was in sync or eligible, and is not any more.
    #[serde(default)]
    pub given_up: Vec<GivenUp>,
}

/// A copy that was counted on until an election gave it up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenUp {
    /// Who held it.
    pub spu_id: SpuId,
    /// Whether it was in sync; else it was eligible.
    #[serde(default)]
    pub in_sync: bool,
    /// Where its log ended, as it had reported it last.
    #[serde(default)]
    pub log_end: Option<Offset>,
    /// The leader epoch of the last record in it, likewise.
    #[serde(default)]
    pub last_epoch: Option<LeaderEpoch>,
}
