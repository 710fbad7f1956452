//! What readers and the session see of a replica.

use weir_protocol::{
    ErrorCode, WireError,
    ids::{LeaderEpoch, Offset, PartitionEpoch, PartitionKey, SpuId},
    pb::session::{ReplicaState, ReplicaStatus},
};

use crate::replica::{
    Problem, Refusal, Replica, Role,
    follower::Following,
    followers::{Proposal, Stall},
    start_offset::Readable,
};

/// What a replica is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Its log is being opened.
    Opening,
    /// It leads, at this epoch.
    Leader(LeaderEpoch),
    /// It holds a copy and does not lead.
    Follower,
    /// It holds data that is not served.
    Idle,
    /// Out of service.
    Offline(Problem),
    /// Its task has ended.
    Closed,
}

/// A replica from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// What it is doing.
    pub standing: Standing,
    /// What of it can be read.
    pub readable: Readable,
    /// Next offset to write.
    pub log_end: Offset,
    /// First offset not known to be on the disk.
    pub durable_end: Offset,
    /// The epoch of the last record, also where that was removed for its age; none: there never was
    /// one.
    pub last_epoch: Option<LeaderEpoch>,
    /// Who leads, as far as is known here.
    pub leader: Option<SpuId>,
    /// At which epoch.
    pub leader_epoch: LeaderEpoch,
    /// The newest partition epoch heard.
    pub partition_epoch: PartitionEpoch,
    /// On a follower: what it asks its leader with.
    pub following: Option<Following>,
    /// On a leader: the in-sync set that the control plane is to be asked for.
    pub proposal: Option<Proposal>,
    /// On a leader: the newest ping, and whether somebody waits until followers repeat it.
    pub ping: (u64, bool),
    /// On a leader: why nothing is committed, where that has gone on for a while.
    pub stall: Option<Stall>,
    /// How many replicas there are, and how many of them are in sync, as confirmed.
    pub replicas: (u32, u32),
    /// On a follower: how far the leader's log is committed, as was heard.
    pub heard_high_watermark: Offset,
}

impl View {
    /// Before the log is open.
    #[must_use]
    pub const fn opening() -> Self {
        let zero = Offset::ZERO;
        Self {
            standing: Standing::Opening,
            readable: Readable { log_start: zero, high_watermark: zero, settled: false },
            log_end: zero,
            durable_end: zero,
            last_epoch: None,
            leader: None,
            leader_epoch: LeaderEpoch(0),
            partition_epoch: PartitionEpoch(0),
            following: None,
            proposal: None,
            ping: (0, false),
            stall: None,
            replicas: (0, 0),
            heard_high_watermark: zero,
        }
    }

    /// While the log cannot be opened.
    #[must_use]
    pub fn not_open(problem: Problem) -> Self {
        Self { standing: Standing::Offline(problem), ..Self::opening() }
    }

    /// Of a replica's state.
    #[must_use]
    pub fn of(replica: &Replica) -> Self {
        let (leader, leader_epoch) = replica.leader_hint();
        Self {
            standing: match replica.role() {
                Role::Leader { epoch, .. } => Standing::Leader(*epoch),
                Role::Follower { .. } => Standing::Follower,
                Role::Offline(problem) => Standing::Offline(problem.clone()),
                Role::None => Standing::Idle,
            },
            readable: replica.readable(),
            log_end: replica.log_end(),
            durable_end: replica.durable_end(),
            last_epoch: replica.newest_epoch(),
            leader,
            leader_epoch,
            partition_epoch: replica.partition_epoch(),
            following: replica.following(),
            proposal: replica.proposal().cloned(),
            ping: replica.ping(),
            stall: replica.stall(),
            replicas: replica.replicas(),
            heard_high_watermark: replica.heard_high_watermark(),
        }
    }

    /// Whether somebody who believes in `epoch` may read here.
    ///
    /// # Errors
    /// `NOT_YET_AVAILABLE` while opening, the epoch errors, `NOT_LEADER`, `REPLICA_OFFLINE`.
    pub fn serves(&self, epoch: LeaderEpoch) -> Result<Readable, WireError> {
        let refusal = match &self.standing {
            Standing::Leader(current) if epoch == *current => return Ok(self.readable),
            Standing::Leader(current) if epoch < *current => {
                Refusal::FencedEpoch { current: *current }
            }
            Standing::Leader(current) => Refusal::UnknownEpoch { current: *current },
            Standing::Opening => {
                let text = "the replica's log is being opened";
                return Err(WireError::new(ErrorCode::NotYetAvailable, text));
            }
            Standing::Offline(problem) => Refusal::Offline(problem.clone()),
            Standing::Follower | Standing::Idle | Standing::Closed => {
                Refusal::NotLeader { leader: self.leader, epoch: self.leader_epoch }
            }
        };
        Err(refusal.into())
    }

    /// For the control plane; `None` while there is nothing to tell.
    #[must_use]
    pub fn status(&self, key: PartitionKey) -> Option<ReplicaStatus> {
        let (state, problem) = match &self.standing {
            Standing::Opening | Standing::Closed => return None,
            Standing::Offline(problem) => {
                let error = WireError::new(problem.code, problem.reason.as_ref());
                (ReplicaState::Offline, Some(error.into()))
            }
            Standing::Leader(_) | Standing::Follower | Standing::Idle => {
                (ReplicaState::Online, None)
            }
        };
        Some(ReplicaStatus {
            partition: Some(key.to_wire()),
            leader_epoch: self.leader_epoch.get(),
            log_start: self.readable.log_start.get(),
            high_watermark: self.readable.high_watermark.get(),
            log_end: self.log_end.get(),
            durable_end: self.durable_end.get(),
            state: state.into(),
            problem,
            last_epoch: self.last_epoch.map(LeaderEpoch::get),
        })
    }
}
